# SPDX-License-Identifier: Apache-2.0
"""What waits on this user's own server for a shared bus, as another takes that server's place.

    >>> await take_its_place(other, settings, backup.taken_at)

It is no part of the bus that is restored, nor of a backup: its senders have receipts that say that
it is stored here. So it goes along as it lies, by the server's own numbers of it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.files import opened, shell_word
from mcp_agentbus.errors import AgentbusError, BusUnreachable
from mcp_agentbus.shared import snapshot
from mcp_agentbus.shared.second_server import SecondServer
from mcp_agentbus.store import streams
from mcp_agentbus.store.outbox.own import STREAM, ensure

_FILE: Final = f"{STREAM}.snapshot"
# A letter comes when somebody sends one and the shared bus is away; carrying takes a moment.
_TRIES: Final = 5


async def take_its_place(other: SecondServer, settings: Settings, since: datetime) -> None:
    """Have a server take the place of this user's, as `SecondServer`, with what waits there.

    What is put there after it was carried over is carried once more.

    Raises:
        Refused: what waits cannot be read.
        BusUnreachable: each time more was put there.
        OSError: as `SecondServer.take_its_place`, and its snapshot cannot be written.
    """
    for _ in range(_TRIES):
        async with Bus(other.settings) as bus, Bus(settings) as first:
            carried = await _carry_over(first, bus, other.settings.data_dir)
        may = partial(_is_as, settings, carried)
        if await asyncio.to_thread(other.take_its_place, settings, since, may):
            return
    raise BusUnreachable(
        "More was sent from here to the shared bus each time that it was carried over. Nothing was "
        "changed.",
        hint="End what sends (agentbus listen --stop, and every session), then run it again.",
    )


def _is_as(settings: Settings, carried: Mapping[str, int]) -> bool:
    return _sizes(settings) == carried


async def _carry_over(bus: Bus, other: Bus, folder: Path) -> Mapping[str, int]:
    """Have a server hold the outbox of another, if there is one; return how large its files were.

    Args:
        bus: the server that may have one, this user's own.
        other: the one that is to have it, too.
        folder: where its snapshot lies meanwhile: the one may be slower than the other waits.

    Raises:
        AgentbusError: one of them does not take part.
        OSError: the snapshot cannot be written.
    """
    if not (await streams.info(bus, STREAM) or _sizes(bus.settings)):
        return {}
    try:
        await ensure(bus)  # by which a server finds letters again whose stream's file is damaged
        if await streams.info(other, STREAM):
            await other.api(f"STREAM.DELETE.{STREAM}")
        sizes, file = _sizes(bus.settings), folder / _FILE
        config, state = await _written(bus, file)
        given = await snapshot.given(other, config, state)
        with opened(file) as parts:
            while part := parts.read(snapshot.GIVEN):
                await given.put(part)
        await given.complete()
    except AgentbusError as error:
        raise error.saying(hint=f"{error.hint} {_without_it(bus.settings)}") from None
    file.unlink()
    return sizes


def _kept_in(settings: Settings) -> Path:
    """Return the folder of the outbox, in which the server keeps it."""
    return Files(settings.data_dir).store / "jetstream/$G/streams" / STREAM


def _sizes(settings: Settings) -> dict[str, int]:
    """Return how large the files of the outbox are: each letter is written behind the others."""
    sizes = dict[str, int]()
    for file in (_kept_in(settings) / "msgs").glob("*.blk"):
        with suppress(FileNotFoundError):  # the last of its letters was taken out
            sizes[file.name] = file.stat().st_size
    return sizes


def _without_it(settings: Settings) -> str:
    """Say how to go on without what waits there."""
    folder, aside = _kept_in(settings), settings.data_dir / f"{STREAM}-aside"
    return (
        "To go on without what was sent from here and is not yet at the shared bus: agentbus "
        f"server stop; mv {shell_word(folder)} {shell_word(aside)}; then run it again."
    )


async def _written(bus: Bus, file: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Write a snapshot of the outbox; return how it is set up, and what it holds."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        async with snapshot.taken(bus, STREAM) as taken, aclosing(taken.parts()) as parts:
            async for part in parts:
                written.write(part)
    return taken.config, taken.state
