# SPDX-License-Identifier: Apache-2.0
"""The rows of the listener: how soon an urgent task has started its agent, and what idling costs.

    >>> [row.what for row in await rows(Size(), with_peers=False)][0]
    'send (high) -> wake command has started'

What is started is the same on all sides: `cat` on a named pipe. That it is there is known when it
opens the pipe, its first act; it stays until the bench closes the other end.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import peers
from filling import raw_client
from measure import Bar, Row, Side, Size, interleaved, missing, row
from rows_bus import session_of

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task

_WAKES = "send (high) -> wake command has started"
_PEER = "swarmbus 0.2.0"
_PEER_BAR = Bar(1.0)
# Its daemon without --inbox, so that it archives nothing before it starts the command, and a sender
# that keeps its connection open.
_PEER_NOTE = "its `start --invoke`, AgentBus.send on an open connection"
_IDLE_AGENTS = 20
_IDLE_LIMIT = 0.5  # percent of one core
# Until the round before has ended on all sides, and whoever waits is blocked.
_SETTLE_S = 0.06
# Until what an agent costs once, at its first look, is over.
_SETTLED_S = 1.0
_ANSWER_S = 30
_END_S = 12
# The least that wakes at all: a bare subscription, and a process.
_BARE_LISTENER = """
import asyncio, os, subprocess, sys
import nats

async def main(url, *argv):
    client = await nats.connect(url, token=os.environ["TOKEN"], allow_reconnect=False)
    messages = (await client.subscribe("bench.wake")).messages
    await client.flush()
    print("ready", flush=True)
    async for _ in messages:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        await asyncio.to_thread(process.wait)

asyncio.run(main(*sys.argv[1:]))
"""
# Runs in the peer's own venv; says when it began to send, by the clock of all processes.
_PEER_SENDER = """
import asyncio, sys, time
from swarmbus.bus import AgentBus

async def main(port, body):
    async with AgentBus("planner", "127.0.0.1", int(port)) as bus:
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            began = time.monotonic_ns()
            await bus.send("coder", "Wake up", body, priority="high")
            print(began, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def rows(size: Size, *, with_peers: bool) -> list[Row]:
    """Measure all of them, each on servers of its own."""
    return [
        await _wake_row(size),
        await _peer_row(size, with_peers=with_peers),
        *await _idle_rows(size),
    ]


class _Gate:
    """A named pipe: who opens its other end has started, and stays until this end is closed."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="agentbus-gate-")
        self._path = Path(self._folder.name, "gate")
        self._end = -1
        #: What is started on each side.
        self.argv = ["/bin/cat", str(self._path)]

    def __enter__(self) -> Self:
        os.mkfifo(self._path)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        # Nobody stays blocked in opening it after a round that failed: not our thread, not `cat`.
        os.close(os.open(self._path, os.O_RDWR | os.O_NONBLOCK))
        self._folder.cleanup()

    async def opened(self, send: Callable[[], Awaitable[int]]) -> float:
        """Send, and return the seconds from when `send` says it began to the command's start."""
        opening = asyncio.create_task(asyncio.to_thread(self._open))
        await asyncio.sleep(_SETTLE_S)
        began = await send()
        return (await asyncio.wait_for(asyncio.shield(opening), _ANSWER_S) - began) / 1e9

    def _open(self) -> int:
        end = os.open(self._path, os.O_WRONLY)
        at = time.monotonic_ns()
        self._end = end
        return at

    def close(self) -> None:
        """Let the command end."""
        if self._end >= 0:
            os.close(self._end)
            self._end = -1


class _Process:
    """Another process that says on one of its outputs what it has done."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def line(self) -> str:
        """Return its next line."""
        said = self._process.stdout or self._process.stderr
        line = await asyncio.wait_for(said.readline(), _ANSWER_S)
        assert line, "it ended"
        return line.decode().strip()

    async def logged(self, event: str) -> None:
        """Wait for a line of a listener's log."""
        said = "{}"
        while json.loads(said).get("event") != event:
            said = await self.line()
            assert said.startswith("{"), said  # it ends with a traceback

    def ask(self) -> None:
        """Give it a line."""
        self._process.stdin.write(b"\n")


@asynccontextmanager
async def _running(
    argv: Sequence[str], environ: Mapping[str, str], **outputs: Any
) -> AsyncIterator[_Process]:
    process = await asyncio.create_subprocess_exec(
        *argv, **{"stdin": asyncio.subprocess.PIPE, **outputs}, env=dict(environ)
    )
    try:
        yield _Process(process)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _END_S)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _listener(
    settings: Settings, agents: Sequence[str], command: Sequence[str]
) -> AsyncIterator[_Process]:
    """Run a listener that starts `command` for each of the agents, as often as may be."""
    # Messages are sent in a row here: what would hold them for an hour measures nothing.
    keys = {
        "host": "command",
        "wake": "work",
        "dir": str(settings.data_dir),
        "command": list(command),
        "per_sender_hour": 1_000,
        "per_hour": 1_000,
        "per_day": 10_000,
    }
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in keys.items()]
    text = "".join(line for agent in agents for line in (f"[agents.{agent}]\n", *lines))
    settings.config_file.write_text(text)
    settings.config_file.chmod(0o600)
    argv = [sys.executable, "-m", "mcp_agentbus", "listen"]
    environ = {**settings.environ, "AGENTBUS_HOME": str(settings.data_dir.parent)}
    async with _running(argv, environ, stderr=asyncio.subprocess.PIPE) as process:
        for _ in agents:
            await process.logged("ready")
        yield process


