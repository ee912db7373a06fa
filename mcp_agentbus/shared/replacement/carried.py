# SPDX-License-Identifier: Apache-2.0
"""What a restore has yet to tell, on the bus itself: whoever ends it may do so on another machine.

    >>> await put(bus, "before-restore-2026-11-27-101500", content)
    >>> await all_of(bus)
    {'before-restore-2026-11-27-101500': b'...'}

In a stream of its own, which no backup has, and which is there until all of it is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing, suppress
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.errors import Refused
from mcp_agentbus.store import streams

STREAM: Final = "AGENTBUS_BEFORE"
#: How it is set up; `agentbus-before.<note>.<part>`, and `.whole` once each part is there.
SETTINGS: Final[dict[str, Any]] = {
    "name": STREAM,
    "subjects": ["agentbus-before.*.*"],
    "retention": "limits",
    "discard": "new",
    "storage": "file",
    "num_replicas": 1,
    "allow_direct": True,
}
# A message may have 1 MB.
_PART: Final = 512 << 10
_WHOLE: Final = "whole"


async def put(bus: Bus, note: str, content: bytes) -> bool:
    """Keep a note on the bus, and tell whether it is there: that may have no room for it.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    with suppress(Refused):
        await streams.ensure(bus, SETTINGS)
        for part, start in enumerate(range(0, len(content), _PART)):
            await bus.publish(_subject(note, str(part)), content[start : start + _PART])
        await bus.publish(_subject(note, _WHOLE), b"")
        return True
    return False


async def all_of(bus: Bus) -> dict[str, bytes]:
    """Return the notes that were written to their end.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.stored`.
    """
    parts: dict[str, list[bytes]] = {}
    whole: dict[str, bytes] = {}
    if await streams.info(bus, STREAM) is None:
        return {}
    async with aclosing(bus.stored(STREAM, "agentbus-before.*.*", page=8)) as pages:
        async for page in pages:
            for message in page:
                _, note, part = message.subject.split(".")
                if part == _WHOLE:
                    whole[note] = b"".join(parts.get(note, ()))
                else:
                    parts.setdefault(note, []).append(message.data)
    return whole


async def forget(bus: Bus, notes: Iterable[str]) -> None:
    """Have it be known of these notes that they were told, or that nothing of them is to be told.

    One that another restore has put there meanwhile stays.

    Raises:
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.api`.
    """
    try:
        for note in notes:
            await bus.api(f"STREAM.PURGE.{STREAM}", {"filter": _subject(note, "*")})
        # Kept by one server, an empty one could hold up a restore while that is away.
        if not (await bus.api(f"STREAM.INFO.{STREAM}"))["state"]["messages"]:
            await bus.api(f"STREAM.DELETE.{STREAM}")
    except ApiError as error:
        if error.code != NO_SUCH_STREAM:
            raise


def _subject(note: str, part: str) -> str:
    return f"agentbus-before.{name_of(note)}.{part}"


def name_of(note: str) -> str:
    """Return a note's name as it is in subjects."""
    return note.replace(".", "_")
