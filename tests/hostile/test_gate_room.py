# SPDX-License-Identifier: Apache-2.0
"""An account fills what all share: it is refused before the others are, whatever it fills it with."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta

import pytest
import pytest_asyncio
from mallory import GATE, attacked, once_known

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import H_REFUSED
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable, NameTaken, SendLimit, StoreFull
from mcp_agentbus.gate import quota
from mcp_agentbus.gate.share import census, holdings
from mcp_agentbus.gate.share.holdings import Holdings
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.parked.parking import parked
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.shared.accounts import conf, owner
from mcp_agentbus.store import roster
from mcp_agentbus.store.subjects import AGENTS, H_MOVED, PRESENCE, RESULTS, SCHEDULE, TASKS

# Of a registration that is the first of its name.
FIRST = {"Nats-Expected-Last-Subject-Sequence": "0"}


@pytest_asyncio.fixture(loop_scope="function")
async def scene(tmp_path):
    async with attacked(tmp_path) as scene:
        yield scene


@pytest.fixture
def give_room(monkeypatch):
    """Let a stream have so many bytes; return once the gate, which looks often, has seen that."""
    monkeypatch.setattr(census, "_LOOK_S", 0.02)
    monkeypatch.setattr(holdings, "_RESTS_S", 0.05)
    look, seen = Holdings.look, asyncio.Queue()

    def looked(self, room, taken):
        look(self, room, taken)
        seen.put_nowait(room)

    monkeypatch.setattr(Holdings, "look", looked)

    async def give(scene, stream, room):
        config = (await scene.admin.api(f"STREAM.INFO.{stream}"))["config"]
        await scene.admin.api(f"STREAM.UPDATE.{stream}", {**config, "max_bytes": room})
        async with asyncio.timeout(10):
            while await seen.get() != room:
                pass

    return give


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


@pytest.mark.promise(56)
@pytest.mark.asyncio(loop_scope="function")
async def test_who_has_most_of_a_stream_with_little_room_is_refused_and_the_others_are_not(
    tmp_path, give_room, caplog
):
    """What she says as who asks, and as who answers, is hers, whatever names the subject has."""
    large = json.dumps({"x": "y" * 100_000}).encode()
    places = ("mallory.sent.coder", "mallory.results.coder", "coder.wakes.mallory")
    async with attacked(tmp_path) as scene:
        await give_room(scene, RESULTS, 4 << 20)
        outcomes = [
            await said(scene, f"agentbus.{places[number % 3]}.t{number}", large)
            for number in range(45)
        ]

        assert set(outcomes) == {"stored", "no-room"}
        await scene.goes_on()
        with pytest.raises(StoreFull, match="its share"):
            await scene.buses["mallory"].publish("agentbus.mallory.sent.coder.more", large)
    [said_last] = [each for each in caplog.messages if f"room of {RESULTS}" in each][-1:]
    assert re.search(r"is taken: mallory has [\d,]{5,} KiB", said_last), said_last


@pytest.mark.parametrize("stream", [SCHEDULE, AGENTS, TASKS])
@pytest.mark.asyncio(loop_scope="function")
async def test_so_it_is_with_what_waits_for_its_time_what_is_registered_and_what_waits(
    tmp_path, give_room, stream
):
    async with attacked(tmp_path) as scene:
        await give_room(scene, stream, 256 << 10)
        outcomes = []
        for number in range(40):
            if stream == AGENTS:
                place, headers = f"agentbus.m{number}.profile", dict(FIRST)
            elif stream == SCHEDULE:
                place = f"agentbus.coder.sched.low.mallory.t{number}"
                headers = {"Nats-Schedule": f"@at {text.stamp(text.now() + timedelta(hours=1))}"}
            else:
                place, headers = "agentbus.coder.tasks.low.mallory", {}
            outcomes.append(
                await said(scene, place, json.dumps({"x": "y" * 10_000}).encode(), headers)
            )

        assert set(outcomes) == {"stored", "no-room"}
        await send_task(scene.planner, "coder", "Now", "x")
        await send_task(scene.planner, "coder", "Later, too", "x", deliver_in_s=600)
        await roster.register(scene.buses["vps"], Agent("another"), text.now())


@pytest.mark.asyncio(loop_scope="function")
async def test_where_no_limit_is_set_there_is_room_for_what_waits_for_its_time_by_a_gate(scene):
    config = (await scene.admin.api(f"STREAM.INFO.{SCHEDULE}"))["config"]
    await scene.admin.api(f"STREAM.UPDATE.{SCHEDULE}", {**config, "max_bytes": -1})

    [receipt] = await send_task(scene.planner, "coder", "Later", "x", deliver_in_s=600)

    assert receipt.state == "stored"


@pytest.mark.asyncio(loop_scope="function")
async def test_an_account_writes_to_so_many_of_others_a_minute_unless_its_owner_lets_it(
    scene, monkeypatch, tmp_path
):
    monkeypatch.setattr(quota, "REACHED_MAX", 1)
    for _ in range(2):
        await send_task(scene.mallory, "coder", "One", "x")
    with pytest.raises(SendLimit, match="as many agents of others"):
        await send_task(scene.mallory, "planner", "Another", "x")

    await owner.grant(scene.admin, tmp_path, "mallory", to_all=True)
    [receipt] = await once_known(
        SendLimit, lambda: send_task(scene.mallory, "planner", "More", "x")
    )
    assert receipt.to == "planner"


@pytest.mark.asyncio(loop_scope="function")
async def test_who_parks_the_same_task_again_and_again_writes_it_once(scene):
    mallory, task = scene.mallory, b"no task" * 1_000
    placed = "agentbus.mallory.tasks.low.coder"
    await scene.buses["vps"].publish(placed, task)
    [waits] = [each.seq async for page in scene.admin.stored(TASKS, placed) for each in page]
    for number in range(20):
        moved = {H_MOVED: str(waits), "Nats-Msg-Id": f"x{number}"}
        assert await said(scene, "agentbus.mallory.dead.low.coder", task, moved) == "stored"

    assert len(await parked(mallory.bus, "mallory")) == 1


@pytest.mark.asyncio(loop_scope="function")
async def test_what_is_parked_counts_and_an_inbox_is_read_on_where_it_is_too_much(
    scene, monkeypatch
):
    await scene.planner.bus.publish("agentbus.coder.tasks.high.planner", b"no task" * 1_000)
    await send_task(scene.planner, "coder", "Readable", "x")
    monkeypatch.setattr(quota, "_OTHERS_PER_DAY", 1_000)

    inbox = await read_inbox(scene.coder, limit=10)

    assert "no more can be parked" in inbox.notes[0]
    assert "Readable" in [each.task.subject for each in inbox.tasks]


@pytest.mark.asyncio(loop_scope="function")
async def test_who_has_all_the_connections_that_an_account_may_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(conf, "_CONNECTIONS_MAX", 2)
    async with attacked(tmp_path) as scene:
        more = Bus.connect(scene.shared.settings("mallory"))  # it has two
        with pytest.raises(BusUnreachable, match="as many connections by this login") as full:
            await more.__aenter__()
        await scene.goes_on()
    assert "`agentbus listen`, or `agentbus listen --install`" in full.value.hint


@pytest.mark.asyncio(loop_scope="function")
async def test_a_name_is_its_account_s_whatever_its_registration_says(scene):
    """One that does not say when it was made is none that a reader takes."""
    assert await said(scene, "agentbus.m0.profile", b'{"x":"y"}', FIRST) == "stored"

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
async def test_a_name_that_nobody_has_registered_is_shown_to_none_but_whose_session_lives(scene):
    sign = json.dumps({"kind": "session"}).encode()
    assert await said(scene, "agentbus.unknown.heartbeat.s", sign) == "stored"

    seen = {
        account: {each.id for each in await roster.everybody(bus)}
        for account, bus in scene.buses.items()
    }

    agents = {"planner", "coder", "mallory"}
    both = {"laptop": agents, "vps": agents, "mallory": {*agents, "unknown"}}
    assert seen == both
    # Nor is it taken for a session of whose name that is from then on.
    await roster.register(scene.buses["vps"], Agent("unknown"), text.now())
    for account in ("laptop", "vps"):
        entries = await roster.everybody(scene.buses[account])
        states = {each.id: each.state for each in entries}
        assert (states["unknown"], states["coder"]) == ("offline", "live session")


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
