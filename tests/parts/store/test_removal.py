# SPDX-License-Identifier: Apache-2.0
"""How a task that has ended is taken off the bus, by all that the server is asked for."""

import pytest
from planners_task import DELETED, DUE, HOUR, RECORD, SENT, SUBJECT, TASK, WAITS, message, taken
from server_stand_in import NOON, Server

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core import text
from mcp_agentbus.store import codec, records
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.upkeep import removal

PURGED = ("STREAM.PURGE.AGENTBUS_SCHED", {"filter": WAITS})


@pytest.mark.parametrize(
    ("of", "done"),
    [
        ({"seq": 7}, [DELETED]),
        ({"seq": 0}, []),
        ({"seq": 0, "deliver_at": NOON + HOUR}, [PURGED]),
        ({"seq": 7, "deliver_at": NOON - HOUR}, [DELETED]),
        ({"seq": 7, "deliver_at": NOON + HOUR}, [PURGED, DELETED]),
    ],
)
async def test_a_task_that_has_ended_is_taken_out_where_it_waits(of, done):
    server = Server(messages=[message()])

    await removal.remove(server, SENT.model_copy(update=of))

    assert server.done == done
    looks = [each for each in server.asked if isinstance(each, tuple)]
    there = {"seq": 7, "batch": 1, "next_by_subj": SUBJECT}
    assert looks == ([("AGENTBUS_TASKS", there)] if of["seq"] else [])


async def test_a_task_that_was_offered_again_is_taken_out_where_it_lies_by_then():
    server = Server(messages=[message(seq=8)])

    await removal.remove(server, SENT.model_copy(update={"seq": 7}))

    assert server.done == [("STREAM.MSG.DELETE.AGENTBUS_TASKS", {"seq": 8})]


@pytest.mark.parametrize("there", [[], [message(TASK.model_copy(update={"id": "t2"}))]])
async def test_of_a_stream_made_anew_no_other_task_is_taken_out(there):
    server = Server(messages=there)

    await removal.remove(server, SENT.model_copy(update={"seq": 7}))

    assert server.done == []


async def test_a_task_whose_deadline_has_passed_ends_by_that_and_leaves_its_inbox(monkeypatch):
    monkeypatch.setattr(text, "now", lambda: NOON)
    server = Server(messages=[message()])

    assert await removal.expire(server, SENT.model_copy(update={"seq": 7}), "planner")

    record, _ = await records.read_record(server, "planner", "coder", "t1")
    ended = step(
        first_record(SENT), "expired", "planner", "", NOON,
        reason="its deadline passed without a result",
    )  # fmt: skip
    assert record == ended
    assert server.done == [("AGENTBUS_RESULTS", RECORD, 0), DELETED]


async def test_a_task_that_has_an_end_does_not_expire_and_leaves_its_inbox_all_the_same():
    done = step(first_record(SENT), "completed", "coder", "s1", NOON)
    server = Server(messages=[message(), Found(RECORD, 9, NOON, {}, codec.encode_record(done))])

    assert not await removal.expire(server, SENT.model_copy(update={"seq": 7}), "planner")
    assert server.done == [DELETED]


async def test_for_a_task_that_has_an_end_and_is_gone_no_lane_is_gone_through():
    done = step(first_record(SENT), "completed", "coder", "s1", NOON)
    server = Server(messages=[message(), Found(RECORD, 9, NOON, {}, codec.encode_record(done))])

    assert not await removal.expire(server, SENT.model_copy(update={"seq": 6}), "planner")
    assert server.done == []


FELL_DUE = {
    "Agentbus-Task": "t1",
    "Nats-Stream-Source": "AGENTBUS_SCHED 7 agentbus.coder.due.high.planner > x",
}
DUE_DELETED = ("STREAM.MSG.DELETE.AGENTBUS_SCHED", {"seq": 7})


@pytest.mark.parametrize(
    ("of", "done", "looked"),
    [
        ({"token": "$JS.ACK"}, [], []),
        ({}, [DELETED], [("AGENTBUS_TASKS", SUBJECT)]),
        ({"headers": {}}, [], [("AGENTBUS_TASKS", SUBJECT)]),
        ({"token": "$JS.ACK", "headers": FELL_DUE}, [DUE_DELETED], [("AGENTBUS_SCHED", DUE)]),
        ({"token": "t", "headers": {**FELL_DUE, "Nats-Stream-Source": "OTHER 7 x"}}, [], []),
        ({"token": "t", "headers": {**FELL_DUE, "Nats-Stream-Source": "AGENTBUS_SCHED x"}}, [], []),
        ({"token": "t", "headers": {**FELL_DUE, "Agentbus-Task": "t2"}}, [], [("AGENTBUS_SCHED", DUE)]),
        (
            {"token": "t", "headers": {"Nats-Stream-Source": FELL_DUE["Nats-Stream-Source"]}}, [],
            [("AGENTBUS_SCHED", DUE)],
        ),
    ],
)  # fmt: skip
async def test_a_task_that_is_finished_goes_with_its_schedule_and_with_nothing_else(
    of, done, looked
):
    server = Server(messages=[message()])

    await removal.finish(server, taken(**of))

    assert server.done == [("finished", 7), *done]
    at = {"seq": 7, "batch": 1}
    assert server.asked == [(stream, {**at, "next_by_subj": by}) for stream, by in looked]
