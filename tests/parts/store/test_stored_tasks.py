# SPDX-License-Identifier: Apache-2.0
"""How a task is stored, by all that the server is asked for."""

from dataclasses import replace

import pytest
from planners_task import DUE, HEADERS, KEPT_AT, LATER, ROOM, SENT, SUBJECT, TASK, WAITS, message
from server_stand_in import NOON, Server

from mcp_agentbus.bus.replies import Found, Stored
from mcp_agentbus.store import codec, records, tasks
from mcp_agentbus.store.steps import sent_of
from mcp_agentbus.store.tasks import IdInUse, Kept


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
