# SPDX-License-Identifier: Apache-2.0
"""A result counts if its owner has sent the task to who writes it: others wake and hide nothing."""

import asyncio
import json

import pytest
from rawclient import Raw

from mcp_agentbus.core.text import now, stamp
from mcp_agentbus.handoff import lookup
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import records, subjects, tasks, unseen
from mcp_agentbus.store.queries import senders
from mcp_agentbus.store.task import Record, Sent
from mcp_agentbus.tools.answers import documents, render
from mcp_agentbus.wakes import demand


async def forge(session, inbox, task_id, **fields):
    """Write a result as a peer that has the token."""
    subject = subjects.record_subject(session.me.id, inbox, task_id)
    said = {"type": "task.result", "state": "completed", "agent": inbox, "notify": "wake",
            "summary": "forged", "updated_at": stamp(now()), **fields}  # fmt: skip
    async with Raw(session.bus.settings.data_dir) as raw:
        await raw.ask(subject.encode(), json.dumps(said).encode())


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """A result without a task is looked at again after no time, unless a test says otherwise."""
    monkeypatch.setattr(unseen, "_RECORD_LATE", unseen.timedelta())


@pytest.fixture
async def pair(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await read_inbox(coder)
    return planner, coder


async def test_a_result_of_a_task_that_was_never_sent_is_shown_as_unasked_and_wakes_nobody(pair):
    planner, _ = pair
    await forge(planner, "mallory", "f" * 32, owner_session=planner.id)

    woken = await demand.look(planner.bus, planner.me.id, planner.inboxes)
    inbox = await read_inbox(planner)

    assert woken.things == ()
    assert [result.unasked for result in inbox.results] == [True]
    assert "UNASKED" in render.inbox_text(inbox, planner.me.id)
    assert documents.of_inbox(inbox, texts=False)["results"][0]["unasked"]
    # That it was seen does not make it asked for.
    await read_inbox(planner)
    await forge(planner, "mallory", "f" * 32)
    assert (await demand.look(planner.bus, planner.me.id, planner.inboxes)).things == ()
    assert [result.unasked for result in (await read_inbox(planner)).results] == [True]


async def test_a_result_from_somebody_the_task_was_not_for_stands_before_no_other(pair):
    planner, coder = pair
    [receipt] = await send_task(planner, coder.me.id, "Count", "x", notify="never")
    await forge(planner, "mallory", receipt.task_id)
    early = await watch_inbox(planner, timeout_s=0, task_id=receipt.task_id)
    told = (await read_inbox(planner)).results
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, "completed", summary="214")
    # Written last, so that it is what is found first.
    await forge(planner, "mallory", receipt.task_id, summary="again")

    results = (await watch_inbox(planner, timeout_s=5, task_id=receipt.task_id)).results
    life = await lookup.task_life(planner, receipt.task_id)

    assert early.results == ()
    assert [result.unasked for result in told] == [True]
    assert [(result.summary, result.unasked) for result in results] == [("214", False)]
    assert life.record.summary == "214"


async def test_how_a_result_is_told_is_its_senders_word(pair):
    planner, coder = pair
    [receipt] = await send_task(planner, coder.me.id, "Count", "x", notify="never")
    await forge(
        planner, coder.me.id, receipt.task_id, notify="wake", subject="Other", owner_session="x"
    )

    looked = await demand.look(planner.bus, planner.me.id, planner.inboxes)
    [result] = (await read_inbox(planner)).results

    assert looked.things == ()
    assert (result.notify, result.subject, result.owner_session) == ("never", "Count", planner.id)


async def test_a_result_whose_task_its_sender_notes_a_moment_later_is_looked_at_again(
    pair, monkeypatch
):
    planner, coder = pair
    monkeypatch.setattr(unseen, "_RECORD_LATE", unseen.timedelta(minutes=1))
    await forge(planner, coder.me.id, "f" * 32)
    before = await read_inbox(planner)
    sent = Sent(task_id="f" * 32, owner=planner.me.id, inbox=coder.me.id, created_at=now(),
                expires_at=now() + unseen.timedelta(hours=1))  # fmt: skip
    await records.write_sent(planner.bus, sent, 0)
    after = await watch_inbox(planner, timeout_s=5)

    assert before.results == ()
    assert [result.unasked for result in after.results] == [False]


async def test_attempts_count_as_far_as_there_can_have_been_so_many(pair):
    planner, coder = pair
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    await forge(planner, coder.me.id, receipt.task_id, state="stored", attempts=99)

    inbox = await read_inbox(coder)

    # Once without an offer, by its id, and now.
    assert [(item.task.id, item.attempt) for item in inbox.tasks] == [(receipt.task_id, 2)]
    assert inbox.notes == ()


@pytest.fixture
def late(monkeypatch):
    """Have what senders keep follow their receipts only once this is set."""
    keep, is_time = tasks.keep, asyncio.Event()

    async def kept(*task):
        await is_time.wait()
        return await keep(*task)

    monkeypatch.setattr(tasks, "keep", kept)
    return is_time


