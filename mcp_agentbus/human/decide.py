# SPDX-License-Identifier: Apache-2.0
"""What an agent asks its own user to decide, and that user's word on it.

    >>> decide(settings, "9d0c2f", approved=True, note="only main").by
    'coder'

The word itself stays in this user's folder. On the bus it is only said that it was given, so that
its sender sees that, and who waits looks at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from mcp_agentbus.archive import board
from mcp_agentbus.archive.history import up_to_date
from mcp_agentbus.archive.kept.sides import users
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.feather import ancestors
from mcp_agentbus.core.framing import frame, part
from mcp_agentbus.core.ids import address_of
from mcp_agentbus.core.text import now, stamp
from mcp_agentbus.errors import AgentbusError, AlreadyEnded, BadInput, NotYourTask, Refused
from mcp_agentbus.human.person import Terminal, check_is_person
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import NOTE_MAX_CHARS, Decision
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.records import add_wake, read_record
from mcp_agentbus.store.steps import asked_in, question_of
from mcp_agentbus.store.task import HELD, Moment, Record, Task
from mcp_agentbus.wakes import alone

# Of what a task says so many characters are shown beside what is asked.
_SHOWN_CHARS: Final = 2_000
#: So many characters of a task's id are typed to decide.
TYPED_CHARS: Final = 6

_T = TypeVar("_T")


@dataclass(frozen=True)
class Pending:
    """Something that an agent of this user asks it to decide."""

    #: As it was read: a decision is about this question alone.
    record: Record
    #: What its sender wants, as it lies in the inbox: a decision is about this text alone.
    task: Task
    #: Which agent has asked, and when.
    by: str
    at: datetime
    #: What was decided before, and was not read.
    before: Decision | None = None

    @property
    def is_held(self) -> bool:
        """Whether a session has the task, as far as its record tells."""
        return self.record.state in HELD

    @property
    def text(self) -> str:
        """What is asked, for a person: a peer's words in a frame."""
        task, record = self.task, self.record
        about = f"Task {record.task_id} from {record.owner} to {address_of(record.inbox)}"
        written = part(f"Subject: {task.subject}\n\n{task.body}", 0, _SHOWN_CHARS)
        wanted = frame(written.text, said_by=record.owner)
        if written.next is not None:
            how_much = f"{written.next:,} of {written.total:,} characters shown"
            whole = f"agentbus task {record.task_id} --agent {self.by}"
            wanted = f"{wanted}\n{how_much}; all of it: {whole}"
        question = frame(asked_in(record), said_by=self.by)
        before = f"\n{self.decided}. What you say now takes its place." if self.before else ""
        return f"{about}:\n{wanted}\n{self.by} asks for your approval:\n{question}{before}"

    @property
    def decided(self) -> str:
        """What its user has said before."""
        if self.before is None:
            return "Nothing is decided"
        return (
            f"You have {self.before.word} that at {_clock(self.before.at)}, which was not read yet"
        )


def decide(
    settings: Settings, written: str, *, approved: bool, note: str, starts: bool = False
) -> Pending:
    """Ask the person at the terminal whether a decision is meant, and keep it.

    Args:
        settings: whose.
        written: the task's id, or the beginning of it.
        approved: what was typed.
        note: what its agent is told with it.
        starts: the agent is about to be started for that, so nobody else is to look at once.

    Raises:
        Refused: no person types, as far as that can be told; or its agent went on meanwhile.
        BadInput: it was not confirmed, or the note has more than one line of 500 characters.
        BadSetup, OSError: as `decisions.keep`.
        AgentbusError: as `find`.
    """
    check_is_person(settings.environ, ancestors.ancestors())
    if len(note) > NOTE_MAX_CHARS or len(note.splitlines()) > 1:
        raise BadInput("The note has more than one line of 500 characters. Nothing was stored.")
    asked = asyncio.run(_on_the_bus(settings, lambda bus: find(bus, written)))
    with Terminal.opened() as terminal:
        terminal.show(asked.text)
        does = "allow" if approved else "forbid"
        typed = terminal.ask(f"To {does} that, type the first {TYPED_CHARS} characters of its id: ")
    if typed != asked.record.task_id[:TYPED_CHARS]:
        wrong = "That is not how the task's id begins" if typed else "Nothing was typed"
        raise BadInput(
            f"{wrong}. Nothing was stored.",
            hint=f"{asked.decided}, and that stands. To decide, run the same again.",
        )
    decision = Decision(approved, note.strip(), now(), decisions.text_of(asked.task))
    decisions.keep(settings.state_dir, asked.record, decision)
    still_asks = True
    # Its session finds it by itself.
    with suppress(AgentbusError):
        still_asks = asyncio.run(
            _on_the_bus(settings, lambda bus: _say(bus, asked, decision, at_once=not starts))
        )
    if not still_asks:
        decisions.forget(settings.state_dir, asked.record)
        raise Refused(
            f"{asked.by} has gone on meanwhile, and waits for that no more. Nothing was stored.",
            hint=f"How the task stands: `agentbus why {asked.record.task_id}`.",
        )
    return asked


