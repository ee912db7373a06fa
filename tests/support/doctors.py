# SPDX-License-Identifier: Apache-2.0
"""`agentbus doctor` in tests: a bus to look at, and what was printed about it.

with own_server(tmp_path) as settings:
code, found = await report(settings)
"""

import functools
import json
import os
import socket
import subprocess
import threading
from contextlib import contextmanager
from unittest import mock

import forking
import served
from local_server import kill_servers, settings_at

from mcp_agentbus.bus import embedded, server_conf
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import load_settings, settings_or_defaults
from mcp_agentbus.doctor import hosts, machine
from mcp_agentbus.doctor import run as doctor
from mcp_agentbus.store import streams

_WITHIN_S = 90  # only a hang takes as long


@contextmanager
def own_server(folder):
    """Give the settings of a server of one's own that runs."""
    environ = {"HOME": str(folder), "AGENTBUS_LISTENER": "", "PYTHONPATH": served.PACKAGE}
    settings = settings_at(folder / "bus", **environ)
    embedded.ensure(settings)
    try:
        yield settings
    finally:
        kill_servers(settings)


def _version(program):
    about = program.stat()
    return _asked(program, (about.st_ino, about.st_mtime_ns, about.st_ctime_ns, about.st_size))


_asked = functools.cache(lambda program, _, ask=machine._version: ask(program))


async def printed(settings, *, as_json=True, **options):
    """Return the exit code of a doctor and all that it printed.

    What a hook takes is not measured: for that a doctor starts six processes each time. Nor is the
    same program asked again which nats-server it is.
    """
    lines = []
    fresh = settings if settings.url else settings_or_defaults(settings.environ)
    with (
        mock.patch.object(hosts, "_took", return_value=1.0),
        mock.patch.object(machine, "_version", _version),
    ):
        code = await doctor.run(fresh, lines.append, as_json=as_json, **options)
    return code, "\n".join(lines)


async def report(settings, **options):
    """Return the exit code of a doctor and its checks by name; one name's worst comes first."""
    code, text = await printed(settings, **options)
    found = {}
    for one in json.loads(text)["checks"]:
        found.setdefault(one["name"], one)
    return code, found


async def sent_round(settings, **options):
    """Return the exit code of a self-test and its stages by name."""
    code, text = await printed(settings, self_test=True, **options)
    return code, {one["name"]: one for one in json.loads(text)["stages"]}


@contextmanager
def listener_goes(settings):
    """End the listener that was started meanwhile."""
    try:
        yield
    finally:
        forking.ran([*served.AGENTBUS, "listen", "--stop"], _WITHIN_S, env=dict(settings.environ))


async def with_streams(settings):
    """Make the streams, as the first call of a session does."""
    async with Bus.connect(settings) as bus:
        await streams.ensure_streams(bus)


@contextmanager
def shared_server(folder, cert=None, key=None, *, more=""):
    """Give the settings of a machine that uses a server for several.

    With a certificate it speaks TLS; `more` is what its configuration says of that besides.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    conf, token = folder / "agentbus.conf", folder / "token"
    text = server_conf.shared(
        f"127.0.0.1:{port}", str(folder / "store"), cert=cert and str(cert), key=key and str(key)
    )
    conf.write_text(text.replace("tls { ", f"tls {{ {more}"))
    token.write_text("of-the-bus\n")
    token.chmod(0o600)
    settings = load_settings(
        {
            "AGENTBUS_HOME": str(folder / "home"),
            "AGENTBUS_URL": f"{'tls' if cert else 'nats'}://127.0.0.1:{port}",
            "AGENTBUS_TOKEN_FILE": str(token),
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
        }
    )
    with running([str(embedded.binary(settings)), "-c", str(conf)]):
        yield settings


@contextmanager
def running(command):
    """Have a nats-server run that such a command starts; give its process."""
    process = subprocess.Popen(
        command,
        env={**os.environ, server_conf.TOKEN_VARIABLE: "of-the-bus"},
        stderr=subprocess.PIPE,
    )
    for line in process.stderr:
        if b"Server is ready" in line:
            break
    drained = threading.Thread(target=process.stderr.read)
    drained.start()
    try:
        yield process
    finally:
        process.terminate()
        drained.join()
        process.wait(20)
        process.stderr.close()