async def say_to_have_sent(bus, who, inbox, task_id, **fields):
    """Write the record of a sender, whoever that is."""
    over = now() + unseen.timedelta(seconds=1)
    forged = Sent(
        task_id=task_id, owner=who, inbox=inbox, created_at=now(), expires_at=over, **fields
    )
    await records.write_sent(bus, forged, 0)


async def test_who_says_to_have_sent_anothers_task_is_not_taken_for_its_sender(pair, late):
    planner, coder = pair
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    await say_to_have_sent(planner.bus, "mallory", coder.me.id, receipt.task_id)

    waiting = await lookup.task_life(coder, receipt.task_id)
    late.set()
    await publish_result(coder, receipt.task_id, "completed", summary="214")
    ended = await lookup.task_life(coder, receipt.task_id)
    results = (await read_inbox(planner)).results

    assert [life.sent.owner for life in (waiting, ended)] == [planner.me.id] * 2
    assert (waiting.state, ended.state) == ("stored", "completed")
    assert [result.summary for result in results] == ["214"]


async def test_it_keeps_nobody_from_the_task_before_its_sender_has_kept_it(pair, late):
    planner, coder = pair
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    await say_to_have_sent(planner.bus, "mallory", coder.me.id, receipt.task_id)

    await publish_result(coder, receipt.task_id, "completed", summary="214")
    late.set()

    assert [result.summary for result in (await read_inbox(planner)).results] == ["214"]


async def test_nor_is_who_says_to_have_sent_it_for_later(pair):
    planner, coder = pair
    [receipt] = await send_task(planner, coder.me.id, "Count", "x", deliver_in_s=3600)
    at = {"deliver_at": now() + unseen.timedelta(hours=1)}
    await say_to_have_sent(planner.bus, "mallory", coder.me.id, receipt.task_id, **at)

    life = await lookup.task_life(coder, receipt.task_id)

    assert (life.sent.owner, life.state) == (planner.me.id, "stored")


@pytest.mark.parametrize("seq", [0, 1])
async def test_however_many_say_to_have_sent_it_the_server_is_asked_a_few_times(
    pair, late, monkeypatch, seq
):
    planner, coder = pair
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    names = [f"mallory-{number}" for number in range(30)]
    saying = (
        say_to_have_sent(planner.bus, name, coder.me.id, receipt.task_id, seq=seq) for name in names
    )
    await asyncio.gather(*saying)
    late.set()
    await planner.outcomes.sent_records.settled()
    asked, tried = [], coder.bus._tried

    def count(ask, **how):
        asked.append(ask)
        return tried(ask, **how)

    monkeypatch.setattr(coder.bus, "_tried", count)
    sent = await senders.sent_to(coder.bus, coder.me.id, receipt.task_id)

    assert sent.owner == planner.me.id
    assert len(asked) <= 5


@pytest.fixture
async def forged(pair):
    """A task of planner's for coder of which mallory says that it is hers, and over."""
    planner, coder = pair
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    await planner.outcomes.sent_records.settled()
    await _take_for_hers(planner.bus, coder.me.id, receipt.task_id)
    return planner, coder, receipt.task_id


async def _take_for_hers(bus, inbox, task_id):
    await say_to_have_sent(bus, "mallory", inbox, task_id)
    hers = Record(task_id=task_id, owner="mallory", inbox=inbox, state="completed",
                  agent="mallory", updated_at=now())  # fmt: skip
    await records.write_record(bus, hers, 0)


async def test_another_session_sees_whose_a_task_is_that_somebody_says_is_over(forged, own_world):
    planner, coder, task_id = forged
    before = await lookup.task_life(coder, task_id)
    await read_inbox(coder)
    other = await own_world.session("coder")

    lives = [await lookup.task_life(session, task_id) for session in (other, coder)]

    assert before.state == "stored"
    assert [(life.state, life.sent.owner) for life in lives] == [("claimed", planner.me.id)] * 2


async def test_a_task_that_somebody_says_is_over_is_ended_by_its_id(forged):
    planner, coder, task_id = forged

    await publish_result(coder, task_id, "completed", summary="214")

    assert [result.summary for result in (await read_inbox(planner)).results] == ["214"]
    assert (await lookup.task_life(coder, task_id)).record.summary == "214"


async def test_nor_has_who_is_quicker_than_its_sender_a_word_about_it(pair, late):
    planner, coder = pair
    ids = [(await send_task(planner, coder.me.id, word, "x"))[0].task_id for word in ("A", "B")]
    for task_id in ids:
        await _take_for_hers(planner.bus, coder.me.id, task_id)

    await publish_result(coder, ids[0], "completed", summary="214")
    await read_inbox(coder)
    held = await lookup.task_life(coder, ids[1])
    late.set()

    assert (held.record.owner, held.state) == (planner.me.id, "claimed")
    assert [result.summary for result in (await read_inbox(planner)).results] == ["214"]
