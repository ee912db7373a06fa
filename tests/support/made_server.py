# SPDX-License-Identifier: Apache-2.0
"""A shared server as `agentbus server init` makes it: its folder, and a real one that runs there.

>>> with made_server(tmp_path / "bus") as server:
...     async with Bus(server.owner) as bus:
...         ...
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from local_server import settings_at, until

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.shared import init
from mcp_agentbus.shared.accounts import admin
from mcp_agentbus.shared.init import Given
from mcp_agentbus.shared.server_files import Files
from mcp_agentbus.shared.server_folder import Units

#: What systemd would run, for those who do not look at it.
UNITS = Units("[Unit]\n", "[Unit]\n")
#: Of this machine, and not the usual one; macOS has the usual one alone.
ADDRESS = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"


_WITHIN_S = 20  # only a hang takes as long


class MadeServer:
    """A server in its folder, which a test may end and start again."""

    def __init__(self, folder: Path, **given) -> None:
        self.files = Files(folder)
        given = {"listen": f"{ADDRESS}:{free_port()}", **given}
        plan = init.plan(folder, Given(**given), UNITS)
        plan.carry_out()
        self.url = plan.wanted.urls[0]
        #: Of its owner, on its machine.
        self.owner: Settings = admin.settings(folder)
        self._binary = embedded.binary(settings_at(folder))
        self._process: subprocess.Popen[bytes] | None = None

    def account(self, home: Path, name: str, key_file: Path) -> Settings:
        """Return the settings of an account, on a machine of its own."""
        return load_settings(
            {
                "AGENTBUS_HOME": str(home),
                "PATH": os.environ["PATH"],
                "AGENTBUS_URL": self.url,
                "AGENTBUS_CA_FILE": str(self.files.ca),
                "AGENTBUS_NKEY_FILE": str(key_file),
                "AGENTBUS_ACCOUNT": name,
            }
        )

    @property
    def log(self) -> str:
        """What it has logged since it was started."""
        return (self.files.folder / "log").read_text()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.files.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._binary, "-c", self.files.conf], stdin=subprocess.DEVNULL, stderr=log
            )
        until(lambda: "Server is ready" in self.log, "the server is ready")

    def kill(self) -> None:
        """Kill -9 it, and wait until it is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def made_server(folder: Path, **given):
    """Run one; it does not outlive the block."""
    server = MadeServer(folder, **given)
    try:
        server.start()
        yield server
    finally:
        server.kill()


async def let_in(there, account: str) -> None:
    """Wait until a server (`apply.Host`) hears an account."""
    async with asyncio.timeout(_WITHIN_S):
        while not await there.hears(account):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def free_port() -> int:
    """Return a port that is free, as is that of its monitoring."""
    while True:
        with socket.socket() as bus, socket.socket() as monitoring:
            bus.bind((ADDRESS, 0))
            number = bus.getsockname()[1]
            beside = number + 4000 if number + 4000 < 1 << 16 else number - 4000
            try:
                monitoring.bind(("127.0.0.1", beside))
            except OSError:
                continue
            return number
