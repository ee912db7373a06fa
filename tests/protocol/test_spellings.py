# SPDX-License-Identifier: Apache-2.0
"""Calls as clients of other projects write them, by real processes: one era alone, the other relayed."""

import json

import pytest
import served
from served import Pipes, call, send, text

# What arguments mean is decided behind the era and the way; test_eras.py has them all crossed.
pytestmark = pytest.mark.parametrize(*served.PAIRED, indirect=True)

#: Every argument that may be left out, as a client fills it in whose model has nothing to say.
FORCED = {
    "send_task": {
        "priority": "Normal", "task_type": "", "thread_id": "", "in_reply_to": "null",
        "expires_in_s": 0, "deliver_in_s": 0, "notify": "LIVE",
    },
    "read_inbox": {
        "limit": "5", "peek": "false", "task_id": "", "thread_id": "", "detail": "", "cursor": "",
    },
    "watch_inbox": {"timeout_s": "30", "task_id": "", "priority": "any"},
    "list_agents": {"query": "", "include_offline": "true", "limit": 20.0, "cursor": "none"},
    "publish_result": {"summary": "", "artifacts": [], "progress": 0},
}  # fmt: skip


def filled(tool, fills, **needed):
    """Return the arguments of a call in which nothing is left out."""
    optional = FORCED[tool] if fills == "forced" else dict.fromkeys(FORCED[tool], fills)
    return {**optional, **needed}


@pytest.mark.parametrize("fills", [None, "", "forced"], ids=["null", "empty", "forced"])
async def test_a_client_that_leaves_no_argument_out_hands_a_task_over_and_back(duo, fills):
    asked = filled("send_task", fills, to=json.dumps([duo.coder_id]), subject=7, body=True)
    task_id = (await call(duo.planner, "send_task", **asked)).structured_content["receipts"][0][
        "task_id"
    ]
    waited = await call(duo.coder, "watch_inbox", **filled("watch_inbox", fills))
    read = await call(duo.coder, "read_inbox", **filled("read_inbox", fills))
    listed = await call(duo.coder, "list_agents", **filled("list_agents", fills))
    ended = filled("publish_result", fills, task_id=task_id, status="Completed", body=214)
    await call(duo.coder, "publish_result", **ended)
    life = await call(duo.planner, "read_inbox", task_id=task_id)

    assert "Subject: 7\n" in text(waited)
    assert task_id in text(read)
    assert " · hosts: " in text(listed)
    assert ": completed" in text(life)
    assert "214" in text(life)
    assert "Progress" not in text(life)


async def test_an_empty_request_id_makes_no_retry_safe_and_the_receipt_says_so(duo):
    task = {"to": duo.planner_id, "subject": "s", "body": "b"}  # who claims nothing

    for said in ("", " ", "null"):
        receipt = await call(duo.planner, "send_task", **task, request_id=said)
        note = receipt.structured_content["note"]
        assert note in text(receipt)
        assert "the same call again stores a second task" in note
    for silent in ({}, {"request_id": None}):
        receipt = await call(duo.planner, "send_task", **task, **silent)
        assert "note" not in receipt.structured_content


@pytest.mark.parametrize("empty", [None, "", 0, []])
async def test_an_argument_that_the_tool_does_not_have_is_refused_with_nothing_in_it_too(
    duo, empty
):
    result = await duo.planner.call_tool("read_inbox", {"max": empty})

    assert result.is_error
    assert "max: Extra inputs are not permitted" in text(result)


async def test_any_priority_is_watched_for_and_one_given_in_other_letters_alone(duo):
    low = await send(duo.planner, duo.coder_id, priority="LOW")
    other = await call(duo.coder, "watch_inbox", timeout_s=0, priority="High")
    all_of_them = await call(duo.coder, "watch_inbox", timeout_s=30, priority="ANY")
    await call(duo.coder, "publish_result", task_id=low, status="completed")

    assert low not in text(other)
    assert low in text(all_of_them)


def test_arguments_may_be_an_object_a_text_that_holds_one_or_the_list_that_stands_for_none(
    home, way, era
):
    with Pipes(served.environ(home.data_dir.parent), agent="spelled") as server:
        server.greet(era)
        for arguments in ('{"query": "spelled"}', "{}", "", "null", [], None, {}):
            params = {"name": "list_agents", "arguments": arguments}
            answer = server.ask("tools/call", params, era=era)["result"]
            assert not answer.get("isError"), arguments
        params = {"name": "read_inbox", "arguments": '{"max": 3}'}
        assert server.ask("tools/call", params, era=era)["result"]["isError"]
