# SPDX-License-Identifier: Apache-2.0
"""How much waits: the same number wherever it is told, and no false "nothing"."""

from __future__ import annotations

import asyncio

import pytest

from mcp_agentbus.bus.connection import Link
from mcp_agentbus.handoff import agents
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects
from mcp_agentbus.tools.answers.render import inbox_text
from mcp_agentbus.tools.answers.roster import roster_text
from mcp_agentbus.tools.follow import follow
from mcp_agentbus.wakes import demand


async def _told(world, reader):
    """Return how much waits in each lane, as each of those tells it who tell it."""
    bus, me = world.bus, reader.me
    page = await agents.page(bus, query=me.id)
    looked = await demand.look(bus, me.id, me.inboxes)
    async for event in follow(bus, me):
        followed = event.data["waiting"]
        break
    return [
        (counts.get("high", 0), counts.get("normal", 0) + counts.get("low", 0))
        for counts in (
            page.agents[0].waiting,
            (await read_inbox(reader, peek=True)).waiting,
            followed,
            {"high": looked.counts.high, "normal": looked.counts.others},
            {"high": len(looked.things), "normal": looked.counts.others},
        )
    ]


@pytest.mark.parametrize("priority", ["high", "normal"])
async def test_only_what_is_open_and_free_waits_whoever_counts(world, elapse, priority):
    planner, coder = await world.session("planner"), await world.session("coder")
    other = await world.session("coder")
    common = {"body": "x", "priority": priority}
    names = ("held", "released", "cancelled", "free")
    tasks = {
        name: (await send_task(planner, coder.me.id, name, **common))[0].task_id for name in names
    }
    await send_task(planner, coder.me.id, "expired", **common, expires_in_s=1)
    await send_task(planner, coder.me.id, "later", **common, deliver_in_s=60)
    await read_inbox(other, limit=2)
    await publish_result(other, tasks["released"], "released")
    await publish_result(planner, tasks["cancelled"], "cancelled")
    elapse(2)

    waits = (2, 0) if priority == "high" else (0, 2)
    assert await _told(world, coder) == [waits] * 5

    read = await read_inbox(coder)
    assert {item.task.subject for item in read.tasks} == {"released", "free"}
    assert read.waiting == {}
    assert await _told(world, coder) == [(0, 0)] * 5


async def test_a_withdrawn_task_leaves_the_inbox_and_the_schedule_at_once(world):
    """Where many are stored it is the server that counts."""
    planner, coder = await world.session("planner"), await world.session("coder")
    sent = await asyncio.gather(
        *(send_task(planner, coder.me.id, f"{number}", "x") for number in range(60))
    )
    [later] = await send_task(planner, coder.me.id, "later", "x", deliver_in_s=60)
    scheduled = subjects.scheduled_subject(coder.me.id, "normal", planner.me.id, later.task_id)
    assert await world.bus.last(subjects.SCHEDULE, scheduled)

    for [receipt] in sent[:5]:
        await publish_result(planner, receipt.task_id, "cancelled")
    await publish_result(planner, later.task_id, "cancelled")

    assert await _told(world, coder) == [(0, 55)] * 5
    assert (await read_inbox(coder, limit=1)).waiting == {"normal": 54}
    assert await world.bus.last(subjects.SCHEDULE, scheduled) is None


async def test_nothing_new_says_what_other_sessions_hold_and_what_waits_elsewhere(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    other = await world.session("coder")
    await send_task(planner, coder.me.id, "Held", "x", thread_id="talk")
    await read_inbox(other)

    empty = await read_inbox(coder)
    await send_task(planner, coder.me.id, "Normal", "x")
    timed_out = await watch_inbox(coder, priority="high", timeout_s=0)
    of_thread = await read_inbox(coder, thread_id="none")

    assert empty.empty
    assert inbox_text(empty, "coder") == (
        "Inbox of coder: ok, nothing new. 1 task held by other sessions. Waiting: none."
    )
    assert inbox_text(timed_out, "coder") == (
        "Inbox of coder: ok, timed out, nothing new. 1 task held by other sessions. "
        "Waiting: 1 normal."
    )
    assert inbox_text(of_thread, "coder") == (
        "Inbox of coder: ok, nothing of this conversation. 1 task held by other sessions. "
        "Waiting: 1 normal."
    )


async def test_nothing_new_says_what_is_there_for_another_session_and_who_is_away(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    other = await world.session("planner")
    await send_task(planner, coder.me.id, "Mine", "x")
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, item.task.id, "completed")
    await coder.close()

    empty = await read_inbox(other)
    nobody = await agents.page(world.bus, query=coder.me.id, include_offline=False)

    assert empty.results == ()
    assert "nothing new. 1 result for another session of planner." in inbox_text(empty, "planner")
    assert roster_text(nobody) == "Nobody that matches is there; 1 agent offline."


async def test_more_results_than_the_limit_are_said_to_be_there(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    for number in range(3):
        await send_task(planner, coder.me.id, f"{number}", "x")
    for item in (await read_inbox(coder)).tasks:
        await publish_result(coder, item.task.id, "completed")

    first, second = await read_inbox(planner, limit=2), await read_inbox(planner, limit=2)

    assert [len(inbox.results) for inbox in (first, second)] == [2, 1]
    assert "More results may be there: read again." in inbox_text(first, "planner")
    assert "More results" not in inbox_text(second, "planner")


class Overheard:
    """What is asked of the server: what each request begins with, and what is over by then."""

    def __init__(self, monkeypatch):
        self.begun, self.over = [], []
        for name in ("asked", "stream", "pull"):
            monkeypatch.setattr(Link, name, self._through(getattr(Link, name)))

    def _through(self, asks):
        async def overheard(link, *args):
            self.begun.append((args, len(self.over)))
            try:
                return await asks(link, *args)
            finally:
                self.over.append(args)

        return overheard

    def after(self, word):
        """Return what was asked once a request with this word was over."""
        end = next(place for place, args in enumerate(self.over) if word in args[0])
        return [args for args, over in self.begun if over > end]


@pytest.mark.promise(10)
async def test_a_watch_asks_for_nothing_more_once_its_task_is_claimed(own_world, monkeypatch):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [low] = await send_task(planner, coder.me.id, "Later", "x", priority="low")
    waits = asyncio.Event()

    async def waiting(_: float) -> None:
        waits.set()

    watching = asyncio.create_task(
        watch_inbox(coder, timeout_s=60, priority="normal", waiting=waiting)
    )
    await waits.wait()
    overheard = Overheard(monkeypatch)
    [sent] = await send_task(planner, coder.me.id, "Count", "x")
    inbox = await watching

    assert [item.task.id for item in inbox.tasks] == [sent.task_id]
    assert inbox.waiting == {"low": 1}
    record = subjects.record_subject(planner.me.id, coder.me.id, sent.task_id)
    assert overheard.after(record) == []
    assert (await read_inbox(coder)).tasks[-1].task.id == low.task_id
