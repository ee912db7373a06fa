# SPDX-License-Identifier: Apache-2.0
"""A task whose handler cannot begin: it is held until there is room, or its worker is to end."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.intake.answer import Item
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store.task import Task
from mcp_agentbus.work import job as module
from mcp_agentbus.work.job import Job
from mcp_agentbus.work.result import NotBegun
from mcp_agentbus.work.worker import Worker

AT = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture
def job():
    task = Task(
        id="9d0c", sender="planner", to="coder", subject="Count", body="all",
        thread_id="9d0c", created_at=AT, expires_at=AT,
    )  # fmt: skip
    return Job(Item(task, "claimed"))


async def test_one_that_could_not_begin_is_begun_again_and_what_lacks_is_said_once(
    job, monkeypatch, caplog
):
    monkeypatch.setattr(module, "_AGAIN_S", 0)
    tries = iter([True, True, False])

    async def handler(_):
        if next(tries):
            raise NotBegun("No space left on device")
        return "three"

    assert (await job.outcome(handler, None)).body == "three"
    [said] = [line for line in caplog.records if line.levelno == logging.ERROR]
    assert (said.msg, said.about["why"]) == ("short", "No space left on device")
    assert "every 0 s" in said.about["hint"]


@pytest.mark.parametrize("when", ["before", "as it is tried", "as it waits"])
async def test_one_that_cannot_begin_is_tried_no_more_once_that_was_the_last(
    job, monkeypatch, when
):
    tries, hints = [], []

    def note(*_, hint, **__):
        hints.append(hint)
        asyncio.get_running_loop().call_soon(job.last.set)

    async def handler(_):
        tries.append(when)
        if when == "as it is tried":
            job.last.set()
        raise NotBegun("No space left on device")

    monkeypatch.setattr(module, "note", note)
    if when == "before":
        job.last.set()
    async with asyncio.timeout(5):
        assert await job.outcome(handler, None) is None
    assert tries == [when]
    assert ["given back" in hint for hint in hints] == [when != "as it waits"]


@pytest.mark.parametrize("once", [True, False])
async def test_a_worker_that_does_one_task_or_is_told_to_end_gives_back_what_cannot_begin(
    world, once
):
    planner = await world.session("planner")

    async def handler(_):
        if not once:
            worker.drain()
        raise NotBegun("No space left on device")

    async with Worker(world.bus, Agent(world.name("coder"))) as worker, asyncio.timeout(20):
        [receipt] = await send_task(planner, worker.me, "Count", "all")
        done = await (worker.run_once if once else worker.run)(handler)
        assert (await task_life(planner, receipt.task_id)).state == "stored"
    assert done is None or done.state == "released"


async def test_one_that_nobody_wants_is_not_begun_again(job):
    async def handler(_):
        asyncio.get_running_loop().call_soon(job.unwanted.set)
        raise NotBegun("No space left on device")

    async with asyncio.timeout(5):
        assert await job.outcome(handler, None) is None
