# SPDX-License-Identifier: Apache-2.0
"""What becomes of a reply whose worker says something before it was shown it: nothing is lost."""

import os
import time
from dataclasses import replace

import pytest

from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BusUnreachable, Refused
from mcp_agentbus.handoff import results
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.reports import entrusted
from mcp_agentbus.handoff.reports.published import Published
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.store import subjects
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import Decision
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.steps import step
from mcp_agentbus.tools.catalog import look
from mcp_agentbus.tools.inputs import ReadInbox

ASKS = {"summary": "Which branch?"}


@pytest.fixture
def meanwhile(world, monkeypatch):
    """Have something happen before the next write of records of that kind."""

    def before(kind, happens):
        stored = world.bus.replace

        async def written(stream, subject, data, revision):
            if subjects.parts(subject).kind == kind:
                monkeypatch.setattr(world.bus, "replace", stored)
                await happens()
            return await stored(stream, subject, data, revision)

        monkeypatch.setattr(world.bus, "replace", written)

    return before


async def _asking(world, status="needs_input"):
    """Return planner, coder and the id of a task about which coder has asked something."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Fix it", "please")
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, status, **ASKS)
    return planner, coder, receipt.task_id


async def _answers(session):
    return [answer.body for item in (await read_inbox(session)).tasks for answer in item.answers]


async def test_the_same_question_again_leaves_that_and_its_answer_as_they_are(world):
    planner, coder, task_id = await _asking(world)
    before = await read_record(world.bus, planner.me.id, coder.me.id, task_id)
    open_ = await publish_result(coder, task_id, "needs_input", **ASKS)
    await publish_result(planner, task_id, "answered", body="main")
    replied = await publish_result(coder, task_id, "needs_input", **ASKS)

    same = Published(task_id, "needs_input", unchanged=True)
    assert (open_, replied) == (same, replace(same, is_replied=True))
    assert await read_record(world.bus, planner.me.id, coder.me.id, task_id) == before
    assert await _answers(coder) == ["main"]


async def test_a_question_whose_confirmation_was_lost_is_found_stored_and_its_answer_comes(world):
    planner, coder, task_id = await _asking(world)
    asking = coder.claims[task_id]
    stale = step(asking.record, "claimed", coder.me.id, coder.id, now())
    coder.claims.hold(replace(asking, record=stale, revision=asking.revision - 1))

    assert (await publish_result(coder, task_id, "needs_input", **ASKS)).unchanged
    await publish_result(planner, task_id, "answered", body="main")
    [item] = (await watch_inbox(coder, timeout_s=0)).tasks
    assert [answer.body for answer in item.answers] == ["main"]


async def test_what_its_user_has_decided_outlives_the_same_question(world):
    _, coder, task_id = await _asking(world, "needs_approval")
    folder, record = world.bus.settings.state_dir, coder.claims[task_id].record
    decisions.keep(folder, record, Decision(approved=True, note="", at=now()))
    replied = await publish_result(coder, task_id, "needs_approval", **ASKS)

    assert (replied.unchanged, replied.is_replied) == (True, True)
    [item] = (await read_inbox(coder)).tasks
    assert item.decision.approved


@pytest.mark.parametrize(
    ("state", "said"),
    [("working", {}), ("needs_input", {"summary": "Which file?"}), ("needs_approval", ASKS)],
)
async def test_who_was_not_shown_a_reply_does_not_go_on_from_it(world, state, said):
    planner, coder, task_id = await _asking(world)
    await publish_result(planner, task_id, "answered", body="main")

    with pytest.raises(Refused, match="was not shown") as refused:
        await publish_result(coder, task_id, state, **said)

    assert "Call read_inbox" in refused.value.hint
    assert await _answers(coder) == ["main"]
    assert (await publish_result(coder, task_id, state, **said)).state == state


@pytest.mark.parametrize("status", ["completed", "failed", "rejected", "released"])
async def test_what_ends_or_gives_back_a_task_waits_for_no_reply(world, status):
    planner, coder, task_id = await _asking(world)
    await publish_result(planner, task_id, "answered", body="main")

    then = "stored" if status == "released" else status
    assert (await publish_result(coder, task_id, status)).state == then


async def test_whoever_has_read_the_answer_may_ask_the_same_again(world):
    planner, coder, task_id = await _asking(world)
    await publish_result(planner, task_id, "answered", body="main")
    await read_inbox(coder)

    again = await publish_result(coder, task_id, "needs_input", **ASKS)

    assert again == Published(task_id, "needs_input")
    assert await _answers(coder) == []


async def test_the_same_question_loses_no_answer_that_may_not_have_arrived(world):
    planner, coder, task_id = await _asking(world)
    await publish_result(planner, task_id, "answered", body="main")
    given_up, _ = coder.calls.begin(), coder.calls.begin()
    await read_inbox(coder, call=given_up)
    given_up.answered()

    assert (await publish_result(coder, task_id, "needs_input", **ASKS)).is_replied
    assert await _answers(coder) == ["main"]


async def test_a_next_session_that_has_a_dead_ones_question_reads_its_answer_first(world):
    planner, coder, task_id = await _asking(world)
    await coder.close()
    async with Session(world.bus, coder.me) as then:
        await read_inbox(then)
        await publish_result(planner, task_id, "answered", body="main")
        with pytest.raises(Refused, match="was not shown"):
            await publish_result(then, task_id, "needs_input", **ASKS)
        assert await _answers(then) == ["main"]


async def test_what_a_shell_holds_is_not_gone_on_with_past_a_reply(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Fix it", "please")
    async with shell_session(world.bus, coder.me, world.bus.settings.state_dir) as shells:
        await read_inbox(shells)
    await publish_result(coder, receipt.task_id, "needs_input", **ASKS)
    await publish_result(planner, receipt.task_id, "answered", body="main")

    assert (await publish_result(coder, receipt.task_id, "needs_input", **ASKS)).is_replied
    with pytest.raises(Refused, match="was not shown"):
        await publish_result(coder, receipt.task_id, "working")
    assert await _answers(coder) == ["main"]
    assert (await publish_result(coder, receipt.task_id, "working")).state == "working"


@pytest.mark.parametrize("left", [0, 21], ids=["nothing", "more than is shown"])
async def test_whoever_is_refused_for_what_its_shell_was_told_reads_that_next(world, left):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Fix it", "please")
    async with shell_session(world.bus, coder.me, world.bus.settings.state_dir) as shells:
        await read_inbox(shells)
        await publish_result(shells, receipt.task_id, "needs_input", **ASKS)
        record = shells.claims[receipt.task_id].record
    await publish_result(planner, receipt.task_id, "answered", body="main")
    for number, task_id in enumerate([receipt.task_id, *(f"a{each}" for each in range(20))][:left]):
        entrusted.note(coder, record.model_copy(update={"task_id": task_id}))
        folder = world.bus.settings.state_dir / "entrusted" / coder.me.id
        sign = folder / f"{record.owner}.{record.inbox}.{task_id}"
        os.utime(sign, (0, time.time() - 60 + number))

    with pytest.raises(Refused, match="was not shown"):
        await publish_result(coder, receipt.task_id, "working")
    assert await _answers(coder) == ["main"]
    assert (await publish_result(coder, receipt.task_id, "working")).state == "working"


async def _left_to_the_shell(world):
    """Return a session and the id of a task that its shell has asked about, and was answered."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Fix it", "please")
    async with Session(world.bus, coder.me) as first:
        await publish_result(first, receipt.task_id, "needs_input", **ASKS)
    await publish_result(planner, receipt.task_id, "answered", body="main")
    return coder, receipt.task_id


