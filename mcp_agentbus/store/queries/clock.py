# SPDX-License-Identifier: Apache-2.0
"""What time it is by the server's clock: a machine's own may be minutes off, or be set meanwhile.

>>> await server_now(bus, TASKS)
datetime.datetime(2026, 7, 28, 12, 0, tzinfo=datetime.timezone.utc)
>>> await has_come(bus, task.expires_at)
False

A deadline that its sender, its reader and whoever looks after either judge by clocks of their own
comes for each at another time; so all of them go by this one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import ApiError, server_time
from mcp_agentbus.core import text
from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.store.subjects import TASKS

# What the server said counts for so long, in seconds: clocks that nobody sets drift apart by
# milliseconds in that time.
_COUNTS_S: Final = 60.0
# By so much this machine's clock goes on otherwise than time does only when it was set, or when the
# machine has slept; in seconds.
_SET_S: Final = 0.5
# About what lies further away than this the server is not asked again: what it has said in passing
# tells, or what it said longer ago, with what went by until that was noted, and what clocks drift.
_FAR: Final = timedelta(days=1)
# By less this machine's clock is not worth correcting in what is written down of such a time.
_AS_GOOD: Final = timedelta(minutes=1)


class _Told(NamedTuple):
    """What the server said, and when."""

    #: On which of the bus's connections: the next one may lead to another server.
    connection: int
    #: By how much its clock is before this machine's.
    ahead: timedelta
    here: datetime
    #: By the monotonic clock.
    at: float
    #: Whether it was asked for, and not said in passing.
    is_exact: bool = True

    def counts(self, bus: Bus, here: datetime, about: datetime) -> bool:
        """Tell whether it says still whether a time has come."""
        passed_s = time.monotonic() - self.at
        is_set = abs((here - self.here).total_seconds() - passed_s) > _SET_S
        if self.connection != bus.connections or is_set:
            return False
        return (self.is_exact and passed_s < _COUNTS_S) or self.is_far(here, about)

    def is_far(self, here: datetime, about: datetime) -> bool:
        """Tell whether a time is so far away that minutes play no role."""
        return abs(here + self.ahead - about) > _FAR


_told: WeakKeyDictionary[Bus, _Told] = WeakKeyDictionary()
_asking: WeakKeyDictionary[Bus, asyncio.Lock] = WeakKeyDictionary()


async def server_now(bus: Bus, stream: str) -> datetime:
    """Return the time by the clock of the server that keeps a stream.

    Raises: as `Bus.api`.
    """
    info = await bus.api(f"STREAM.INFO.{stream}")
    return server_time(str(info["ts"]))


async def has_come(bus: Bus, at: datetime) -> bool:
    """Tell whether a time has come, such as a task's deadline.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.api`.
    """
    return await now_about(bus, at) >= at


async def now_about(bus: Bus, at: datetime) -> datetime:
    """Return the time by the server's clock, as exactly as it matters for whether `at` has come.

    It is asked for once a minute at most, and when this machine's clock was set; about a time that
    is days away only where the server has not said it in any answer on this connection. Where it
    has no tasks, there is none by whose deadline this machine's could be wrong.

    Raises: as `has_come`.
    """
    async with _asking.setdefault(bus, asyncio.Lock()):  # many who ask at once are told together
        told, here = _told.get(bus), text.now()
        if told and told.counts(bus, here, at):
            # What is written down goes by this machine's clock where that is as good.
            is_as_good = abs(told.ahead) < _AS_GOOD and told.is_far(here, at)
            return here if is_as_good else here + told.ahead
        try:
            return await _now(bus)
        except NotAllowed:
            if abs(here - at) > _FAR:  # hardly a clock is further off
                return here
            raise


def note(bus: Bus, info: Mapping[str, Any]) -> None:
    """Note what time it is by an answer in which the server says that besides, such as of a stream.

    Of two that count the one that was asked for stays.
    """
    told, here = _told.get(bus), text.now()
    if told and told.counts(bus, here, here + told.ahead):
        return
    with suppress(LookupError, ValueError):  # whoever sees a request can answer it
        ahead = server_time(str(info["ts"])) - here
        _told[bus] = _Told(bus.connections, ahead, here, time.monotonic(), is_exact=False)


async def _now(bus: Bus) -> datetime:
    """Ask the server what time it is, and note that."""
    began = time.monotonic()
    try:
        there = await server_now(bus, TASKS)
    except ApiError:
        return text.now()
    here, at = text.now(), time.monotonic()
    ahead = there - here
    # A busy machine's answer is long on its way. If the clocks can be the same, they are: else what
    # is scheduled by this would come so much too early.
    if -timedelta(seconds=at - began) <= ahead <= timedelta(0):
        ahead = timedelta(0)
    _told[bus] = _Told(bus.connections, ahead, here, at)
    return here + ahead