@asynccontextmanager
async def _bare_listener(settings: Settings, command: Sequence[str]) -> AsyncIterator[_Process]:
    argv = [sys.executable, "-I", "-c", _BARE_LISTENER, embedded.ensure(settings).url, *command]
    environ = {**os.environ, "TOKEN": embedded.read_token(settings)}
    async with _running(argv, environ, stdout=asyncio.subprocess.PIPE) as process:
        assert await process.line() == "ready"
        yield process


@asynccontextmanager
async def _ours(settings: Settings, size: Size) -> AsyncIterator[Side]:
    """Give what sends a task, waits for the command, and does the task."""
    async with AsyncExitStack() as stack:
        gate = stack.enter_context(_Gate())
        planner = await stack.enter_async_context(session_of(settings, "planner"))
        async with session_of(settings, "coder", reads=True):
            pass  # one that stays might join the new listener, which would wait 15 s for that
        listener = await stack.enter_async_context(_listener(settings, ["coder"], gate.argv))

        async def send() -> int:
            began = time.monotonic_ns()
            await send_task(planner, "coder", "Wake up", size.body, priority="high")
            return began

        async def wake() -> float:
            took = await gate.opened(send)
            # Read while the command runs: a wake that leads to no read holds the next one.
            async with session_of(settings, "coder") as coder:
                for item in (await read_inbox(coder)).tasks:
                    await publish_result(coder, item.task.id, "completed")
            gate.close()
            await listener.logged("read")
            return took

        yield wake


@asynccontextmanager
async def _bare(settings: Settings, size: Size) -> AsyncIterator[Side]:
    """Give what publishes a message and waits for the command."""
    async with AsyncExitStack() as stack:
        gate = stack.enter_context(_Gate())
        client = await stack.enter_async_context(raw_client(settings))
        await stack.enter_async_context(_bare_listener(settings, gate.argv))

        async def send() -> int:
            began = time.monotonic_ns()
            await client.publish("bench.wake", size.body.encode())
            await client.flush()
            return began

        async def wake() -> float:
            took = await gate.opened(send)
            gate.close()
            return took

        yield wake


async def _wake_row(size: Size) -> Row:
    with embedded.ephemeral() as settings:
        async with _ours(settings, size) as ours, _bare(settings, size) as floor:
            figures = await interleaved(size.waits, ours, floor)
    return row(
        _WAKES, *figures, unit="ms", floor_is="core publish -> nats-py subscriber -> Popen there"
    )


