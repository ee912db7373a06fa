# SPDX-License-Identifier: Apache-2.0
"""Three nats-servers on loopback, from the folders that `agentbus server init --cluster` makes.

>>> with made_cluster(tmp_path) as three:
...     three.kill((await bus.api("STREAM.INFO.AGENTBUS_TASKS"))["cluster"]["leader"])
"""

import asyncio
import contextlib
import socket
import subprocess

from made_server import UNITS

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.shared import cluster, init
from mcp_agentbus.shared.accounts import admin

_LOOK_AGAIN_S = 0.1
# From the port of the bus: its own, the routes', and that of monitoring.
_BESIDE = (0, 2000, 4000)


class MadeCluster:
    """Three servers, by their names."""

    def __init__(self, folder):
        typed = ",".join(f"127.0.0.1:{port}" for port in _free())
        plan = cluster.planned(folder / "three", cluster.servers(folder, typed), [UNITS] * 3)
        plan.carry_out()
        self._files = {each.files.folder.name: each.files for each in plan.servers}
        for files in self._files.values():  # as on its machine
            init.plan(files.folder, init.Given(), UNITS).carry_out()
        self.names = tuple(self._files)
        first = plan.servers[0]
        #: Of their owner, with all three URLs.
        own = admin.settings(first.files.folder).environ
        self.settings = load_settings({**own, "AGENTBUS_URL": ",".join(first.wanted.urls)})
        self._running = {}

    def folder(self, name):
        """Return the folder of one."""
        return self._files[name].folder

    def start(self, *names):
        """Start some; `ready` waits for them."""
        for name in names:
            with (self._files[name].folder / "log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    [embedded.binary(self.settings), "-c", self._files[name].conf],
                    stdin=subprocess.DEVNULL,
                    stderr=log,
                )

    def kill(self, *names):
        """Kill -9 some, and wait until they are gone."""
        for name in names:
            server = self._running.pop(name)
            server.kill()
            server.wait()

    def end(self):
        self.kill(*list(self._running))

    async def ready(self):
        """Wait until they have chosen who of them answers for all, and know all three."""
        probe = {"name": "READY", "subjects": ["ready"], "num_replicas": 3, "storage": "memory"}
        while True:
            with contextlib.suppress(AgentbusError):
                async with Bus.connect(self.settings) as bus:
                    await bus.api("STREAM.CREATE.READY", probe)
                    await bus.api("STREAM.DELETE.READY")
                    return


@contextlib.contextmanager
def made_cluster(folder, start=3):
    """Run three, or the first of them; none outlives the block."""
    three = MadeCluster(folder)
    try:
        three.start(*three.names[:start])
        yield three
    finally:
        three.end()


def _free():
    """Return three ports which are free, as are those beside them."""
    ports = []
    while len(ports) < 3:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            for away in _BESIDE[1:]:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + away))
            ports.append(port)
    return ports


async def until(look):
    """Look until it is so; a cluster that is beginning answers late."""
    while True:
        with contextlib.suppress(AgentbusError):
            if await look():
                return
        await asyncio.sleep(_LOOK_AGAIN_S)
