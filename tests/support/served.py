# SPDX-License-Identifier: Apache-2.0
"""`agentbus serve` processes in tests: behind the SDK's own client, or bare with their pipes.

    >>> with Pipes(environ) as server:
    ...     server.ask("tools/list", era=MODERN)["result"]["tools"]

Every line that a process writes to its standard output is checked to be JSON-RPC as it is read, and
no process outlives the `with` block.
"""

import asyncio
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import forked_client
import forking
import mcp_types as types
from mcp import Client, StdioServerParameters

import mcp_agentbus

MODERN, LEGACY = "2026-07-28", "2025-11-25"
ERAS = (MODERN, LEGACY)
# For what neither knows the other of: each era by one way, each way in one era.
PAIRED = (("era", "way"), [(MODERN, "alone"), (LEGACY, "relayed")])
MODE = {MODERN: "auto", LEGACY: "legacy"}
ANSWER_WITHIN_S = 60  # only a hang takes as long
PACKAGE = str(Path(mcp_agentbus.__file__).parents[1])
# What `agentbus` is; a warning ends it, as it ends a test.
AGENTBUS = [sys.executable, "-W", "error", "-m", "mcp_agentbus"]


def environ(home: Path) -> dict[str, str]:
    """Return the environment of a process on the bus of that folder."""
    return {
        "AGENTBUS_HOME": str(home),
        "AGENTBUS_LISTENER": "off",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": PACKAGE,
    }


def command(agent: str) -> list[str]:
    """Return what a host would start."""
    return [*AGENTBUS, "serve", "--agent", agent]


def changed(*assignments: str) -> list[str]:
    """Return what Python is given to run `agentbus` with other constants than it has.

    >>> [sys.executable, *changed("listener.loop.IDLE_S = 0.5"), "listen"]

    A constant that is not there ends it: set where nobody reads it, it would change nothing unseen.
    """
    modules = {f"mcp_agentbus.{one.partition(' =')[0].rpartition('.')[0]}" for one in assignments}
    script = (
        "import sys; from datetime import timedelta; from mcp_agentbus import __main__ as agentbus",
        *(f"import {module}" for module in sorted(modules)),
        *(f"mcp_agentbus.{one.partition(' =')[0]}; mcp_agentbus.{one}" for one in assignments),
        "sys.exit(agentbus.main())",
    )
    return ["-W", "error", "-c", "; ".join(script)]


def living(*argv: str, after_s: float) -> list[str]:
    """Return a command whose session counts as alive after that time, not 2 s as a host's would."""
    return [sys.executable, *changed(f"relay.member.LIVES_AFTER_S = {after_s}"), *argv]


