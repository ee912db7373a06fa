# SPDX-License-Identifier: Apache-2.0
"""What waits of senders whose tasks an agent does not take: told as it is read, and not shown.

    >>> await refusal(bus, me, "mallory", "coder")
    Refusal(why='coder takes tasks of planner only: its user has said so', is_left=False)

A sender is refused before anything is stored, by the roster; whoever writes with the bus's token,
or an older version, goes past that, so whoever reads asks here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import ROLE_PREFIX, Agent, accepts, is_role_address
from mcp_agentbus.core.notices import takes
from mcp_agentbus.store import roster


class AboutTask(Protocol):
    """What is known of a task: its record, or what the archive has of it."""

    @property
    def owner(self) -> str:
        """Who sent it."""

    @property
    def inbox(self) -> str:
        """Where it went."""

    @property
    def state(self) -> str:
        """As `State`."""

    @property
    def attempts(self) -> int:
        """How often it was claimed."""


@dataclass(frozen=True)
class Refusal:
    """Why an agent does not take a task."""

    #: A clause, for the task's record.
    why: str
    #: Another agent that holds the role may take it.
    is_left: bool = False


async def is_hidden(bus: Bus, me: Agent, task: AboutTask) -> bool:
    """Tell whether what a task is about is not shown: its reader refuses it, or has done so unread.

    Whatever a worker has read and rejected was claimed before.

    Raises: as `refusal`.
    """
    if task.owner == me.id or task.inbox not in me.inboxes or task.attempts:
        return False
    if task.state != "stored":
        return task.state == "rejected"
    return await refusal(bus, me, task.owner, task.inbox) is not None


async def refusal(bus: Bus, me: Agent, sender: str, inbox: str) -> Refusal | None:
    """Return why an agent does not take what a sender has put into one of its inboxes.

    None: it does, by what its user says now.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `roster.look`, where the answer is on the bus.
    """
    if accepts(me.id, me.accept_from, sender):
        return None
    entry = None
    if any(map(is_role_address, me.accept_from)):
        entry = await roster.look(bus, sender)
    roles = entry.roles if entry else ()
    if accepts(me.id, me.accept_from, sender, roles):
        return None
    why = f"{takes(me.id, me.accept_from)}: its user has said so"
    if not inbox.startswith(ROLE_PREFIX):
        return Refusal(why)
    role = inbox.removeprefix(ROLE_PREFIX)
    others = [
        each for each in await roster.everybody(bus) if role in each.roles and each.id != me.id
    ]
    is_left = any(accepts(each.id, each.accept_from, sender, roles) for each in others)
    return Refusal(why, is_left)
