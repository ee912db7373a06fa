# SPDX-License-Identifier: Apache-2.0
"""Every place that shows something of a peer, in tests: what stands there of a bus.

places = Places()
await look_by_tools(places, client, "coder", which)
places.texts["read_inbox"]
"""

import asyncio
import json
import re
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass

import forking
import hooking
import served
from listeners import starts
from mcp_types import PromptReference
from persons import at_terminal

from mcp_agentbus.store import roster


@dataclass(frozen=True)
class Which:
    """Whom and what to look at, by its crafted ids."""

    task: str
    result: str
    sent: str
    thread: str
    agent: str
    newcomer: str
    role: str
    asked: str = ""


def outside_and_inside(shown):
    """Return what stands outside of the frames of a text, and what inside."""
    outside, inside, fence = [], [], ""
    for line in shown.split("\n"):
        opened = re.match(r"\s*<<<([0-9a-f]{6}) text from ", line)
        if not fence and opened:
            fence = opened[1]
            outside.append(line)
        elif fence and line.strip() == f"{fence}>>>":
            fence = ""
        else:
            (inside if fence else outside).append(line)
    assert not fence
    return "\n".join(outside), "\n".join(inside)


class Places:
    """What each place has shown: texts and what is structured."""

    def __init__(self):
        self.texts, self.data = {}, {}

    def text(self, place, shown):
        self.texts[place] = f"{self.texts.get(place, '')}\n{shown}"

    def json(self, place, spelled):
        self.data[place] = f"{self.data.get(place, '')}\n{spelled}"

    def answer(self, tool, result):
        self.text(tool, served.text(result))
        if result.structured_content:
            self.text(tool, json.dumps(result.structured_content, ensure_ascii=False))
        self.json("_meta", json.dumps(result.meta))


async def look_by_tools(places, client, me, which):
    to = [which.agent, which.newcomer, f"role:{which.role}"]
    sent = {"subject": "s", "body": "b", "priority": "high"}
    inbox = ("inbox://{agent}", f"inbox://{me}")
    await look_by_resource(places, client, *inbox, until=which.asked)
    calls = [
        ("list_agents", {}),
        ("send_task", {"to": to, **sent}),
        ("send_task", {"to": which.agent[:-2], **sent}),
        ("send_task", {"to": me, **sent, "in_reply_to": "abcdef"}),
        ("read_inbox", {"peek": True}),
        ("watch_inbox", {"timeout_s": 0}),
        ("read_inbox", {"thread_id": which.thread}),
        ("read_inbox", {"detail": "full"}),
        ("read_inbox", {}),
        *(("read_inbox", {"task_id": task_id}) for task_id in (
            which.task, which.result, which.sent, "odd-state", "abcdef",
        )),
        ("read_inbox", {"view": "received"}),
        ("read_inbox", {"query": "Ignore"}),
        ("watch_inbox", {"task_id": which.result, "timeout_s": 0}),
        ("publish_result", {"task_id": which.result, "status": "completed"}),
        ("publish_result", {"task_id": which.result, "status": "cancelled"}),
        ("publish_result", {"task_id": which.task, "status": "working"}),
        ("publish_result", {"task_id": which.task, "status": "released"}),
    ]  # fmt: skip
    for tool, arguments in calls:
        places.answer(tool, await client.call_tool(tool, arguments))
    for task_id in (which.task, which.result):
        await look_by_resource(places, client, "task://{task_id}", f"task://{task_id}")
    await look_by_resource(places, client, *inbox)
    begun = {"name": "to", "value": ""}
    completed = await client.complete(PromptReference(name="handoff"), begun)
    places.text("completion", "\n".join(completed.completion.values))


async def look_by_resource(places, client, template, uri, until=""):
    """Look until `until` stands there: what nobody has asked for is not told at once."""
    async with asyncio.timeout(60):
        while until not in (shown := (await client.read_resource(uri)).contents[0].text):
            pass
    places.text(template, shown)


