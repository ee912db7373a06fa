# SPDX-License-Identifier: Apache-2.0
"""What is known at this moment of tasks, by the bus, by the listener, by the archive.

    >>> async with known(settings) as here:
    ...     why(here.case(here.task("9d0c2f")))

It starts no server, registers nobody and changes nothing. What cannot be asked is left open:
without a bus the archive as it was last brought up to date is all there is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from mcp_agentbus.archive import board
from mcp_agentbus.archive.audit import TaskStep
from mcp_agentbus.archive.board import Resting
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.file import Archive
from mcp_agentbus.archive.history import Current, up_to_date
from mcp_agentbus.archive.kept.place import number_of
from mcp_agentbus.archive.kept.removed import perhaps_removed
from mcp_agentbus.archive.kept.sides import users
from mcp_agentbus.archive.past import Past, outgoing, unlisted
from mcp_agentbus.archive.questions import asked
from mcp_agentbus.bus.address import start_no_server
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.aio import part
from mcp_agentbus.core.ids import (
    LANES,
    ROLE_PREFIX,
    WAKE_ON,
    Priority,
    whole_task_id,
)
from mcp_agentbus.errors import (
    AgentbusError,
    ArchiveBroken,
    BusUnreachable,
    NoListener,
    Unconfirmed,
    UnknownTask,
)
from mcp_agentbus.overview.case import Case, Outgoing, Word
from mcp_agentbus.overview.listener import Listener, ask_listener
from mcp_agentbus.overview.on_bus import OnBus, Place, ask_bus, look_into
from mcp_agentbus.store import roster, streams
from mcp_agentbus.store.outbox.outbox import ANOTHER_BUS, Envelope, read_outbox
from mcp_agentbus.store.queues import Lane
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.task import ENDS, HELD, Task

# A person waits: older records are read for so long, in seconds, the rest by the next look.
_OLDER_S: Final = 0.1
# By which words a step says that its agent was woken, and that nothing came of its wake.
_WOKEN: Final = frozenset({"waking", "woken"})
_UNWOKEN: Final = frozenset({"wake-failed", "wake-held"})
# By which a worker said something.
_SAID: Final = HELD - {"claimed"}


@dataclass(frozen=True)
class Known:
    """All that is known."""

    settings: Settings
    now: datetime
    current: Current
    listener: Listener
    #: None without a bus.
    bus: OnBus | None = None
    #: Why there is no bus.
    away_says: str = ""
    #: What nobody has claimed, by lanes.
    resting: Sequence[Resting] = ()
    #: What sessions have claimed, whether or not those still live.
    held: Sequence[Past] = ()
    #: Of what nobody holds, that whose last worker asked something and has not gone on.
    asking: Sequence[Past] = ()
    #: What waits in lanes that have more than the records tell of, as from other producers.
    lanes: Mapping[Place, Lane] = field(default_factory=dict)
    outgoing: Outgoing = field(default_factory=Outgoing)

    def task(self, written: str) -> Past:
        """Return the task that is meant.

        Raises: as `board.named`.
        """
        if kept := self._kept_here(written):
            return outgoing(kept)
        for lane in self.lanes.values():
            for task in (lane.tasks or {}).values():
                if task.id == written:
                    return self.unlisted(task)
        try:
            return board.named(self.current.archive, written)
        except UnknownTask as error:
            error = perhaps_removed(error, self.current.extent.removed)
            if self.current.is_unread:
                error = error.saying(" ".join((error.message, *self.current.notes)))
            if self.bus is None:
                message = f"{error.message} This is by the archive alone: the bus was not reached."
                raise error.saying(message, hint=self.away_says) from None
            if self.current.extent.is_whole:
                raise error from None
            message = f"{error.message} It is not among what was read so far."
            hint = f"The same again looks further back. {error.hint}"
            raise error.saying(message, hint=hint) from None

    def _kept_here(self, written: str) -> Envelope | None:
        """Return what lies in the outbox under an id, unless the bus has that task."""
        ids = {each.task.id: each for each in self.outgoing.waits}
        whole = whole_task_id(written, ids)
        kept = ids[whole] if whole else None
        return kept if kept and not self.unlisted(kept.task).n else None

    def unlisted(self, task: Task) -> Past:
        """Return a task as it is told of, of which perhaps no record is kept."""
        whose = task.sender, task.to, task.id
        return unlisted(task, number_of(self.current.archive, *whose))

    def case(self, task: Past, *, placed: bool = False) -> Case:
        """Return what is known of a task, for `why`; `placed`: also how many rest before it."""
        archive = self.current.archive
        steps = board.steps_of(archive, task)
        kept = self._kept_here(task.task_id) if task.is_outgoing else None
        is_for_another = kept is not None and not kept.is_ours
        task = replace(self._asked(task), is_left=self.holder_lives(task) is False)
        return Case(
            task=task,
            now=self.now,
            is_live=self.bus is not None,
            addressee=self.entry(task.inbox),
            is_here=self.is_here(task.inbox),
            listener=self.listener.state,
            word=self.word(task.inbox),
            wake_on=self.wake_on(task.inbox),
            holder_lives=self.holder_lives(task),
            claimed_at=_last(steps, frozenset({"claimed"})),
            noted_at=_last(steps, _SAID),
            woken_at=_woken(steps),
            ended_at=_last(steps, ENDS),
            before=board.before(archive, task, self.now) if placed else None,
            outgoing_says=ANOTHER_BUS if is_for_another else self.outgoing.says,
            is_for_another=is_for_another,
        )

    def _asked(self, task: Past) -> Past:
        """Return a task with what its worker asks."""
        if task.ended:
            return task
        whose = {task.n: (task.owner, task.inbox, task.task_id)}
        questions = asked(self.current.archive, self.settings.state_dir, whose)
        return replace(task, question=questions.get(task.n))

    def entry(self, inbox: str) -> Entry | None:
        """Return what the roster says of an agent, or of the liveliest that holds a role."""
        if self.bus is None:
            return None
        if not inbox.startswith(ROLE_PREFIX):
            return self.bus.entries.get(inbox)
        holders = self._holders(inbox)
        return roster.best(inbox, holders) if holders else None

    def holder_lives(self, task: Past) -> bool | None:
        """Tell whether the session that holds a task lives; None: nobody knows, or none does."""
        if task.state not in HELD or self.bus is None:
            return None
        if task.lease_ends:
            return self.now < task.lease_ends
        if task.session in self.bus.sessions:
            return True
        return None if self.bus.has_forgotten else False

    def is_here(self, inbox: str) -> bool:
        """Tell whether an agent or a role is this user's on this machine."""
        mine = users(self.settings)
        return "*" in mine or inbox in mine

    def wake_on(self, inbox: str) -> tuple[Priority, ...]:
        """Return what is to wake whom a task is for: by a listener's word, or by config.toml."""
        rules, entry = self.settings.rules, self.entry(inbox)
        mine = [rules[agent].wake_on for agent in self._agents_of(inbox) if agent in rules]
        told = [lane for lane in LANES if entry and entry.wakes_on(lane)]
        return tuple({*WAKE_ON, *told}.union(*mine))

    def word(self, inbox: str) -> Word | None:
        """Return what the listener says of whom a task is for; of several who may have it one."""
        agents = self._agents_of(inbox)
        said = [word for agent in agents if (word := self.word_of(agent))]
        return min(said, key=lambda word: (not word.waking, bool(word.reason)), default=None)

    def word_of(self, agent: str) -> Word | None:
        """Return what the listener says of an agent; None: it looks after no such agent."""
        said = self.listener.agents.get(agent)
        return Word.of(agent, said) if said else None

    def _agents_of(self, inbox: str) -> list[str]:
        """Return the agents that read an inbox: one, or all that hold a role."""
        if not inbox.startswith(ROLE_PREFIX):
            return [inbox]
        return [entry.id for entry in self._holders(inbox)]

    def _holders(self, inbox: str) -> list[Entry]:
        role = inbox.removeprefix(ROLE_PREFIX)
        entries = self.bus.entries.values() if self.bus else ()
        return [entry for entry in entries if role in entry.roles]


