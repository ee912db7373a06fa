# SPDX-License-Identifier: Apache-2.0
"""What an account may say and read: each row of the rule, for own agents, others' and odd names."""

from __future__ import annotations

import json

import pytest
from ruled import AT, BOOK, ID, REVISION, asked

from mcp_agentbus.gate.rules import may_read
from mcp_agentbus.gate.verdict import (
    Copied,
    Count,
    Delete,
    Event,
    Kept,
    Names,
    Pull,
    Read,
    Refusal,
    Say,
    Scheduled,
    Stored,
)
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.subjects import DEAD, RESULTS, SCHEDULE, TASKS


@pytest.mark.parametrize(
    ("subject", "data", "headers", "kind"),
    [
        ("agentbus.coder.tasks.high.planner", b"{}", {}, Say),
        ("agentbus.role-review.tasks.low.planner", b"{}", {}, Say),
        (f"agentbus.coder.sched.high.planner.{ID}", b"{}", AT, Scheduled),
        ("agentbus.planner.tasks.high.coder", b"{}", {}, Stored),
        ("agentbus.role-build.dead.low.coder", b"{}", {}, Stored),
        (f"agentbus.planner.results.coder.{ID}", b"{}", {}, Say),
        (f"agentbus.coder.results.planner.{ID}", b"{}", {}, Say),
        (f"agentbus.mute.results.coder.{ID}", {"asked_by": "planner"}, {}, Copied),
        (f"agentbus.planner.sent.coder.{ID}", b"{}", {}, Say),
        (f"agentbus.coder.wakes.planner.{ID}", b"{}", {}, Say),
        ("agentbus.planner.profile", b"{}", REVISION, Say),
        ("agentbus.new.profile", b"{}", REVISION, Say),
        ("agentbus.planner.heartbeat.1f", b"{}", {}, Say),
        ("agentbus.new.heartbeat.1f", b"{}", {}, Say),
        ("agentbus.coder.back", b"", {}, Say),
        ("agentbus.coder.refused.planner", b"", {}, Say),
        ("agentbus-events.planner.build.done", b"x", {}, Event),
        ("agentbus-answers.0f", b"x", {}, Say),
        ("$JS.API.INFO", b"", {}, Say),
        ("$JS.API.STREAM.INFO.AGENTBUS_TASKS", b"", {}, Say),
        (
            "$JS.API.STREAM.INFO.AGENTBUS_TASKS",
            {"subjects_filter": "agentbus.*.tasks.*.*"},
            {},
            Count,
        ),
        ("$JS.API.STREAM.NAMES", {"subject": "agentbus.*.profile"}, {}, Names),
        ("$JS.API.CONSUMER.INFO.AGENTBUS_TASKS.coder_high", b"", {}, Say),
        ("$JS.API.CONSUMER.INFO.AGENTBUS_RESULTS.planner_sent", b"", {}, Say),
        (
            "$JS.API.CONSUMER.CREATE.AGENTBUS_TASKS.planner_low.agentbus.planner.tasks.low.*",
            b"{}",
            {},
            Say,
        ),
        ("$JS.API.CONSUMER.DELETE.AGENTBUS_TASKS.role-build_low", b"", {}, Say),
        (
            "$JS.API.CONSUMER.MSG.NEXT.AGENTBUS_TASKS.planner_high",
            {"batch": 5, "no_wait": True},
            {},
            Pull,
        ),
        ("$JS.ACK.AGENTBUS_TASKS.planner_high.1.2.3.4.0", b"+ACK", {}, Say),
        ("$JS.ACK.AGENTBUS_TASKS.planner_high.1.2.3.4.0", b'-NAK {"delay": 1}', {}, Say),
        ("$JS.API.DIRECT.GET.AGENTBUS_AGENTS.agentbus.coder.profile", b"", {}, Read),
        ("$JS.API.DIRECT.GET.AGENTBUS_TASKS", {"seq": 1, "batch": 1}, {}, Read),
        (
            "$JS.API.DIRECT.GET.AGENTBUS_RESULTS",
            {"multi_last": ["agentbus.planner.results.*.*"]},
            {},
            Read,
        ),
        (
            "$JS.API.DIRECT.GET.AGENTBUS_RESULTS",
            {"start_time": "2026-11-27T14:00:00.000Z", "batch": 1},
            {},
            Read,
        ),
        ("$JS.API.STREAM.MSG.DELETE.AGENTBUS_DEAD", {"seq": 7}, {}, Delete),
        (
            "$JS.API.STREAM.PURGE.AGENTBUS_SCHED",
            {"filter": f"agentbus.coder.sched.high.planner.{ID}"},
            {},
            Say,
        ),
        (
            "$JS.API.STREAM.PURGE.AGENTBUS_DEAD",
            {"filter": "agentbus.planner.dead.*.*"},
            {},
            Say,
        ),
        ("$JS.API.STREAM.PURGE.AGENTBUS_AGENTS", {"filter": "agentbus.planner.>"}, {}, Kept),
        ("$JS.API.STREAM.PURGE.AGENTBUS_AGENTS", {"filter": "agentbus.planner.profile"}, {}, Kept),
        (
            "$JS.API.STREAM.PURGE.AGENTBUS_PRESENCE",
            {"filter": "agentbus.planner.heartbeat.*"},
            {},
            Say,
        ),
    ],
)
def test_what_is_an_account_s_own_is_done(subject, data, headers, kind):
    assert type(asked(subject, data, headers)) is kind


