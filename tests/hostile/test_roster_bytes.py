# SPDX-License-Identifier: Apache-2.0
"""Whatever a peer writes about itself or others: the roster shows who is there, and sends go on."""

import json

import corpus
import pytest
from rawclient import Raw

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import agents
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.queries import signs
from mcp_agentbus.tools.answers import documents
from mcp_agentbus.tools.answers.roster import roster_text

# What is stored under the subject of a sign of life.
SIGNS = corpus.read("records", "sign-").values()
NEVER = b"NATS/1.0\r\nNats-TTL: never\r\n\r\n"
# Under that of a registration, and whose.
NAMES = ["e/vil", "\u202e", "\x1b[2J", "all", "a" * 300, "role-x", "UPPER", "-x", "nul\x00l"]
PROFILES = corpus.read("records", "profile-")


@pytest.fixture
async def hostile(own_world):
    """A world in which a peer has said all that."""
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await read_inbox(coder)
    async with Raw(own_world.bus.settings.data_dir) as raw:
        for number, sign in enumerate(SIGNS):
            for whose in (coder.me.id, "mallory", *NAMES[:1]):
                await raw.ask(f"agentbus.{whose}.heartbeat.m{number}".encode(), sign)
        for name in NAMES:
            await raw.ask(f"agentbus.{name}.profile".encode(), PROFILES["profile-without-date"])
        for number, profile in enumerate(PROFILES.values()):
            await raw.ask(f"agentbus.mallory-{number}.profile".encode(), profile)
    return own_world, planner, coder


async def test_the_roster_shows_who_is_there_in_words_of_our_own(hostile):
    world, planner, coder = hostile

    page = await agents.page(world.bus)
    shown = roster_text(page) + json.dumps(documents.of_roster(page, texts=True))

    ids = {each.entry.id for each in page.agents}
    assert {planner.me.id, coder.me.id} <= ids
    assert not ids & set(NAMES)
    assert "rm -rf" not in shown
    assert shown.isprintable() or "\n" in shown
    assert not any(ord(char) < 32 and char != "\n" for char in shown)


async def test_tasks_go_to_whom_they_were_sent_and_to_all(hostile):
    _, planner, coder = hostile

    [mine] = await send_task(planner, coder.me.id, "Count", "x", priority="high")
    everybody = await send_task(planner, "all", "Hello", "x")
    tasks = (await read_inbox(coder)).tasks

    assert mine.recipient == "live session"
    assert coder.me.id in {receipt.to for receipt in everybody}
    assert not {receipt.to for receipt in everybody} & set(NAMES)
    assert {item.task.subject for item in tasks} == {"Count", "Hello"}


@pytest.mark.parametrize("overwritten", ["profile-deep-list", "profile-without-date"])
async def test_whose_registration_is_overwritten_is_sent_to_all_the_same(own_world, overwritten):
    planner, away = await own_world.session("planner"), own_world.name("away")
    await roster.register(own_world.bus, Agent(away), None)
    async with Raw(own_world.bus.settings.data_dir) as raw:
        await raw.ask(f"agentbus.{away}.profile".encode(), PROFILES[overwritten])

    [receipt] = await send_task(planner, away, "Count", "x")

    assert (receipt.to, receipt.recipient) == (away, "never seen")
    assert away in {each.entry.id for each in (await agents.page(own_world.bus)).agents}


async def test_nobody_is_kept_for_ever_and_on_an_older_stream_gone_all_the_same(
    own_world, monkeypatch
):
    planner = await own_world.session("planner")
    bus, subject = planner.bus, b"agentbus.ghost.heartbeat.g"
    name = subjects.PRESENCE
    async with Raw(bus.settings.data_dir) as raw:
        assert "error" in await raw.ask(subject, b'{"kind":"session"}', NEVER)
        config = (await bus.api(f"STREAM.INFO.{name}"))["config"]
        older = {**config, "allow_msg_ttl": True, "discard": "old"}
        await bus.api(f"STREAM.UPDATE.{name}", older)
        await streams.ensure_streams(bus)
        assert "error" not in await raw.ask(subject, b'{"kind":"session"}', NEVER)
    assert (await bus.api(f"STREAM.INFO.{name}"))["config"]["discard"] == "new"
    assert await roster.live_sessions(bus, "ghost") == {"g"}

    monkeypatch.setattr(signs, "_GONE_FOR_SURE", signs.timedelta())
    assert await roster.live_sessions(bus, "ghost") == set()


async def test_nobody_wipes_the_others_signs_of_life(own_world):
    planner = await own_world.session("planner")
    async with Raw(own_world.bus.settings.data_dir) as raw:
        refused = await raw.ask(
            b"agentbus.m.heartbeat.m", b"{}", b"NATS/1.0\r\nNats-Rollup: all\r\n\r\n"
        )
    assert refused["error"]["description"] == "rollup not permitted"
    assert await roster.live_sessions(planner.bus, planner.me.id) == {planner.id}


async def test_an_agent_of_more_sessions_than_a_server_answers_at_once_is_sent_to(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    async with Raw(own_world.bus.settings.data_dir) as raw:
        for number in range(1_100):
            await raw.ask(f"agentbus.{coder.me.id}.heartbeat.m{number}".encode(), b"{}")

    [receipt] = await send_task(planner, coder.me.id, "Count", "x", priority="high")

    assert receipt.recipient == "live session"


async def test_a_flood_of_signs_of_life_pushes_nobody_out(own_world):
    planner = await own_world.session("planner")
    sign = json.dumps({"kind": "session", "x": "x" * (60 << 10)}).encode()
    async with Raw(own_world.bus.settings.data_dir) as raw:
        answers = [
            await raw.ask(f"agentbus.mallory.heartbeat.m{number}".encode(), sign)
            for number in range(300)
        ]
        # Its next one, in the place of the one before.
        beat = f"agentbus.{planner.me.id}.heartbeat.{planner.id}".encode()
        again = await raw.ask(beat, b'{"kind":"session"}')

    assert "error" in answers[-1]
    assert "error" not in again
    assert await roster.live_sessions(planner.bus, planner.me.id) == {planner.id}
