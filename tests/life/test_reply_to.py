# SPDX-License-Identifier: Apache-2.0
"""A result that goes to a third agent as well: whose task it was, by the word of who sent it."""

from __future__ import annotations

import json

import pytest
from rawclient import Raw

from mcp_agentbus.core.text import now, stamp
from mcp_agentbus.errors import BadInput, HopLimit, UnknownAgent
from mcp_agentbus.handoff import send
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import records, subjects, unseen
from mcp_agentbus.tools.answers import render
from mcp_agentbus.wakes import demand


async def _three(world, **options):
    """Return lead, coder, planner, and the id of a task of lead's whose result planner gets too."""
    lead, coder, planner = [await world.session(name) for name in ("lead", "coder", "planner")]
    [receipt] = await send_task(
        lead, coder.me.id, "Count", "all", reply_to=planner.me.id, **options
    )
    return lead, coder, planner, receipt.task_id


async def test_a_result_reaches_its_sender_and_the_third_who_sees_whose_task_it_was(world):
    lead, coder, planner, task_id = await _three(world)
    await read_inbox(coder)
    await publish_result(coder, task_id, "completed", summary="214", body="in all")

    for reader in (lead, planner):
        inbox = await watch_inbox(reader, timeout_s=20)
        [result] = inbox.results
        assert (result.task_id, result.state, result.body) == (task_id, "completed", "in all")
        assert not result.unasked
    shown = render.inbox_text(inbox, planner.me.id)
    assert f"task of {lead.me.id}, who had its result sent here too" in shown
    assert "UNASKED" not in shown
    assert f"sent by {lead.me.id} to" in render.life_text(await task_life(planner, task_id))
    assert (await read_inbox(planner)).empty
    assert (await read_inbox(planner)).empty


async def test_the_sender_keeps_the_right_to_cancel_and_the_deadline_and_the_third_is_told(
    world, elapse
):
    lead, coder, planner, withdrawn = await _three(world)
    [late] = await send_task(lead, coder.me.id, "Late", "x", reply_to=planner.me.id, expires_in_s=5)
    await publish_result(lead, withdrawn, "cancelled")
    elapse(6)
    await read_inbox(lead)

    told = (await read_inbox(planner)).results

    assert {(each.task_id, each.state) for each in told} == {
        (withdrawn, "cancelled"), (late.task_id, "expired"),
    }  # fmt: skip


async def test_a_worker_of_an_older_version_copies_nothing_so_the_senders_side_does(
    world, monkeypatch
):
    lead, coder, planner, task_id = await _three(world)
    await read_inbox(coder)
    with monkeypatch.context() as older:
        older.setattr(records, "copied_for", lambda record: record)
        await publish_result(coder, task_id, "completed", summary="214")
    before = await read_inbox(planner)
    await read_inbox(lead)

    assert before.empty
    assert [result.summary for result in (await read_inbox(planner)).results] == ["214"]


async def test_a_forged_copy_is_unasked_and_wakes_nobody(own_world, monkeypatch):
    monkeypatch.setattr(unseen, "_RECORD_LATE", unseen.timedelta())
    lead, coder, planner, _ = await _three(own_world)
    [other] = await send_task(lead, coder.me.id, "Other", "x")
    said = {"type": "task.result", "state": "completed", "agent": coder.me.id, "notify": "wake",
            "summary": "forged", "updated_at": stamp(now()), "asked_by": lead.me.id,
            "chain": [], "hops": 0}  # fmt: skip
    async with Raw(own_world.bus.settings.data_dir) as raw:
        for forged in (other.task_id, "f" * 32):
            subject = subjects.record_subject(planner.me.id, coder.me.id, forged)
            await raw.ask(subject.encode(), json.dumps(said).encode())

    looked = await demand.look(own_world.bus, planner.me.id, planner.inboxes)
    results = (await read_inbox(planner)).results

    assert looked.things == ()
    assert [(result.unasked, result.asked_by) for result in results] == [(True, "")] * 2


async def test_what_the_third_sends_because_of_it_is_the_next_hop(world, monkeypatch):
    lead, coder, planner, task_id = await _three(world)
    await read_inbox(coder)
    await publish_result(coder, task_id, "completed")
    await watch_inbox(planner, timeout_s=20)

    await send_task(planner, coder.me.id, "Next", "x")
    [item] = (await read_inbox(coder)).tasks
    monkeypatch.setattr(send, "HOPS_MAX", 0)

    assert (item.task.hops, item.task.chain) == (1, (lead.me.id, planner.me.id))
    with pytest.raises(HopLimit, match=lead.me.id):
        await send_task(planner, coder.me.id, "Next", "x")


async def test_its_sender_as_the_one_who_gets_the_result_as_well_changes_nothing(world):
    lead, coder, _, _ = await _three(world)

    [receipt] = await send_task(lead, coder.me.id, "x", "y", reply_to=lead.me.id)

    sent, _ = await lead.outcomes.sent_records.read(receipt.task_id)
    assert sent is not None
    assert sent.reply_to == ""


async def test_who_is_not_registered_is_refused_and_so_is_one_for_a_word_without_a_result(world):
    lead, coder, planner, _ = await _three(world)

    with pytest.raises(UnknownAgent, match=planner.me.id):
        await send_task(lead, coder.me.id, "x", "y", reply_to=planner.me.id[:-1])
    with pytest.raises(BadInput):
        await send_task(lead, coder.me.id, "x", "y", reply_to="all them")
    with pytest.raises(BadInput, match="no result comes"):
        await send_task(lead, coder.me.id, "x", "y", reply_to=planner.me.id, expect="nothing")
