# SPDX-License-Identifier: Apache-2.0
"""The rows of whole processes: how long a session's server takes to come up, and a command to end.

>>> [row.what for row in await rows(Size(), with_peers=False)][0]
'session start, alone: spawn -> tools/list'
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import peers
from homes import environ, listener, memory, server, serving
from mcp_agentbus.installers import assets
from measure import Bar, Row, Side, Size, interleaved, missing, row
from rows_bus import session_of
from rows_calls import FLOOR_SERVER, PEER, swarmbus

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings

_BARE = [sys.executable, "-I", "-c", "pass"]
_HOOK = "hook at a prompt, whole process"
_SENDS = "CLI `agentbus send`, whole process"
_STARTS = "session start, relayed: spawn -> tools/list"
_MEMORY = "session, relayed: memory after tools/list (RSS)"
_PEER = "`task publish` of agentbus 0.1.12"
_PEER_BAR = Bar(0.5)
_HCOM = "`send` of hcom 0.7.31, a program in Rust"
_SENDS_BAR = Bar(1.6)
#: A command and its environment.
_Start = tuple[Sequence[str], Mapping[str, str]]


async def rows(size: Size, *, with_peers: bool) -> list[Row]:
    """Measure all of them."""
    with embedded.ephemeral() as settings:
        found = await _alone_rows(size, settings)
        with listener(settings):
            async with session_of(settings, "coder"):
                pass
            found += await _relayed_rows(size, settings, with_peers=with_peers)
            found.append(await _hook_row(size, settings))
            found.append(await _send_row(size, settings))
            found.append(await _peer_row(size, settings, with_peers=with_peers))
            found.append(await _hcom_row(size, settings, with_peers=with_peers))
    return found


def _side(figure: Callable[[], float]) -> Side:
    async def side() -> float:
        return figure()

    return side


async def _alone_rows(size: Size, settings: Settings) -> list[Row]:
    """Measure a session that does its work itself, against the least that a server can be."""
    env = environ(settings)
    floor = ([sys.executable, str(FLOOR_SERVER)], env)
    seconds, mebibytes = await _starts(size, (serving("planner"), env), floor)
    floor_is = "no-op server, same SDK"
    return [
        row(
            "session start, alone: spawn -> tools/list",
            *seconds,
            unit="ms",
            floor_is=floor_is,
            bar=Bar(1.1),
        ),
        row(
            "session, alone: memory after tools/list (RSS)",
            *mebibytes,
            unit="MiB",
            floor_is=floor_is,
            note="before its first call of a tool",
        ),
    ]


async def _relayed_rows(size: Size, settings: Settings, *, with_peers: bool) -> list[Row]:
    bars = {_STARTS: Bar(0.25), _MEMORY: Bar(0.4)}
    if not with_peers:
        return [missing(what, PEER, bar, "run with --peers") for what, bar in bars.items()]
    ours = (serving("planner"), environ(settings))
    # The listener loads the SDK with its first session.
    first = _start(*ours)[0]
    try:
        with ExitStack() as stack:
            peer = stack.enter_context(swarmbus())("planner")
            argv = [peer.command, *peer.args]
            seconds, mebibytes = await _starts(size, ours, (argv, environ(settings)))
    except peers.Missing as error:
        return [missing(what, PEER, bar, str(error)) for what, bar in bars.items()]
    note = f"the first one after the listener's start: {first * 1000:.0f} ms"
    return [
        row(_STARTS, *seconds, unit="ms", floor_is=PEER, bar=bars[_STARTS], note=note),
        row(_MEMORY, *mebibytes, unit="MiB", floor_is=PEER, bar=bars[_MEMORY]),
    ]


async def _starts(
    size: Size, ours: _Start, theirs: _Start
) -> tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]]:
    """Return the seconds of both sides' starts, and their MiB."""
    needed: tuple[list[float], list[float]] = ([], [])

    def start(side: int) -> float:
        seconds, mebibytes = _start(*(ours, theirs)[side])
        needed[side].append(mebibytes)
        return seconds

    seconds = await interleaved(
        size.rounds, _side(lambda: start(0)), _side(lambda: start(1)), warm_up=1
    )
    return seconds, needed


def _start(argv: Sequence[str], env: Mapping[str, str]) -> tuple[float, float]:
    """Return how long a server takes to list its tools, and its memory then in MiB."""
    began = time.perf_counter()
    with server(argv, env) as one:
        one.greet()
        return time.perf_counter() - began, memory(one.pid)


