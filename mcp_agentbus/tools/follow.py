# SPDX-License-Identifier: Apache-2.0
"""Follow an inbox from outside: one event for each change, nothing claimed, nothing marked as seen.

    async for event in follow(bus, agent):
        print(event.text)     # 2026-11-20 18:03:11Z waiting: 1 high, 2 normal

What became of sent tasks is read from their records, by revisions: what was written while there was
no server is told afterwards, each step once. An event holds counts, ids and states, and no text of
a peer: hosts read such lines as their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Self, get_args

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import NotGranted
from mcp_agentbus.bus.replies import Found, Message
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.ids import Agent, Priority
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.intake.watches import reached, unsaid
from mcp_agentbus.store import queues, streams, subjects, unseen
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.records import record_in
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.store.task import Moment, Record, State

# In seconds: tasks that a dead session gives back come without a word.
_LOOK_AGAIN_S: Final = 5.0
# Records that are asked for at once.
_PAGE: Final = 50
# Tasks of which it is known what was told of them last.
_TASKS_MAX: Final = 10_000
# A step of another may have any word.
_STATES: Final = frozenset(get_args(State))


@dataclass(frozen=True)
class Position:
    """From where an inbox is followed."""

    #: Steps of before are not told.
    at: datetime
    #: Nor are records up to this revision; None: it is found by the time.
    revision: int | None = None

    @classmethod
    def read(cls, spelt: str, current: datetime) -> Self:
        """Return the position that `str` has written, or that a time alone is, as `text.moment`."""
        at, _, revision = spelt.partition("@")
        return cls(text.moment(at, current), int(revision) if revision else None)

    def __str__(self) -> str:
        return self.at.isoformat() + ("" if self.revision is None else f"@{self.revision}")


@dataclass(frozen=True)
class Event:
    """Something that changed: as a line for a person, and as data for `--json`."""

    text: str
    data: dict[str, Any]
    #: Whoever follows from here misses nothing and gets nothing twice; None in between.
    position: Position | None = None


async def follow(
    bus: Bus,
    agent: Agent,
    since: Position | None = None,
    *,
    say: Callable[[str], None] = unsaid,
) -> AsyncGenerator[Event, None]:
    """Yield an event when the waiting tasks change, or what became of a sent task.

    The first one tells what waits now. Then come the steps since the position; without one the
    results that nobody has seen yet. `say` gets a sentence when the bus is away, and when it is
    back.

    Raises:
        AgentbusError: at the start, as `streams.ensure_streams`; later only if the bus was closed,
            or takes this login no more.
    """
    changed = asyncio.Event()

    def arrived(_: Message | None) -> None:
        changed.set()

    following = _Following(bus, agent, since)
    await following.prepare()
    async with AsyncExitStack() as stack:
        heard = [subjects.wake_subject(inbox) for inbox in agent.inboxes]
        for subject in (*heard, subjects.record_subject(agent.id, "*", "*")):
            await stack.enter_async_context(bus.subscribed(subject, arrived))
        while True:
            # Waiting for a server does not start one: `agentbus server stop` stands.
            await reached(bus, say)
            changed.clear()
            try:
                async with aclosing(following.news()) as news:
                    async for event in news:
                        yield event
            except AgentbusError:  # the next look tells what this one could not
                with suppress(AgentbusError):
                    await following.prepare()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await changed.wait()


class _Following:
    """How far an inbox was followed."""

    def __init__(self, bus: Bus, agent: Agent, since: Position | None) -> None:
        self._bus, self._agent = bus, agent
        self._subject = subjects.record_subject(agent.id, "*", "*")
        self._given = since
        self._since = since.at if since else text.now()
        #: All records up to this one were told, the last of which was stored then.
        self._revision, self._at = -1, self._since
        #: When the stream was made whose revisions these are.
        self._made = ""
        self._waiting: Mapping[Priority, int] | None = None
        #: The last step that was told of a task, by its id.
        self._told: dict[str, Moment] = {}

    async def prepare(self) -> None:
        """Have the streams and lanes there, also where they went with a server's data.

        Raises: as `streams.ensure_streams`.
        """
        await streams.ensure_streams(self._bus)
        for inbox in self._agent.inboxes:
            try:
                await consumers.ensure_inbox(self._bus, inbox)
            except NotGranted as error:  # the others are its own all the same
                self._agent = self._agent.without({error.role})

    async def news(self) -> AsyncGenerator[Event, None]:
        """Yield what was not told yet.

        Raises: as `Bus.many`; what was not reached is yielded by the next call.
        """
        last = await self._last_revision()
        counts = await queues.counts(self._bus, self._agent.inboxes)
        if self._waiting is None:
            start, unread = await self._start(last), await self._unread()
            self._revision, self._waiting = start, counts
            *before, last_event = _waiting_event(counts, None), *unread
            for event in before:
                yield event
            yield replace(last_event, position=self._position)
        pages = self._bus.stored(RESULTS, self._subject, start=self._revision + 1, page=_PAGE)
        async with aclosing(pages):
            async for messages in pages:
                for message in messages:
                    for event in self._events(message):
                        yield event
        if counts != self._waiting:
            self._waiting = counts
            yield _waiting_event(counts, self._position)

    @property
    def _position(self) -> Position:
        return Position(self._at, self._revision)

    async def _last_revision(self) -> int:
        """Return the stream's last revision; begin anew with a stream that was made anew."""
        info = await self._bus.api(f"STREAM.INFO.{RESULTS}")
        made, last = str(info["created"]), int(info["state"]["last_seq"])
        if self._made not in {"", made} or self._revision > last:
            await self.prepare()
            self._revision = 0
        self._made = made
        return last

    async def _start(self, last: int) -> int:
        """Return the revision up to which nothing is told: the `last` without a position."""
        given = self._given
        if given is None:
            return last
        if given.revision is not None:
            return given.revision if given.revision <= last else 0
        # In the same millisecond may lie what was told before.
        since = text.stamp(given.at, timespec="microseconds")
        request = {"start_time": since, "batch": 1, "next_by_subj": self._subject}
        messages = await self._bus.many(RESULTS, request)
        return messages[0].seq - 1 if messages else last

    async def _unread(self) -> list[Event]:
        """Return the results that nobody has seen yet, if no position is given."""
        if self._given:
            return []
        return [
            _step_event(result.record.task_id, self._steps(result.record)[-1], None)
            async for results in unseen.look_through(self._bus, self._agent.id)
            for result in results
        ]

    def _events(self, message: Found) -> list[Event]:
        """Return the steps in a record that were not told, and take them as told."""
        self._revision, self._at = message.seq, message.stored_at
        record = record_in(message)
        if record is None:
            return []
        steps = self._steps(record)
        return [
            # Half a record's steps are no position.
            _step_event(record.task_id, step, self._position if step is steps[-1] else None)
            for step in steps
        ]

    def _steps(self, record: Record) -> list[Moment]:
        """Return a task's steps that were not told, and take them as told.

        The last is always told, whatever the clock of its writer says; and what came between two
        revisions that were read, by the history in the later one.
        """
        last = Moment(state=record.state, at=record.updated_at, by=record.agent)
        steps = list(record.history[1:])  # the first is its sender's own, the sending
        if not steps or (steps[-1].state, steps[-1].at) != (last.state, last.at):
            steps.append(last)
        told = self._told.pop(record.task_id, None)
        self._told[record.task_id] = steps[-1]
        if len(self._told) > _TASKS_MAX:
            del self._told[next(iter(self._told))]
        if told in steps:
            return steps[len(steps) - steps[::-1].index(told) :]
        since = told.at if told else self._since
        return [step for step in steps[:-1] if step.at > since] + steps[-1:]


def _waiting_event(counts: Mapping[Priority, int], position: Position | None) -> Event:
    at = text.now()
    what = ", ".join(f"{count} {lane}" for lane, count in counts.items() if count) or "nothing"
    return Event(
        f"{at:%Y-%m-%d %H:%M:%SZ} waiting: {what}",
        {"event": "waiting", "at": text.stamp(at), "waiting": counts},
        position,
    )


def _step_event(task_id: str, step: Moment, position: Position | None) -> Event:
    state = step.state if step.state in _STATES else "in a state that this version does not know"
    by = step.by if ids.is_inbox(step.by) else "nobody who can be one"
    return Event(
        f"{step.at:%Y-%m-%d %H:%M:%SZ} task {task_id}: {state} by {by}",
        {
            "event": "task",
            "at": text.stamp(step.at),
            "task_id": task_id,
            "state": step.state if step.state in _STATES else None,
            "agent": step.by if ids.is_inbox(step.by) else None,
        },
        position,
    )
