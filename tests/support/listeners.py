# SPDX-License-Identifier: Apache-2.0
"""`agentbus listen` in tests: a process whose log says when it has done what.

    async with listening(settings, coder={"command": [...]}) as listener:
        await listener.logged("read")

Agents are of the host `command` unless told otherwise, and their process is a recorder: it notes
what it was started with, and then does what its mode says.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import forking
import served
from local_server import until

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.relay import local_socket
from mcp_agentbus.store import roster, streams

_RECORDER = Path(__file__).with_name("recorder.py")
# `agentbus listen`, which sees at once what was read, and not only when it looks again, in 5 s.
ATTENTIVE = [*served.changed("listener.desk._READ_AGAIN_S = 0.2"), "listen"]
_HANG_S = 60  # only a hang takes as long
_LOOK_AGAIN_S = 0.02


def recorder(notes, mode="read"):
    """Return the argv of a process that notes how it was started."""
    return [sys.executable, "-S", str(_RECORDER), str(notes), mode, served.PACKAGE]


def starts(notes):
    """Return what the recorders of that folder have noted, oldest first."""
    return [json.loads(one.read_text()) for one in sorted(Path(notes).glob("*.json"))]


async def known(session, *agents):
    """Have agents registered, as their listener would."""
    await streams.ensure_streams(session.bus)
    for agent in agents:
        await roster.register(session.bus, Agent(agent), None)


async def on_roster(session, agent):
    """Wait until the roster has an agent, whose sign of life nobody acknowledges; its entry."""
    async with asyncio.timeout(_HANG_S):
        while not (entry := await roster.look(session.bus, agent)):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN_S)
        return entry


async def in_state(state, session, agent):
    """Wait until the roster says of an agent that it is in a state."""
    async with asyncio.timeout(_HANG_S):
        while (await on_roster(session, agent)).state != state:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN_S)


async def off_roster(session, agent):
    """Wait until the roster knows nothing of an agent any more."""
    async with asyncio.timeout(_HANG_S):
        while await roster.look(session.bus, agent):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN_S)


async def send(session, to, **options):
    """Send an urgent task, unless the options say otherwise; return its receipt."""
    options = {"priority": "high", **options}
    [receipt] = await send_task(session, to, "Count", "the tests", **options)
    return receipt


async def steps(session, task_id):
    """Return the steps of a task's life and their reasons."""
    return [(one.state, one.reason) for one in (await task_life(session, task_id)).history]


def configure(settings, folder, **agents):
    """Write the agents into the configuration of a home; each starts in `folder`."""
    lines = []
    for agent, keys in agents.items():
        given = {"host": "command", "wake": "work", "dir": str(folder), **keys}
        lines.append(f"[agents.{agent}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in given.items()]
    settings.config_file.write_text("\n".join(lines) + "\n")
    settings.config_file.chmod(0o600)


class Logged:
    """A process that writes its steps to standard error, a line of JSON each."""

    def __init__(self, process):
        self.process = process
        self.log = []

    async def logged(self, event, **fields):
        """Wait for a line of its log; return it."""
        async with asyncio.timeout(_HANG_S):
            while True:
                line = await self.process.stderr.readline()
                assert line.startswith(b"{"), f"it ended: {line}; its log: {self.log}"
                self.log.append(json.loads(line))
                last = self.log[-1]
                if last["event"] == event and fields.items() <= last.items():
                    return last


class Listening(Logged):
    """A listener's process."""

    async def end(self, how=signal.SIGTERM):
        """End it; return its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        async with asyncio.timeout(_HANG_S):
            self.log += [json.loads(one) for one in (await self.process.stderr.read()).splitlines()]
            return await self.process.wait()


@contextlib.asynccontextmanager
async def listening(settings, *, script=None, **environ):
    """Start a listener on the home of `settings` and wait until it listens."""
    argv = [sys.executable, *(script or ["-m", "mcp_agentbus", "listen"])]
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(settings.data_dir.parent),
        "AGENTBUS_HOME": str(settings.data_dir.parent),
        "PYTHONPATH": served.PACKAGE,
        **environ,
    }
    async with running(argv, environ) as listener:
        yield listener


@contextlib.asynccontextmanager
async def running(argv, environ, folder=None):
    """Start a listener by this command, with this environment alone; wait until it listens."""
    process = await forking.Awaited.started(
        argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environ, cwd=folder
    )
    listener = Listening(process)
    try:
        await listener.logged("listening")
        yield listener
    finally:
        if process.returncode is None:
            await listener.end()


@contextlib.asynccontextmanager
async def one_woken(settings, session, notes, agent):
    """Listen, and have a task start an agent that waits; yield the listener and its line on that.

    The agent's process reads once a line is written into `go`, a pipe in `notes`.
    """
    os.mkfifo(notes / "go")
    configure(settings, notes, **{agent: {"command": recorder(notes, "wait")}})
    await known(session, agent)
    async with listening(settings) as listener:
        await send(session, agent)
        yield listener, await listener.logged("known", agent=agent)


def commands(settings):
    """Return how many commands the listener carries out now."""
    return local_socket.ask(settings, {"op": "status"})["commands"]


def busy(settings):
    """Wait until the listener carries out a command."""
    until(lambda: commands(settings), "it carries out a command")


@contextlib.contextmanager
def false_listener(settings, answer):
    """Listen on the local socket and say that to whoever asks; nothing if it is empty."""
    path = Path(local_socket.socket_path(settings))
    path.parent.mkdir(mode=0o700, exist_ok=True)
    kept = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            kept.append(connection)
            connection.recv(1 << 16)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()
    path.unlink()
