# SPDX-License-Identifier: Apache-2.0
"""The rows of wakes: how soon an urgent task has started its agent.

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

import forking
import peers
from filling import raw_client
from measure import Bar, Row, Side, Size, interleaved, missing, row
from rows_bus import make_raw_stream, publish_raw, session_of
from slow_disk import CannotSlow, noted

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task

_WAKES = "send (high) -> wake command has started"
_SYNCS = "wake's ledger: syncs per wake"
_ONE_SYNC = "that it is noted before it begins"
_SYNC_BAR = Bar(1)
_PEER = "swarmbus 0.2.0"
_PEER_BAR = Bar(2.6)
_LEAST_BAR = Bar(1.5)
# Its daemon without --inbox, so that it archives nothing before it starts the command, and a sender
# that keeps its connection open.
_PEER_NOTE = "its `start --invoke`, AgentBus.send on an open connection"
# Until the round before has ended on all sides, and whoever waits is blocked.
_SETTLE_S = 0.06
# Until what an agent costs once, at its first look, is over.
SETTLED_S = 1.0
_ANSWER_S = 30
_END_S = 12
# The least that wakes at all: a bare subscription, and a process; and what it is noted in before,
# if that has a name.
_BARE_LISTENER = """
import asyncio, os, sqlite3, subprocess, sys
import nats

async def main(url, subject, ledger, *argv):
    client = await nats.connect(url, token=os.environ["TOKEN"], allow_reconnect=False)
    messages = (await client.subscribe(subject)).messages
    await client.flush()
    file = sqlite3.connect(ledger or ":memory:", isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    file.execute("CREATE TABLE wakes (agent TEXT, at TEXT)")
    print("ready", flush=True)
    async for _ in messages:
        if ledger:
            file.execute("INSERT INTO wakes VALUES ('coder', datetime())")
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
        await _least_row(size),
        await _peer_row(size, with_peers=with_peers),
        await _sync_row(size),
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

    def __init__(self, process: forking.Awaited) -> None:
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
    process = await forking.Awaited.started(
        argv, **{"stdin": asyncio.subprocess.PIPE, **outputs}, env=dict(environ)
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
        process.stdin.close()


@asynccontextmanager
async def listener(
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
async def bare_listener(
    settings: Settings, command: Sequence[str], subject: str = "bench.wake", ledger: str = ""
) -> AsyncIterator[_Process]:
    url = embedded.ensure(settings).url
    argv = [sys.executable, "-I", "-c", _BARE_LISTENER, url, subject, ledger, *command]
    environ = {**os.environ, "TOKEN": embedded.read_token(settings)}
    async with _running(argv, environ, stdout=asyncio.subprocess.PIPE) as process:
        assert await process.line() == "ready"
        yield process


@asynccontextmanager
async def _ours(
    settings: Settings, size: Size, begun: Callable[[int], None] = lambda _: None
) -> AsyncIterator[Side]:
    """Give what sends a task, waits for the command, and does the task.

    Its listener's pid is told as that has `begun`.
    """
    async with AsyncExitStack() as stack:
        gate = stack.enter_context(_Gate())
        planner = await stack.enter_async_context(session_of(settings, "planner"))
        async with session_of(settings, "coder", reads=True):
            pass  # one that stays might join the new listener, which would wait 15 s for that
        process = await stack.enter_async_context(listener(settings, ["coder"], gate.argv))
        begun(process.pid)

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
            await process.logged("read")
            return took

        yield wake


@asynccontextmanager
async def _bare(settings: Settings, size: Size) -> AsyncIterator[Side]:
    """Give what publishes a message and waits for the command."""
    async with AsyncExitStack() as stack:
        gate = stack.enter_context(_Gate())
        client = await stack.enter_async_context(raw_client(settings))
        await stack.enter_async_context(bare_listener(settings, gate.argv))

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


@asynccontextmanager
async def _least(settings: Settings, size: Size) -> AsyncIterator[Side]:
    """Give what stores a message, has that noted on the disk, and waits for the command."""
    async with AsyncExitStack() as stack:
        gate = stack.enter_context(_Gate())
        bus = await stack.enter_async_context(Bus.connect(settings))
        await make_raw_stream(bus)
        stream = (await stack.enter_async_context(raw_client(settings))).jetstream()
        ledger = str(settings.data_dir / "bench.sqlite3")
        bare = bare_listener(settings, gate.argv, "bench.out.>", ledger)
        await stack.enter_async_context(bare)

        async def send() -> int:
            began = time.monotonic_ns()
            await publish_raw(stream, size.body)
            return began

        async def wake() -> float:
            took = await gate.opened(send)
            gate.close()
            return took

        yield wake


async def _least_row(size: Size) -> Row:
    with embedded.ephemeral() as settings:
        async with _ours(settings, size) as ours, _least(settings, size) as floor:
            figures = await interleaved(size.waits, ours, floor)
    floor_is = "js.publish -> nats-py subscriber -> one synced row of SQLite -> Popen there"
    return row(_WAKES, *figures, unit="ms", floor_is=floor_is, bar=_LEAST_BAR)


async def _sync_row(size: Size) -> Row:
    """Return how often the ledger waits for the disk: each time the process starts the later."""
    pids = list[int]()
    with embedded.ephemeral() as settings:
        async with _ours(settings, size, pids.append) as wake:
            await wake()  # the first one makes the file
            try:
                with noted(*pids) as syncs:
                    for _ in range(size.waits):
                        await wake()
            except CannotSlow as error:
                return missing(_SYNCS, _ONE_SYNC, _SYNC_BAR, str(error))
    of_ledger = sum(settings.ledger_file.name in line for line in syncs)
    return row(_SYNCS, [of_ledger / size.waits], [1.0], unit="", floor_is=_ONE_SYNC, bar=_SYNC_BAR)


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
            await asyncio.sleep(SETTLED_S)
            return
    raise peers.Missing("the daemon of swarmbus does not start")
