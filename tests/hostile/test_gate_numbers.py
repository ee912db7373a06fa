# SPDX-License-Identifier: Apache-2.0
"""An account names others' messages by their numbers and ids, which can be foreseen or known."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio
from mallory import GATE, attacked

from mcp_agentbus.core import text
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import codec
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.subjects import RESULTS, TASKS


@pytest_asyncio.fixture(loop_scope="function")
async def scene(tmp_path):
    async with attacked(tmp_path) as scene:
        yield scene


@pytest.mark.asyncio(loop_scope="function")
async def test_a_number_that_no_message_has_yet_is_not_deleted_once_one_has_it(scene):
    deleted = []
    heard = scene.admin.subscribed("$JS.API.STREAM.MSG.DELETE.*", deleted.append)
    next_ = (await scene.admin.api(f"STREAM.INFO.{TASKS}"))["state"]["last_seq"] + 1
    async with heard:
        call = f"{GATE}$JS.API.STREAM.MSG.DELETE.{TASKS}"
        answer = await scene.tried(call, json.dumps({"seq": next_}).encode())
        await scene.admin.api("INFO")

    assert json.loads(answer.data)["error"]["err_code"] == 10043
    assert deleted == []


@pytest.mark.asyncio(loop_scope="function")
async def test_who_helps_with_a_task_cannot_write_its_result_as_a_copy_of_one_of_its_own(scene):
    await send_task(scene.coder, "mallory", "Help", "with a part", in_reply_to=scene.task)
    [helped] = (await read_inbox(scene.mallory)).tasks
    known = helped.task.thread_id
    assert known == scene.task
    standing, _ = await read_record(scene.admin, "planner", "coder", known)
    forged = standing.model_copy(
        update={"state": "completed", "summary": "forged", "asked_by": "mallory",
                "updated_at": text.now()}
    )  # fmt: skip

    own = json.dumps({"reply_to": "planner"}).encode()
    await scene.tried(f"{GATE}agentbus.mallory.sent.coder.{known}", own)
    place = f"{GATE}agentbus.planner.results.coder.{known}"

    assert await scene.tried(place, codec.encode_record(forged)) == "not-yours"
    await scene.goes_on()


@pytest.mark.asyncio(loop_scope="function")
async def test_who_looks_for_one_message_costs_no_request_for_each_of_others(scene):
    for number in range(250):
        await scene.admin.send(f"agentbus.planner.sent.coder.t{number}", b"{}", {})
    await scene.admin.publish("agentbus.mallory.sent.coder.own", b"{}", stream=RESULTS)
    asked, call = [], f"$JS.API.DIRECT.GET.{RESULTS}"
    async with scene.admin.subscribed(call, asked.append):
        request = {"seq": 1, "batch": 1, "next_by_subj": "agentbus.*.sent.coder.*"}
        answer = await scene.tried(GATE + call, json.dumps(request).encode())
        await scene.admin.api("INFO")

    assert answer.headers["Nats-Subject"] == "agentbus.mallory.sent.coder.own"
    assert len(asked) <= 4
