# SPDX-License-Identifier: Apache-2.0
"""A task whose handler cannot begin: it is held until there is room, and that is said once."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from mcp_agentbus.handoff.taking.answer import Item
from mcp_agentbus.store.task import Task
from mcp_agentbus.work import job as module
from mcp_agentbus.work.job import Job
from mcp_agentbus.work.result import NotBegun

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


async def test_one_that_nobody_wants_is_not_begun_again(job):
    async def handler(_):
        asyncio.get_running_loop().call_soon(job.unwanted.set)
        raise NotBegun("No space left on device")

    async with asyncio.timeout(5):
        assert await job.outcome(handler, None) is None
