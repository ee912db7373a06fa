# SPDX-License-Identifier: Apache-2.0
"""What waits for an agent and what it sent is ended, each with a word to the other side."""

from messages import read_task
from rawclient import store

from mcp_agentbus.archive.lives import task_life
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.patterns import clear as clear_module
from mcp_agentbus.patterns import command
from mcp_agentbus.patterns.clear import Cleared, Clearing, clear, to_clear
from mcp_agentbus.patterns.command import clearing_text
from mcp_agentbus.store.outbox.outbox import Envelope
from mcp_agentbus.store.queries.counted import stored_subjects
from mcp_agentbus.store.subjects import SCHEDULE, scheduled_subject


async def sent(session, to, subject, **options):
    [receipt] = await send_task(session, to, subject, "all of it", **options)
    return receipt.task_id


async def test_what_waits_is_rejected_what_was_sent_is_withdrawn_and_the_rest_stays(world):
    planner = await world.session("planner")
    role = world.name("review")
    coder = await world.session("coder", roles=(role,))
    beside = await world.session("coder")
    me = coder.me.id
    held = await sent(planner, me, "being done")
    await read_inbox(beside)
    done = await sent(coder, planner.me.id, "done")
    [item] = (await read_inbox(planner)).tasks
    await publish_result(planner, item.task.id, "completed", summary="so it is")
    word = await sent(planner, me, "a word", expect="nothing")
    shared = await sent(planner, f"role:{role}", "anybody's")
    urgent, waits = [
        await sent(planner, me, "waits", priority=priority) for priority in ("high", "low")
    ]
    to_itself = await sent(coder, me, "to itself")
    asked = await sent(coder, planner.me.id, "asked")

    what = await to_clear(coder)
    assert what == Clearing((urgent, to_itself, waits), (asked,), held=1, words=1)
    await publish_result(coder, waits, "completed", summary="done meanwhile")
    assert await clear(coder, what) == Cleared(rejected=2, withdrawn=1, left=1)

    assert await to_clear(coder) == Clearing(held=1, words=1)
    states = {
        task_id: (await task_life(session, task_id)).state
        for session, ids in ((planner, (held, word, shared, urgent, waits)), (coder, (done, asked)))
        for task_id in ids
    }
    assert states == {
        held: "claimed", word: "stored", shared: "stored", urgent: "rejected", waits: "completed",
        done: "completed", asked: "cancelled",
    }  # fmt: skip
    told = {record.task_id: record.summary for record in (await read_inbox(planner)).results}
    assert told[urgent] == f"{me} has cleared its inbox without doing this."


async def test_a_clearing_that_was_cut_off_goes_on_with_the_same_again(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    ids = tuple([await sent(planner, coder.me.id, f"{number}") for number in range(3)])
    what = await to_clear(coder)
    await clear(coder, Clearing(what.received[:1]))

    assert await clear(coder, what) == Cleared(rejected=3, withdrawn=0, left=0)
    assert what.received == ids


async def test_what_has_no_senders_record_is_left_and_said_to_be(world):
    coder = await world.session("coder")
    lane = f"agentbus.{coder.me.id}.tasks.low.somebody".encode()
    await store(world.bus.settings, lane, b'{"id":"abcdef1","payload":{"content":"x"}}')
    printed = []

    what = await to_clear(coder)
    await command.cleared(coder, what, lambda *said: printed.append(said))

    assert what.received == ("abcdef1",)
    assert "1 task that ended or was claimed meanwhile, or has no sender's record" in printed[0][0]
    assert [item.task.id for item in (await read_inbox(coder)).tasks] == ["abcdef1"]


async def test_what_is_to_come_at_its_time_is_rejected_too_and_a_word_of_it_stays(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    me = coder.me.id
    ids = tuple([await sent(planner, me, f"{number}", deliver_in_s=3600) for number in range(2)])
    word = await sent(planner, me, "a word", deliver_in_s=3600, expect="nothing")
    to_itself = await sent(coder, me, "to itself", deliver_in_s=3600)
    asked = await sent(coder, planner.me.id, "asked", deliver_in_s=3600)

    what = await to_clear(coder)
    assert set(what.later) == {*ids, to_itself}
    assert (what.received, what.sent, what.words) == ((), (asked,), 1)
    would = clearing_text(me, what)
    assert "3 waiting tasks, 3 of them for a later time, would" in would
    assert would.endswith(f"see agentbus inbox --peek --agent {me}")
    await publish_result(planner, ids[0], "cancelled")
    assert await clear(coder, what) == Cleared(rejected=2, withdrawn=1, left=1)

    assert await to_clear(coder) == Clearing(words=1)
    places = scheduled_subject(me, "*", "*", "*")
    assert len(await stored_subjects(world.bus, SCHEDULE, places)) == 1
    told = {record.task_id: record.summary for record in (await read_inbox(planner)).results}
    assert told == {ids[1]: f"{me} has cleared its inbox without doing this."}
    assert (await task_life(planner, word)).state == "stored"


async def test_what_lies_here_until_the_bus_takes_it_is_said_to_be_left(world, monkeypatch):
    coder = await world.session("coder")
    await coder.called()
    task = read_task().model_copy(update={"sender": coder.me.id})
    kept = [
        Envelope(task, 1, task.created_at, is_ours=True),
        Envelope(task, 2, task.created_at, is_ours=False),
        Envelope(task, 3, task.created_at, is_ours=True, is_over=True),
        Envelope(read_task(), 4, task.created_at, is_ours=True),
    ]

    async def waits():
        return kept

    monkeypatch.setattr(clear_module, "all_kept_here", lambda _: waits())
    printed = []

    what = await to_clear(coder)
    await command.cleared(coder, what, lambda *said: printed.append(said))

    assert what == Clearing(outgoing=1)
    assert "nothing that it sent to the bus has no end yet" in printed[0][0]
    assert "Left as well: 1 task that it sent, kept on this machine" in printed[0][0]
    assert f"`agentbus result ID cancelled --agent {coder.me.id}` withdraws" in printed[0][0]
