# SPDX-License-Identifier: Apache-2.0
"""The outbox: what was sent while a shared bus was out of reach, on this user's own server.

    outbox = Outbox(settings)
    if await outbox.has("planner"):
        await outbox.put(task, Agent("planner"))

Its stream lies on the embedded server, which is started when something is to be kept and stopped
once nothing is. The listener alone has one open: it puts, hands on and takes out, so what it knows
of is what there is. Of a bus that is this user's own nothing is put there, and what lies there of
one that was left can be read and withdrawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from mcp_agentbus.bus import budget, embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import ApiError
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError, BadInput, BusUnreachable, StoreFull, Unconfirmed
from mcp_agentbus.store import tasks
from mcp_agentbus.store.outbox import letter
from mcp_agentbus.store.outbox.letter import Home, Letter, letter_in
from mcp_agentbus.store.outbox.own import STREAM, Own, as_refused
from mcp_agentbus.store.queries.numbered import numbered
from mcp_agentbus.store.steps import sent_of
from mcp_agentbus.store.task import Task, Undecodable

#: Tasks that it holds at most: more than agents write on a long journey, and a file of 1 GB.
LETTERS_MAX: Final = 5_000
#: Why a letter stays.
ANOTHER_BUS: Final = "It is for another bus than the one that is set up here now."
_PAGE: Final = 100
# In seconds: a call has waited for the bus before, and ends within 5 s. A server starts in 0.3 s.
_WITHIN_S: Final = 1.7
_OF_ANOTHER_BUS: Final = (
    "A task of this request_id is kept on this machine for another bus. Nothing was stored."
)
_ANOTHER_ID: Final = "Use another request_id"
_OR_WITHDRAW: Final = ", or withdraw that one: its status is `cancelled`"
_SLOW: Final = "This machine's own server is slow: it is not known whether it is kept there."


@dataclass(frozen=True)
class Envelope:
    """What is known of a letter without reading it."""

    #: Without its body.
    task: Task
    #: Its sequence in the stream.
    seq: int
    #: Since when it lies there.
    since: datetime
    #: It is for the bus of now; else for one that this machine has left.
    is_ours: bool
    #: It was withdrawn: the bus is to be told of that.
    is_over: bool = False


@dataclass(frozen=True)
class KeptHere:
    """A task is kept in the outbox: what its sender is told of that."""

    #: It lay there before; nothing was stored again.
    duplicate: bool
    #: Why it is not at the bus, in this program's words.
    why: str = ""


class Outbox:
    """One user's outbox, for as long as its listener lives."""

    def __init__(self, settings: Settings, *, may_start: bool = True) -> None:
        self._home = Home.of(settings)
        self._own = Own(settings, may_start=may_start)
        #: By task id, the oldest first; None: not read yet.
        self._waits: dict[str, Envelope] | None = None
        self._reading, self._writing = asyncio.Lock(), asyncio.Lock()
        #: Held while a task is handed on, or withdrawn: it is one of both.
        self.turn = asyncio.Lock()
        #: Set when something is put there.
        self.filled = asyncio.Event()
        self._taken_out = asyncio.Event()
        #: Why what lies there is not handed on, in this program's words; by sender, or for all: "".
        self.says: dict[str, str] = {}
        #: The bus lets nobody of this machine in: what is sent now is refused there, and not kept.
        self.is_locked_out = False

    @classmethod
    def of(cls, settings: Settings) -> Outbox | None:
        """Return a user's outbox; None where their bus needs none, and another has left nothing."""
        keeps = settings.keeps_outbox
        outbox = cls(settings, may_start=keeps)
        return outbox if keeps or outbox.may_hold else None

    @property
    def may_hold(self) -> bool:
        """Whether anything may lie there; it is not looked at."""
        return bool(self._waits) or (self._waits is None and self._own.is_marked)

    @property
    def may_hold_ours(self) -> bool:
        """Whether anything may lie there for the bus of now."""
        if self._waits is None:
            return self._own.is_marked
        return any(each.is_ours for each in self._waits.values())

    @property
    def seen(self) -> tuple[Envelope, ...] | None:
        """What lies there, the oldest first, as far as it was read; None: not yet."""
        if self._waits is None:
            return None if self._own.is_marked else ()
        return tuple(self._waits.values())

    async def waits(self) -> tuple[Envelope, ...]:
        """Return what lies there, the oldest first.

        Raises:
            AgentbusError: it cannot be read; nothing of it is lost.
        """
        return tuple((await self._known()).values())

    async def find(self, task_id: str) -> Envelope | None:
        """Return one task of it that was not withdrawn, by its id or the beginning of one.

        Where it cannot be read there is none: whoever looks finds out what the bus knows.
        """
        meant = [
            each
            for each in await self._readable()
            if each.task.id.startswith(task_id) and not each.is_over
        ]
        return meant[0] if len(meant) == 1 else None

    async def still(self, envelope: Envelope) -> Envelope | None:
        """Return what was seen there before if it is there just so.

        Raises: as `waits`.
        """
        now = (await self._known()).get(envelope.task.id)
        return now if now and now.seq == envelope.seq else None

    async def has(self, sender: str) -> bool:
        """Tell whether an agent has tasks there, which go before what it sends now.

        Where it cannot be read, nobody has: what is sent goes to the bus.
        """
        waits = await self._readable()
        return any(each.task.sender == sender and each.is_ours for each in waits)

    async def _readable(self) -> tuple[Envelope, ...]:
        """Return what lies there; nothing where it cannot be read in the time that a call has."""
        with suppress(AgentbusError, TimeoutError):
            async with asyncio.timeout(_WITHIN_S):
                return await self.waits()
        return ()

    async def put(self, task: Task, sender: Agent) -> KeptHere:
        """Keep a task until the bus is reached.

        Raises:
            BadInput: another one lies there under its id, or it does for another bus.
            StoreFull: it holds as many as it may, or the disk is full.
            AgentbusError: it cannot be kept; nothing was stored.
        """
        known = await self._known()
        if before := known.get(task.id):
            if not before.is_ours:
                other = "" if before.is_over else _OR_WITHDRAW  # it stays until its time is over
                raise BadInput(_OF_ANOTHER_BUS, hint=f"{_ANOTHER_ID}{other}.")
            if not tasks.is_same(sent_of(before.task), task):
                raise BadInput("This request_id was used for another task. Nothing was stored.")
            return KeptHere(duplicate=True)
        if len(known) >= LETTERS_MAX:
            raise StoreFull(f"{LETTERS_MAX:,} tasks wait on this machine. Nothing was stored.")
        kept = Letter(task, sender, self._home)
        await self._store(kept)
        return KeptHere(duplicate=False)

    async def withdraw(self, sender: str, task_id: str, said: Mapping[str, Any]) -> bool:
        """Have a task not be handed on; tell whether it lay there. `said` is as in `Letter`.

        Raises:
            AgentbusError: that cannot be noted here; it may be handed on.
        """
        async with self.turn:
            envelope = await self.find(task_id)
            if envelope is None or envelope.task.id != task_id or envelope.task.sender != sender:
                return False
            kept = await self.read(envelope)
            if kept is None:
                return False
            await self._store(replace(kept, is_over=True, said=said))
            await self._delete(envelope)
            return True

    async def read(self, envelope: Envelope) -> Letter | None:
        """Return a letter; None if it is there no more, or somebody has made it unreadable.

        Raises: as `waits`.
        """
        with budget.apart(), suppress(Undecodable):
            stored = await self._own.asked(lambda bus: numbered(bus, STREAM, envelope.seq))
            return letter_in(stored) if stored else None
        return None

    async def take_out(self, envelope: Envelope) -> None:
        """Forget a letter whose task is at the bus, or has an end there.

        Raises: as `waits`.
        """
        await self._delete(envelope)
        if envelope.is_over:  # whatever was killed while it was withdrawn has left both
            with budget.apart():
                both = {"filter": letter.sent_at(envelope.task)}
                await self._own.asked(lambda bus: bus.api(f"STREAM.PURGE.{STREAM}", both))
        (await self._known()).pop(envelope.task.id, None)
        self._taken_out.set()

    async def handed_on(self, task_ids: Sequence[str], within_s: float) -> bool:
        """Wait until the bus of now has these tasks; tell whether that came in so many seconds.

        Raises: as `waits`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(each.is_ours for each in await self._among(task_ids)):
                    self._taken_out.clear()
                    await self._taken_out.wait()
                return True
        return False

    async def _among(self, task_ids: Sequence[str]) -> list[Envelope]:
        known = await self._known()
        return [known[task_id] for task_id in task_ids if task_id in known]

    async def rest(self) -> bool:
        """Stop the server if it was started for this and nothing lies there; tell whether it rests.

        Raises: as `waits`, as `embedded.end`, and as `as_refused`.
        """
        await self._take_out_left()
        async with self._writing:
            with as_refused():
                return await self._rest()

    async def _rest(self) -> bool:
        if await self._known() or not self._own.is_marked:
            return False
        is_needed = not self._home.urls or not self._own.was_started
        await self.close()
        if not is_needed:
            await in_thread(embedded.end, self._own.settings)
        self._own.unmark()
        return True

    async def _take_out_left(self) -> None:
        """Forget what was withdrawn of a bus that was left, once no try of it can be live there."""
        for each in await self.waits():
            if each.is_over and not each.is_ours and text.now() >= each.task.expires_at:
                await self.take_out(each)

    async def close(self) -> None:
        """Leave all as it lies."""
        await self._own.close()

    async def _known(self) -> dict[str, Envelope]:
        if self._waits is None:
            async with self._reading:
                if self._waits is None:
                    self._waits = await self._read_all() if self._own.is_marked else {}
                    if self._waits:
                        self.filled.set()
        return self._waits

    async def _read_all(self) -> dict[str, Envelope]:
        with budget.apart():
            return await self._own.asked(partial(_stored, home=self._home))

    async def _store(self, kept: Letter) -> None:
        """Write a letter to the disk, and know of it."""
        async with self._writing:
            try:
                with budget.apart():
                    async with asyncio.timeout(_WITHIN_S):
                        at, data, headers = kept.subject, kept.data, kept.headers
                        ack = await self._own.asked(
                            lambda bus: bus.publish(at, data, headers, stream=STREAM)
                        )
            except (StoreFull, BusUnreachable):  # nothing was stored
                raise
            except BaseException as error:
                self._waits = None  # it may lie there all the same, also as its call is cancelled
                self.filled.set()
                if isinstance(error, TimeoutError):
                    raise Unconfirmed(_SLOW) from None
                raise
            (await self._known())[kept.task.id] = _envelope(kept, ack.seq, self._home)
        self.filled.set()

    async def _delete(self, envelope: Envelope) -> None:
        with budget.apart(), suppress(ApiError):  # it is gone already
            one = {"seq": envelope.seq}
            await self._own.asked(lambda bus: bus.api(f"STREAM.MSG.DELETE.{STREAM}", one))


def _envelope(kept: Letter, seq: int, home: Home) -> Envelope:
    light = kept.task.model_copy(update={"body": ""})
    return Envelope(light, seq, kept.task.created_at, kept.home.is_same(home), kept.is_over)


async def _stored(bus: Bus, home: Home) -> dict[str, Envelope]:
    """Return what lies there, as a bus of that home sees it, by task id."""
    waits: dict[str, Envelope] = {}
    async for page in bus.stored(STREAM, letter.EVERYTHING, page=_PAGE):
        for message in page:
            with suppress(Undecodable):
                kept = letter_in(message)
                # One that was withdrawn may lie there twice, after a crash.
                if kept.is_over or kept.task.id not in waits:
                    waits[kept.task.id] = _envelope(kept, message.seq, home)
    return waits


async def read_outbox(
    settings: Settings, *, may_start: bool = True, with_over: bool = False
) -> tuple[Envelope, ...]:
    """Return what lies in a user's outbox, the oldest first, whether or not a listener runs.

    Args:
        settings: whose.
        may_start: the server that has it may be started; it is left running then.
        with_over: also what was withdrawn. Nobody waits for that, but its bus is told of it.

    Raises: as `Outbox.waits`.
    """
    outbox = Outbox(settings, may_start=may_start)
    try:
        return tuple(each for each in await outbox.waits() if with_over or not each.is_over)
    finally:
        await outbox.close()
