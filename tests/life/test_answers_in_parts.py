# SPDX-License-Identifier: Apache-2.0
"""What is too much for one answer of the server's comes in several, and whole."""

from __future__ import annotations

import pytest
import pytest_asyncio
from gated import gated

from mcp_agentbus.bus import client
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.gate import forward
from mcp_agentbus.store import roster
from mcp_agentbus.store.subjects import RESULTS

_COUNT = 40


@pytest_asyncio.fixture(loop_scope="function", params=["owner", "account"])
async def bus(request, tmp_path, monkeypatch):
    """The bus of who may say all, or of an account, with records; an answer holds some ten."""
    for module in (client, forward):
        monkeypatch.setattr(module, "ANSWER_MAX_BYTES", 10_000)
    async with gated(tmp_path, laptop=[], vps=[]) as shared:
        async with Bus.connect(shared.settings("vps")) as vps:
            await roster.register(vps, Agent("coder"), text.now())
            for number in range(30):
                await vps.publish(f"agentbus.coder.sent.coder.t{number}", b"x" * 1_000)
        async with Bus.connect(shared.settings("laptop")) as laptop:
            await roster.register(laptop, Agent("planner"), text.now())
            for number in range(_COUNT):
                await laptop.publish(f"agentbus.planner.sent.coder.t{number}", b"x" * 1_000)
            if request.param == "account":
                yield laptop
                return
        async with Bus.connect(shared.admin) as owner:
            yield owner


@pytest.mark.asyncio(loop_scope="function")
async def test_what_is_more_than_the_server_answers_at_once_is_read_whole(bus):
    places = [f"agentbus.planner.sent.coder.t{number}" for number in range(_COUNT)]
    by_sequence = {"seq": 1, "batch": 1_000, "next_by_subj": "agentbus.planner.sent.*.*"}
    by_time = {"start_time": "2000-01-01T00:00:00Z", "batch": 1_000}

    assert [each.subject for each in await bus.many(RESULTS, {"multi_last": places})] == places
    assert [each.subject for each in await bus.many(RESULTS, by_sequence)] == places
    assert len(await bus.many(RESULTS, {**by_sequence, "batch": 25})) == 25
    in_time = [each.subject for each in await bus.many(RESULTS, by_time)]
    assert [each for each in in_time if ".planner." in each] == places
    pages = [page async for page in bus.stored(RESULTS, by_sequence["next_by_subj"])]
    assert [each.subject for page in pages for each in page] == places
    assert max(map(len, pages)) <= 10
