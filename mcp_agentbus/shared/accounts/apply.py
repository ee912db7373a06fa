# SPDX-License-Identifier: Apache-2.0
"""Who has joined, as the bus keeps it, becomes what the server here goes by, without a restart.

    >>> await apply(bus, folder)
    frozenset({'laptop', 'pi'})

The gate does so at each change, and whoever makes one, so that it counts at once; of two on this
machine one waits for the other. The server reads its configuration anew by a request, to which it
answers whether it took it, and tells by which subjects each account is heard: so nobody is told
that they are in before they are. What it does not take is put back.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import GATE
from mcp_agentbus.bus.replies import server_time
from mcp_agentbus.core import locks
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.files import read_whole, unusable, write_whole
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BusUnreachable, NoAnswer, Refused
from mcp_agentbus.shared.accounts import admin, conf, store
from mcp_agentbus.shared.accounts.bus_conf import INVITED, Keys
from mcp_agentbus.shared.server_files import Files
from mcp_agentbus.shared.typed import typed

# nats-server 2.15 lets a new account in after one reload, and hears it after two.
_RELOADS_MAX: Final = 4
# With 400 accounts a reload takes less than a second; a machine may have others to serve, too.
_RELOADED_WITHIN_S: Final = 30.0
_TOLD_WITHIN_S: Final = 5.0
_KNOWN_WITHIN_S: Final = 2.0
# Of so many accounts it is asked at a time.
_ASKED_AT_ONCE: Final = 100
# More than it lets in of those who want to join.
_VISITORS_MAX: Final = 1_000
# Whoever has the lock has it for as long as that, at most.
_LOCKED_S: Final = 60.0
_LOOK_AGAIN_S: Final = 0.05
# An account of 9 lines has some 900 bytes.
_FILE_MAX_BYTES: Final = 64 << 20


_log = logging.getLogger(__name__)


class Visitor(NamedTuple):
    """A connection by which somebody wants to join."""

    number: int
    #: Its address.
    ip: str
    since: datetime


class FolderServer:
    """The server of a folder, as it tells of itself."""

    def __init__(self, system: Bus, id_: str) -> None:
        self._system, self._id = system, id_

    async def reload(self) -> str:
        """Have it read its configuration anew; return why it does not take it, empty if it does.

        Raises:
            BusUnreachable: it does not answer.
        """
        answer = await self._told("RELOAD", {}, _RELOADED_WITHIN_S)
        return str(answer["error"].get("description", "?")) if answer.get("error") else ""

    async def loaded_at(self) -> datetime:
        """Return when it has read its configuration last.

        Raises: as `reload`.
        """
        return server_time(str((await self._told("VARZ"))["data"]["config_load_time"]))

    async def hears(self, account: str) -> bool:
        """Tell whether what an account says to its gate goes there.

        Raises: as `reload`.
        """
        asked = {"account": conf.nats_account(account), "test": f"{GATE}.{account}.x"}
        told = await self._told("SUBSZ", {"subscriptions": True, **asked})
        return bool((told.get("data") or {}).get("subscriptions_list"))

    async def lets_in(self, account: str) -> bool:
        """Tell whether it knows an account.

        Raises: as `reload`.
        """
        known = (await self._told("ACCOUNTZ"))["data"].get("accounts") or ()
        return conf.nats_account(account) in known

    async def connections(self, account: str) -> int:
        """Return how many connections an account has to it.

        Raises: as `reload`.
        """
        asked = {"acc": conf.nats_account(account), "limit": 1}
        return int((await self._told("CONNZ", asked))["data"]["total"])

    async def invited(self) -> tuple[list[Visitor], datetime]:
        """Return the connections of those who want to join, and the time there.

        Raises: as `reload`.
        """
        told = (await self._told("CONNZ", {"acc": INVITED, "limit": _VISITORS_MAX}))["data"]
        visitors = [
            Visitor(int(each["cid"]), str(each["ip"]), server_time(str(each["start"])))
            for each in told.get("connections") or ()
        ]
        return visitors, server_time(str(told["now"]))

    async def end(self, visitor: Visitor) -> None:
        """End a connection.

        Raises: as `reload`.
        """
        await self._told("KICK", {"cid": visitor.number})

    async def _told(
        self, about: str, asked: Mapping[str, Any] | None = None, within_s: float = _TOLD_WITHIN_S
    ) -> dict[str, Any]:
        return await _asked(
            self._system, f"$SYS.REQ.SERVER.{self._id}.{about}", asked or {}, within_s
        )


@asynccontextmanager
async def host(folder: Path) -> AsyncGenerator[FolderServer, None]:
    """Give what the server of a folder tells of itself.

    Raises:
        BusUnreachable, NotAllowed, BadInput, BadSetup: it cannot be asked.
    """
    async with Bus(admin.system_settings(folder)) as system:
        yield await _known(system, admin.wanted_in(folder).server_name)


@asynccontextmanager
async def hosts(folder: Path) -> AsyncGenerator[Mapping[str, FolderServer | None], None]:
    """Give the same of each server of its bus, by name; None for one that is away.

    Raises: as `host`.
    """
    async with Bus(admin.system_settings(folder)) as system:
        known: dict[str, FolderServer | None] = {}
        for name in admin.wanted_in(folder).server_names:
            known[name] = None
            with suppress(BusUnreachable):
                known[name] = await _known(system, name)
        yield known


async def _known(system: Bus, name: str) -> FolderServer:
    """Find a server by its name: of several each would answer, also to IDZ with a name."""
    only = {"server_name": name, "exact_match": True}
    known = await _asked(system, "$SYS.REQ.SERVER.PING.STATSZ", only, _KNOWN_WITHIN_S)
    return FolderServer(system, str(known["server"]["id"]))


async def apply(bus: Bus, folder: Path) -> frozenset[str]:
    """Have the server of a folder let in who has joined, and nobody else; return their names.

    Args:
        bus: as its owner's.
        folder: the server's, on this machine.

    Raises:
        Refused: the server does not take it, as where somebody has changed nats.conf. It goes by
            what it had before.
        BusUnreachable, NotAllowed, BadSetup: the bus or the server cannot be asked, or a file not
            be written.
    """
    file = Files(folder).joined
    try:
        async with _alone(folder / "accounts.lock"), host(folder) as server:
            return await _applied(server, bus, file, admin.keys(folder))
    except OSError as error:
        raise unusable(error, file, done="written") from None


async def _applied(server: FolderServer, bus: Bus, file: Path, keys: Keys) -> frozenset[str]:
    records = await store.accounts(bus)
    text, names = conf.joined(records, keys), conf.who_gets_in(records, keys)
    before = read_whole(file, _FILE_MAX_BYTES).decode(errors="replace")
    if unknown := conf.names_in(before) - {record.name for record in records}:
        _log.warning(
            "the bus knows nothing of %d accounts that were let in before, which is as if it had "
            "lost its store: they are let in no more, until a backup is restored",
            len(unknown),
        )
    if before != text:
        write_whole(file, text.encode())
    # What was written by one who was killed then is not loaded yet, or heard.
    is_loaded = before == text and (await server.loaded_at()).timestamp() > _written_at(file)
    if not (is_loaded and await _all_heard(server, names)):
        there = conf.names_in(before) if before != text else set()
        await _reloaded(server, [name for name in names if name not in there], file, before)
    return frozenset(names)


def _written_at(file: Path) -> float:
    return file.stat().st_mtime


async def _reloaded(server: FolderServer, names: list[str], file: Path, before: str) -> None:
    for _ in range(_RELOADS_MAX):
        if why := await server.reload():
            write_whole(file, before.encode())
            raise Refused(
                f"The server does not take its configuration: {why.strip()}. It goes by what it "
                "had before.",
                hint=f"Look at nats.conf beside {file}, if somebody has changed it; "
                f"`{typed('init --shared', file.parent)}` writes it anew.",
            )
        if await _all_heard(server, names):
            return
    raise Refused(
        "The server has taken its configuration, and does not hear each of its accounts yet.",
        hint="Run the same again; if it stays so, start the server anew: "
        "systemctl --user restart agentbus-server",
    )


async def _all_heard(server: FolderServer, names: list[str]) -> bool:
    for at in range(0, len(names), _ASKED_AT_ONCE):
        some = names[at : at + _ASKED_AT_ONCE]
        if not all(await together(*map(server.hears, some))):
            return False
    return True


@asynccontextmanager
async def _alone(lock: Path) -> AsyncGenerator[None, None]:
    """Have nobody else on this machine do it meanwhile.

    Raises:
        BusUnreachable: somebody does, for a long time.
        BadSetup: the lock cannot be had.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _LOCKED_S
    while True:
        # Not by waiting in a thread: given up, that would take the lock later, for good.
        with locks.held(lock, wait=False) as descriptor:
            if descriptor is not None:
                yield
                return
        if loop.time() > give_up:
            raise BusUnreachable(
                "Another process has the server read its configuration, and does not end.",
                hint="Run it again in a minute.",
            )
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _asked(
    system: Bus, subject: str, asked: Mapping[str, Any], within_s: float
) -> dict[str, Any]:
    try:
        answer = await system.request(subject, json.dumps(asked).encode(), within_s)
        told: dict[str, Any] = from_json(answer.data)
    except (NoAnswer, ValueError):
        raise BusUnreachable(
            "The server does not tell of itself.",
            hint="See that it runs by the nats.conf of its folder: systemctl --user status "
            "agentbus-server",
        ) from None
    return told
