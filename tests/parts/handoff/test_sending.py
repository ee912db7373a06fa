# SPDX-License-Identifier: Apache-2.0
"""What a call to send stores, as of when and in which conversation, and its receipts."""

from datetime import timedelta

import pytest
from planners_task import ROOM, TASK
from sending import BEFORE, Sender
from server_stand_in import NOON

from mcp_agentbus.bus.replies import Found, Stored
from mcp_agentbus.errors import BadInput, HopLimit
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.dispatch.draft import Route
from mcp_agentbus.handoff.dispatch.receipts import receipt_of
from mcp_agentbus.store import codec
from mcp_agentbus.store.steps import first_record, sent_of
from mcp_agentbus.store.tasks import Kept


@pytest.fixture
def sender(monkeypatch, tmp_path):
    return Sender(monkeypatch, tmp_path)


def kept(task, *, duplicate=False, seq=7):
    return Kept(sent_of(task).model_copy(update={"seq": seq}), duplicate)


async def test_a_task_is_stored_as_of_the_servers_time_and_what_is_kept_of_it_goes_behind(sender):
    receipts = await sender()

    task = sender.task()
    assert receipts == (receipt_of("coder", sender.entries["coder"], task, kept(task)),)
    assert (sender.stored, sender.begun, sender.awaited) == ([task], [kept(task)], ["coder-own"])
    week = NOON + timedelta(days=7)
    assert sender.asked == [*BEFORE, ["coder"], ("now", week), ("entry", "coder", "normal")]
    assert sender.counted == [("planner", 1)]


@pytest.mark.parametrize("how", ["by a request id", "of a shell", "for later"])
async def test_who_may_repeat_it_or_ends_with_it_or_sends_for_later_has_both_stored(sender, how):
    options = {"by a request id": {"request_id": "r1"}, "for later": {"deliver_in_s": 60}}
    sender.session.leased = how == "of a shell"
    sender.server.infos["AGENTBUS_SCHED"] = ROOM
    [receipt] = await sender(**options.get(how, {}))

    key = "r1" if how == "by a request id" else "own"
    assert (receipt.task_id, receipt.state, receipt.duplicate) == (f"coder-{key}", "stored", False)
    kept_at = f"agentbus.planner.sent.coder.coder-{key}"
    assert [each[1] for each in sender.server.done][1:] == [kept_at]
    assert sender.begun == []
    assert ("now", NOON + timedelta(seconds=60)) in sender.asked or how != "for later"


async def test_a_repeated_call_stores_nothing_and_is_told_so(sender):
    first = await sender(request_id="r1")
    before = list(sender.server.done)
    sender.asked.clear()
    again = await sender(request_id="r1")

    assert again == tuple(each.model_copy(update={"duplicate": True}) for each in first)
    assert sender.server.done == before
    assert sender.counted == [("planner", 1), ("planner", 0)]
    assert "settled" in sender.asked


async def test_of_several_those_that_are_there_already_are_not_stored_again(sender):
    await sender(request_id="r1")
    sender.server.done.clear()
    receipts = await sender(["tester", "coder"], request_id="r1")

    assert [(each.to, each.duplicate) for each in receipts] == [("tester", False), ("coder", True)]
    assert sender.stored == [sender.task("tester", "r1"), "agentbus.planner.sent.tester.tester-r1"]
    assert sender.counted[-1] == ("planner", 1)


async def test_a_request_id_that_has_another_task_is_refused_and_nothing_is_stored(sender):
    await sender(request_id="r1")
    sender.server.done.clear()
    with pytest.raises(BadInput) as refused:
        await sender(["tester", "coder"], request_id="r1", task_type="review")

    assert refused.value.message.startswith("This request_id was used for another task, coder-r1:")
    assert refused.value.hint.startswith("Use a new request_id for each task")
    assert sender.stored == []


@pytest.mark.parametrize("key", [None, "r1"])
async def test_what_was_stored_by_a_lost_try_counts_as_stored_before_by_who_may_repeat_it(
    sender, key
):
    sender.server.ack = Stored(7, duplicate=True)
    [receipt] = await sender(request_id=key)

    assert receipt.duplicate == (key is not None)


async def test_an_id_that_another_has_got_at_this_moment_is_refused(sender):
    sender.server.ack = Stored(7, duplicate=True)
    other = sender.task(key="r1", task_type="review")
    where = "agentbus.coder.tasks.normal.planner"
    found = Found(where, 7, NOON, codec.task_headers(other), codec.encode_task(other))

    async def many(stream, _):
        return [found] if stream == "AGENTBUS_TASKS" else []

    sender.server.many = many
    with pytest.raises(BadInput, match="used for another task, coder-r1"):
        await sender(request_id="r1")


@pytest.mark.parametrize(
    ("options", "thread", "asks"),
    [
        ({"in_reply_to": "t1"}, "of-held", False),
        ({"in_reply_to": "t2"}, "of-sent", True),
        ({"in_reply_to": "t3"}, "coder-own", True),
        ({"in_reply_to": "t4"}, "coder-own", True),
        ({"in_reply_to": "t5"}, "of-received", True),
        ({"in_reply_to": "t1", "thread_id": "own"}, "own", False),
        ({"in_reply_to": "t2", "thread_id": "own"}, "own", False),
        ({}, "coder-own", False),
    ],
)
async def test_an_answer_is_in_the_conversation_of_what_was_sent_or_received_unless_it_names_one(
    sender, options, thread, asks
):
    held = TASK.model_copy(update={"id": "t1", "thread_id": "of-held"})
    sender.session.claims.hold(Claim(held, None, first_record(sent_of(held)), 1))
    for task_id, of_it in (("t1", "no"), ("t2", "of-sent"), ("t3", "")):
        sent = sent_of(TASK).model_copy(update={"task_id": task_id, "thread_id": of_it})
        at = f"agentbus.planner.sent.coder.{task_id}"
        sender.server.messages.append(Found(at, 3, NOON, {}, codec.encode_sent(sent)))
    came = {"task_id": "t5", "owner": "coder", "inbox": "planner", "thread_id": "of-received"}
    sent = sent_of(TASK).model_copy(update=came)
    at = "agentbus.coder.sent.planner.t5"
    sender.server.messages.append(Found(at, 3, NOON, {}, codec.encode_sent(sent)))
    await sender(**options)

    [task] = sender.stored
    assert (task.thread_id, "settled" in sender.asked) == (thread, asks)
    plain = sender.task(route=Route(("planner", "planner"), 1), **options)
    assert task == plain.model_copy(update={"thread_id": thread})


async def test_who_is_to_get_the_result_besides_is_looked_up_before_anything_is_stored(sender):
    await sender(reply_to="lead")

    assert sender.asked[:4] == [*BEFORE, ["lead"], ["coder"]]


@pytest.mark.parametrize("hops", [5, 6])
async def test_work_goes_on_from_what_is_held_until_it_has_come_too_far(sender, hops):
    chain = tuple(f"a{n}" for n in range(hops + 1))
    held = TASK.model_copy(update={"chain": chain, "hops": hops})
    sender.session.claims.hold(Claim(held, None, first_record(sent_of(held)), 1))
    if hops == 5:
        await sender()
        assert sender.stored == [sender.task(route=Route((*chain, "planner"), 6))]
        return
    with pytest.raises(HopLimit) as refused:
        await sender()

    assert refused.value.message == (
        "This work came through 7 agents (a0 -> a1 -> a2 -> a3 -> a4 -> a5 -> a6 -> planner); the "
        "limit is 6 hand-offs. Nothing was sent."
    )
    assert sender.stored == []
