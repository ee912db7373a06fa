# SPDX-License-Identifier: Apache-2.0
"""An account fills what all share: it is refused before the others are, whatever it fills it with."""

from __future__ import annotations

import asyncio
import json

import pytest
import pytest_asyncio
from mallory import GATE, attacked

from mcp_agentbus.bus.login.account import H_REFUSED
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NameTaken
from mcp_agentbus.gate import quota
from mcp_agentbus.store import roster
from mcp_agentbus.store.subjects import AGENTS, PRESENCE, RESULTS


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


@pytest.mark.asyncio(loop_scope="function")
async def test_a_name_is_its_account_s_whatever_its_registration_says(scene):
    """One that does not say when it was made is none that a reader takes."""
    first = {"Nats-Expected-Last-Subject-Sequence": "0"}
    assert await said(scene, "agentbus.m0.profile", b'{"x":"y"}', first) == "stored"

    with pytest.raises(NameTaken):
        await roster.register(scene.buses["laptop"], Agent("m0"), text.now())
    await roster.register(scene.buses["laptop"], Agent("another"), text.now())


@pytest.mark.asyncio(loop_scope="function")
async def test_half_a_letter_in_a_registration_makes_nobody_fail(scene):
    last = await scene.admin.last(AGENTS, "agentbus.mallory.profile")
    revision = {"Nats-Expected-Last-Subject-Sequence": str(last.seq)}

    assert await said(scene, "agentbus.mallory.profile", b'{"x":"\\ud800"}', revision) == "stored"


@pytest.mark.asyncio(loop_scope="function")
async def test_who_counts_again_and_again_is_counted_for_one_after_another(scene):
    """Of a hundred thousand subjects each count keeps the server busy for others, too."""
    asked, seen = [], []

    def heard(request):
        asked.append(request.reply)
        seen.append(request.reply)

    call = f"$JS.API.STREAM.INFO.{RESULTS}"
    answers = scene.admin.subscribed("_INBOX.>", lambda answer: seen.append(answer.subject))
    async with scene.admin.subscribed(call, heard), answers:
        wanted = json.dumps({"subjects_filter": "agentbus.>"}).encode()
        outcomes = await asyncio.gather(*(said(scene, call, wanted) for _ in range(8)))
        await scene.admin.api("INFO")

    assert outcomes == ["stored"] * 8
    assert [each for each in seen if each in asked] == [each for each in asked for _ in range(2)]


@pytest.mark.asyncio(loop_scope="function")
async def test_signs_of_one_session_s_life_under_many_names_fill_no_room_of_others(scene):
    sign = json.dumps({"kind": "session", "x": "y" * 16_000}).encode()
    for number in range(400):
        await scene.link._client.publish(f"{GATE}agentbus.m{number}.heartbeat.s", sign)
    assert await said(scene, "$JS.API.INFO") == "stored"

    assert await bytes_in(scene, PRESENCE) < 2 << 20


@pytest.mark.asyncio(loop_scope="function")
async def test_agents_that_come_and_go_leave_no_more_consumers_than_a_day_s(scene, monkeypatch):
    monkeypatch.setattr(quota, "CONSUMERS_MAX", 2)
    agents, outcomes = ["m1", "m2", "m3"], []
    for agent in agents:
        bus = scene.buses["mallory"]
        await roster.register(bus, Agent(agent), text.now())
        name, taken = f"{agent}_high", f"agentbus.{agent}.tasks.high.*"
        outcomes.append(await said(scene, f"$JS.API.CONSUMER.CREATE.AGENTBUS_TASKS.{name}.{taken}"))
        await bus.api("STREAM.PURGE.AGENTBUS_AGENTS", {"filter": f"agentbus.{agent}.profile"})

    assert outcomes[-1] == "too-many"
    assert await said(scene, "$JS.API.CONSUMER.INFO.AGENTBUS_TASKS.m3_high") == "error"
