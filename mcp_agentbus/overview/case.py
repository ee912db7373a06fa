# SPDX-License-Identifier: Apache-2.0
"""All that is known of a task that is not done, as `why` takes it.

>>> Case(task, now, addressee=entry, listener="runs").rests
True
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mcp_agentbus.archive.past import Past
from mcp_agentbus.core.ids import WAKE_ON, Priority, address_of
from mcp_agentbus.listener.status import State
from mcp_agentbus.store.outbox.outbox import ANOTHER_BUS, Envelope
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.task import HELD


@dataclass(frozen=True)
class Word:
    """What this user's listener says of an agent."""

    agent: str
    #: Why it was not woken at the last look, a `Reason`; empty if nothing waited that may wake it.
    reason: str = ""
    #: When it is looked at again.
    until: datetime | None = None
    #: A wake is under way.
    waking: bool = False
    #: By what its sessions are started, as `agent add` has it; empty if by nothing.
    host: str = ""
    #: Why the last wake did not start, where the next one is held by that.
    not_started: str = ""

    @classmethod
    def of(cls, agent: str, said: Mapping[str, Any]) -> Word:
        """Return what a listener has answered of an agent."""
        until = datetime.fromisoformat(said["until"]) if said["until"] else None
        host, not_started = said.get("host") or "", said.get("not_started") or ""
        return cls(agent, said["reason"] or "", until, said["waking"], host, not_started)


@dataclass(frozen=True)
class Outgoing:
    """What lies in this machine's outbox."""

    #: The oldest first.
    waits: tuple[Envelope, ...] = ()
    #: Why what is for the bus of now is not there, in this program's words.
    says: str = ""

    @property
    def all_says(self) -> tuple[str, ...]:
        """The same of all that lies there, a sentence or two each."""
        others = [] if all(each.is_ours for each in self.waits) else [ANOTHER_BUS]
        return tuple(filter(None, (self.says, *others)))


@dataclass(frozen=True)
class Case:
    """All that an answer is made from."""

    task: Past
    now: datetime
    #: Whether the bus was asked; without it only the archive is known, and nobody's presence.
    is_live: bool = True
    #: Of whom it is for; None: nobody of that name is registered.
    addressee: Entry | None = None
    #: Whether the addressee is known to be this user's, on this machine.
    is_here: bool = True
    listener: State = "stopped"
    #: What it says of the addressee; None: nothing.
    word: Word | None = None
    #: The priorities of tasks that are to wake the addressee.
    wake_on: Collection[Priority] = WAKE_ON
    #: Whether the session that holds the task lives; None: not known.
    holder_lives: bool | None = None
    claimed_at: datetime | None = None
    #: When its worker last said something.
    noted_at: datetime | None = None
    woken_at: datetime | None = None
    #: When it ended, by the step that ended it.
    ended_at: datetime | None = None
    #: Tasks of its lane that are read before it; None: not known.
    before: int | None = None
    #: Of a task in the outbox: why it is not at the bus.
    outgoing_says: str = ""
    #: It is for another bus than that of now.
    is_for_another: bool = False

    @property
    def handed_on_once(self) -> str:
        """When a task of the outbox comes to its bus, as a clause."""
        if self.is_for_another:
            return "once that one is set up here again"
        return "by itself once the bus is reached"

    @property
    def inbox(self) -> str:
        """Whom it is for, as it is typed."""
        return address_of(self.task.inbox)

    @property
    def rests(self) -> bool:
        """Whether nobody holds it, as far as is known: neither over nor in a session that lives."""
        held = self.task.state in HELD and self.holder_lives is not False
        return not (held or self.task.ended)
