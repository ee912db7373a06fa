# SPDX-License-Identifier: Apache-2.0
"""A listener on a private home, and sessions there that speak MCP line by line.

    with embedded.ephemeral() as settings, listener(settings) as pid:
        with session(settings, "coder") as coder:
            coder.call("list_agents")       # the seconds that it took

The client is as light as can be, so that what is measured is the server's. Nothing here ever starts
a listener by itself: where none was asked for, sessions and commands do their work alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "support"))

import forking  # it lies there

from mcp_agentbus.config.settings import Settings

_START_S = 60
_END_S = 12
_LOOK_AGAIN_S = 0.002
_HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "0"},
}


def environ(settings: Settings) -> dict[str, str]:
    """Return the environment of whatever lives in that home."""
    return {
        **settings.environ,
        "AGENTBUS_HOME": str(settings.data_dir.parent),
        "AGENTBUS_LISTENER": "off",
    }


# What a session may send in a minute is sent here in seconds.
_UNLIMITED = (
    "import sys; from mcp_agentbus.handoff.dispatch import rate; rate.SENT_A_MINUTE = 10**9; "
    "from mcp_agentbus import __main__ as agentbus; sys.exit(agentbus.main())"
)


@contextmanager
def listener(
    settings: Settings, python: str = sys.executable, log_file: Path | None = None
) -> Iterator[int]:
    """Run a listener until the end of the block; give its process id once it listens."""
    with log_file.open("wb+") if log_file else tempfile.NamedTemporaryFile() as log:
        written = Path(log.name).read_bytes
        # Another installation is of another version, and sends less.
        ours = ("-c", _UNLIMITED) if python == sys.executable else ("-m", "mcp_agentbus")
        argv = [python, "-P", *ours, "listen"]
        process = forking.start(argv, env=environ(settings), stderr=log)
        try:
            give_up = time.monotonic() + _START_S
            while b'"listening"' not in written():
                assert process.poll() is None, written().decode()
                assert time.monotonic() < give_up, "the listener does not come up"
                time.sleep(_LOOK_AGAIN_S)
            yield process.pid
        finally:
            _end(process)


class Server:
    """A session's server and the client's end of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._number = 0
        self.pid = process.pid

    def greet(self) -> None:
        """Do what a host does at first: the handshake, and list the tools."""
        self.ask("initialize", _HELLO)
        self._say({"method": "notifications/initialized"})
        self.ask("tools/list", {})

    def call(self, tool: str, **arguments: Any) -> float:
        """Call a tool; return the seconds until its answer."""
        began = time.perf_counter()
        result = self.ask("tools/call", {"name": tool, "arguments": arguments})
        took = time.perf_counter() - began
        assert not result.get("isError"), result
        return took

    def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return its result."""
        return self.answer(self.request(method, params))

    def request(self, method: str, params: Mapping[str, Any]) -> int:
        """Send a request; return its number."""
        self._number += 1
        self._say({"id": self._number, "method": method, "params": params})
        return self._number

    def answer(self, number: int) -> dict[str, Any]:
        """Wait for the answer to a request."""
        while line := self._process.stdout.readline():
            said = json.loads(line)
            if said.get("id") == number:
                assert "result" in said, said
                return said["result"]
        raise AssertionError("the server ended")

    def _say(self, message: Mapping[str, Any]) -> None:
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._process.stdin.flush()


@contextmanager
def server(argv: Sequence[str], env: Mapping[str, str]) -> Iterator[Server]:
    """Run a server until the end of the block; nobody has spoken to it yet."""
    pipe = subprocess.PIPE
    quiet = subprocess.DEVNULL
    process = forking.start(argv, stdin=pipe, stdout=pipe, stderr=quiet, env=dict(env))
    try:
        yield Server(process)
    finally:
        process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def serving(agent: str) -> list[str]:
    """Return the command of an agent's session."""
    return [sys.executable, "-m", "mcp_agentbus", "serve", "--agent", agent]


def flooding(agent: str) -> list[str]:
    """Return the same, of one that sends in seconds what it may send in a minute."""
    return [sys.executable, "-P", "-c", _UNLIMITED, "serve", "--agent", agent]


@contextmanager
def session(settings: Settings, agent: str) -> Iterator[Server]:
    """Run a session that has been used once: its agent is registered, its tools are listed."""
    with server(serving(agent), environ(settings)) as one:
        one.greet()
        one.call("list_agents")
        yield one


def memory(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True)
    return float(shown.stdout) / 1024


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
