# SPDX-License-Identifier: Apache-2.0
"""A laptop in tests: a home on a shared bus that goes away and comes back.

    async with laptop(tmp_path, behind) as away:
        away.proxy.refuse()

The bus is a real server, and a proxy is the link to it.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import served
from listeners import listening
from local_server import kill_servers, settings_at
from proxy import Proxy

from mcp_agentbus.bus import embedded
from mcp_agentbus.config import names
from mcp_agentbus.core.files import own_folder
from mcp_agentbus.relay import local_socket
from mcp_agentbus.store.outbox.own import own_server

# What gives up on a bus that is away sooner than it does for its users.
_SOON = ("bus.budget.CALL_S = 0.8", "bus.budget._ANSWERS_WITHIN_S = 0.8")
#: A listener that does so, and soon stops a server that keeps nothing.
QUICK = [*served.changed(*_SOON, "listener.outbox.forwarder.IDLE_S = 0.3"), "listen"]
_COMMAND = [sys.executable, *served.changed(*_SOON)]


def dying(after):
    """Return a listener that is killed once so many tasks were handed on."""
    return [str(Path(__file__).with_name("dying_forwarder.py")), str(after)]


class Laptop:
    """One home on a bus that is reached by a proxy."""

    def __init__(self, home, proxy):
        self.home, self.proxy = home, proxy
        theirs = proxy.settings
        self.environ = {"AGENTBUS_URL": theirs.url, "AGENTBUS_TOKEN_FILE": str(theirs.token_file)}
        self.settings = settings_at(home, **self.environ)
        home.mkdir()
        own_folder(self.settings.state_dir)
        with names.writing(self.settings) as book:  # it was here before, while the bus was there
            book.begin(())

    def listening(self, **more):
        """Start its listener."""
        return listening(self.settings, **self.environ, **more)

    def session(self, agent):
        """Start a session of an MCP host there."""
        return served.Pipes(served.environ(self.home) | self.environ, agent=agent)

    async def typed(self, *argv):
        """Type a command there; return exit code and output."""
        return await served.typed(self.home, *argv, program=_COMMAND, **self.environ)

    async def json(self, *argv):
        """Type a command there that does its work; return what it prints as data."""
        code, printed = await self.typed(*argv, "--json")
        assert code == 0, printed
        return json.loads(printed)

    def waits(self):
        """Return what its listener says of the outbox."""
        return local_socket.ask(self.settings, {"op": "status"})["outbox"]


@contextlib.asynccontextmanager
async def laptop(folder, behind):
    """Set up a home on the bus of `behind`; whatever server it has started is gone at the end."""
    home = folder / "laptop"
    async with Proxy(behind) as proxy:
        away = Laptop(home, proxy)
        try:
            yield away
        finally:
            await asyncio.to_thread(kill_servers, own_server(away.settings))


async def come_and_go(there, chance):
    """Until it is cancelled, have the link go, go silent, or lose an acknowledgement; or kill the laptop's own server."""
    while True:
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        match chance.choice(["away", "silent", "unconfirmed", "killed"]):
            case "away":
                there.proxy.refuse()
                await asyncio.sleep(chance.uniform(0.0, 0.5))
                there.proxy.accept()
            case "silent":
                there.proxy.silence()
            case "unconfirmed":
                there.proxy.cut_at_answer(b'{"stream":"AGENTBUS_TASKS"')
            case "killed":
                if server := embedded.find(own_server(there.settings)):
                    os.kill(server.pid, signal.SIGKILL)
