# SPDX-License-Identifier: Apache-2.0
"""A shared server with accounts and its gate: a real nats-server, the gate in this event loop.

>>> async with gated(tmp_path, laptop=["review"], vps=[], pi=[]) as shared:
...     async with Bus.connect(shared.settings("laptop")) as bus: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from local_server import settings_at
from nats_owner import shared_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.aio import part
from mcp_agentbus.shared.gate.book import ACCOUNTS
from mcp_agentbus.shared.gate.gate import Gate

# As the configuration of a shared server has it, see `shared.accounts`.
_MAY = "{ publish: { allow: [%s] }, subscribe: { allow: [%s] } }"
_ALIVE, _ALIVE_TO = '"agentbus.*.heartbeat.*"', '"agentbus-all.$1.heartbeat.$2"'
_HEARD = '"_INBOX.>", "agentbus.>", "agentbus-all.>", "agentbus-events.>"'


class Shared:
    """A shared server's folder on this machine, with those of its accounts."""

    def __init__(self, folder: Path, accounts: Sequence[str]) -> None:
        self.folder, self.url = folder, ""
        self.seeds = {name: new_seed() for name in ("admin", "system", *accounts)}
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

    def _of(self, name: str) -> Settings:
        environ = {"AGENTBUS_URL": self.url, "AGENTBUS_NKEY_FILE": str(self.folder / f"{name}.nk")}
        if name != "admin":
            environ["AGENTBUS_ACCOUNT"] = name
        return settings_at(self.folder / f"home-{name}", **environ)

    def conf(self, accounts: Sequence[str]) -> str:
        """Return the server's accounts."""
        public = {name: Nkey(seed).public for name, seed in self.seeds.items()}
        exports = ['{ stream: "agentbus.*.heartbeat.*" }', '{ stream: "agentbus-events.>" }']
        for name in accounts:
            exports += [
                f'{{ service: "agentbus-gate.{name}.>", response_type: stream, accounts: [A_{name}] }}',
                f'{{ stream: "agentbus-for.{name}.>", accounts: [A_{name}] }}',
            ]
        return f"""
accounts {{
  BUS {{ jetstream: enabled, users: [ {{ nkey: {public["admin"]} }} ], exports: [ {", ".join(exports)} ] }}
  SYS {{ users: [ {{ nkey: {public["system"]} }} ] }}
  {chr(10).join(_account(name, public[name]) for name in accounts)}
}}
system_account: SYS
"""


def _account(name: str, public: str) -> str:
    says = f'"agentbus-gate.{name}.>", "agentbus.*.succeed.*", "_INBOX.>", "$SYS.REQ.USER.INFO"'
    imports = [
        f'{{ service: {{ account: BUS, subject: "agentbus-gate.{name}.>" }} }}',
        f'{{ stream: {{ account: BUS, subject: "agentbus-for.{name}.agentbus.>" }}, to: "agentbus.>" }}',
        f"{{ stream: {{ account: BUS, subject: {_ALIVE} }}, to: {_ALIVE_TO} }}",
        '{ stream: { account: BUS, subject: "agentbus-events.>" } }',
    ]
    return (
        f"A_{name} {{ users: [ {{ nkey: {public}, permissions: {_MAY % (says, _HEARD)} }} ], "
        f"imports: [ {', '.join(imports)} ] }}"
    )


@contextlib.contextmanager
def ungated(folder: Path, **roles: Sequence[str]) -> Iterator[Shared]:
    """Run a server with these accounts, by name with the roles of each, and no gate."""
    shared = Shared(folder, list(roles))
    with shared_server(folder, shared.conf(list(roles))) as settings:
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
    """Have these accounts be on the bus's own list."""
    async with Bus.connect(admin) as bus:
        made = {"name": ACCOUNTS, "subjects": ["agentbus-accounts.*", "agentbus-invitations.*"],
                "max_msgs_per_subject": 1, "allow_direct": True, "storage": "file"}  # fmt: skip
        await bus.api(f"STREAM.CREATE.{ACCOUNTS}", made)
        for name, granted in roles.items():
            record = {"name": name, "key": "", "roles": list(granted), "state": "joined"}
            await bus.publish(f"agentbus-accounts.{name}", json.dumps(record).encode())
