# SPDX-License-Identifier: Apache-2.0
"""Keeps the lobby free: whoever has a line, used or not, may connect, and would fill it for others.

    >>> keeping = in_background(keep_free(folder), "the room of the lobby")
    >>> to_end(visitors, now)
    [Visitor(number=17, ip='192.0.2.7', since=...)]

To join takes a second. Nobody stays longer than a minute; and where half of the lobby is taken, of
each address the latest few stay, so that one machine does not keep the others out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.shared.accounts.apply import Visitor, host
from mcp_agentbus.shared.accounts.bus_conf import INVITED_MAX

# How often it is looked, and after how long again where the server cannot be asked, in seconds.
_LOOK_S: Final = 2.0
_AGAIN_S: Final = 10.0
# While somebody joins the server may read its configuration for 30 s.
_STAYS: Final = timedelta(seconds=60)
# Of one address so many stay where half of the lobby is taken.
_OF_ONE: Final = 5
# Of IPv6 an address is a network of that length: whoever has one has all in it.
_NETWORK: Final = 64
# The owner is told again after so long, in seconds.
_TOLD_S: Final = 60.0

_log = logging.getLogger(__name__)


def is_crowded(visitors: Iterable[Visitor]) -> bool:
    """Tell whether half of the lobby is taken."""
    return len(list(visitors)) > INVITED_MAX // 2


def to_end(visitors: Iterable[Visitor], now: datetime) -> list[Visitor]:
    """Return whose connections are to end."""
    latest = sorted(visitors, key=lambda each: (each.since, each.number), reverse=True)
    crowded, ends = is_crowded(latest), list[Visitor]()
    stay: defaultdict[str, int] = defaultdict(int)
    for each in latest:
        stay[where := place(each.ip)] += 1
        if now - each.since > _STAYS or (crowded and stay[where] > _OF_ONE):
            ends.append(each)
    return ends


def place(ip: str) -> str:
    """Return an address as it is counted; what is none counts as it is spelled."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if address.version == 4:
        return ip
    return str(ipaddress.ip_network((address, _NETWORK), strict=False))


def told(visitors: Iterable[Visitor]) -> str:
    """Return who fills the lobby, for its owner."""
    places = Counter(place(each.ip) for each in visitors)
    most = ", ".join(f"{where} ({count})" for where, count in places.most_common(3))
    return f"{places.total()} of {INVITED_MAX} connections of who wants to join are taken: {most}"


async def keep_free(folder: Path) -> None:
    """Do so for the server of a folder, until this is cancelled."""
    loop = asyncio.get_running_loop()
    tell_from = 0.0
    while True:
        try:
            async with host(folder) as server:
                while True:
                    visitors, now = await server.invited()
                    ends = to_end(visitors, now)
                    if is_crowded(visitors) and loop.time() >= tell_from:
                        tell_from = loop.time() + _TOLD_S
                        _log.warning("%s; the oldest of each are ended.", told(visitors))
                    for each in ends:
                        await server.end(each)
                    await asyncio.sleep(_LOOK_S)
        except AgentbusError:  # it is away, which whoever keeps the door says
            await asyncio.sleep(_AGAIN_S)


async def crowding(folder: Path) -> str:
    """Return who fills the lobby of the server of a folder, for its owner; empty if nobody does.

    Raises: as `host`.
    """
    async with host(folder) as server:
        visitors, _ = await server.invited()
    return told(visitors) if is_crowded(visitors) else ""
