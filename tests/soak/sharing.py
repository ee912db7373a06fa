# SPDX-License-Identifier: Apache-2.0
"""A shared server for a run, which is kept as systemd keeps it, and the accounts that join it.

    bus = SharedBus(folder, logs)
    await bus.begin()
    await bus.join(place, Link(bus.port))
    ...
    await bus.end()

A server and two gates, each a process that is started again when it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from actors import until
from link import Link
from place import Place, environ
from voices import AGENTBUS, ENDS_WITHIN_S, typed

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.shared.membership.invitation import decode, encode

# As its unit says 2 s: enough that everybody sees that it is away.
_AGAIN_AFTER_S = 1.0
_GATES = 2
_READY_WITHIN_S = 40.0
#: Whoever is an account, and which roles its agents may read; the last one comes and goes.
ACCOUNTS = {"vps": ("pool",), "pi": ("pool",), "laptop": ()}
LAPTOP = "laptop"


class Failed(Exception):
    """A command that sets the run up has failed."""


class SharedBus:
    """What runs on the machine of the server."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder / "bus"
        self.owner = Place(environ(folder / "owner", folder), logs)
        self.owner.home.mkdir(mode=0o700)
        self.port = _free_port()
        #: The link of the laptop.
        self.link = Link(self.port)
        self._logs = logs
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._kept: list[asyncio.Task] = []
        self._stack = AsyncExitStack()
        self._is_ending = False

    async def begin(self) -> None:
        """Have it made, started and answered.

        Raises:
            Failed: it did not come to that.
        """
        where = ("--listen", f"127.0.0.1:{self.port}", "--name", "127.0.0.1")
        await self.types("server", "init", "--shared", *where, "--dir", str(self.folder))
        await self._stack.enter_async_context(self.link)
        binary = embedded.binary(load_settings(self.owner.environ))
        self._keep("server", [str(binary), "-c", str(self.folder / "nats.conf")])
        for number in range(_GATES):
            self._keep(f"gate-{number}", [*AGENTBUS, "server", "gate", "--dir", str(self.folder)])
        logs = [self._log(f"gate-{number}") for number in range(_GATES)]
        if not await until(lambda: all(log.stat().st_size for log in logs), _READY_WITHIN_S):
            raise Failed("its gates do not answer")

    async def types(self, *argv: str) -> str:
        """Have its owner type a command; return what it printed.

        Raises:
            Failed: it did not end well.
        """
        return await _done(self.owner, *argv)

    async def join(self, place: Place, roles: Sequence[str] = (), link: Link | None = None) -> None:
        """Have a user be the account that its place says, over a link if there is one.

        Raises:
            Failed: it is none.
        """
        granted = [word for role in roles for word in ("--role", role)]
        line = await self.types(
            "server", "invite", place.account, *granted, "--dir", str(self.folder)
        )
        if link:
            there = replace(decode(line.strip()), urls=(f"tls://127.0.0.1:{link.port}",))
            line = encode(there)
        code, out, err = await typed(place, "join", given=line)
        if f"You are the account {place.account}" not in out:
            raise Failed(f"agentbus join: exit {code}, {(out + err)[-600:]}")
        # On a busy machine something may be slow, which it tells.
        for told in out.splitlines() if code else ():
            if told[:2] not in {"ok", "--"} and told[2:4] == "  ":
                print(f"{place.account}: {told}", flush=True)

    async def end(self) -> list[str]:
        """End all of it; return what did not end well."""
        self._is_ending = True
        complaints = []
        for name, process in sorted(self._running.items()):  # the gates first
            if process.returncode is not None:
                continue
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(ENDS_WITHIN_S):
                    code = await process.wait()
            except TimeoutError:
                complaints.append(f"{name} (pid {process.pid}) was there after SIGTERM")
                process.kill()
                continue
            if code and name != "server":
                complaints.append(f"{name} ended with {code}")
        for kept in self._kept:
            kept.cancel()
        await asyncio.gather(*self._kept, return_exceptions=True)
        await self._stack.aclose()
        return complaints

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.err"

    def _keep(self, name: str, argv: list[str]) -> None:
        self._log(name).touch()
        self._kept.append(asyncio.create_task(self._run(name, argv)))

    async def _run(self, name: str, argv: list[str]) -> None:
        """Start it, and again whenever it has ended."""
        while not self._is_ending:
            with self.owner.log(name) as log:
                process = await asyncio.create_subprocess_exec(
                    *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                    env=self.owner.environ,
                )  # fmt: skip
            self._running[name] = process
            await process.wait()
            if not self._is_ending:
                await asyncio.sleep(_AGAIN_AFTER_S)


async def _done(place: Place, *argv: str) -> str:
    code, out, err = await typed(place, *argv)
    if code:
        raise Failed(f"agentbus {' '.join(argv[:3])}: exit {code}, {(out + err)[-600:]}")
    return out


def _free_port() -> int:
    """Return a port that is free, as is that of its monitoring."""
    while True:
        with socket.socket() as bus, socket.socket() as monitoring:
            bus.bind(("127.0.0.1", 0))
            number: int = bus.getsockname()[1]
            beside = number + 4000 if number + 4000 < 1 << 16 else number - 4000
            with contextlib.suppress(OSError):
                monitoring.bind(("127.0.0.1", beside))
                return number
