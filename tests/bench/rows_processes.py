# SPDX-License-Identifier: Apache-2.0
"""The rows of whole processes: how long a session's server takes to come up, and a command to end.

>>> [row.what for row in await rows(Size(), with_peers=False)][0]
'session server: spawn -> tools/list'
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import peers
from measure import Bar, Row, Side, Size, interleaved, missing, row
from rows_bus import session_of
from rows_calls import FLOOR_SERVER

from mcp_agentbus import embedded
from mcp_agentbus.bus import Bus
from mcp_agentbus.config import Settings

_BARE = [sys.executable, "-I", "-c", "pass"]
_SENDS = "CLI `agentbus send`, whole process"
_PEER = "`task publish` of agentbus 0.1.12"
_PEER_BAR = Bar(0.5)
_HELLO = (
    {
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "0"},
        },
    },
    {"method": "notifications/initialized"},
    {"id": 2, "method": "tools/list"},
)


async def rows(size: Size, *, with_peers: bool) -> list[Row]:
    """Measure all of them."""
    with embedded.ephemeral() as settings:
        async with session_of(settings, "coder"):
            pass
        return [
            *await _start_rows(size, settings),
            await _send_row(size, settings),
            await _peer_row(size, settings, with_peers=with_peers),
        ]


def _environ(settings: Settings) -> dict[str, str]:
    return {
        **settings.environ,
        "AGENTBUS_HOME": str(settings.data_dir.parent),
        "AGENTBUS_LISTENER": "off",
    }


def _side(figure: Callable[[], float]) -> Side:
    async def side() -> float:
        return figure()

    return side


async def _start_rows(size: Size, settings: Settings) -> list[Row]:
    ours = [sys.executable, "-m", "mcp_agentbus", "serve", "--agent", "planner"]
    floor = [sys.executable, str(FLOOR_SERVER)]
    memory: dict[str, list[float]] = {"ours": [], "floor": []}

    def start(command: list[str], which: str) -> float:
        seconds, kib = _start(command, _environ(settings))
        memory[which].append(kib / 1024)
        return seconds

    figures = await interleaved(
        size.rounds,
        _side(lambda: start(ours, "ours")),
        _side(lambda: start(floor, "floor")),
        warm_up=1,
    )
    floor_is = "no-op server, same SDK"
    return [
        row(
            "session server: spawn -> tools/list",
            *figures,
            unit="ms",
            floor_is=floor_is,
            bar=Bar(1.1),
        ),
        row(
            "session server: memory after tools/list (RSS)",
            memory["ours"],
            memory["floor"],
            unit="MiB",
            floor_is=floor_is,
            note=f"before its first call of a tool; {_after_a_call(ours, settings)}",
        ),
    ]


def _start(command: list[str], environ: dict[str, str]) -> tuple[float, float]:
    """Return how long a server takes to list its tools, and its memory then in KiB."""
    began = time.perf_counter()
    with _serving(command, environ) as process:
        _exchange(process, *_HELLO)
        took = time.perf_counter() - began
        memory = _memory(process.pid)
        process.stdin.close()
        process.wait(10)
    return took, memory


def _after_a_call(command: list[str], settings: Settings) -> str:
    """Return what ours needs once it has connected to the bus."""
    call = {"name": "list_agents", "arguments": {}}
    with _serving(command, _environ(settings)) as process:
        _exchange(process, *_HELLO)
        _exchange(process, {"id": 3, "method": "tools/call", "params": call})
        memory = _memory(process.pid) / 1024
        process.stdin.close()
        process.wait(10)
    return f"after it {memory:.1f} MiB"


def _serving(command: list[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
    )


def _exchange(process: subprocess.Popen[bytes], *messages: dict[str, object]) -> None:
    """Send each message and wait for its answer, if it is to have one."""
    for message in messages:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
        while "id" in message:
            line = process.stdout.readline()
            assert line, "the server ended"
            answer = json.loads(line)
            if answer.get("id") == message["id"]:
                assert "result" in answer, answer
                break


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        return float(status.read_text().partition("VmRSS:")[2].split()[0])
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True)
    return float(shown.stdout)


def _whole(command: list[str], environ: dict[str, str]) -> float:
    """Return how long a process takes from its start to its end."""
    began = time.perf_counter()
    done = subprocess.run(command, env=environ, capture_output=True, check=False)
    took = time.perf_counter() - began
    assert done.returncode == 0, done.stderr.decode()
    return took


def _send_command(size: Size) -> list[str]:
    script = Path(sys.executable).with_name("agentbus")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "mcp_agentbus"]
    return [*program, "send", "--agent", "planner", "coder", "Count the tests", size.body]


async def _send_row(size: Size, settings: Settings) -> Row:
    environ = _environ(settings)
    command = _send_command(size)
    figures = await interleaved(
        2 * size.rounds,
        _side(lambda: _whole(command, environ)),
        _side(lambda: _whole(_BARE, environ)),
        warm_up=1,
    )
    return row(_SENDS, *figures, unit="ms", floor_is="python -I -c pass")


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
    environ = _environ(settings)
    command = [str(program), "task", "publish", "--server-url", url]
    command += ["--from", "planner", "--to", "coder", size.body]
    figures = await interleaved(
        2 * size.rounds,
        _side(lambda: _whole(_send_command(size), environ)),
        _side(lambda: _whole(command, environ)),
        warm_up=1,
    )
    return row(_SENDS, *figures, unit="ms", floor_is=_PEER, bar=_PEER_BAR)