ODD = ["", "*", ">", "a*", "-rf", "Größe", "UPPER", "all", "system", "a" * 64, "a b", "a\r\nb"]


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        ("agentbus.coder.tasks.high.mute", "not-yours"),
        ("agentbus.coder.tasks.high.new", "not-yours"),
        ("agentbus.nobody.tasks.high.planner", "unknown-agent"),
        ("agentbus.role-none.tasks.high.planner", "unknown-agent"),
        ("agentbus.mute.tasks.high.planner", "not-accepted"),
        ("agentbus.coder.tasks.urgent.planner", "not-yours"),
        ("agentbus.coder.tasks.high.planner.more", "not-yours"),
        (f"agentbus.coder.sched.high.planner.{ID}", "not-yours"),
        ("agentbus.coder.due.high.planner", "not-yours"),
        ("agentbus.coder.wake.high.planner", "not-yours"),
        ("agentbus.coder.dead.high.planner", "not-yours"),
        ("agentbus.role-review.dead.high.planner", "not-yours"),
        (f"agentbus.coder.results.mute.{ID}", "not-yours"),
        (f"agentbus.coder.sent.planner.{ID}", "not-yours"),
        (f"agentbus.planner.wakes.coder.{ID}", "not-yours"),
        ("agentbus.coder.profile", "name-taken"),
        ("agentbus.gone.profile", "name-taken"),
        ("agentbus.gone.heartbeat.1f", "not-yours"),
        ("agentbus.gone.tasks.high.planner", "unknown-agent"),
        ("agentbus.planner.profile", "not-yours"),  # without the revision that it replaces
        ("agentbus.coder.heartbeat.1f", "not-yours"),
        ("agentbus.nobody.back", "unknown-agent"),
        ("agentbus.nobody.refused.planner", "unknown-agent"),
        ("agentbus.planner.refused.coder", "not-yours"),
        ("agentbus-events.coder.done", "not-yours"),
        ("agentbus-answers.*", "not-yours"),
        ("agentbus-gate.vps.agentbus.coder.back", "not-yours"),
        ("agentbus-for.vps.agentbus.coder.wake.high.planner", "not-yours"),
        ("agentbus-lobby", "not-yours"),
        ("agentbus-accounts.laptop", "not-yours"),
        ("$SYS.REQ.SERVER.PING", "not-yours"),
        ("_INBOX.somebody", "not-yours"),
        ("_R_.somebody", "not-yours"),
        ("$JS.API.STREAM.NAMES", "not-yours"),
        ("$JS.API.STREAM.LIST", "not-yours"),
        ("$JS.API.STREAM.INFO.AGENTBUS_ACCOUNTS", "not-yours"),
        ("$JS.API.STREAM.CREATE.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.STREAM.UPDATE.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.STREAM.DELETE.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.STREAM.PURGE.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.STREAM.SNAPSHOT.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.STREAM.RESTORE.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.STREAM.MSG.GET.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.STREAM.LEADER.STEPDOWN.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.STREAM.PEER.REMOVE.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.CONSUMER.LIST.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.CONSUMER.INFO.AGENTBUS_RESULTS.coder_sent", "not-yours"),
        ("$JS.API.CONSUMER.DURABLE.CREATE.AGENTBUS_TASKS.planner_high", "not-yours"),
        (
            "$JS.API.CONSUMER.CREATE.AGENTBUS_TASKS.planner_low.agentbus.coder.tasks.low.*",
            "not-yours",
        ),
        ("$JS.API.CONSUMER.CREATE.AGENTBUS_TASKS.mine.agentbus.>", "not-yours"),
        (
            "$JS.API.CONSUMER.CREATE.AGENTBUS_TASKS.coder_low.agentbus.coder.tasks.low.*",
            "not-yours",
        ),
        ("$JS.API.CONSUMER.CREATE.AGENTBUS_TASKS.new_low.agentbus.new.tasks.low.*", "not-yours"),
        ("$JS.API.CONSUMER.DELETE.AGENTBUS_TASKS.coder_high", "not-yours"),
        ("$JS.API.CONSUMER.PAUSE.AGENTBUS_TASKS.planner_high", "not-yours"),
        ("$JS.API.CONSUMER.MSG.NEXT.AGENTBUS_TASKS.coder_high", "not-yours"),
        ("$JS.API.CONSUMER.MSG.NEXT.AGENTBUS_TASKS.role-review_high", "not-granted"),
        ("$JS.API.CONSUMER.MSG.NEXT.AGENTBUS_ACCOUNTS.planner_high", "not-yours"),
        ("$JS.API.DIRECT.GET.AGENTBUS_ACCOUNTS.agentbus-accounts.laptop", "not-yours"),
        ("$JS.API.DIRECT.GET.AGENTBUS_TASKS", "not-yours"),
        ("$JS.API.META.LEADER.STEPDOWN", "not-yours"),
        ("$JS.API.ACCOUNT.PURGE.BUS", "not-yours"),
        ("$JS.API.SERVER.REMOVE", "not-yours"),
        ("$JS.ACK.AGENTBUS_TASKS.coder_high.1.2.3.4.0", "not-yours"),
        ("$JS.ACK.AGENTBUS_TASKS.planner_high.1.2.3.4.x", "not-yours"),
        ("$JS.ACK.AGENTBUS_TASKS.planner_high", "not-yours"),
        ("$JS.FC.AGENTBUS_TASKS.planner_high.x", "not-yours"),
        ("$JSC.x", "not-yours"),
        ("", "not-yours"),
        *((f"agentbus.{name}.tasks.high.planner", "not-yours") for name in ODD),
        *((f"agentbus.coder.tasks.high.{name}", "not-yours") for name in ODD),
        *((f"agentbus.{name}.profile", "not-yours") for name in ODD),
        *((f"agentbus.{name}.back", "not-yours") for name in ODD),
        *((f"agentbus.planner.heartbeat.{name}", "not-yours") for name in ODD[:5]),
        *((f"agentbus-events.planner.{name}", "not-yours") for name in ODD[:4]),
        *((f"$JS.API.CONSUMER.MSG.NEXT.AGENTBUS_TASKS.{name}", "not-yours") for name in ODD),
    ],
)
def test_what_is_others_is_refused(subject, code):
    verdict = asked(subject)

    assert isinstance(verdict, Refusal)
    assert verdict.code == code


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({"seq": 1, "batch": 1, "up_to_seq": 1}, "a key that is not known"),
        ({"seq": 1, "batch": 1, "start_time": "2026-11-27T14:00:00Z"}, "two places to begin"),
        ({"batch": 1, "start_time": "yesterday"}, "no time"),
        ({"seq": 1}, "no number of messages"),
        ({"batch": 5, "next_by_subj": "agentbus.>"}, "no place to begin"),
        ({"seq": 1, "batch": 10**9}, "too many"),
        ({"seq": True, "batch": 1}, "no number"),
        ({"seq": -1, "batch": 1}, "no sequence"),
        ({"seq": 1, "batch": 1, "next_by_subj": ">"}, "not of the bus"),
        ({"seq": 1, "batch": 1, "next_by_subj": "agentbus-accounts.*"}, "not of the bus"),
        ({"seq": 1, "batch": 1, "next_by_subj": "agentbus.*.x y"}, "a space"),
        ({"multi_last": []}, "nothing"),
        ({"multi_last": ["agentbus.>"] * 1025}, "too many"),
        ({"multi_last": ["agentbus.>"], "batch": 3}, "both ways"),
        ({"multi_last": "agentbus.>"}, "no list"),
        (["seq"], "no object"),
        (b"\xff", "no text"),
    ],
)
def test_a_read_that_is_not_spelled_as_it_is_to_be_is_refused(data, what):
    for stream in (TASKS, RESULTS, DEAD, SCHEDULE):
        assert isinstance(asked(f"$JS.API.DIRECT.GET.{stream}", data), Refusal), what


