# SPDX-License-Identifier: Apache-2.0
"""Bad bytes and headers lie under every family of subjects: each place goes on, and each hand-off.

One bus holds them all while every tool, resource, command and hook is used, and a listener runs.
"""

import asyncio
import itertools
import json
from contextlib import AsyncExitStack

import corpus
import hooking
import served
import strategies
from listeners import configure, listening, recorder, starts
from places import Places, Which, look_by_commands, look_by_tools
from rawclient import Raw

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket
from mcp_agentbus.store import roster, streams
from mcp_agentbus.store.queries import consumers

MOST = 28_000
ME = "coder"
AT = "2026-05-18T10:00:00Z"
# `{}` is a name or an id; what is for `woken` cannot be read, so it wakes nobody and nobody seems
# to be there.
FAMILIES = [
    *(f"{ME}.tasks.{lane}.{{}}" for lane in ("high", "normal", "low", "odd")),
    *(f"{{}}.{kind}.high.mallory" for kind in ("tasks", "due", "dead")),
    f"{ME}.dead.low.{{}}", f"{ME}.due.normal.{{}}",
    f"{ME}.sched.high.{{}}.t1", f"{ME}.sched.high.mallory.{{}}", "{}.sched.low.mallory.t1",
    *(f"{ME}.{kind}.{{}}.t1" for kind in ("results", "sent", "wakes")),
    *(f"{ME}.{kind}.mallory.{{}}" for kind in ("results", "sent", "wakes")),
    *(f"{{}}.{kind}.{ME}.t2" for kind in ("results", "sent", "wakes")),
    "{}.profile", "{}.heartbeat.x", f"{ME}.heartbeat.{{}}",
]  # fmt: skip
NAMES = ["mallory", "planner", "e/vil", "\u202e", "\x1b[2J", "all", "a" * 300, "role-x", "woken"]
ODD = [10**4000, -1, "9" * 400, "\x1b[2J\u202e", strategies.nested(31), {"a": ["x"]}, None]
FIELDS = ["type", "state", "status", "attempts", "history", "updated_at", "kind", "roles", "notify",
          "held_for", "artifacts", "subject", "thread_id", "registered_at", "expires_at"]  # fmt: skip
# One task and two results can be read, and are looked at by their ids.
GOOD = {"payload": {"content": "x"}, "status": "completed", "updated_at": AT, "kind": "session",
        "created_at": AT, "expires_at": "2199-01-01", "registered_at": AT, "moments": []}  # fmt: skip
UNREADABLE = corpus.read("records").values()
BODIES = [
    *UNREADABLE,
    *(strategies.spelt({**GOOD, field: odd}) for field, odd in zip(FIELDS, itertools.cycle(ODD), strict=False)),
    strategies.spelt({**GOOD, "summary": "\x00" * 20_000, "artifacts": ["\x1b[2J" * 20] * 500}),
    strategies.spelt({**GOOD, "subject": "\u202e" * 9_000, "history": [{"state": "x", "by": "y", "at": AT}] * 500}),
]  # fmt: skip
TARGET = b"Nats-Schedule-Target: agentbus.coder.due.high.planner"
HEADERS = [
    b"", b"no colon", b"Agentbus-Task: e/vil", b"Agentbus-Task: \xff\xfe", b"Agentbus-Task:",
    b"Agentbus-Hops: " + b"9" * 5_000, b"Agentbus-Chain: " + b"\x1b[2J," * 500,
    b"Agentbus-Thread: \xe2\x80\xae\r\nAgentbus-Thread: again", b"Nats-Scheduler: x",
    b"Nats-Schedule-Next: purge", b"Agentbus-Reason: " + b"\x1b[2J" * 9_000, b"Agentbus-Task: t1",
    b"Status: 503 No Responders", b"Nats-Stream-Source: AGENTBUS_SCHED x y",
    b"Nats-Schedule: @at 2020-01-01T00:00:00Z\r\n" + TARGET,
    b"Nats-Schedule: @at 2199-01-01T00:00:00Z\r\n" + TARGET,
    b"Nats-Schedule: @every 1s\r\n" + TARGET,
]  # fmt: skip
WHICH = Which("task-1", "abcdef-1", "t1", "default", "mallory-x", "newcomer", "x")