async def _on_the_bus(settings: Settings, do: Callable[[Bus], Awaitable[_T]]) -> _T:
    async with Bus.connect(settings) as bus:
        return await do(bus)


async def find(bus: Bus, written: str) -> Pending:
    """Return what is asked about the task that is meant.

    Args:
        bus: where it is.
        written: its id, or the beginning of it.

    Raises:
        BadInput, UnknownTask: it is not known which task is meant.
        AlreadyEnded: it is over.
        NotYourTask: it was not an agent of this user here that asked.
        Refused: it asks for no approval, or its text is there no more.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    await streams.ensure_streams(bus)
    mine = users(bus.settings)
    async with up_to_date(bus, mine) as current:
        task = board.named(current.archive, written)
    record, _ = await read_record(bus, task.owner, task.inbox, task.task_id)
    question = question_of(record) if record else None
    if record and record.ended:
        raise AlreadyEnded(f"Task {task.task_id} is over: {record.state}. Nothing was stored.")
    if record is None or question is None or question.state != "needs_approval":
        raise _no_approval(task.task_id, task.owner, question)
    if "*" not in mine and question.by not in mine:
        raise NotYourTask(
            f"It is asked by {question.by}, which is no agent of yours on this machine, so it is "
            "for its own user to decide there. Nothing was stored.",
            hint=f"What you know of it as its sender: `agentbus answer {task.task_id} TEXT`.",
        )
    if (there := await read_back.find(bus, record)) is None:
        raise Refused(
            f"What task {task.task_id} says is in the inbox no more. Nothing was stored.",
            hint=f"How it stands: `agentbus why {task.task_id}`.",
        )
    before = decisions.kept(bus.settings.state_dir, record)
    return Pending(record, there[0], question.by, question.at, before)


def _no_approval(task_id: str, owner: str, question: Moment | None) -> Refused:
    if question is None:
        return Refused(
            f"Task {task_id} waits for nobody's approval. Nothing was stored.",
            hint=f"How it stands: `agentbus why {task_id}`.",
        )
    return Refused(
        f"Task {task_id} waits for an answer, not for an approval. Nothing was stored.",
        hint=f"{owner}, who sent it, gives that: `agentbus answer {task_id} TEXT --agent {owner}`.",
    )


async def _say(bus: Bus, asked: Pending, decision: Decision, *, at_once: bool) -> bool:
    """Say what was decided, and have whoever waits look `at_once`; not if nobody asks any more.

    A person may take minutes, and its agent need not wait. Returns whether somebody asks.
    """
    record = asked.record
    standing_now, _ = await read_record(bus, record.owner, record.inbox, record.task_id)
    question = question_of(standing_now) if standing_now else None
    if question is None or question.at != asked.at:
        return False
    state = decisions.STEPS[decision.approved]
    reason = f"its user has {state} what it asked at {stamp(asked.at)}"
    moment = Moment(state=state, at=decision.at, by=asked.by, reason=reason)
    await add_wake(bus, record.owner, record.inbox, record.task_id, moment)
    if at_once:
        await bus.send(subjects.back_subject(record.inbox), b"", {})
    return True


def may_start(settings: Settings, asked: Pending) -> bool:
    """Tell whether the listener may start the agent for this task alone, as far as rules tell."""
    if asked.is_held:
        return False
    with suppress(Refused):
        alone.profile_of(settings.rules.get(asked.by), asked.by, asked.record.task_id, "answer")
        return True
    return False


def text(asked: Pending, *, approved: bool, then: str = "") -> str:
    """Return what is kept now, and who is told of it when, or what is done about it `then`."""
    done = "Approved" if approved else "Denied"
    told = f"{asked.by} is told now where it waits for that, else at its next call"
    if not asked.is_held:
        told = f"nobody holds the task now: the next session of {asked.by} that gets it is told"
    about = f"{done} what {asked.by} asks about task {asked.record.task_id}"
    if asked.before:
        about += (
            f", in place of {asked.before.word} of {_clock(asked.before.at)}, which was not read"
        )
    return f"{about}. {then}" if then else f"{about}; {told}."


def _clock(at: datetime) -> str:
    """Return a time as this user's clock shows it, with its day where that is not today's."""
    here = at.astimezone()
    return f"{here:%H:%M}" if here.date() == now().astimezone().date() else f"{here:%Y-%m-%d %H:%M}"


def data(asked: Pending, *, approved: bool, started: bool = False) -> dict[str, Any]:
    """Return the same as data."""
    return {
        "task_id": asked.record.task_id,
        "agent": asked.by,
        "approved": approved,
        "started": started,
    }