def _whole(command: list[str], env: dict[str, str], said: bytes = b"") -> float:
    """Return how long a process takes from its start to its end."""
    began = time.perf_counter()
    done = subprocess.run(command, env=env, input=said, capture_output=True, check=False)
    took = time.perf_counter() - began
    assert done.returncode == 0, done.stderr.decode()
    return took


def _send_command(size: Size) -> list[str]:
    script = Path(sys.executable).with_name("agentbus")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "mcp_agentbus"]
    return [*program, "send", "--agent", "planner", "coder", "Count the tests", size.body]


async def _send_row(size: Size, settings: Settings) -> Row:
    env = environ(settings)
    command = _send_command(size)
    figures = await interleaved(
        2 * size.rounds,
        _side(lambda: _whole(command, env)),
        _side(lambda: _whole(_BARE, env)),
        warm_up=1,
    )
    return row(_SENDS, *figures, unit="ms", floor_is="python -I -c pass", bar=_SENDS_BAR)


async def _hook_row(size: Size, settings: Settings) -> Row:
    """Measure what a prompt costs more: a question to the listener, about an agent without mail."""
    env = {**environ(settings), "AGENTBUS_AGENT": "planner"}
    hook = [sys.executable, "-I", "-S", str(assets.plugin_folder() / "hooks/agentbus_hook.py")]
    command = [*hook, "claude-code", "UserPromptSubmit"]
    figures = await interleaved(
        2 * size.rounds,
        _side(lambda: _whole(command, env, b'{"session_id": "bench"}')),
        _side(lambda: _whole(_BARE, env)),
        warm_up=1,
    )
    return row(_HOOK, *figures, unit="ms", floor_is="python -I -c pass", bar=Bar(3.0))


async def _peer_row(size: Size, settings: Settings, *, with_peers: bool) -> Row:
    if not with_peers:
        return missing(_SENDS, _PEER, _PEER_BAR, "run with --peers")
    try:
        program = peers.peer(*peers.AGENTBUS)
    except peers.Missing as error:
        return missing(_SENDS, _PEER, _PEER_BAR, str(error))
    async with Bus.connect(settings) as bus:  # where its own set-up would have made one
        await bus.api("STREAM.CREATE.PEER", {"name": "PEER", "subjects": ["agentbus.*.tasks"]})
    url = embedded.ensure(settings).url.replace("//", f"//{embedded.read_token(settings)}@")
    command = [str(program), "task", "publish", "--server-url", url]
    command += ["--from", "planner", "--to", "coder", size.body]
    figures = await _beside(size, settings, command, environ(settings))
    return row(_SENDS, *figures, unit="ms", floor_is=_PEER, bar=_PEER_BAR)


async def _hcom_row(size: Size, settings: Settings, *, with_peers: bool) -> Row:
    """Measure it beside a program that is no Python: it stores in a file, and needs no server."""
    if not with_peers:
        return missing(_SENDS, _HCOM, None, "run with --peers")
    try:
        program = str(peers.peer(*peers.HCOM))
    except peers.Missing as error:
        return missing(_SENDS, _HCOM, None, str(error))
    with _hcom_agent(program) as (name, env):
        command = [program, "send", f"@{name}", "--from", "planner", "--quiet", "--", size.body]
        figures = await _beside(size, settings, command, env)
    return row(_SENDS, *figures, unit="ms", floor_is=_HCOM)


@contextmanager
def _hcom_agent(program: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Have it know an agent; give the agent's name, and the environment that leads to it."""
    with tempfile.TemporaryDirectory(prefix="agentbus-hcom-") as home:
        env = {"HOME": home, "HCOM_DIR": f"{home}/.hcom", "PATH": os.defpath}
        begun = subprocess.run([program, "start"], env=env, capture_output=True, check=True)
        yield begun.stdout.decode().partition("[hcom:")[2].partition("]")[0], env


async def _beside(
    size: Size, settings: Settings, command: list[str], env: dict[str, str]
) -> tuple[list[float], list[float]]:
    """Return the seconds of our command that sends, and of another's."""
    return await interleaved(
        2 * size.rounds,
        _side(lambda: _whole(_send_command(size), environ(settings))),
        _side(lambda: _whole(command, env)),
        warm_up=1,
    )
