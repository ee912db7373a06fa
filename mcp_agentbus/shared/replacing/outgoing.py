# SPDX-License-Identifier: Apache-2.0
"""What waits on this user's own server for a shared bus, as another takes that server's place.

    >>> await carry_over(bus, other, folder)

It is no part of the bus that is restored, nor of a backup: its senders have receipts that say that
it is stored here. So it goes along as it lies, by the server's own numbers of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.core.files import opened
from mcp_agentbus.shared import snapshot
from mcp_agentbus.store.outbox.own import STREAM

_FILE: Final = f"{STREAM}.snapshot"


async def carry_over(bus: Bus, other: Bus, folder: Path) -> None:
    """Have a server that has no outbox yet hold that of another, if there is one.

    Args:
        bus: the server that may have one.
        other: the one that is to have it, too.
        folder: where its snapshot lies meanwhile: the one may be slower than the other waits.

    Raises:
        ApiError, Refused, BusUnreachable: one of them does not take part.
        OSError: the snapshot cannot be written.
    """
    try:
        await bus.api(f"STREAM.INFO.{STREAM}")
    except ApiError as error:
        if error.code != NO_SUCH_STREAM:
            raise
        return
    file = folder / _FILE
    config, state = await _written(bus, file)
    given = await snapshot.given(other, config, state)
    with opened(file) as parts:
        while part := parts.read(snapshot.GIVEN):
            await given.put(part)
    await given.complete()
    file.unlink()


async def _written(bus: Bus, file: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Write a snapshot of the outbox; return how it is set up, and what it holds."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        async with snapshot.taken(bus, STREAM) as taken, aclosing(taken.parts()) as parts:
            async for part in parts:
                written.write(part)
    return taken.config, taken.state
