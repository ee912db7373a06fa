# SPDX-License-Identifier: Apache-2.0
"""How a task is stored, found and taken out again, by all that the server is asked for."""

from dataclasses import replace

import pytest
from planners_task import (
    DELETED,
    DUE,
    HEADERS,
    HOUR,
    KEPT_AT,
    LATER,
    RECORD,
    ROOM,
    SENT,
    SUBJECT,
    TASK,
    WAITS,
    message,
    taken,
)
from server_stand_in import NOON, Server

from mcp_agentbus.bus.replies import Found, Stored
from mcp_agentbus.core import text
from mcp_agentbus.store import codec, records, tasks
from mcp_agentbus.store.steps import first_record, sent_of, step
from mcp_agentbus.store.tasks import IdInUse, Kept, Seen, Unreadable


@pytest.mark.parametrize(
    ("task", "message_id", "stored", "seq"),
    [
        (TASK, None, ("AGENTBUS_TASKS", SUBJECT, "t1", {}), 7),
        (TASK, "m1", ("AGENTBUS_TASKS", SUBJECT, "m1", {}), 7),
        (
            LATER, None,
            (
                "AGENTBUS_SCHED", WAITS, "t1",
                {
                    "Nats-Schedule": "@at 2026-11-28T12:30:00.000Z",
                    "Nats-Schedule-Target": DUE,
                },
            ), 0,
        ),
    ],
)  # fmt: skip
async def test_a_task_is_stored_where_it_waits_and_then_what_its_sender_keeps(
    tmp_path, task, message_id, stored, seq
):
    server = Server(state_dir=tmp_path, infos={"AGENTBUS_SCHED": ROOM})
    kept = Kept(sent_of(task).model_copy(update={"seq": seq}), duplicate=False)

    assert await tasks.put(server, task, message_id=message_id) == kept

    (stream, subject, given, headers, data), standing = server.done
    assert len(headers.pop("Agentbus-Proof")) == 32
    assert (stream, subject, given) == stored[:3]
    assert headers == HEADERS | stored[3]
    assert data == codec.encode_task(task)
    assert standing == ("AGENTBUS_RESULTS", KEPT_AT, 0)
    assert (await records.read_sent(server, "planner", "coder", "t1"))[0] == kept.sent


async def test_what_its_sender_keeps_of_a_task_is_written_without_a_look_first(tmp_path):
    server = Server(state_dir=tmp_path)

    assert await tasks.keep(server, Kept(SENT, duplicate=False)) == Kept(SENT, duplicate=False)

    # The one look is the stand-in's own, whether the revision is right.
    assert server.asked == [("AGENTBUS_RESULTS", KEPT_AT)]


@pytest.mark.parametrize(
    ("standing", "outcome"),
    [
        (SENT.model_copy(update={"unasked": True, "request": "r2"}), Kept(SENT, duplicate=False)),
        # Of this very storing another has written it, who looks for what was not kept.
        (SENT, Kept(SENT, duplicate=False)),
        (
            SENT.model_copy(update={"seq": 6}),
            Kept(SENT.model_copy(update={"seq": 6}), duplicate=True),
        ),
        (
            SENT.model_copy(update={"closed": True}),
            Kept(SENT.model_copy(update={"closed": True}), duplicate=False),
        ),
        (SENT.model_copy(update={"request": "r2"}), IdInUse()),
        (
            SENT.model_copy(update={"request": ""}),
            Kept(SENT.model_copy(update={"request": ""}), duplicate=False),
        ),
        (SENT.model_copy(update={"request": "", "subject": "Sum"}), IdInUse()),
        (SENT.model_copy(update={"request": "", "priority": "low"}), IdInUse()),
    ],
)
async def test_what_its_sender_keeps_is_written_once_and_never_over_another_tasks(
    standing, outcome
):
    server = Server(messages=[Found(KEPT_AT, 3, NOON, {}, codec.encode_sent(standing))])

    assert await tasks.keep(server, Kept(SENT, duplicate=False)) == outcome
    left = (await records.read_kept(server, "planner", "coder", "t1"))[0]
    assert left == (SENT if standing.unasked else standing)


