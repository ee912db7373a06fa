# SPDX-License-Identifier: Apache-2.0
"""`agentbus demo`: a task's way from one agent's MCP session to another's, and its result back.

    $ agentbus demo
         0 ms  server   nats-server listens at nats://127.0.0.1:39327

Nothing is made up: a private server in a temporary folder, two `agentbus serve` processes driven by
the MCP SDK's own client, and a coder that really surveys the folder. Only the two models are
missing: a script calls the tools in their place.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import TextContent

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import processes, programs
from mcp_agentbus.core.aio import part
from mcp_agentbus.core.feather.printer import columns, tell
from mcp_agentbus.core.framing import INDENT
from mcp_agentbus.core.text import folded, from_json, many, stamp
from mcp_agentbus.demo.survey import NAME_MAX, shown, survey
from mcp_agentbus.demo.wake import woken
from mcp_agentbus.errors import AgentbusError, BadInput
from mcp_agentbus.store import subjects

_RESULT_WITHIN_S = 60


@dataclass
class _Timeline:
    """What happened when, told as it happens."""

    quiet: bool
    began: float = field(default_factory=time.perf_counter)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, who: str, what: str) -> None:
        milliseconds = (time.perf_counter() - self.began) * 1000
        self.steps.append({"ms": round(milliseconds, 1), "who": who, "what": what})
        if self.quiet:
            return
        from rich.console import Console  # only where a person looks

        colours = {"planner": "cyan", "coder": "green"}
        console = Console(highlight=False, soft_wrap=True)
        console.print(f"{milliseconds:>8.0f} ms  ", style="dim", end="")
        console.print(f"{who:<8}", style=colours.get(who, "magenta"), end=" ")
        indent = " " * 22
        lines = folded(what, max(0, columns() - len(indent))).splitlines()
        console.print(f"\n{indent}".join(lines), markup=False)


async def run(folder: Path, *, as_json: bool, wake: bool = False) -> int:
    """Run the demo about `folder`, or that of a wake; return the exit code.

    Told to end, it first ends what it has started: the server is in no session that ends with it.

    Raises:
        BadInput: there is no such folder.
        AgentbusError, OSError: something of it failed.
    """
    running = part(_run(folder, as_json=as_json, wake=wake))
    with _ended_when_told(running) as told:
        try:
            return await running
        except (ExceptionGroup, asyncio.CancelledError) as error:
            if told:
                return 128 + told[0]
            if isinstance(error, ExceptionGroup):  # of each library between here and there
                raise _cause(error) from None
            raise


@contextmanager
def _ended_when_told(running: asyncio.Task[int]) -> Generator[list[int], None, None]:
    """End it at each signal that would kill this process; yield those that came.

    At that of Ctrl-C asyncio does the same.
    """
    told, loop = list[int](), asyncio.get_running_loop()

    def end(number: int) -> None:
        if not told:  # told again, it goes on with its end
            running.cancel()
        told.append(number)

    numbers = [number for number in processes.ending() if number != signal.SIGINT]
    for number in numbers:
        loop.add_signal_handler(number, end, number)
    try:
        yield told
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _cause(group: ExceptionGroup[Exception]) -> Exception:
    """Return what is to be told of an error that others have put into groups."""
    leaves = list(_leaves(group))
    for meant in (AgentbusError, OSError):
        if known := [leaf for leaf in leaves if isinstance(leaf, meant)]:
            return known[0]
    what = f"The demo came to no end: {type(leaves[0]).__name__}."
    return AgentbusError(what, hint="Run `agentbus doctor`.")


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


async def _run(folder: Path, *, as_json: bool, wake: bool) -> int:
    folder = await asyncio.to_thread(folder.resolve)
    if not await asyncio.to_thread(folder.is_dir):
        raise BadInput(f"{folder} is not a folder.", hint="Name one that exists.")
    timeline = _Timeline(quiet=as_json)
    if wake:
        life = await woken(folder, timeline.tell)
        data = {"timeline": timeline.steps, "life": life}
        if as_json:
            print(json.dumps(data))
        else:
            tell(f"\nThe task's life, as planner reads it:\n\n{life}")
        return 0
    with embedded.ephemeral() as settings:
        server = embedded.find(settings)
        timeline.tell("server", f"nats-server listens at {server.url if server else '?'}")
        result = await _hand_over(settings, folder, timeline)
        stored = await _stored(settings)
    timeline.tell("server", "stopped, its folder removed")
    if as_json:
        print(json.dumps({"timeline": timeline.steps, "result": result, "stored": stored}))
    else:
        _show(result, stored)
    return 0


async def _hand_over(settings: Settings, folder: Path, timeline: _Timeline) -> str:
    """Play planner's model: send coder the task, wait for its result; return what it reads."""
    async with AsyncExitStack() as stack:
        planner = await stack.enter_async_context(_agent(settings, "planner"))
        timeline.tell("planner", f"MCP session over stdio, protocol {planner.protocol_version}")
        coder = await stack.enter_async_context(_agent(settings, "coder"))
        timeline.tell("coder", f"MCP session over stdio, protocol {coder.protocol_version}")
        await _call(coder, "list_agents")  # its first call registers it
        async with asyncio.TaskGroup() as group:
            group.create_task(_work(coder, timeline))
            name = shown(folder.name, NAME_MAX)
            timeline.tell("planner", f"send_task: survey {name}, to coder, high priority")
            sent = await _call(
                planner,
                "send_task",
                to="coder",
                subject=f"Survey {name}",
                body=json.dumps({"folder": str(folder)}),
                priority="high",
            )
            receipt = (sent.structured_content or {})["receipts"][0]
            timeline.tell("planner", f"receipt: {receipt['state']} as task {receipt['task_id']}")
            answer = await _call(
                planner, "watch_inbox", task_id=receipt["task_id"], timeout_s=_RESULT_WITHIN_S
            )
        if (answer.structured_content or {}).get("timed_out"):
            raise AgentbusError("No result came.", hint="See `agentbus doctor`.")
        timeline.tell("planner", "watch_inbox: the result is here")
        return _text(answer)