@pytest.mark.parametrize(
    "data",
    [b"+NXT 1", b"+TERM", b'-NAK {"delay": -1}', b"", b"+ACK ", b"-NAK {}", b"+NXT {}"],
)
def test_a_delivery_is_settled_in_the_words_that_are_known(data):
    assert isinstance(asked("$JS.ACK.AGENTBUS_TASKS.planner_high.1.2.3.4.0", data), Refusal)


@pytest.mark.parametrize(
    "data",
    [
        {"batch": 5},
        {"batch": 0, "no_wait": True},
        {"batch": 10**6, "no_wait": True},
        {"batch": 1, "no_wait": False},
        {"batch": "1", "no_wait": True},
        {"batch": 1, "no_wait": 1},
    ],
)
def test_a_pull_never_waits_and_is_of_so_many(data):
    subject = "$JS.API.CONSUMER.MSG.NEXT.AGENTBUS_TASKS.planner_high"
    assert isinstance(asked(subject, data), Refusal)


def test_a_consumer_is_made_as_this_version_makes_it_whatever_was_asked():
    subject = "$JS.API.CONSUMER.CREATE.AGENTBUS_TASKS.planner_low.agentbus.planner.tasks.low.*"
    verdict = asked(subject, {"config": {"deliver_subject": "agentbus.coder.back"}})

    made = {"stream_name": TASKS, "config": consumers.config_of(consumers.lane("planner", "low"))}
    assert json.loads(verdict.data) == {**made, "action": ""}


