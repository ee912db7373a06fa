# SPDX-License-Identifier: Apache-2.0
"""An account names others' messages by their numbers and ids, which can be foreseen or known."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio
from mallory import GATE, attacked

from mcp_agentbus.store.subjects import TASKS


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
