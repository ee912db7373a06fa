# SPDX-License-Identifier: Apache-2.0
"""A shared server with accounts and its gate: a real nats-server, the gate in this event loop.

>>> async with gated(tmp_path, laptop=["review"], vps=[], pi=[]) as shared:
...     async with Bus.connect(shared.settings("laptop")) as bus: ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from local_server import settings_at
from nats_owner import shared_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import part
from mcp_agentbus.gate.gate import Gate
from mcp_agentbus.shared.accounts import conf, store
from mcp_agentbus.shared.accounts.bus_conf import JOINED_FILE, Keys, bus_accounts
from mcp_agentbus.shared.accounts.record import AccountRecord

# The server's own users.
OWN = ("admin", "system", "lobby")


class Shared:
    """A shared server's folder on this machine, with those of its accounts."""

    def __init__(self, folder: Path, accounts: Sequence[str]) -> None:
        self.folder, self.url = folder, ""
        self.seeds = {name: new_seed() for name in (*OWN, *accounts)}
        for name, seed in self.seeds.items():
            file = folder / f"{name}.nk"
            file.touch(mode=0o600)
            file.write_text(seed)

    def settings(self, account: str) -> Settings:
        """Return the settings of an account's machine."""
        return replace(self._of(account), account=account)

    @property
    def admin(self) -> Settings:
        """The settings of whoever runs the server."""
        return self._of("admin")

    @property
    def system(self) -> Settings:
        """The settings of who may ask the server of itself."""
        return self._of("system")

    def environ(self, name: str) -> dict[str, str]:
        """Return the variables by which an account's machine knows the server."""
        environ = {"AGENTBUS_URL": self.url, "AGENTBUS_NKEY_FILE": str(self.folder / f"{name}.nk")}
        return environ if name in OWN else {**environ, "AGENTBUS_ACCOUNT": name}

    def _of(self, name: str) -> Settings:
        return settings_at(self.folder / f"home-{name}", **self.environ(name))

    @property
    def keys(self) -> Keys:
        """The public keys of the server's own users."""
        return Keys(*(Nkey(self.seeds[name]).public for name in OWN))


@contextlib.contextmanager
def ungated(folder: Path, **roles: Sequence[str]) -> Iterator[Shared]:
    """Run a server with these accounts, by name with the roles of each, and no gate."""
    shared = Shared(folder, list(roles))
    (folder / JOINED_FILE).write_text(conf.joined(_records(folder, roles), shared.keys))
    with shared_server(folder, bus_accounts(shared.keys)) as settings:
        shared.url = str(settings.url)
        yield shared


@contextlib.asynccontextmanager
async def gated(folder: Path, **roles: Sequence[str]) -> AsyncIterator[Shared]:
    """Run a server with these accounts, by name with the roles of each, and its gate."""
    with ungated(folder, **roles) as shared:
        await joined(shared.admin, roles)
        async with gate_of(shared.admin):
            yield shared


@contextlib.asynccontextmanager
async def gate_of(admin: Settings) -> AsyncIterator[Gate]:
    """Run a gate in this event loop."""
    gate, stop = Gate(admin), asyncio.Event()
    running = part(gate.run(stop))
    answers = part(gate.answers.wait())
    await asyncio.wait([running, answers], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield gate
    finally:
        answers.cancel()
        stop.set()
        await running


async def joined(admin: Settings, roles: Mapping[str, Sequence[str]]) -> None:
    """Have these accounts, whose keys lie beside the owner's, be on the bus's own list."""
    assert admin.nkey_file
    async with Bus.connect(admin) as bus:
        await store.ensure(bus)
        for record in _records(admin.nkey_file.parent, roles):
            await store.put(bus, record, 0)


def _records(folder: Path, roles: Mapping[str, Sequence[str]]) -> list[AccountRecord]:
    now = text.now()
    keys = {name: Nkey((folder / f"{name}.nk").read_text()).public for name in roles}
    return [
        AccountRecord(name=name, key=key, roles=tuple(roles[name]), joined_at=now, since=now)
        for name, key in keys.items()
    ]