def messages():
    """Yield subject, bytes and header block of each: every body and every header with some family."""
    bodies, headers = itertools.cycle(BODIES), itertools.cycle(HEADERS)
    for family, name in itertools.product(FAMILIES, NAMES):
        body = b"\xff" if name == "woken" and family.startswith("{}") else next(bodies)
        lines = next(headers)
        block = b"NATS/1.0\r\n" + lines + b"\r\n\r\n" if lines else b""
        yield f"agentbus.{family.format(name)}".encode(), body, block
    good = b"NATS/1.0\r\nAgentbus-Task: task-1\r\n\r\n"
    yield f"agentbus.{ME}.tasks.low.mallory".encode(), json.dumps(GOOD).encode(), good
    for task_id in ("abcdef-1", "abcdef-2"):
        yield f"agentbus.{ME}.results.mallory.{task_id}".encode(), json.dumps(GOOD).encode(), b""


async def planted(settings):
    """Store all of them; return how many the server has taken, by the family's kind."""
    kinds = set()
    async with Raw(settings.data_dir) as raw:
        for subject, body, block in messages():
            if "error" not in await raw.ask(subject, body, block):
                kinds.add(subject.split(b".")[2])
    return kinds


class Sized(Places):
    """What each place has shown, and how much at once."""

    def __init__(self):
        super().__init__()
        self.longest = {}

    def text(self, place, shown):
        super().text(place, shown)
        self.longest[place] = max(self.longest.get(place, 0), len(shown))


async def handed_over(bus, listener, notes):
    """Have a task of planner's wake an agent, which answers; return the states of what is shown."""
    async with Session(bus, Agent("planner")) as planner:
        [sent] = await send_task(planner, "woken", "Count", "x", priority="high")
        await listener.logged("ended", agent="woken")
        async with Session(bus, Agent("woken")) as woken:
            read = await read_inbox(woken, limit=50)
            assert sent.task_id in {item.task.id for item in read.tasks}
            await publish_result(woken, sent.task_id, "completed")
        shown = await watch_inbox(planner, timeout_s=5, task_id=sent.task_id)
    assert len(starts(notes)) == 1
    return [result.state for result in shown.results]


async def test_each_place_and_each_hand_off_goes_on_whatever_is_stored(tmp_path):
    places = Sized()
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(embedded.ephemeral())
        configure(settings, tmp_path, woken={"command": recorder(tmp_path, "look")})
        bus = await stack.enter_async_context(Bus.connect(settings))
        await streams.ensure_streams(bus)
        for agent in (ME, "woken", "planner"):
            await consumers.ensure_inbox(bus, agent)
            await roster.register(bus, Agent(agent), None)
        listener = await stack.enter_async_context(listening(settings))
        kinds = await planted(settings)
        states = await handed_over(bus, listener, tmp_path)
        folder = settings.data_dir.parent
        client = await stack.enter_async_context(served.client(folder, ME, served.MODERN))
        await look_by_tools(places, client, ME, WHICH)
        for_models = dict(places.longest)
        await look_by_commands(places, folder, ME, WHICH)
        for host, event in (("claude-code", "SessionStart"), ("cursor", "sessionStart")):
            places.text("hook", await hooking.Host(settings, ME, name=host)(event))
        status = await asyncio.to_thread(local_socket.ask, settings, {"op": "status"})
        ended = listener.process.returncode

    assert kinds == {b"tasks", b"due", b"dead", b"sched", b"results", b"sent", b"wakes", b"profile",
                     b"heartbeat"}  # fmt: skip
    assert states == ["completed"]
    assert {place: size for place, size in for_models.items() if size > MOST} == {}
    assert "which is a bug" not in "\n".join(places.texts.values())
    assert status["failures"] == []
    assert [line for line in listener.log if line["event"] == "failed"] == []
    assert ended is None