async def typed(
    home: Path,
    *argv: str,
    program: Sequence[str] = AGENTBUS,
    folder: Path | None = None,
    **more: str,
) -> tuple[int, str]:
    """Type `agentbus ARGV` on the bus of that home, in a folder; return exit code and output.

    `more` are variables of its environment.
    """
    ran = await asyncio.to_thread(
        forking.ran, [*program, *argv], ANSWER_WITHIN_S, env=environ(home) | more, cwd=folder,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    return ran.returncode, ran.stdout


@asynccontextmanager
async def client(home: Path, agent: str, era: str, **more: str) -> AsyncIterator[Client]:
    """Start a server as a host does and connect to it; nothing in its log may be a traceback."""
    program, *args = command(agent)
    parameters = StdioServerParameters(command=program, args=args, env=environ(home) | more)
    with tempfile.TemporaryFile("w+") as log:
        async with Client(forked_client.stdio(parameters, errlog=log), mode=MODE[era]) as connected:
            yield connected
        log.seek(0)
        assert "Traceback" not in (said := log.read()), said


def text(result: types.CallToolResult) -> str:
    """Return what a model reads of an answer."""
    return "\n".join(part.text for part in result.content)


async def call(client: Client, tool: str, **arguments: Any) -> types.CallToolResult:
    """Call a tool that is expected to do its work."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text(result)
    return result


async def send(client: Client, to: str, subject: str = "Count", **more: Any) -> str:
    """Send a task and return its id."""
    result = await call(client, "send_task", to=to, subject=subject, **{"body": "b", **more})
    return result.structured_content["receipts"][0]["task_id"]


class Held:
    """Keeps a context open in a task of its own.

    The SDK's contexts must be left by the task that entered them; fixtures begin and end in two.
    """

    def __init__(self, context: AbstractAsyncContextManager) -> None:
        self._context = context
        self._end = asyncio.Event()

    async def open(self) -> Any:
        self._opened = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold())
        await asyncio.wait([self._task, self._opened], return_when=asyncio.FIRST_COMPLETED)
        return self._opened.result() if self._opened.done() else self._task.result()

    async def _hold(self) -> None:
        async with self._context as inside:
            self._opened.set_result(inside)
            await self._end.wait()

    async def close(self) -> None:
        self._end.set()
        await self._task


class Pipes:
    """A server process with nothing between it and the test but its pipes."""

    def __init__(
        self,
        environ: dict[str, str],
        argv: list[str] | None = None,
        agent: str = "coder",
        cwd: Path | None = None,
    ) -> None:
        self.agent = agent
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by __exit__
        self.process = forking.start(
            argv or command(agent),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environ,
            cwd=cwd,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._number = 0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self._reader.join()
        self.process.stdout.close()
        self.log.close()

    def write(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def request(self, method: str, params: dict[str, Any] | None = None, *, era: str) -> int:
        """Send a request without waiting; return its number."""
        self._number += 1
        params = dict(params or {})
        if era == MODERN:
            params["_meta"] = {
                **params.get("_meta", {}),
                types.PROTOCOL_VERSION_META_KEY: MODERN,
                types.CLIENT_INFO_META_KEY: {"name": "pipes", "version": "1"},
                types.CLIENT_CAPABILITIES_META_KEY: {},
            }
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        self.write(json.dumps(message))
        return self._number

    def ask(self, method: str, params: dict[str, Any] | None = None, *, era: str) -> dict[str, Any]:
        """Send a request and return its answer."""
        number = self.request(method, params, era=era)
        while (message := self.message()).get("id") != number:
            pass
        return message

    def greet(self, era: str) -> dict[str, Any]:
        """Begin as a client of that era does; return the server's answer."""
        if era == MODERN:
            return self.ask("server/discover", era=era)["result"]
        hello = {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": {"name": "pipes", "version": "1"},
        }
        answer = self.ask("initialize", hello, era=era)["result"]
        self.write(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        return answer

    def call(self, tool: str, *, era: str = MODERN, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its result."""
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments}, era=era)
        assert not answer["result"].get("isError"), answer
        return answer["result"]

    def watch(self, *, era: str = MODERN) -> None:
        """Begin to wait for the inbox; return when the server says that it waits."""
        params = {"name": "watch_inbox", "arguments": {"timeout_s": 600}}
        self.request("tools/call", {**params, "_meta": {"progressToken": "t"}}, era=era)
        assert self.message()["method"] == "notifications/progress"

    @property
    def answered(self) -> int:
        """How many messages have come that nobody has taken."""
        return self._lines.qsize()

    def message(self) -> dict[str, Any]:
        """Return the next message; whatever else is on standard output fails the test."""
        line = self._lines.get(timeout=ANSWER_WITHIN_S)
        if line is None:
            raise AssertionError(f"the server ended; it said: {self.said()}")
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return message

    def rest(self, within_s: float = ANSWER_WITHIN_S) -> list[dict[str, Any]]:
        """Wait for the end of standard output; return the messages that came before it."""
        messages = []
        while (line := self._lines.get(timeout=within_s)) is not None:
            messages.append(json.loads(line))
        return messages

    def said(self) -> str:
        """Return what the process has written to standard error."""
        self.log.seek(0)
        return self.log.read()
