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
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import ApiError, server_time
from mcp_agentbus.core import text
from mcp_agentbus.store.subjects import TASKS

# What the server said counts for so long, in seconds: clocks that nobody sets drift apart by
# milliseconds in that time.
_COUNTS_S: Final = 60.0
# By so much this machine's clock goes on otherwise than time does only when it was set, or when the
# machine has slept; in seconds.
_SET_S: Final = 0.5
# No clock is further off: whether what lies further away has come is sure without asking.
_OFF_MAX: Final = timedelta(days=1)


class _Told(NamedTuple):
    """What the server said, and when."""

    #: On which of the bus's connections: the next one may lead to another server.
    connection: int
    #: By how much its clock is before this machine's.
    ahead: timedelta
    here: datetime
    #: By the monotonic clock.
    at: float

    def counts(self, connection: int, here: datetime, at: float) -> bool:
        """Tell whether it is so still."""
        passed_s = at - self.at
        is_set = abs((here - self.here).total_seconds() - passed_s) > _SET_S
        return self.connection == connection and passed_s < _COUNTS_S and not is_set


_told: WeakKeyDictionary[Bus, _Told] = WeakKeyDictionary()
_asking: WeakKeyDictionary[Bus, asyncio.Lock] = WeakKeyDictionary()


async def server_now(bus: Bus, stream: str) -> datetime:
    """Return the time by the clock of the server that keeps a stream.

    Raises: as `Bus.api`.
    """
    info = await bus.admin.api(f"STREAM.INFO.{stream}")
    return server_time(str(info["ts"]))


async def has_come(bus: Bus, at: datetime) -> bool:
    """Tell whether a time has come, such as a task's deadline.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.api`.
    """
    return await now_about(bus, at) >= at


async def now_about(bus: Bus, at: datetime) -> datetime:
    """Return the time, by the server's clock where this machine's may be wrong about `at`.

    It is asked for once a minute at most, and when this machine's clock was set. Where the server
    has no tasks, there is none by whose deadline this machine's could be wrong.

    Raises: as `has_come`.
    """
    here = text.now()
    return here if abs(here - at) > _OFF_MAX else await _now(bus)


async def _now(bus: Bus) -> datetime:
    async with _asking.setdefault(bus, asyncio.Lock()):  # many who ask at once are told together
        told, here = _told.get(bus), text.now()
        if told and told.counts(bus.connections, here, time.monotonic()):
            return here + told.ahead
        try:
            there = await server_now(bus, TASKS)
        except ApiError:
            return here
        here = text.now()
        _told[bus] = _Told(bus.connections, there - here, here, time.monotonic())
        return there
