# SPDX-License-Identifier: Apache-2.0
"""Three nats-servers that are one: real ones on loopback, which a test may kill and start again.

>>> with cluster(tmp_path) as three:
...     three.kill(three.leader(await bus.api("STREAM.INFO.AGENTBUS_TASKS")))
"""

import contextlib
import socket
import subprocess
from dataclasses import replace

from local_server import settings_at, until

from mcp_agentbus.bus import embedded

NAMES = ("a", "b", "c")


class Cluster:
    """Three servers, by their names."""

    def __init__(self, folder):
        self._folder = folder
        own = settings_at(folder / "home")
        self._binary = embedded.binary(own)
        ports = _free(2 * len(NAMES))
        self._clients = dict(zip(NAMES, ports, strict=False))
        self._routes = dict(zip(NAMES, ports[len(NAMES) :], strict=True))
        #: Of whoever uses them, with all three URLs.
        self.settings = replace(own, url=",".join(self.url(name) for name in NAMES))
        self._running = {}

    def url(self, name):
        return f"nats://127.0.0.1:{self._clients[name]}"

    def start(self, *names, alone=False):
        """Start some; one that is `alone` reaches none of the others, and none reaches it."""
        for name in names:
            folder = self._folder / name
            folder.mkdir(exist_ok=True)
            ports = [1] if alone else self._routes.values()
            routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
            listens = "-1" if alone else self._routes[name]
            (folder / "nats.conf").write_text(
                f'server_name: {name}\nlisten: "127.0.0.1:{self._clients[name]}"\n'
                f'jetstream {{ store_dir: "{folder / "store"}" }}\n'
                f'cluster {{ name: three, listen: "127.0.0.1:{listens}", '
                f"routes: [{routes}] }}\n"
            )
            self._running[name] = subprocess.Popen(
                [self._binary, "-c", folder / "nats.conf"],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        for name in names:
            until(lambda name=name: self._listens(name), f"{name} listens")

    def _listens(self, name):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._clients[name])).close()
            return True
        return False

    def kill(self, *names):
        """Kill -9 some, and wait until they are gone."""
        for name in names:
            server = self._running.pop(name)
            server.kill()
            server.wait()

    def end(self):
        self.kill(*list(self._running))


@contextlib.contextmanager
def cluster(folder, names=NAMES):
    """Run these of the three; none outlives the block."""
    three = Cluster(folder)
    try:
        three.start(*names)
        yield three
    finally:
        three.end()


def _free(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
