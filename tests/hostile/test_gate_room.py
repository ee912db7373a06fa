# SPDX-License-Identifier: Apache-2.0
"""An account fills what all share: it is refused before the others are, whatever it fills it with."""

from __future__ import annotations

import asyncio
import json

import pytest
import pytest_asyncio
from mallory import GATE, attacked

from mcp_agentbus.bus.login.account import H_REFUSED
from mcp_agentbus.gate import quota
from mcp_agentbus.store.subjects import RESULTS


@pytest_asyncio.fixture(loop_scope="function")
async def scene(tmp_path):
    async with attacked(tmp_path) as scene:
        yield scene


async def bytes_in(scene, stream):
    return (await scene.admin.api(f"STREAM.INFO.{stream}"))["state"]["bytes"]


async def said(scene, subject, data=b"", headers=None):
    """Say it, and return the word of refusal or what the server says."""
    answer = await scene.link.request(GATE + subject, data, headers, 10)
    if refused := answer.headers.get(H_REFUSED):
        return refused
    return "error" if "error" in json.loads(answer.data) else "stored"


@pytest.mark.asyncio(loop_scope="function")
async def test_what_is_stored_counts_with_its_subject_and_headers(scene, monkeypatch):
    monkeypatch.setitem(quota.BYTES_PER_DAY, RESULTS, limit := 50_000)
    before = await bytes_in(scene, RESULTS)
    outcomes = await asyncio.gather(
        *(
            said(scene, f"agentbus.mallory.sent.{'c' * 60}.{number:064}", b"",
                 {"Nats-Msg-Id": f"{number:0128}"})
            for number in range(300)
        )
    )  # fmt: skip

    assert set(outcomes) == {"stored", "too-many"}
    assert await bytes_in(scene, RESULTS) - before < 1.2 * limit
