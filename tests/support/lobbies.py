# SPDX-License-Identifier: Apache-2.0
"""A shared server that lets in who has a line, with a stand-in for its gate: in this event loop.

    >>> async with lobby(tmp_path) as server:
    ...     await join(settings, server.line("laptop"))

The nats-server is a real one, by TLS, which reads its configuration anew for each that joins. What
the stand-in answers can be told: `server.says`.
"""

import asyncio
import base64
import contextlib
import json
import secrets
import signal
import subprocess
from datetime import UTC, datetime, timedelta

from certificates import Authority
from cryptography.hazmat.primitives.asymmetric import ed25519
from local_server import settings_at, until

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import H_SUBJECT
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.core.aio import part
from mcp_agentbus.shared.membership.invitation import Line

_HANG_S = 60  # only a hang takes as long
_RELOADED = "Reloaded server configuration"
_GATE, _LOBBY = "agentbus-gate", "agentbus-lobby"


class Server:
    """A folder of a shared server whose accounts are those that have joined."""

    def __init__(self, folder, authority, *, hosts=("127.0.0.1", "localhost"), days=(-2, 30)):
        folder.mkdir(exist_ok=True)
        self.folder, self.authority = folder, authority
        self.cert, self.key = authority.issued(f"server-{folder.name}", hosts=hosts, days=days)
        self.seeds = {name: new_seed() for name in ("admin", "lobby")}
        self.admin_file = folder / "admin.nk"
        self.admin_file.touch(mode=0o600)
        self.admin_file.write_text(self.seeds["admin"])
        #: By name, the public key of each that has joined.
        self.accounts = {}
        #: By id, the line, and the key that has used it.
        self.lines, self.used = {}, {}
        #: What the lobby says in the place of its own word; None: it says nothing.
        self.says = {}
        self.asked, self.left = [], []
        self.url, self._bus, self._process = "", None, None

    def line(self, name, **other):
        """Return a line for an account."""
        line = Line(**{
            "urls": (self.url,), "ca_pem": self.authority.file.read_text(),
            "lobby_seed": self.seeds["lobby"], "id": secrets.token_hex(8),
            "secret": secrets.token_urlsafe(32), "name": name,
            "expires_at": datetime.now(UTC) + timedelta(hours=1), **other,
        })  # fmt: skip
        self.lines[line.id] = line
        return line

    @contextlib.contextmanager
    def running(self):
        """Run it, without anybody behind its lobby."""
        ports = self.folder / "ports"
        ports.mkdir()
        self._write()
        binary = embedded.binary(settings_at(self.folder / "home"))
        self._process = subprocess.Popen([binary, "-c", self.folder / "nats.conf"], stdin=-3)
        try:
            file = ports / f"nats-server_{self._process.pid}.ports"
            until(lambda: file.exists() and file.read_text().endswith("}"), "it says where it is")
            port = json.loads(file.read_text())["nats"][0].rpartition(":")[2]
            self.url = f"tls://127.0.0.1:{port}"
            yield self
        finally:
            self._process.kill()
            self._process.wait()

    @contextlib.asynccontextmanager
    async def gate(self, delay_s=0.0):
        """Stand in for its gate, which takes so long to start."""
        await asyncio.sleep(delay_s)
        settings = settings_at(
            self.folder / "home", AGENTBUS_URL=self.url, AGENTBUS_NKEY_FILE=str(self.admin_file),
            AGENTBUS_CA_FILE=str(self.authority.file),
        )  # fmt: skip
        heard = asyncio.Queue()
        async with (
            Bus.connect(settings) as self._bus,
            self._bus.subscribed(_LOBBY, heard.put_nowait),
            self._bus.subscribed(f"{_GATE}.*.>", heard.put_nowait),
        ):
            answering = part(self._answer(heard))
            yield self
            answering.cancel()

    async def _answer(self, heard):
        while message := await heard.get():
            if message.subject == _LOBBY:
                answer = await self._lobby(json.loads(message.data))
            else:
                _, account, asked = message.subject.split(".", 2)
                answer = self._gate(account, asked, message.data)
            if answer is not None:
                await self._bus.send(message.reply, json.dumps(answer).encode(), {H_SUBJECT: ""})
            if message.subject.endswith(".leave"):
                await self._reload()

    async def _lobby(self, asked):
        self.asked.append(asked)
        if asked["id"] in self.says:
            return self.says[asked["id"]]
        line = self.lines[asked["id"]]
        assert asked["secret"] == line.secret
        public = base64.b32decode(asked["key"])[1:33]
        signed = f"agentbus-join:{asked['id']}:{asked['key']}".encode()
        proof = base64.b64decode(asked["proof"])
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(proof, signed)
        if self.used.setdefault(line.id, asked["key"]) != asked["key"]:
            return {"refused": "used"}
        if self.accounts.get(line.name) != asked["key"]:
            self.accounts[line.name] = asked["key"]
            await self._reload()
        return {"ok": True, "account": line.name}

    def _gate(self, account, asked, data):
        if asked == "leave" and "leave" in self.says:
            return self.says["leave"]
        if asked == "leave":
            self.left.append((account, json.loads(data)))
            del self.accounts[account]
            return {"ok": True}
        assert asked == "$JS.API.INFO", asked
        return {"type": "io.nats.jetstream.api.v1.account_info_response"}

    async def _reload(self):
        self._write()
        log = self.folder / "log"
        for _ in range(2):
            count = log.read_text().count(_RELOADED)
            self._process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(_HANG_S):
                while log.read_text().count(_RELOADED) == count:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    def _write(self):
        admin, lobby = (Nkey(self.seeds[name]).public for name in ("admin", "lobby"))
        exports = ['{ service: "agentbus-lobby", accounts: [LOBBY] }'] + [
            f'{{ service: "{_GATE}.{name}.>", response_type: stream, accounts: [A_{name}] }}'
            for name in self.accounts
        ]
        joined = "\n".join(_account(name, key) for name, key in self.accounts.items())
        (self.folder / "nats.conf").write_text(f"""
listen: "127.0.0.1:-1"
ports_file_dir: "{self.folder / "ports"}"
logfile: "{self.folder / "log"}"
tls {{ cert_file: "{self.cert}", key_file: "{self.key}" }}
accounts {{
  BUS {{ users: [ {{ nkey: {admin} }} ], exports: [ {", ".join(exports)} ] }}
  LOBBY {{
    users: [ {{ nkey: {lobby}, permissions: {{ publish: ["agentbus-lobby"], subscribe: ["_INBOX.>"] }} }} ]
    imports: [ {{ service: {{ account: BUS, subject: "agentbus-lobby" }} }} ]
  }}
  {joined}
}}
""")


def _account(name, key):
    may = f'{{ publish: ["{_GATE}.{name}.>"], subscribe: ["_INBOX.>"] }}'
    return (
        f"A_{name} {{ users: [ {{ nkey: {key}, permissions: {may} }} ], "
        f'imports: [ {{ service: {{ account: BUS, subject: "{_GATE}.{name}.>" }} }} ] }}'
    )


@contextlib.asynccontextmanager
async def lobby(folder, **how):
    """Run such a server, and who answers behind its lobby."""
    with Server(folder / "server", Authority(folder, "Example CA"), **how).running() as server:
        async with server.gate():
            yield server