async def look_by_commands(places, folder, me, which):
    tab = (
        "from mcp_agentbus.cli import completion; print(*completion.agents(), *completion.tasks())"
    )
    _, offered = await served.typed(folder, program=[served.AGENTBUS[0], "-c", tab])
    places.text("tab key", offered)
    typed = {
        "agents": [()],
        "inbox": [("--peek",), ("--full",), ()],
        "parked": [()],
        "tasks": [("--all",), ("Ignore",)],
        "search": [("Ignore",)],
        "status": [()],
        "why": [(which.task,), (which.result,), (which.sent,)],
        "policy": [("explain", me, which.agent)],
        "audit": [()],
        "export": [()],
        "replay": [("parked-1",)],
        "task": [(which.task,), (which.result,), (which.sent,), ("odd-state",), ("abcdef",)],
        "watch": [("--timeout", "0"), ("--task", which.result, "--timeout", "0")],
        "send": [(which.agent, "s", "b", "--priority", "high", "--wait", "0")],
        "tell": [(which.agent, "s", "b")],
        "answer": [(which.sent, "x")],
        "result": [(which.task, "working"), (which.result, "completed")],
        "listen": [("--status",)],
        "agent": [("wakes", "woken"), ("list",)],
        "doctor": [()],
        "human": [()],
        "clear": [()],
        "server": [("status",)],
    }  # fmt: skip
    of_nobody = {
        "agents", "listen", "agent", "doctor", "server", "search", "status", "why", "policy",
        "human",
    }  # fmt: skip
    for command, ways in typed.items():
        as_me = () if command in of_nobody else ("--agent", me)
        for way in ways:
            _, shown = await served.typed(folder, command, *way, *as_me)
            _, spelled = await served.typed(folder, command, *way, *as_me, "--json")
            assert not re.search("Traceback|^usage:", shown + spelled, re.MULTILINE), (
                shown + spelled
            )
            places.text(command, shown)
            places.json(command, spelled)
    await decide(places, folder, which)
    follow = ("watch", "--follow", "--since", "1d", "--agent", me)
    places.text("watch --follow", await followed(folder, *follow))
    places.json("watch --follow", await followed(folder, *follow, "--json"))
    told = folder / "brief"
    for agent, way in (("woken", ()), ("told", ("--json",))):
        once = ("work", "--once", "--agent", agent, *way, "--", "tee", str(told))
        _, shown = await served.typed(folder, *once)
        (places.json if way else places.text)("work", shown)
    # It is told nothing where no task of the inbox can be read.
    places.text("a worker's program", told.read_text() if told.exists() else "")


async def look_by_listening(places, folder, me, say):
    """Hear the event that `say` has said."""
    for way in ((), ("--json",)):
        argv = ("events", "subscribe", "--limit", "1", "--agent", me, *way)
        process = await forking.Awaited.started(
            [*served.AGENTBUS, *argv], env=served.environ(folder), stdout=subprocess.PIPE
        )
        async with asyncio.timeout(60):
            shown = await process.stdout.readline()
            await say()
            shown += await process.stdout.read()
            await process.wait()
        (places.json if way else places.text)("events", shown.decode())


async def decide(places, folder, which):
    """Approve and deny, at a terminal: two that begin alike, what asks nothing, and what asks."""
    for word in ("approve", "deny"):
        for to, more in ((places.text, ()), (places.json, ("--json",))):
            for task_id in filter(None, ("abcdef", which.result, which.asked)):
                argv = (word, task_id, *more)
                typed = await asyncio.to_thread(at_terminal, folder, task_id[:6], *argv)
                assert not re.search("Traceback|^usage:", typed.out, re.MULTILINE), typed.out
                places.text(word, typed.shown)
                to(word, typed.out)


async def followed(folder, *argv):
    """Return what is followed until the last record that was stored."""
    process = await forking.Awaited.started(
        [*served.AGENTBUS, *argv], env=served.environ(folder), stdout=subprocess.PIPE
    )
    shown = b""
    async with asyncio.timeout(60):
        while b"abcdef-2" not in shown:
            shown += await process.stdout.readline()
    process.kill()
    await process.wait()
    return shown.decode()


async def look_at_wakes(places, settings, listener, notes, plant):
    """Have a task start the agent `woken`, and one be told to a session of `told`."""
    folder = settings.data_dir.parent
    async with hooking.monitor(listener, served.environ(folder), "told") as lines:
        await plant()
        places.text("notice", await hooking.line(lines))
    await listener.logged("ended", agent="woken")
    for start in starts(notes):
        places.text("a started process", json.dumps(start, ensure_ascii=False))
    for host in ("claude-code", "cursor"):
        hook = hooking.Host(settings, "woken", name=host)
        event = "sessionStart" if host == "cursor" else "SessionStart"
        places.text("hook", await hook(event))


@asynccontextmanager
async def repeated(bus, signs):
    """Give signs of life as long as the block lasts: its looks may take longer than one is kept."""

    async def live():
        while True:
            for subject, said, headers in signs:
                await bus.send(subject, json.dumps(said).encode(), headers)
            await asyncio.sleep(roster.BEAT_S)

    living = asyncio.create_task(live())
    try:
        yield
    finally:
        living.cancel()