@asynccontextmanager
async def known(settings: Settings, open_bus: Bus | None = None) -> AsyncGenerator[Known]:
    """Find out what is known; the archive is open within the block.

    Args:
        settings: of who asks.
        open_bus: a connection that is open already, and stays; None: it opens one of its own.

    Raises:
        BadSetup: the book of names cannot be read.
        NotAllowed: a shared server does not let this user read.
    """
    start_no_server()
    asking = part(asyncio.to_thread(ask_listener, settings))
    async with AsyncExitStack() as stack:
        stack.callback(asking.cancel)
        bus = open_bus
        if bus is None:
            bus = await stack.enter_async_context(Bus(settings))
        on_bus, says = None, ""
        current = Current(stack.enter_context(Archive(None, settings.archive)), Extent())
        try:
            if await bus.reconnected(0):
                await streams.ensure_streams(bus)
                kept = up_to_date(bus, users(settings), older_s=_OLDER_S)
                current, on_bus = await stack.enter_async_context(kept), await ask_bus(bus)
        except (BusUnreachable, Unconfirmed) as error:
            says = f"{error.cause} {error.hint}"
        if on_bus is None:
            says = says or bus.away_says
            current = stack.enter_context(_as_it_is(settings))
        now = current.archive.now()
        resting, held = board.resting(current.archive, now), board.held(current.archive, now)
        asked = board.asking(current.archive, now)
        here = Known(settings, now, current, await asking, on_bus, says, resting, held, asked)
        going = await _outgoing(here)
        yield replace(here, lanes=await _lanes(bus, here), outgoing=going)