async def _peer_row(size: Size, *, with_peers: bool) -> Row:
    if not with_peers:
        return missing(_WAKES, _PEER, _PEER_BAR, "run with --peers")
    try:
        async with AsyncExitStack() as stack:
            peer = await stack.enter_async_context(_swarmbus(size))
            settings = stack.enter_context(embedded.ephemeral())
            ours = await stack.enter_async_context(_ours(settings, size))
            figures = await interleaved(size.waits, ours, peer)
    except peers.Missing as error:
        return missing(_WAKES, _PEER, _PEER_BAR, str(error))
    return row(_WAKES, *figures, unit="ms", floor_is=f"{_PEER}: {_PEER_NOTE}", bar=_PEER_BAR)


@asynccontextmanager
async def _swarmbus(size: Size) -> AsyncIterator[Side]:
    """Give what sends a message and waits for the command that its daemon starts."""
    program = peers.peer(*peers.SWARMBUS)
    async with AsyncExitStack() as stack:
        port = str(stack.enter_context(peers.mosquitto()))
        gate = stack.enter_context(_Gate())
        daemon = [str(program), "start", "--agent-id", "coder", "--broker", "127.0.0.1"]
        daemon += ["--port", port, "--invoke", shlex.join(gate.argv)]
        quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
        await stack.enter_async_context(_running(daemon, os.environ, **quiet))
        argv = [str(program.with_name("python")), "-I", "-c", _PEER_SENDER, port, size.body]
        said = {"stdout": asyncio.subprocess.PIPE}
        sender = await stack.enter_async_context(_running(argv, os.environ, **said))
        assert await sender.line() == "ready"
        await _await_presence(program, port)

        async def send() -> int:
            sender.ask()
            return int(await sender.line())

        async def wake() -> float:
            took = await gate.opened(send)
            gate.close()
            return took

        yield wake


async def _await_presence(program: Path, port: str) -> None:
    """Wait until the daemon is there: what is sent before is lost."""
    argv = [str(program), "list", "--json", "--broker", "127.0.0.1", "--port", port]
    give_up = time.monotonic() + _ANSWER_S
    while time.monotonic() < give_up:
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, check=False)
        if b"coder" in done.stdout:
            # It says so just before it subscribes.
            await asyncio.sleep(_SETTLED_S)
            return
    raise peers.Missing("the daemon of swarmbus does not start")


async def _idle_rows(size: Size) -> list[Row]:
    agents = [f"agent-{number}" for number in range(_IDLE_AGENTS)]
    command = ["/bin/cat"]
    with embedded.ephemeral() as settings:
        async with (
            _listener(settings, agents, command) as ours,
            _bare_listener(settings, command) as floor,
        ):
            await asyncio.sleep(_SETTLED_S)
            pids = (ours.pid, floor.pid)
            before = [_cpu_s(pid) for pid in pids]
            began = time.monotonic()
            await asyncio.sleep(size.idle_s)
            took = time.monotonic() - began
            cpu = [100 * (_cpu_s(pid) - was) / took for pid, was in zip(pids, before, strict=True)]
            memory = [_memory(pid) for pid in pids]
    what, floor_is = f"idle listener with {_IDLE_AGENTS} agents", "idle nats-py client"
    return [
        Row(
            what=f"{what}: CPU",
            floor_is=floor_is,
            unit="%",
            ours=cpu[0],
            floor=cpu[1],
            bar=f"< {_IDLE_LIMIT} %",
            met=cpu[0] < _IDLE_LIMIT,
            note=f"of one core, in {took:.0f} s",
        ),
        row(
            f"{what}: memory (RSS)",
            memory[:1],
            memory[1:],
            unit="MiB",
            floor_is=floor_is,
            note="at the end of it",
        ),
    ]


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process so far, its own and the system's for it."""
    if sys.platform == "linux":
        # What clock_getcpuclockid(3) returns; /proc/PID/stat counts in steps of 10 ms, which is
        # more than an idle process may need.
        return time.clock_gettime((~pid << 3) | 2)
    minutes, _, seconds = _ps("time", pid).rpartition(":")
    return 60 * float(minutes) + float(seconds)


def _memory(pid: int) -> float:
    return float(_ps("rss", pid)) / 1024


def _ps(column: str, pid: int) -> str:
    argv = ["ps", "-o", f"{column}=", "-p", str(pid)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
