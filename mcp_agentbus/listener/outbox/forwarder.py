# SPDX-License-Identifier: Apache-2.0
"""Hands on what was sent while the bus was out of reach, as soon as it is reached.

    await Forwarder(state.bus, outbox, emit).run()

What one agent has sent goes in its order, each task after the one before is at the bus. It forgets
a task here only when the bus has acknowledged it and keeps its sender's record: whatever ends
between the two, the same is done once more, and known there by its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from mcp_agentbus.bus import budget
from mcp_agentbus.bus.address import start_no_server
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import note_failure, part
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.dispatch.addressees import Addressees
from mcp_agentbus.handoff.dispatch.arrival import FOR_NOW, Barred, be_known, hand_on
from mcp_agentbus.store import streams
from mcp_agentbus.store.outbox.outbox import ANOTHER_BUS, Envelope, Outbox

# How long it waits between two tries, in seconds: a bus that is back is heard of at once where
# anybody else here has reached it, and they try every 5 s, too.
_BACKOFF_S: Final = (0.3, 0.6, 1.2, 2.0)
# A server answers a ping at once, however slow its disk is; in seconds, by a slow link.
_PONG_S: Final = 1.0
#: The server that keeps the outbox is stopped when nothing was put there for so long, in seconds.
IDLE_S: Final = 60.0
# In seconds: a listener is gone within 12 s of being told to end.
_STOP_WITHIN_S: Final = 2.0
# What is held back by a bus that is there is tried after so long at most, in seconds.
_HELD_S: Final = 30.0
# How often a pause is doubled until it is that; tries are counted on and on.
_DOUBLED_MAX: Final = 5
_NAME: Final = "forwarder of the outbox"
# Among the reasons, by sender: no agents' ids.
_OTHERS: Final = "other buses"
_ALL: Final = "all senders"
_FAILED: Final = "It failed inside, which is a bug: `agentbus listen --status` says where."
_UNREAD: Final = "What lies there cannot be read:"


def pause_s(tries: int, *, is_there: bool) -> float:
    """Return how long to wait after so many tries in vain, in seconds.

    Args:
        tries: those of a bus that was away count, too: it may have been for weeks.
        is_there: whether the bus is, and holds back what it is given.
    """
    if is_there:
        return min(_HELD_S, 2.0 ** min(tries, _DOUBLED_MAX))
    return _BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)]


class Forwarder:
    """Empties one outbox; the listener runs it beside all else."""

    def __init__(self, bus: Bus, outbox: Outbox, emit: Callable[[Mapping[str, Any]], None]) -> None:
        self._bus, self._outbox = bus, outbox
        #: Told of how many were handed on, and of why others are not.
        self._emit = emit
        self._tries = 0
        #: Of the reasons those that were told last: what is said of the outbox is less in a pass.
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Hand on whatever is put there, until cancelled; a server that keeps nothing ends then."""
        start_no_server()
        try:
            while True:
                try:
                    await self._until_needed()
                    await self._pass()
                except Exception as error:  # noqa: BLE001  # or nothing is handed on from then on
                    note_failure(_NAME, error)
                    # What it was told of before is no reason to try again at once.
                    self._bus.opened.clear()
                    self._outbox.filled.clear()
                    self._end_pass({_ALL: _FAILED})
                if self._tries:
                    await self._pause()
        finally:
            with suppress(AgentbusError, OSError):  # it lies there as it did
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await self._outbox.rest()
            await self._outbox.close()

    async def _until_needed(self) -> None:
        """Wait until something lies there; after a while without the server is stopped."""
        outbox = self._outbox
        while not outbox.may_hold_ours:
            outbox.filled.clear()
            try:
                async with asyncio.timeout(IDLE_S):
                    await outbox.filled.wait()
            except TimeoutError:
                with suppress(AgentbusError):
                    if await outbox.rest():
                        self._emit({"resting": True})

    async def _pause(self) -> None:
        """Wait before the next try, less long if somebody has reached the bus meanwhile.

        What a bus holds back that is reached is tried ever more seldom, but for what is new.
        """
        is_there = "" not in self._outbox.says
        signs = [self._bus.opened]
        if is_there:
            signs.append(self._outbox.filled)
        heard = [part(sign.wait()) for sign in signs]
        limit_s = pause_s(self._tries, is_there=is_there)
        await asyncio.wait(heard, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        for each in heard:
            each.cancel()

    async def _pass(self) -> None:
        """Hand on what can be handed on now."""
        outbox = self._outbox
        self._bus.opened.clear()
        outbox.filled.clear()
        try:
            waits = await outbox.waits()
        except AgentbusError as error:
            self._end_pass({"": f"{_UNREAD} {error.cause}"})
            return
        if self._tries:  # what fails again and again may only seem to be connected
            await self._bus.let_go_if_silent(_PONG_S)
        is_there = await self._bus.reconnected(0)
        outbox.is_locked_out = self._bus.is_locked_out
        if not is_there:
            self._end_pass({"": self._bus.away_says})
            return
        # What follows may take a minute, and is asked about meanwhile.
        outbox.says = {who: why for who, why in outbox.says.items() if who}
        says: dict[str, str] = {}
        try:
            with budget.apart():
                await streams.ensure_streams(self._bus)
            await self._hand_on_all([each for each in waits if each.is_ours], says)
        except (AgentbusError, TimeoutError) as error:  # the bus is away again
            says[""] = error.cause if isinstance(error, AgentbusError) else "It is slow."
        self._end_pass(says, others=not all(each.is_ours for each in waits))

    def _end_pass(self, says: dict[str, str], *, others: bool = False) -> None:
        """Note why what is left is not handed on, by sender; "": the bus is not there."""
        self._tries = self._tries + 1 if says else 0
        if others:
            says = {**says, _OTHERS: ANOTHER_BUS}
        self._outbox.says = says
        if says and says != self._told:
            self._emit({"error": "; ".join(sorted(set(says.values())))})
        self._told = says

    async def _hand_on_all(self, waits: Sequence[Envelope], says: dict[str, str]) -> None:
        """Hand on each, and into `says` why a sender's are not: the first holds the others back.

        Raises:
            BusUnreachable, Unconfirmed: as `hand_on`.
        """
        count = 0
        known: dict[str, Addressees] = {}  # by sender: once it is known itself, whom it has met
        try:
            for each in waits:
                sender = each.task.sender
                if sender in says:
                    continue
                try:
                    await self._hand_on(each, known)
                    count += 1
                except (Barred, *FOR_NOW) as error:
                    says[sender] = f"{error.cause} {error.hint}"
                except (AgentbusError, TimeoutError):
                    raise
                except Exception as error:  # noqa: BLE001  # or it holds back everybody's
                    note_failure(_NAME, error)
                    says[sender] = _FAILED
        finally:
            if count:
                self._emit({"handed_on": count})

    async def _hand_on(self, envelope: Envelope, known: dict[str, Addressees]) -> None:
        """Hand on one task and forget it here.

        Raises: as `hand_on`.
        """
        outbox = self._outbox
        async with outbox.turn:
            now = await outbox.still(envelope)
            if now is None:  # withdrawn at this moment: its turn comes
                return
            letter = await outbox.read(now)
            try:
                with budget.call():
                    if letter:
                        sender = letter.sender.id
                        if sender not in known:
                            await be_known(self._bus, letter)
                            known[sender] = Addressees(self._bus, sender)
                        await hand_on(self._bus, letter, known[sender])
            except Barred:
                if not now.is_over:  # else nothing of it came there
                    raise
            await outbox.take_out(now)