async def _outgoing(here: Known) -> Outgoing:
    """Return what lies in the outbox; where it cannot be read, that."""
    # A listener has what lies there be read; whoever stopped the server did not mean to hide it.
    may_start = bool(here.listener.answer) and here.settings.keeps_outbox
    try:
        waits = await read_outbox(here.settings, may_start=may_start)
    except AgentbusError as error:
        why = f"{error.cause} {error.hint}"
        return Outgoing((), f"What this machine has in its outbox cannot be read: {why}")
    said = (here.listener.answer.get("outbox") or {}).get("says", "")
    said = "; ".join(each for each in said.split("; ") if each != ANOTHER_BUS)
    if not here.listener.answer:
        said = f"Only a listener hands it on. {NoListener.hint}"
    is_any_ours = any(each.is_ours for each in waits)
    return Outgoing(waits, said if is_any_ours else "")


async def _lanes(bus: Bus, here: Known) -> dict[Place, Lane]:
    """Return what waits in lanes of which the bus has more than the records tell of."""
    if here.bus is None:
        return {}
    told: Counter[Place] = Counter()
    for some in here.resting:
        told[some.inbox, some.priority] += some.count
    for task in here.held:
        told[task.inbox, task.priority] += 1
    return await look_into(
        bus, [place for place, count in here.bus.stored.items() if count > told[place]]
    )


@contextmanager
def _as_it_is(settings: Settings) -> Generator[Current]:
    """Open the archive without a bus, by which it would be brought up to date."""
    path = settings.archive_file
    if path is None or not path.exists():
        notes = () if path is None else ("Nothing is archived yet.",)
        with Archive(None, settings.archive) as archive:
            yield Current(archive, Extent(), notes)
        return
    try:
        with Archive(path, settings.archive) as archive:
            yield Current(archive, Extent())
    except ArchiveBroken as error:
        with Archive(None, settings.archive) as archive:
            yield Current(archive, Extent(), (str(error),), is_unread=True)


def _last(steps: Sequence[TaskStep], states: Collection[str]) -> datetime | None:
    return max((step.at for step in steps if step.state in states), default=None)


def _woken(steps: Sequence[TaskStep]) -> datetime | None:
    """Return when somebody was woken, of those for whose wake nothing else stands since then."""
    wakes = {step.by: step for step in steps if step.state in _WOKEN | _UNWOKEN}
    return _last(tuple(wakes.values()), _WOKEN)
