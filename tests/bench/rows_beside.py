# SPDX-License-Identifier: Apache-2.0
"""The rows of another installation: what hosts and shells start often, ours beside an earlier one.

    $ python tests/bench/bench.py --beside /tmp/last-release/bin/python

Each side has a server and a listener of its own version, started by its own Python, since a
listener does nothing for a process of another version. Both are idle but for what is measured.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homes import environ, listener, memory, server
from measure import Bar, Row, Size, interleaved, row

from mcp_agentbus.bus import embedded

#: Noise of two runs of the same thing on a shared machine; no more than that may be lost.
_BAR = Bar(1.05)
_PROMPT = b'{"session_id": "bench"}'
_JOINS_WITHIN_S = 30


@dataclass(frozen=True)
class _Installation:
    """One of the two: its Python, the environment of its bus, its listener's log."""

    python: str
    env: Mapping[str, str]
    log: Path

    def command(self, *words: str) -> list[str]:
        # Not from this folder, where there may be one of the two.
        return [self.python, "-P", "-m", "mcp_agentbus", *words]


async def rows(size: Size, ours: str, other: str) -> list[Row]:
    """Measure all of them for the installations of two Pythons."""
    with ExitStack() as stack:
        both = [_installed(stack, python) for python in (ours, other)]
        for installation in both:
            # An agent is known from its first call on; the listener loads what it needs for
            # commands and sessions with the first of each.
            _whole(installation.command("inbox"), installation.env)
            _listed(installation)
        return [
            await _compared(size, both, what, unit, measure)
            for what, unit, measure in (
                ("session start, relayed: spawn -> tools/list", "ms", _listed),
                ("session, relayed: memory after tools/list (RSS)", "MiB", _weighed),
                ("hook at a prompt, whole process", "ms", _hooked),
                ("CLI `agentbus send`, whole process", "ms", _sent),
                ("CLI `agentbus send --help`, whole process", "ms", _helped),
                ("CLI `agentbus listen --status`, whole process", "ms", _asked),
                ("`agentbus watch --notices`: CPU until it has joined", "ms", _joined),
            )
        ]


def _installed(stack: ExitStack, python: str) -> _Installation:
    settings = stack.enter_context(embedded.ephemeral())
    log = settings.data_dir.parent / "listener.log"
    stack.enter_context(listener(settings, python, log))
    return _Installation(python, {**environ(settings), "AGENTBUS_AGENT": "planner"}, log)


async def _compared(
    size: Size,
    both: list[_Installation],
    what: str,
    unit: str,
    measure: Callable[[_Installation], float],
) -> Row:
    def side(installation: _Installation) -> Callable[[], Awaitable[float]]:
        async def figure() -> float:
            return measure(installation)

        return figure

    figures = await interleaved(2 * size.rounds, *map(side, both), warm_up=1)
    return row(what, *figures, unit=unit, floor_is="the other installation", bar=_BAR)


def _listed(installation: _Installation) -> float:
    began = time.perf_counter()
    with server(installation.command("serve", "--agent", "planner"), installation.env) as session:
        session.greet()
        return time.perf_counter() - began


def _weighed(installation: _Installation) -> float:
    with server(installation.command("serve", "--agent", "planner"), installation.env) as session:
        session.greet()
        return memory(session.pid)


def _hooked(installation: _Installation) -> float:
    command = installation.command("hook", "claude-code", "UserPromptSubmit")
    return _whole(command, installation.env, _PROMPT)


def _sent(installation: _Installation) -> float:
    command = installation.command("send", "planner", "Hello", "x")
    return _whole(command, installation.env)


def _helped(installation: _Installation) -> float:
    return _whole(installation.command("send", "--help"), installation.env)


def _asked(installation: _Installation) -> float:
    return _whole(installation.command("listen", "--status"), installation.env)


def _joined(installation: _Installation) -> float:
    """Return the CPU seconds that a monitor has needed when its listener knows it."""
    joined = installation.log.read_bytes().count(b'"joined"')
    command = installation.command("watch", "--notices")
    process = subprocess.Popen(command, env=dict(installation.env))
    give_up = time.monotonic() + _JOINS_WITHIN_S
    while installation.log.read_bytes().count(b'"joined"') == joined:
        assert process.poll() is None, "the monitor ended"
        assert time.monotonic() < give_up, "the monitor does not join"
        time.sleep(0.05)
    process.terminate()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0  # it was reaped here, for its figures
    return used.ru_utime + used.ru_stime


def _whole(command: list[str], env: Mapping[str, Any], said: bytes = b"") -> float:
    began = time.perf_counter()
    done = subprocess.run(command, env=dict(env), input=said, capture_output=True, check=False)
    took = time.perf_counter() - began
    assert done.returncode == 0, done.stderr.decode()
    return took