async def test_what_a_killed_server_has_shown_the_next_one_goes_on_from_and_says_so(world):
    killed, task_id = await _left_to_the_shell(world)
    assert await _answers(killed) == ["main"]

    async with Session(world.bus, killed.me) as then:
        assert (await publish_result(then, task_id, "needs_input", **ASKS)).is_replied
        told = await publish_result(then, task_id, "working")

    assert told == Published(task_id, "working", passed=True)
    assert "Call task_life with this task_id if you have not seen it" in told.note


async def test_a_reply_that_no_reading_can_show_is_refused_for_once(world, monkeypatch):
    coder, task_id = await _left_to_the_shell(world)
    monkeypatch.setattr(entrusted, "note", lambda *_: None)

    with pytest.raises(Refused, match="was not shown"):
        await publish_result(coder, task_id, "working")

    assert (await publish_result(coder, task_id, "working")).passed


async def _looks_up(session, task_id):
    await look(session, ReadInbox(task_id=task_id), session.calls.begin())


async def test_who_has_looked_up_a_task_goes_on_from_its_reply_unless_it_reads_that_first(world):
    for reads in (True, False):
        planner, coder, task_id = await _asking(world)
        await publish_result(planner, task_id, "answered", body="main")
        await _looks_up(coder, task_id)

        assert not reads or await _answers(coder) == ["main"]
        assert (await publish_result(coder, task_id, "working")).passed is not reads


async def test_what_the_shell_was_told_is_looked_up_by_one_server_and_gone_on_from_by_another(
    world,
):
    coder, task_id = await _left_to_the_shell(world)
    await _looks_up(coder, task_id)

    async with Session(world.bus, coder.me) as then:
        assert (await publish_result(then, task_id, "working")).passed


async def test_a_worker_is_told_of_a_reply_that_came_as_it_went_on(world, meanwhile):
    planner, coder, task_id = await _asking(world)

    async def answers():
        await publish_result(planner, task_id, "answered", body="main")

    meanwhile("results", answers)
    told = await publish_result(coder, task_id, "working")

    assert told == Published(task_id, "working", missed=True)
    assert "Call task_life with this task_id" in told.note


async def test_an_answer_that_is_stored_is_said_to_be_whatever_follows(
    world, meanwhile, monkeypatch
):
    planner, _, task_id = await _asking(world)

    async def goes():
        async def away(*_):
            raise BusUnreachable

        monkeypatch.setattr(results, "read_record", away)

    meanwhile("sent", goes)
    told = await publish_result(planner, task_id, "answered", body="main")

    assert told == Published(task_id, "needs_input", is_answer=True)


async def test_a_sender_is_told_that_its_worker_went_on_as_it_answered(world, meanwhile):
    planner, coder, task_id = await _asking(world)

    async def goes_on():
        await publish_result(coder, task_id, "working")

    meanwhile("sent", goes_on)
    told = await publish_result(planner, task_id, "answered", body="main")

    assert told == Published(task_id, "working", is_answer=True, missed=True)
    assert "Call task_life with this task_id" in told.note
