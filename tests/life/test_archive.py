# SPDX-License-Identifier: Apache-2.0
"""What becomes of tasks is kept: while a listener runs, while none does, and after the bus lost it."""

import asyncio
from dataclasses import replace

import pytest
import pytest_asyncio

from mcp_agentbus.archive.ear import Ear
from mcp_agentbus.archive.file import Archive
from mcp_agentbus.archive.history import history
from mcp_agentbus.archive.keeper import Keeper
from mcp_agentbus.archive.lives import task_life
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.config.watcher import Watcher
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import UnknownTask
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects
from mcp_agentbus.tools.answers import render

BODY = "All of it. " * 500


@pytest_asyncio.fixture
async def bus():
    async with Bus.ephemeral() as bus:
        yield bus


async def work(bus, subject, body=BODY):
    """Have a task go over and come back; return its id."""
    async with Session(bus, Agent("planner")) as planner, Session(bus, Agent("coder")) as coder:
        await coder.called()
        [receipt] = await send_task(planner, "coder", subject, body)
        await read_inbox(coder)
        await publish_result(coder, receipt.task_id, "completed", summary="Done.")
    return receipt.task_id


async def known(bus, **wanted):
    async with Session(bus, Agent("planner")) as planner:
        return (await history(planner, **wanted)).tasks


async def test_what_the_bus_has_lost_is_found_all_the_same(bus):
    task_id = await work(bus, "Before")
    assert [past.task_id for past in await known(bus)] == [task_id]
    await bus.api(f"STREAM.PURGE.{subjects.RESULTS}")

    [past] = await known(bus, view="sent")
    assert (past.task_id, past.state, past.summary) == (task_id, "completed", "Done.")
    async with Session(bus, Agent("coder")) as coder:
        for written in (task_id, task_id[:6]):
            life = await task_life(coder, written)
            steps = [step.state for step in life.history]
            assert (life.state, steps) == ("completed", ["stored", "claimed", "completed"])
            assert "All of it. " in render.life_text(life)
        with pytest.raises(UnknownTask):
            await task_life(coder, "f" * 32)


async def test_nothing_is_missed_while_nobody_reads(bus):
    ids = [await work(bus, f"Task {number}", "x") for number in range(3)]

    assert [past.task_id for past in await known(bus)] == ids[::-1]


async def test_a_listener_keeps_long_texts_before_they_are_gone(bus, monkeypatch):
    kept, loop = asyncio.Event(), asyncio.get_running_loop()
    note_request = Archive.note_request

    def noted(archive, *said):
        note_request(archive, *said)
        loop.call_soon_threadsafe(kept.set)

    monkeypatch.setattr(Archive, "note_request", noted)
    keeper = asyncio.ensure_future(Keeper(bus, Watcher(bus.settings), Ear(bus), print).run())
    try:
        async with Session(bus, Agent("planner")) as planner, asyncio.timeout(30):
            [receipt] = await send_task(planner, "planner", "To itself", BODY)
            await kept.wait()
            await publish_result(planner, receipt.task_id, "cancelled")
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])

    [past] = await known(bus)
    assert (past.state, past.request) == ("cancelled", BODY)


async def test_a_user_who_wants_none_has_no_file(bus):
    bus.settings = replace(bus.settings, archive=Keeps(enabled=False))
    task_id = await work(bus, "Unarchived")

    page = await known(bus)
    assert [past.task_id for past in page] == [task_id]
    assert not list(bus.settings.state_dir.glob("archive*"))


@pytest.mark.parametrize("texts", [True, False])
async def test_texts_are_kept_if_the_user_wants_them(bus, texts):
    bus.settings = replace(bus.settings, archive=Keeps(texts=texts))
    await work(bus, "Subject", "secret words")

    assert bool(await known(bus, words="secret")) is texts
    assert bool(await known(bus, words="subject")) is True