async def _work(coder: Client, timeline: _Timeline) -> None:
    """Play coder's model: wait for a task, do it, publish its result."""
    timeline.tell("coder", "watch_inbox: waiting")
    inbox = await _call(coder, "watch_inbox", timeout_s=_RESULT_WITHIN_S)
    [task] = (inbox.meta or {})["agentbus/inbox"]["tasks"]
    timeline.tell("coder", f"watch_inbox: claimed task {task['task_id']} from {task['from']}")
    in_frame = [line for line in _text(inbox).split("\n") if line.startswith(INDENT)]
    folder = Path(from_json(in_frame[-1])["folder"])
    await _call(coder, "publish_result", task_id=task["task_id"], status="working", progress=10)
    counts = await asyncio.to_thread(survey, folder)
    timeline.tell("coder", f"surveyed {many(counts.files, 'file', grouped=True)}")
    published = await _call(
        coder,
        "publish_result",
        task_id=task["task_id"],
        status="completed",
        summary=counts.summary,
        body=counts.report,
    )
    timeline.tell("coder", f"publish_result: {_text(published)}")


@asynccontextmanager
async def _agent(settings: Settings, agent: str) -> AsyncGenerator[Client, None]:
    """Start `agentbus serve` as a host would, and connect to it."""
    command, *args = programs.ourselves("serve", "--agent", agent)
    parameters = StdioServerParameters(
        command=command,
        args=args,
        env={"AGENTBUS_HOME": str(settings.data_dir.parent), "AGENTBUS_LISTENER": "off"},
    )
    async with Client(stdio_client(parameters)) as client:
        yield client


async def _call(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        message, _, hint = _text(result).partition("Hint: ")
        raise AgentbusError(f"{tool} failed: {message.strip()}", hint=hint)
    return result


def _text(result: Any) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))


async def _stored(settings: Settings) -> list[dict[str, Any]]:
    """Return the records that the task has left on the server."""
    async with Bus(settings) as bus:
        request = {"seq": 1, "batch": 100, "next_by_subj": "agentbus.>"}
        return [
            {"subject": record.subject, "bytes": len(record.data), "at": stamp(record.stored_at)}
            for record in await bus.many(subjects.RESULTS, request)
        ]


def _show(result: str, stored: list[dict[str, Any]]) -> None:
    tell("\nWhat planner's model reads:\n")
    tell("\n".join(f"  {line}" for line in result.splitlines()))
    tell("\nWhat the server keeps of it for 30 days:\n")
    for record in stored:
        tell(f"  {record['at']}  {record['bytes']:>6,} bytes  {record['subject']}")
