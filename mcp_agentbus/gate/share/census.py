# SPDX-License-Identifier: Apache-2.0
"""Sees how full the streams are that accounts have a share of, and counts who has how much there.

>>> await keep_counts(bus, book, quota.holdings)
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.aio import note_failure
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.gate.book import Book
from mcp_agentbus.gate.share.holdings import Holdings
from mcp_agentbus.gate.verdict import H_ACCOUNT
from mcp_agentbus.store import subjects
from mcp_agentbus.store.subjects import RESULTS

_log = logging.getLogger(__name__)
# How often the server is asked, in seconds.
_LOOK_S: Final = 15.0
# Read at a time, of at most 1 MiB each.
_PAGE: Final = 60


async def keep_counts(bus: Bus, book: Book, holdings: Mapping[str, Holdings]) -> None:
    """See how full the streams are, and who has how much where that matters, until cancelled."""
    while True:
        for stream, each in holdings.items():
            try:
                info = await bus.api(f"STREAM.INFO.{stream}")
                each.look(info["config"]["max_bytes"], info["state"]["bytes"])
                if each.begin():
                    has = await _holders(bus, book, stream)
                    each.counted(has)
                    _log.warning("over half the room of %s is taken: %s", stream, told(has))
            except (AgentbusError, TimeoutError):  # the next round does it
                pass
            except Exception as error:  # noqa: BLE001  # or no account is held to its share
                note_failure("the count of who has how much", error)
        await asyncio.sleep(_LOOK_S)


def told(has: Counter[str]) -> str:
    """Return who has most of a stream, for the server's owner; what is nobody's is left out."""
    most = [(account, size) for account, size in has.most_common(4) if account]
    return ", ".join(f"{account} has {size >> 10:,} KiB" for account, size in most[:3])


async def _holders(bus: Bus, book: Book, stream: str) -> Counter[str]:
    """Count what each account has stored in a stream, in bytes.

    Raises: as `Bus.many`.
    """
    has: Counter[str] = Counter()
    async for page in bus.stored(stream, ">", page=_PAGE):
        for each in page:
            has[_whose(each.subject, each.headers, book, stream)] += _size(each)
    return has


def _whose(subject: str, headers: Mapping[str, str], book: Book, stream: str) -> str:
    """Return which account has said a message: it, or by its subject who writes there."""
    whose, kind, rest = subjects.parts(subject)
    if by := headers.get(H_ACCOUNT):
        return by
    if kind in {"sent", "profile"}:
        return book.owner(whose)
    return book.owner(rest[0] if stream == RESULTS else rest[1])


def _size(stored: Found) -> int:
    heads = sum(len(name) + len(value) for name, value in stored.headers.items())
    return len(stored.subject) + heads + len(stored.data)
