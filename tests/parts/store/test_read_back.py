# SPDX-License-Identifier: Apache-2.0
"""How a stored task is found and read, and what of a schedule is none."""

from dataclasses import replace

import pytest
from planners_task import RECORD, SENT, SUBJECT, TASK, WAITS, message, taken
from server_stand_in import NOON, Server

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.store import codec
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.read_back import Seen, Unreadable
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import Repeating, Undecodable


async def test_the_task_behind_a_delivery_is_the_one_with_its_number():
    server = Server(messages=[message()])
    assert await read_back.behind(server, taken()) == TASK
    at = {"seq": 7, "batch": 1, "next_by_subj": SUBJECT}
    assert server.asked == [("AGENTBUS_TASKS", at)]

    assert await read_back.behind(Server(messages=[message(seq=8)]), taken()) is None
    assert await read_back.behind(Server(), taken()) is None


OTHERS = [message(TASK.model_copy(update={"id": f"o{seq}"}), seq=seq) for seq in range(8, 300)]


async def test_a_task_whose_number_is_not_known_is_looked_for_among_all_of_its_sender_in_its_lane():
    bad = replace(message(seq=5), data=b"\x00")
    server = Server(messages=[bad, *OTHERS, message(seq=300)])

    assert await read_back.find(server, first_record(SENT)) == (TASK, message(seq=300))
    assert server.asked == [("AGENTBUS_TASKS", SUBJECT, 1, 100)]


async def test_a_task_whose_number_is_known_is_looked_for_there_alone_while_it_is_there():
    server = Server(messages=[message(), *OTHERS])
    assert await read_back.find(server, first_record(SENT), 7) == (TASK, message())
    at = {"seq": 7, "batch": 1, "next_by_subj": SUBJECT}
    assert server.asked == [("AGENTBUS_TASKS", at)]

    again = Server(messages=[*OTHERS, message(seq=300)])
    assert await read_back.find(again, first_record(SENT), 7) == (TASK, message(seq=300))
    assert await read_back.find_at(again, first_record(SENT), 7) is None
    assert await read_back.find(Server(messages=OTHERS), first_record(SENT)) is None


def _standing(state, **fields):
    one = step(first_record(SENT), state, "coder", "s1", NOON, **fields)
    return Found(RECORD, 9, NOON, {}, codec.encode_record(one)), one


@pytest.mark.parametrize(
    ("state", "of_now", "holder"),
    [(None, "stored", ""), ("stored", "stored", ""), ("working", "working", "coder/s1")],
)
async def test_a_look_at_a_task_says_its_state_and_who_holds_it(state, of_now, holder):
    stored, record = _standing(state) if state else (None, None)
    seen = await read_back.look_at(Server(messages=filter(None, [stored])), message())

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

    assert (await read_back.look_at(Server(messages=stored, at=at), message()) is None) is is_over


async def test_a_look_at_what_is_no_task_says_why():
    bad = replace(message(), data=b"\x00")

    assert await read_back.look_at(Server(), bad) == Unreadable("it is not JSON")


@pytest.mark.parametrize(
    ("headers", "is_repeating"),
    [
        ({}, False),
        ({"Nats-Schedule": "@at 2026-11-28T12:00:00Z"}, False),
        ({"Nats-Schedule": "@every 1s"}, True),
        ({"Nats-Scheduler": WAITS}, True),
        ({"Nats-Scheduler": WAITS, "Nats-Schedule-Next": "2026-11-28T12:00:00Z"}, True),
        ({"Nats-Scheduler": WAITS, "Nats-Schedule-Next": "purge"}, False),
        ({"Nats-Schedule-Next": "2026-11-28T12:00:00Z"}, False),
    ],
)
def test_what_a_schedule_puts_there_again_and_again_is_no_task(headers, is_repeating):
    assert read_back.is_repeating(headers) is is_repeating
    if is_repeating:
        with pytest.raises(Repeating):
            read_back.decoded(message(**headers))
    else:
        assert read_back.decoded(message(**headers)) == TASK


@pytest.mark.parametrize(
    ("headers", "is_its_senders"),
    [
        ({"Agentbus-Scheduled-By": WAITS}, True),
        ({"Agentbus-Scheduled-By": f"{WAITS}x"}, False),
        ({"Nats-Scheduler": f"{WAITS}x", "Nats-Schedule-Next": "purge"}, False),
        (
            {
                "Nats-Scheduler": f"{WAITS}x", "Nats-Schedule-Next": "purge",
                "Agentbus-Scheduled-By": WAITS,
            }, False,
        ),
        ({"Agentbus-Scheduled-By": ""}, False),
    ],
)  # fmt: skip
def test_a_task_that_another_has_scheduled_is_none(headers, is_its_senders):
    if is_its_senders:
        assert read_back.decoded(message(**headers)) == TASK
    else:
        with pytest.raises(Undecodable, match="by another than its sender"):
            read_back.decoded(message(**headers))