OTHER = TASK.model_copy(update={"request": "r2"})


@pytest.mark.parametrize(
    ("task", "duplicate", "there", "is_kept"),
    [
        (TASK, True, [message()], True),
        (TASK, True, [message(OTHER)], False),
        (TASK, False, [message(OTHER)], True),  # nothing was there: it is not looked at
        (TASK, True, [message(OTHER, seq=8)], True),  # gone by now
        (TASK, True, [message(OTHER.model_copy(update={"id": "t2"}))], True),
        (TASK, True, [replace(message(), headers={"Agentbus-Task": "t1"})], True),
        (TASK, True, [], True),
        (LATER, True, [message(OTHER)], False),
    ],
)
async def test_what_lies_there_under_a_tasks_id_is_that_task_unless_it_says_another_request(
    tmp_path, task, duplicate, there, is_kept
):
    server = Server(
        state_dir=tmp_path, messages=there, ack=Stored(7, duplicate),
        infos={"AGENTBUS_SCHED": ROOM},
    )  # fmt: skip
    seq = 0 if task.deliver_at else 7
    kept = Kept(sent_of(task).model_copy(update={"seq": seq}), duplicate)

    assert await tasks.store(server, task) == (kept if is_kept else IdInUse())

    stream = "AGENTBUS_SCHED" if task.deliver_at else "AGENTBUS_TASKS"
    looks = [each for each in server.asked if isinstance(each, tuple)]
    assert looks == ([(stream, {"seq": 7, "batch": 1})] if duplicate else [])


def test_whose_machine_has_stored_a_task_is_known_by_all_that_is_read_of_it(tmp_path):
    here = Server(state_dir=tmp_path)
    proof = tasks._proof(here, SUBJECT, HEADERS, b"all")
    ours = Found(SUBJECT, 7, NOON, {**HEADERS, "Agentbus-Proof": proof}, b"all")
    (tmp_path / "other").mkdir()

    assert tasks.is_from_here(here, ours)
    assert not tasks.is_from_here(Server(state_dir=tmp_path / "other"), ours)
    assert not tasks.is_from_here(here, replace(ours, headers=HEADERS))
    assert not tasks.is_from_here(here, replace(ours, data=b"al"))
    assert not tasks.is_from_here(here, replace(ours, subject=DUE))
    for name in HEADERS:
        changed = {**ours.headers, name: "x"}
        assert not tasks.is_from_here(here, replace(ours, headers=changed)), name
    odd = {**ours.headers, "Agentbus-Proof": "\udce4"}
    assert not tasks.is_from_here(here, replace(ours, headers=odd))


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

    await tasks.remove(server, SENT.model_copy(update=of))

    assert server.done == done
    looks = [each for each in server.asked if isinstance(each, tuple)]
    there = {"seq": 7, "batch": 1, "next_by_subj": SUBJECT}
    assert looks == ([("AGENTBUS_TASKS", there)] if of["seq"] else [])


async def test_a_task_that_was_offered_again_is_taken_out_where_it_lies_by_then():
    server = Server(messages=[message(seq=8)])

    await tasks.remove(server, SENT.model_copy(update={"seq": 7}))

    assert server.done == [("STREAM.MSG.DELETE.AGENTBUS_TASKS", {"seq": 8})]


@pytest.mark.parametrize("there", [[], [message(TASK.model_copy(update={"id": "t2"}))]])
async def test_of_a_stream_made_anew_no_other_task_is_taken_out(there):
    server = Server(messages=there)

    await tasks.remove(server, SENT.model_copy(update={"seq": 7}))

    assert server.done == []


async def test_a_task_whose_deadline_has_passed_ends_by_that_and_leaves_its_inbox(monkeypatch):
    monkeypatch.setattr(text, "now", lambda: NOON)
    server = Server(messages=[message()])

    assert await tasks.expire(server, SENT.model_copy(update={"seq": 7}), "planner")

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

    assert not await tasks.expire(server, SENT.model_copy(update={"seq": 7}), "planner")
    assert server.done == [DELETED]


