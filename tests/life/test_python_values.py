# SPDX-License-Identifier: Apache-2.0
"""What a program may give by mistake: a value of another kind is refused as one that is too large.

A caller catches `BadInput`, and what is no value of ours never becomes a TypeError from within.
"""

from datetime import UTC, datetime

import pytest

import mcp_agentbus
from mcp_agentbus import Agent, BadInput, Worker

NO_TEXT = (5, 5.5, b"x", [1], {"a": 1}, object(), True)
NO_TEXTS = (5, 5.5, b"x", [1], [["a"]], {1: "a"}, object(), True)
NO_NUMBER = ("5", b"5", [1], {}, object(), True, float("nan"), float("inf"))
NOT_WHOLE = (*NO_NUMBER, 5.5)
TASK = {"to": "coder", "subject": "S", "body": "B"}
EVENT = {"topic": "build.done"}
ENDED = {"task_id": "9d0c", "status": "completed"}
#: Of each function: what it is given besides, and what is wrong of each argument.
CALLS = {
    "send_task": (
        TASK,
        dict.fromkeys(
            ("subject", "body", "priority", "task_type", "thread_id", "in_reply_to", "notify",
             "expect", "reply_to", "content_type", "request_id"),
            NO_TEXT,
        )
        | {"to": NO_TEXTS, "expires_in_s": NO_NUMBER, "deliver_in_s": NO_NUMBER},
    ),
    "read_inbox": ({}, {"limit": NOT_WHOLE, "thread_id": NO_TEXT, "cursor": NO_TEXT}),
    "watch_inbox": (
        {"timeout_s": 0},
        {"timeout_s": NO_NUMBER, "limit": NOT_WHOLE, "task_id": NO_TEXTS, "priority": NO_TEXT},
    ),
    "publish_result": (
        ENDED,
        dict.fromkeys(("task_id", "status", "summary", "body"), NO_TEXT)
        | {"artifacts": NO_TEXTS, "progress": NO_NUMBER},
    ),
    "task_life": ({}, {"task_id": NO_TEXT}),
    "peek": ({}, {"limit": NOT_WHOLE, "thread_id": NO_TEXT, "cursor": NO_TEXT}),
    "list_agents": ({}, {"query": NO_TEXT, "limit": NOT_WHOLE[:-2], "cursor": NO_TEXT}),
    "history": (
        {},
        dict.fromkeys(("view", "words", "other", "state", "thread_id", "cursor"), NO_TEXT)
        | {"since": (5, "1d", datetime(2026, 11, 27)), "limit": NOT_WHOLE},  # noqa: DTZ001
    ),
    "gather": (
        TASK | {"to": ["coder"]},
        {"to": NO_TEXTS, "quorum": NOT_WHOLE[:-2], "within_s": NO_NUMBER},
    ),
    "publish": (EVENT, {"topic": NO_TEXT, "body": NO_TEXT}),
    "request": (EVENT, {"topic": NO_TEXT, "body": NO_TEXT, "within_s": NO_NUMBER}),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
async def test_a_value_of_another_kind_is_refused(world, name):
    session = await world.session("planner")
    call, (besides, wrong) = getattr(mcp_agentbus, name), CALLS[name]

    for argument, values in wrong.items():
        for value in values:
            with pytest.raises(BadInput) as refused:
                await call(session, **{**besides, argument: value})
            assert refused.value.hint, (argument, value)


@pytest.mark.parametrize(("argument", "values"), [("topic", NO_TEXT), ("group", NO_TEXT)])
async def test_so_it_is_where_events_are_heard(world, argument, values):
    session = await world.session("planner")

    for value in values:
        with pytest.raises(BadInput):
            async with mcp_agentbus.subscribe(session, **{**EVENT, argument: value}):
                pass


async def test_so_it_is_of_a_time_and_of_a_workers_numbers(world):
    for since in (5, "1d", datetime.now(UTC).replace(tzinfo=None)):
        with pytest.raises(BadInput, match="no time with a zone"):
            await anext(mcp_agentbus.follow(world.bus, since=since))
    for wrong in ({"jobs": "2"}, {"jobs": 1.5}, {"time_limit_s": "30m"}, {"time_limit_s": 0}):
        with pytest.raises(BadInput):
            Worker(world.bus, Agent("coder"), **wrong)
    with pytest.raises(BadInput):
        await mcp_agentbus.register(world.bus, Agent(5))
