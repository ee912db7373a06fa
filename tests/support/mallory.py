# SPDX-License-Identifier: Apache-2.0
"""An account with a valid key of its own, `mallory`, and what it tries against two others.

The victims are planner, of laptop, and coder, of vps, who has claimed a task of planner's, and what
waits besides.

>>> async with attacked(tmp_path) as scene:
...     assert await scene.tried(GATE + "agentbus.coder.profile") == "name-taken"
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from gated import gated

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.connection import Link
from mcp_agentbus.bus.login.account import H_REFUSED
from mcp_agentbus.bus.login.login import login_of
from mcp_agentbus.core import aio
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.subjects import DEAD, RESULTS, SCHEDULE, TASKS

GATE = "agentbus-gate.mallory."
REFUSED_WITHIN_S = 2
SECRET = b"TOP SECRET"


class Scene:
    """The victims, what they have on the bus, and mallory's connection."""

    def __init__(self, shared, admin, link):
        self.shared, self.admin, self.link = shared, admin, link

    async def begin(self, stack):
        self.buses = {
            name: await stack.enter_async_context(Bus.connect(self.shared.settings(name)))
            for name in ("laptop", "vps", "mallory")
        }
        sessions = []
        for account, agent in (
            ("laptop", Agent("planner")),
            ("vps", Agent("coder", roles=("review",))),
            ("mallory", Agent("mallory")),
        ):
            session = Session(self.buses[account], agent)
            await stack.enter_async_context(session)
            await session.called()
            await session.can_read()
            sessions.append(session)
        self.planner, self.coder, self.mallory = sessions
        [first] = await send_task(
            self.planner, "coder", "Claimed", SECRET.decode(), priority="high"
        )
        [claimed] = (await read_inbox(self.coder)).tasks
        self.task = claimed.task.id
        assert first.task_id == self.task
        await send_task(self.planner, "coder", "Waits", SECRET.decode())
        await send_task(self.planner, "role:review", "For a role", SECRET.decode())
        await send_task(self.planner, "coder", "Later", SECRET.decode(), deliver_in_s=600)
        # What others have written where it is not shown to mallory: a parked one.
        await self.admin.publish(
            "agentbus.coder.dead.high.planner", SECRET, {"Agentbus-Task": "dead1"}, stream=DEAD
        )

    async def stands(self):
        """Return all that is stored, but signs of life, and how it is handed out and set up."""
        stored = {}
        for stream in (TASKS, RESULTS, SCHEDULE, DEAD, "AGENTBUS_AGENTS", "AGENTBUS_ACCOUNTS"):
            async for page in self.admin.stored(stream, ">"):
                stored |= {(stream, each.seq): (each.subject, each.data) for each in page}
            info = await self.admin.api(f"STREAM.INFO.{stream}")
            stored[stream] = (json.dumps(info["config"], sort_keys=True), info["state"]["last_seq"])
        for lane in ("high", "normal", "low"):
            info = await self.admin.api(f"CONSUMER.INFO.{TASKS}.coder_{lane}")
            stored[lane] = (info["num_ack_pending"], info["num_pending"], info["config"])
        return stored

    async def tried(self, subject, data=b"", headers=None):
        """Say it as mallory; return the word of refusal, or what was answered."""
        began = time.monotonic()
        try:
            answer = await self.link.request(subject, data, headers, REFUSED_WITHIN_S)
        except NotAllowed:
            outcome = "not allowed"
        else:
            outcome = answer.headers.get(H_REFUSED, answer)
        assert time.monotonic() - began < REFUSED_WITHIN_S, subject
        return outcome

    async def goes_on(self):
        """See that the victims' work does: theirs is finished, and what they send arrives."""
        await publish_result(self.coder, self.task, "completed", summary="done")
        assert [each.summary for each in (await read_inbox(self.planner)).results] == ["done"]
        await send_task(self.planner, "coder", "More", "work", priority="high")
        subjects = [each.task.subject for each in (await read_inbox(self.coder)).tasks]
        assert "More" in subjects


