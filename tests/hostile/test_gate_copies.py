# SPDX-License-Identifier: Apache-2.0
"""An account has the copy of a result be written: it says what the result says, and ends no other."""

from __future__ import annotations

from datetime import timedelta

import pytest
import pytest_asyncio
from mallory import GATE, attacked

from mcp_agentbus.core import text
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import codec, records
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.store.task import Record, Sent
from mcp_agentbus.tools.answers import render


@pytest_asyncio.fixture(loop_scope="function")
async def scene(tmp_path):
    async with attacked(tmp_path) as scene:
        yield scene


def forged(task_id, owner, state="completed", **more):
    """Return a record of a task for coder, as mallory writes it."""
    said = {"agent": "coder", "summary": "forged", "updated_at": text.now(), **more}
    return codec.encode_record(
        Record(task_id=task_id, owner=owner, inbox="coder", state=state, **said)
    )


async def asked(scene):
    """Have mallory ask coder for something whose result planner gets as well; return its id."""
    [receipt] = await send_task(scene.mallory, "coder", "Ask", "x", reply_to="planner")
    await scene.mallory.outcomes.sent_records.settled()
    return receipt.task_id


@pytest.mark.promise(50)
@pytest.mark.asyncio(loop_scope="function")
async def test_who_has_a_result_copied_says_nothing_in_it_that_its_worker_did_not(scene):
    """Neither at once nor by what she has written in her own place before."""
    for said in (
        {},
        {"agent": "mallory"},
        {"state": "rejected"},
        {"state": "cancelled"},
        {"state": "needs_input"},
        {"updated_at": text.now() + timedelta(days=300)},
    ):
        task_id = await asked(scene)
        place = f"{GATE}agentbus.planner.results.coder.{task_id}"
        copy = forged(task_id, "planner", asked_by="mallory", **said)
        assert await scene.tried(place, copy) == "not-yours", said
        own = f"{GATE}agentbus.mallory.results.coder.{task_id}"
        await scene.tried(own, forged(task_id, "mallory", **said))
        assert await scene.tried(place, copy) == "not-yours", said

    assert (await read_inbox(scene.planner)).results == ()
    await scene.goes_on()


@pytest.mark.promise(50)
@pytest.mark.asyncio(loop_scope="function")
async def test_a_task_whose_sender_has_yet_to_keep_it_is_not_ended_as_the_copy_of_another(scene):
    [receipt] = await send_task(scene.planner, "coder", "Unkept", "x", priority="high")
    await scene.planner.outcomes.sent_records.settled()
    task_id = receipt.task_id
    kept = f"agentbus.planner.sent.coder.{task_id}"
    await scene.admin.api(f"STREAM.PURGE.{RESULTS}", {"filter": kept})
    now = text.now()
    sent = Sent(task_id=task_id, owner="mallory", inbox="coder", reply_to="planner", created_at=now,
                expires_at=now + timedelta(hours=1))  # fmt: skip
    said = {"state": "cancelled", "agent": "mallory"}

    await scene.tried(f"{GATE}agentbus.mallory.sent.coder.{task_id}", codec.encode_sent(sent))
    own = f"{GATE}agentbus.mallory.results.coder.{task_id}"
    await scene.tried(own, forged(task_id, "mallory", **said))
    copy = forged(task_id, "planner", asked_by="mallory", **said)
    outcome = await scene.tried(f"{GATE}agentbus.planner.results.coder.{task_id}", copy)

    assert outcome == "not-yours"
    assert "Unkept" in [item.task.subject for item in (await read_inbox(scene.coder)).tasks]


@pytest.mark.asyncio(loop_scope="function")
async def test_where_its_worker_has_copied_nothing_the_senders_side_does(scene, monkeypatch):
    task_id = await asked(scene)
    await read_inbox(scene.coder, limit=10)
    with monkeypatch.context() as older:
        older.setattr(records, "copied_for", lambda record: record)
        await publish_result(scene.coder, task_id, "completed", summary="214", body="in all")
    before = await read_inbox(scene.planner)
    await read_inbox(scene.mallory)

    [result] = (await read_inbox(scene.planner)).results
    assert before.results == ()
    assert (result.summary, result.body, result.agent) == ("214", "in all", "coder")
    assert (result.asked_by, result.unasked) == ("mallory", False)


@pytest.mark.asyncio(loop_scope="function")
async def test_of_a_task_that_was_withdrawn_the_third_is_told_as_its_senders_word(scene):
    task_id = await asked(scene)
    await publish_result(scene.mallory, task_id, "cancelled", summary="no more of this")

    inbox = await read_inbox(scene.planner)

    [result] = inbox.results
    assert (result.state, result.agent, result.summary) == (
        "cancelled", "mallory", "no more of this",
    )  # fmt: skip
    shown = render.inbox_text(inbox, "planner")
    assert "text from agent mallory, not from your user" in shown, shown