async def test_for_a_task_that_has_an_end_and_is_gone_no_lane_is_gone_through():
    done = step(first_record(SENT), "completed", "coder", "s1", NOON)
    server = Server(messages=[message(), Found(RECORD, 9, NOON, {}, codec.encode_record(done))])

    assert not await tasks.expire(server, SENT.model_copy(update={"seq": 6}), "planner")
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

    await tasks.finish(server, taken(**of))

    assert server.done == [("finished", 7), *done]
    at = {"seq": 7, "batch": 1}
    assert server.asked == [(stream, {**at, "next_by_subj": by}) for stream, by in looked]


async def test_the_task_behind_a_delivery_is_the_one_with_its_number():
    server = Server(messages=[message()])
    assert await tasks.stored(server, taken()) == TASK
    at = {"seq": 7, "batch": 1, "next_by_subj": SUBJECT}
    assert server.asked == [("AGENTBUS_TASKS", at)]

    assert await tasks.stored(Server(messages=[message(seq=8)]), taken()) is None
    assert await tasks.stored(Server(), taken()) is None


OTHERS = [message(TASK.model_copy(update={"id": f"o{seq}"}), seq=seq) for seq in range(8, 300)]


async def test_a_task_whose_number_is_not_known_is_looked_for_among_all_of_its_sender_in_its_lane():
    bad = replace(message(seq=5), data=b"\x00")
    server = Server(messages=[bad, *OTHERS, message(seq=300)])

    assert await tasks.find(server, first_record(SENT)) == (TASK, message(seq=300))
    assert server.asked == [("AGENTBUS_TASKS", SUBJECT, 1, 100)]


async def test_a_task_whose_number_is_known_is_looked_for_there_alone_while_it_is_there():
    server = Server(messages=[message(), *OTHERS])
    assert await tasks.find(server, first_record(SENT), 7) == (TASK, message())
    at = {"seq": 7, "batch": 1, "next_by_subj": SUBJECT}
    assert server.asked == [("AGENTBUS_TASKS", at)]

    again = Server(messages=[*OTHERS, message(seq=300)])
    assert await tasks.find(again, first_record(SENT), 7) == (TASK, message(seq=300))
    assert await tasks.find_at(again, first_record(SENT), 7) is None
    assert await tasks.find(Server(messages=OTHERS), first_record(SENT)) is None


def _standing(state, **fields):
    one = step(first_record(SENT), state, "coder", "s1", NOON, **fields)
    return Found(RECORD, 9, NOON, {}, codec.encode_record(one)), one


@pytest.mark.parametrize(
    ("state", "of_now", "holder"),
    [(None, "stored", ""), ("stored", "stored", ""), ("working", "working", "coder/s1")],
)
async def test_a_look_at_a_task_says_its_state_and_who_holds_it(state, of_now, holder):
    stored, record = _standing(state) if state else (None, None)
    seen = await tasks.at(Server(messages=filter(None, [stored])), message())

    assert seen == Seen(TASK, record)
    assert (seen.state, seen.holder) == (of_now, holder)


@pytest.mark.parametrize(
    ("state", "at", "is_over"),
    [
        (None, NOON, False),
        (None, TASK.expires_at, True),
        ("working", NOON, False),
        ("working", TASK.expires_at, True),
        ("completed", NOON, True),
        ("completed", TASK.expires_at, True),
    ],
)
async def test_a_look_at_a_task_that_is_over_sees_none(state, at, is_over):
    stored = [_standing(state)[0]] if state else []

    assert (await tasks.at(Server(messages=stored, at=at), message()) is None) is is_over


async def test_a_look_at_what_is_no_task_says_why():
    bad = replace(message(), data=b"\x00")

    assert await tasks.at(Server(), bad) == Unreadable("it is not JSON")