@pytest.mark.promise(51)
@pytest.mark.parametrize(
    ("stream", "subject", "may"),
    [
        (TASKS, "agentbus.planner.tasks.high.coder", True),
        (TASKS, "agentbus.coder.tasks.high.planner", True),
        (TASKS, "agentbus.role-build.tasks.high.coder", True),
        (TASKS, "agentbus.role-review.tasks.high.coder", False),
        (TASKS, "agentbus.coder.tasks.high.mute", False),
        (TASKS, "agentbus.new.tasks.high.coder", False),
        (TASKS, "agentbus.gone.tasks.high.coder", False),
        (SCHEDULE, f"agentbus.coder.sched.high.planner.{ID}", True),
        (SCHEDULE, "agentbus.coder.due.high.mute", False),
        (DEAD, "agentbus.planner.dead.high.coder", True),
        (DEAD, "agentbus.coder.dead.high.mute", False),
        (RESULTS, f"agentbus.planner.results.coder.{ID}", True),
        (RESULTS, f"agentbus.coder.sent.planner.{ID}", True),
        (RESULTS, f"agentbus.coder.results.mute.{ID}", False),
        (RESULTS, f"agentbus.coder.results.*.{ID}", False),
        ("AGENTBUS_AGENTS", "agentbus.coder.profile", True),
        ("AGENTBUS_PRESENCE", "agentbus.coder.heartbeat.1f", True),
        (TASKS, "agentbus.planner", False),
        (TASKS, "", False),
    ],
)
def test_what_is_stored_is_read_by_who_sent_it_and_whom_it_is_for(stream, subject, may):
    assert may_read("laptop", stream, subject, BOOK) is may


@pytest.mark.parametrize("wanted", ["agentbus.planner.profile", "agentbus.planner.>"])
def test_of_an_agent_that_is_forgotten_it_stays_known_whose_its_name_is(wanted):
    verdict = asked("$JS.API.STREAM.PURGE.AGENTBUS_AGENTS", {"filter": wanted})

    said = json.loads(verdict.data)
    assert verdict.subject == "agentbus.planner.profile"
    assert (said["id"], said["account"], said["forgotten"]) == ("planner", "laptop", True)


@pytest.mark.parametrize(("revision", "kind"), [("7", Say), ("6", Refusal)])
def test_a_forgotten_agent_s_own_account_has_it_again(revision, kind):
    headers = {"Nats-Expected-Last-Subject-Sequence": revision}

    assert type(asked("agentbus.gone.profile", b"{}", headers, by="vps")) is kind


def test_what_is_later_than_a_gate_knows_of_an_own_agent_waits_until_it_does():
    """Another may have claimed the name by another gate, once it was forgotten."""
    for revision, code in (("3", ""), ("2", ""), ("4", "busy")):
        headers = {"Nats-Expected-Last-Subject-Sequence": revision}
        decided = asked("agentbus.planner.profile", b"{}", headers)

        assert getattr(decided, "code", "") == code
