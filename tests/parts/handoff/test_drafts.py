# SPDX-License-Identifier: Apache-2.0
"""A task as its sender has put it: all of that, and by what the same call is known again."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.dispatch.draft import Route, drawn
from mcp_agentbus.store.task import Task

SESSION = SimpleNamespace(me=Agent("planner"), id="session-1")
ROUTE = Route(("boss", "planner"), 2)
WEEK = timedelta(days=7)
#: Each with another value than without it.
SAID = {
    "priority": "high",
    "task_type": "review",
    "thread_id": "release-7",
    "in_reply_to": "t0",
    "expires_in_s": 600,
    "deliver_in_s": 60,
    "notify": "wake",
    "reply_to": "lead",
    "content_type": "markdown",
}


def test_a_task_has_all_that_its_sender_has_said():
    draft = drawn(SESSION, " Count ", "them", SAID)

    at = draft.created_at
    assert draft.task_for("coder", "t1", ROUTE) == Task(
        id="t1", sender="planner", to="coder", subject="Count", body="them", priority="high",
        task_type="review", thread_id="release-7", in_reply_to="t0", created_at=at,
        deliver_at=at + timedelta(seconds=60), expires_at=at + timedelta(seconds=660),
        notify="wake", expect="answer", reply_to="lead", content_type="markdown",
        session="session-1", chain=ROUTE.chain, hops=2, request=draft.request,
    )  # fmt: skip


def test_a_task_of_which_nothing_more_is_said_is_a_normal_one_of_a_week():
    draft = drawn(SESSION, "Count", "them", {})

    at = draft.created_at
    assert draft.task_for("coder", "t1", ROUTE) == Task(
        id="t1", sender="planner", to="coder", subject="Count", body="them", thread_id="t1",
        created_at=at, expires_at=at + WEEK, session="session-1", chain=ROUTE.chain, hops=2,
        request=draft.request,
    )  # fmt: skip


def test_a_word_expects_nothing_and_asks_for_no_notice():
    draft = drawn(SESSION, "Done", "x", {"expect": "nothing"})

    at = draft.created_at
    assert draft.task_for("coder", "t1", ROUTE) == Task(
        id="t1", sender="planner", to="coder", subject="Done", body="x", thread_id="t1",
        created_at=at, expires_at=at + WEEK, notify="never", expect="nothing",
        session="session-1", chain=ROUTE.chain, hops=2, request=draft.request,
    )  # fmt: skip


@pytest.mark.parametrize("option", SAID)
def test_a_call_that_says_anything_else_is_another_request(option):
    plain = drawn(SESSION, "Count", "them", {})

    assert drawn(SESSION, "Count", "them", {option: SAID[option]}).request != plain.request


def test_the_same_call_at_another_time_or_by_another_clock_is_the_same_request():
    draft = drawn(SESSION, "Count", "them", SAID)
    later = draft.begun(now() + timedelta(hours=1))

    assert later.request == draft.request == drawn(SESSION, "Count", "them", SAID).request
    assert len(draft.request) == 32
    assert later.expires_at - later.created_at == draft.expires_at - draft.created_at
    assert later.deliver_at - later.created_at == draft.deliver_at - draft.created_at


def test_what_older_versions_have_stored_is_known_again():
    """They hash less, so a request without what they do not know is what it always was."""
    draft = drawn(SESSION, "Count", "them", {})
    threaded = replace(draft, thread_id="of-what-it-answers")

    assert draft.request == "a706ffe2dabf8f01ee0579f6ff5bfb57"
    assert threaded.request == draft.request
    said = [drawn(SESSION, "x", "x", {key: SAID[key]}).says_more for key in SAID]
    assert dict(zip(SAID, said, strict=True)) == {
        **dict.fromkeys(SAID, False), "reply_to": True, "content_type": True,
    }  # fmt: skip
    assert drawn(SESSION, "x", "x", {"expect": "nothing"}).says_more


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priority": "urgent"}, "'urgent' is no priority."),
        ({"notify": "loudly"}, "'loudly' is no way to notify."),
        ({"expect": "much"}, "'much' is nothing to expect."),
        ({"expect": "nothing", "notify": "wake"}, "notify is wake, and no result comes of a task"),
        ({"expect": "nothing", "reply_to": "lead"}, "reply_to is 'lead', and no result comes."),
        ({"expect": "nothing", "reply_to": "planner"}, "reply_to is 'planner', and no result"),
        ({"reply_to": "No Name"}, "'No Name' is not"),
        ({"in_reply_to": "no id"}, "'no id' is not"),
        ({"request_id": ""}, "'' is not a request id."),
        ({"thread_id": ""}, "'' is not a thread id."),
        ({"task_type": "a b"}, "'a b' is not a task type."),
        ({"content_type": ""}, "'' is not a content type."),
        ({"expires_in_s": 0}, "expires_in_s is 0."),
        ({"expires_in_s": 604_801}, "expires_in_s is 604801."),
        ({"deliver_in_s": 0}, "deliver_in_s is 0."),
        ({"deliver_in_s": 604_801}, "deliver_in_s is 604801."),
        ({"expires_in": 60}, "send_task takes no 'expires_in'."),
    ],
)
def test_what_breaks_a_rule_is_refused_and_named(options, message):
    with pytest.raises(BadInput) as refused:
        drawn(SESSION, "Count", "them", options)

    assert message in refused.value.message


@pytest.mark.parametrize(
    "options",
    [
        {"expires_in_s": 1, "deliver_in_s": 1},
        {"expires_in_s": 604_800, "deliver_in_s": 604_800},
        {"notify": "live"},
        {"notify": "never"},
        {"expect": "answer", "notify": "wake"},
    ],
)
def test_what_keeps_the_rules_is_taken(options):
    draft = drawn(SESSION, "Count", "them", options)

    assert draft.expires_at - (draft.deliver_at or draft.created_at) == timedelta(
        seconds=options.get("expires_in_s", 604_800)
    )


def test_a_sender_gets_its_result_anyway_so_it_needs_no_copy():
    assert drawn(SESSION, "Count", "them", {"reply_to": "planner"}).reply_to == ""
