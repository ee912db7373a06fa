# SPDX-License-Identifier: Apache-2.0
"""Beside a gate: its server goes by who has joined; who asks to join or to leave is answered.

>>> keeping = in_background(keep_door(folder), "a gate's door")
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import GATE, H_SUBJECT, LEAVE
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.aio import in_background
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import AgentbusError, BusUnreachable
from mcp_agentbus.shared.accounts import admin, owner, store
from mcp_agentbus.shared.accounts.apply import apply
from mcp_agentbus.shared.accounts.crowd import keep_free
from mcp_agentbus.shared.accounts.lobby import opened
from mcp_agentbus.shared.accounts.record import CHANGED
from mcp_agentbus.store import streams

# Between two tries to be at the bus, and to have a server take what it did not, in seconds.
_PAUSE_S: Final = 0.5
_AGAIN_S: Final = 10.0
# Of all gates one answers each. Not the group of those that answer all else of an account: of a
# group one is called, whichever of its subjects it is.
_GROUP: Final = "door"

_log = logging.getLogger(__name__)


async def keep_door(folder: Path) -> None:
    """Do so for the server of a folder, until this is cancelled; a bus that is away is waited for.

    Raises:
        BadInput, BadSetup: it is no server's folder, or what opens the bus cannot be read.
    """
    settings = admin.settings(folder)
    admin.keys(folder)
    free = in_background(keep_free(folder), "the room of the lobby")
    try:
        await _keep(settings, folder)
    finally:
        free.cancel()


async def _keep(settings: Settings, folder: Path) -> None:
    said = ""
    while True:
        try:
            async with Bus(settings) as bus:
                await store.ensure(bus)
                spreading = in_background(spread(bus, folder), "the spreading of streams")
                try:
                    await _kept(bus, folder)
                finally:
                    spreading.cancel()
        except AgentbusError as error:
            if error.message != said:  # and not each time that it is tried
                said = error.message
                _log.warning("%s It is tried again.", said)
            await asyncio.sleep(_PAUSE_S)


async def spread(bus: Bus, folder: Path) -> None:
    """Have each stream be kept by each of three servers; return once it is.

    One that was made while one of them was away, as at their first start, is on one of the others
    alone, and would go with it.
    """
    count = len(admin.wanted_in(folder).server_names)
    left = [*streams.STREAMS, store.STREAM] if count > 1 else []
    while left:
        for name in list(left):
            with suppress(AgentbusError):  # too few of them are there yet
                config = (await bus.api(f"STREAM.INFO.{name}"))["config"]
                if config["num_replicas"] < count:
                    await bus.api(f"STREAM.UPDATE.{name}", {**config, "num_replicas": count})
                left.remove(name)
        if left:
            await asyncio.sleep(_AGAIN_S)


async def _kept(bus: Bus, folder: Path) -> None:
    """Go by who has joined, and answer the lobby, until this is cancelled."""
    changed = asyncio.Event()
    changed.set()  # what was changed while nobody was here

    def arrived(_: Message | None) -> None:
        changed.set()

    leaves = bus.subscribed(f"{GATE}.*.{LEAVE}", leaving(bus, folder), group=_GROUP)
    async with bus.subscribed(CHANGED, arrived), opened(bus, folder), leaves:
        while True:
            await changed.wait()
            changed.clear()
            try:
                await apply(bus, folder)
            except BusUnreachable:
                raise  # all is heard anew on another connection
            except AgentbusError as error:
                # As while somebody mends nats.conf: then it is taken without another change.
                _log.error("who has joined does not count yet: %s", error.message)
                await asyncio.sleep(_AGAIN_S)
                changed.set()


def leaving(bus: Bus, folder: Path) -> Callable[[Message | None], None]:
    """Return what takes the word of an account that it is to be one no more."""
    under_way = set[str]()

    def arrived(message: Message | None) -> None:
        # The server lets nobody say this in another's name.
        name = message.subject.split(".")[1] if message else ""
        if message and name not in under_way:
            under_way.add(name)
            task = in_background(_left(bus, folder, name, message), "an account that leaves")
            task.add_done_callback(lambda _: under_way.discard(name))

    return arrived


async def _left(bus: Bus, folder: Path, name: str, message: Message) -> None:
    """Remove an account; it may not hear that it is, as its connection goes with it."""
    try:
        said = from_json(message.data)
        give_back = isinstance(said, dict) and said.get("give_back") is True
        removed = await owner.remove(bus, folder, name, give_back=give_back)
        answer = {"ok": True, "given_back": removed.given_back}
    except (AgentbusError, ValueError, RecursionError) as error:
        _log.warning("the account %s is not removed: %s", name, type(error).__name__)
        answer = {"ok": False}
    with suppress(AgentbusError):
        await bus.send(message.reply, json.dumps(answer).encode(), {H_SUBJECT: ""})
