# SPDX-License-Identifier: Apache-2.0
"""What an account says on the bus, as the gate says it: headers, times, registrations."""

from __future__ import annotations

import json

import pytest
from ruled import AT, ID, REVISION, asked

from mcp_agentbus.core.text import now
from mcp_agentbus.gate import speech
from mcp_agentbus.gate.book import Book, Registration, Standing
from mcp_agentbus.gate.rules import decide
from mcp_agentbus.gate.verdict import Refusal, Request, Say
from mcp_agentbus.store.subjects import DEAD, TASKS


def test_of_a_task_s_headers_those_of_agentbus_stay_and_its_id_is_the_account_s():
    given = {
        "Agentbus-Task": ID,
        "Agentbus-Gate-Subject": "agentbus.x",
        "agentbus-gate-ack": "$JS.ACK.x",
        "Nats-Msg-Id": "m1",
        "Nats-TTL": "never",
        "Nats-Rollup": "all",
        "Nats-Schedule": "@every 1s",
        "Nats-Schedule-Target": "agentbus.coder.tasks.high.mute",
        "Nats-Schedule-Source": "agentbus.coder.sched.high.mute.1",
        "Nats-Incr": "1",
        "Nats-Batch-Id": "b",
        "Nats-Expected-Last-Sequence": "7",
        "Nats-Stream-Source": "AGENTBUS_SCHED 1",
        "Nats-Scheduler": "agentbus.coder.sched.high.planner.1",
        "Status": "503",
    }

    verdict = asked("agentbus.coder.tasks.high.planner", b"{}", given)

    assert verdict.headers == {
        "Agentbus-Task": ID,
        "Nats-Expected-Stream": TASKS,
        "Nats-Msg-Id": "laptop.m1",
    }


def test_a_schedule_is_built_from_its_time():
    verdict = asked(f"agentbus.coder.sched.high.planner.{ID}", b"{}", {
        **AT, "Nats-Schedule-Target": "agentbus.coder.due.high.mute", "Nats-Schedule-TTL": "1s",
    })  # fmt: skip

    headers = verdict.say.headers
    assert headers["Nats-Schedule-Target"] == "agentbus.coder.due.high.planner"
    assert headers["Nats-Schedule"] == AT["Nats-Schedule"]
    assert "Nats-Schedule-TTL" not in headers


@pytest.mark.parametrize(
    "schedule",
    ["", "@every 1s", "* * * * *", "@at", "@at tomorrow", "@at 2020-01-01T00:00:00Z",
     "@at 2999-01-01T00:00:00Z", "@at {now:%Y-%m-%dT%H:%M:%S}"],
)  # fmt: skip
def test_a_time_that_is_none_or_too_far_is_refused(schedule):
    subject = f"agentbus.coder.sched.high.planner.{ID}"
    assert isinstance(asked(subject, b"{}", {"Nats-Schedule": schedule.format(now=now())}), Refusal)


def test_a_registration_says_whose_it_is_and_has_the_roles_that_were_granted():
    mine = {"id": "coder", "account": "vps", "roles": ["build"], "later": 1}
    # That its account was removed is not its own to say.
    verdict = asked("agentbus.planner.profile", {**mine, "removed": True}, REVISION)

    assert json.loads(verdict.data) == {**mine, "id": "planner", "account": "laptop"}
    for roles in (["review"], ["build", "review"], "build", [None], [["build"]], {"build": 1}):
        refused = asked("agentbus.planner.profile", {"roles": roles}, REVISION)
        assert isinstance(refused, Refusal), roles
        assert refused.code == "not-granted"


def test_a_name_that_is_free_is_claimed_as_it_was_known_to_be():
    """Two gates that hear of it at once: the server takes one claim, by the revision."""
    right = {"Nats-Expected-Last-Subject-Sequence": "6"}
    assert isinstance(asked("agentbus.old.profile", b"{}", right), Say)
    assert isinstance(asked("agentbus.old.profile", b"{}", REVISION), Refusal)
    assert isinstance(asked("agentbus.new.profile", b"{}", right), Refusal)


def test_an_account_registers_so_many_agents_and_no_more():
    full = Book(
        {
            f"a{number}": Registration("laptop", (), ("*",), number)
            for number in range(speech.AGENTS_MAX)
        },
        {"laptop": Standing(frozenset())},
    )
    verdict = decide(Request("laptop", "agentbus.more.profile", REVISION, b"{}"), full)
    assert verdict == Refusal("too-many")
    own = {"Nats-Expected-Last-Subject-Sequence": "1"}
    assert isinstance(decide(Request("laptop", "agentbus.a1.profile", own, b"{}"), full), Say)


def test_what_is_moved_keeps_what_its_sender_has_said_of_it():
    stored = {
        "Agentbus-Task": ID, "Agentbus-Chain": "coder", "Agentbus-Reason": "before",
        "Nats-Scheduler": "agentbus.planner.sched.high.coder.9d", "Nats-Sequence": "7",
        "Nats-Time-Stamp": "2026-05-18T10:00:00.5Z",
    }  # fmt: skip
    given = {
        "Agentbus-Task": "other", "Agentbus-Chain": "forged", "Agentbus-Reason": "now",
        "Agentbus-Moved": "7", "Nats-Msg-Id": "m",
    }  # fmt: skip
    parked = asked("agentbus.planner.dead.high.coder", b"{}", given)
    again = asked("agentbus.planner.tasks.high.coder", b"{}", given)
    kept = {
        "Agentbus-Task": ID, "Agentbus-Chain": "coder", "Agentbus-Gate-Account": "laptop",
        "Agentbus-Scheduled-By": stored["Nats-Scheduler"],
    }  # fmt: skip

    assert (parked.stream, parked.seq, again.stream, again.seq) == (TASKS, 7, DEAD, 7)
    # Of the seventh that is stored there at another time, as in a stream made anew, it is another.
    known = [f"moved-{stream}-7-{stored['Nats-Time-Stamp']}" for stream in (TASKS, DEAD)]
    to_dead = {"Nats-Expected-Stream": DEAD, "Nats-Msg-Id": known[0]}
    to_tasks = {"Nats-Expected-Stream": TASKS, "Nats-Msg-Id": known[1]}
    assert speech.moved(parked, stored) == {**kept, **to_dead, "Agentbus-Reason": "now"}
    assert speech.moved(again, stored) == {**kept, **to_tasks}


def test_whose_account_may_write_to_all_reaches_others_without_a_limit():
    book = Book(
        {
            "planner": Registration("laptop", (), ("*",), 3),
            "coder": Registration("vps", (), ("*",), 4),
        },
        {"laptop": Standing(frozenset()), "vps": Standing(frozenset(), to_all=True)},
    )

    def reaches(account, subject):
        return decide(Request(account, subject, {}, b"{}"), book).reaches

    assert reaches("laptop", "agentbus.coder.tasks.low.planner") == "coder"
    assert reaches("laptop", "agentbus.planner.tasks.low.planner") == ""
    assert reaches("vps", "agentbus.planner.tasks.low.coder") == ""