@asynccontextmanager
async def attacked(folder):
    """Give the scene; nothing fails in the background meanwhile."""
    failed = len(aio.failures)
    async with (
        gated(folder, laptop=[], vps=["review"], mallory=[]) as shared,
        AsyncExitStack() as stack,
    ):
        admin = await stack.enter_async_context(Bus.connect(shared.admin))
        link = await Link.open(
            shared.url, login_of(replace(shared.settings("mallory"), account=None))
        )
        stack.push_async_callback(link.close)
        scene = Scene(shared, admin, link)
        await scene.begin(stack)
        yield scene
    assert len(aio.failures) == failed


async def once_known(refusal, call):
    """Return what a call does once a gate has heard of what has changed; it refuses before."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await call()
            except refusal:
                await asyncio.sleep(0.02)


def said_of_others(task):
    """Return what others say on the bus: a subject, and what is said there."""
    secret = json.dumps({"state": "completed", "summary": "forged", "v": 1}).encode()
    return [
        ("agentbus.coder.tasks.high.planner", SECRET),
        ("agentbus.role-review.tasks.high.coder", SECRET),
        (f"agentbus.planner.results.coder.{task}", secret),
        (f"agentbus.planner.sent.coder.{task}", secret),
        (f"agentbus.planner.wakes.coder.{task}", secret),
        ("agentbus.coder.heartbeat.s1", b'{"kind":"session"}'),
        ("agentbus.coder.profile", b"{}"),
        ("agentbus.mallory.dead.high.planner", SECRET),
        ("agentbus.coder.dead.high.mallory", SECRET),
        ("agentbus.coder.wake.high.planner", b""),
        (f"agentbus.coder.sched.high.planner.{task}", SECRET),
        ("agentbus.coder.due.high.planner", SECRET),
        ("agentbus-events.planner.build.done", b"x"),
        ("agentbus-accounts.mallory", b'{"roles":["review"],"state":"joined"}'),
        ("agentbus-invitations.0123456789abcdef", b"{}"),
        ("agentbus-for.vps.agentbus.coder.wake.high.planner", b""),
        ("agentbus-gate.laptop.agentbus.coder.tasks.high.planner", SECRET),
        ("_R_.x", b""),
        ("$SYS.REQ.SERVER.PING", b""),
        ("$SYS.REQ.ACCOUNT.BUS.CONNZ", b""),
    ]


def asked_of_others():
    """Return what is asked of JetStream's API about others: a call, and its body."""
    lane = "agentbus.coder.tasks.high.*"
    evil = {"stream_name": TASKS, "config": {"durable_name": "evil", "filter_subject": lane,
            "deliver_subject": "agentbus.mallory.back", "ack_policy": "none"}}  # fmt: skip
    pull = {"batch": 1, "no_wait": True}
    calls = [
        (f"CONSUMER.MSG.NEXT.{TASKS}.coder_high", pull),
        (f"CONSUMER.MSG.NEXT.{TASKS}.role-review_normal", pull),
        (f"CONSUMER.MSG.NEXT.{RESULTS}.planner_results", pull),
        (f"CONSUMER.MSG.NEXT.{RESULTS}.planner_sent", pull),
        ("STREAM.LIST", None),
        (f"STREAM.PURGE.{TASKS}", None),
        (f"STREAM.PURGE.{TASKS}", {"filter": "agentbus.coder.>"}),
        (f"STREAM.PURGE.{RESULTS}", {"filter": "agentbus.planner.>"}),
        (f"STREAM.PURGE.{DEAD}", {"filter": "agentbus.*.dead.*.*"}),
        (f"STREAM.PURGE.{SCHEDULE}", {"filter": "agentbus.coder.sched.>"}),
        ("STREAM.PURGE.AGENTBUS_AGENTS", {"filter": "agentbus.coder.profile"}),
        (f"STREAM.DELETE.{TASKS}", None),
        (f"STREAM.UPDATE.{TASKS}", {"name": TASKS, "subjects": ["x"]}),
        ("STREAM.CREATE.X", {"name": "X", "subjects": ["x"]}),
        ("STREAM.CREATE.X", {"name": "X", "sources": [{"name": TASKS}]}),
        (f"STREAM.MSG.GET.{TASKS}", {"seq": 1}),
        (f"STREAM.MSG.GET.{TASKS}", {"last_by_subj": "agentbus.coder.tasks.high.planner"}),
        *((f"STREAM.MSG.DELETE.{TASKS}", {"seq": seq}) for seq in (1, 2, 3)),
        (f"STREAM.MSG.DELETE.{DEAD}", {"seq": 1}),
        (f"STREAM.MSG.DELETE.{SCHEDULE}", {"seq": 1}),
        (f"STREAM.MSG.DELETE.{RESULTS}", {"seq": 1}),
        (f"CONSUMER.NAMES.{TASKS}", None),
        (f"CONSUMER.LIST.{TASKS}", None),
        (f"CONSUMER.DELETE.{TASKS}.coder_high", None),
        (f"CONSUMER.PAUSE.{TASKS}.mallory_high", {"pause_until": "2999-01-01T00:00:00Z"}),
        (f"CONSUMER.RESET.{TASKS}.mallory_high", {}),
        (f"CONSUMER.UNPIN.{TASKS}.mallory_high", {"group": "a"}),
        (f"CONSUMER.CREATE.{TASKS}.evil.{lane}", evil),
        (f"CONSUMER.CREATE.{TASKS}.mallory_high.{lane}", evil),
        (f"CONSUMER.CREATE.{TASKS}.coder_high.{lane}", evil),
        (f"CONSUMER.CREATE.{TASKS}", evil),
        (f"CONSUMER.DURABLE.CREATE.{TASKS}.mallory_high", evil),
        (f"DIRECT.GET.{TASKS}", {"seq": 1}),
        (f"DIRECT.GET.{TASKS}", {"seq": 1, "batch": 5, "next_by_subj": "agentbus.coder.tasks.*.*"}),
        (f"DIRECT.GET.{TASKS}", {"seq": 1, "batch": 5, "next_by_subj": ">"}),
        (f"DIRECT.GET.{TASKS}", {"last_by_subj": "agentbus.coder.tasks.high.planner"}),
        (f"DIRECT.GET.{TASKS}", {"multi_last": ["agentbus.mallory.tasks.*.*", lane]}),
        (f"DIRECT.GET.{RESULTS}", {"multi_last": ["agentbus.planner.results.coder.*"]}),
        (f"DIRECT.GET.{DEAD}", {"seq": 1, "batch": 9, "next_by_subj": "agentbus.role-review.dead.*.*"}),
        (f"DIRECT.GET.{TASKS}.agentbus.coder.tasks.high.planner", None),
        (f"DIRECT.GET.{TASKS}.agentbus.role-review.tasks.normal.*", None),
        (f"DIRECT.GET.{DEAD}.agentbus.coder.dead.high.planner", None),
        (f"DIRECT.GET.{RESULTS}.agentbus.planner.results.coder.*", None),
        ("DIRECT.GET.AGENTBUS_ACCOUNTS.agentbus-accounts.mallory", None),
        ("STREAM.INFO.AGENTBUS_ACCOUNTS", None),
        ("SERVER.REMOVE", {"peer": "x"}),
        ("META.LEADER.STEPDOWN", None),
        (f"STREAM.LEADER.STEPDOWN.{TASKS}", None),
        (f"STREAM.SNAPSHOT.{TASKS}", {"deliver_subject": "agentbus.mallory.back"}),
        ("STREAM.RESTORE.X", {}),
        ("ACCOUNT.PURGE.BUS", None),
    ]  # fmt: skip
    return [(call, json.dumps(body).encode() if body is not None else b"") for call, body in calls]
