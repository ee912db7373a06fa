# SPDX-License-Identifier: Apache-2.0
"""The roster is read again only where it has changed, and is never older than the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from rawclient import Raw

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import agents
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.queries import copies
from mcp_agentbus.store.subjects import AGENTS

_FEW = 3


@pytest.fixture
async def known(own_world):
    """A bus on which some agents are registered, and whose roster was read before."""
    await streams.ensure_streams(own_world.bus)
    for number in range(_FEW):
        await roster.register(own_world.bus, Agent(f"agent-{number}"), None)
    await roster.everybody(own_world.bus)
    return own_world.bus


@pytest.fixture
def decoded(monkeypatch):
    """Note whose registrations are read from here on."""
    whose: list[str] = []
    decode = roster.decode_profile

    def noted(stored):
        whose.append(subjects.parts(stored.subject).whose)
        return decode(stored)

    monkeypatch.setattr(roster, "decode_profile", noted)
    return whose


async def _ids(bus: Bus) -> list[str]:
    return [entry.id for entry in await roster.everybody(bus)]


async def test_of_many_agents_only_whose_registration_is_new_is_read(known, decoded):
    await agents.page(known)
    assert decoded == []

    await roster.register(known, Agent("newcomer"), None)
    await roster.register(known, Agent("agent-1", description="Counts"), None)
    listed = {each.entry.id: each.entry for each in (await agents.page(known)).agents}

    assert listed.keys() >= {"agent-0", "agent-1", "agent-2", "newcomer"}
    assert listed["agent-1"].description == "Counts"
    assert sorted(decoded) == ["agent-1", "agent-1", "newcomer"]  # one by its own registration


async def test_who_registers_elsewhere_is_listed_at_once(known):
    async with Bus.connect(known.settings) as other:
        await roster.register(other, Agent("elsewhere"), None)

        assert "elsewhere" in await _ids(known)
        assert "elsewhere" in await roster.registered(known)


async def _purged(bus: Bus, subject: str) -> None:
    await bus.api(f"STREAM.PURGE.{AGENTS}", {"filter": subject})


async def _removed(bus: Bus) -> None:
    await _purged(bus, subjects.profile_subject("agent-1"))


async def _removed_for_another(bus: Bus) -> None:
    """As many are registered as before."""
    await _purged(bus, subjects.profile_subject("agent-1"))
    await roster.register(bus, Agent("another"), None)


async def _removed_the_last(bus: Bus) -> None:
    await roster.register(bus, Agent("agent-1"), None)
    await _purged(bus, subjects.profile_subject("agent-1"))


async def _made_anew(bus: Bus) -> None:
    """The stream has other agents by the numbers that it had before."""
    config = (await bus.api(f"STREAM.INFO.{AGENTS}"))["config"]
    await bus.api(f"STREAM.DELETE.{AGENTS}")
    await bus.api(f"STREAM.CREATE.{AGENTS}", config)
    for name in ("agent-0", "another", "agent-2"):
        await roster.register(bus, Agent(name), None)


@pytest.mark.parametrize("change", [_removed, _removed_for_another, _removed_the_last, _made_anew])
async def test_who_is_registered_no_more_is_listed_no_more(
    known, change: Callable[[Bus], Awaitable[None]]
):
    async with Bus.connect(known.settings) as other:
        await change(other)
        fresh = await _ids(other)

    assert "agent-1" not in await _ids(known)
    assert await _ids(known) == fresh


async def test_after_a_lost_connection_all_is_read_anew(known, decoded):
    await known._link.close()

    await _ids(known)

    assert {"agent-0", "agent-1", "agent-2"} <= set(decoded)


@pytest.mark.parametrize("who", ["between", "agent-1"])
async def test_who_registers_while_it_is_read_is_listed_and_nobody_else_read_again(
    known, decoded, monkeypatch, who
):
    copy = roster._registrations(known)
    read, info, after = asyncio.Event(), copy._info, copy._after

    async def read_before(bus: Bus, seq: int) -> object:
        messages = await after(bus, seq)
        read.set()
        return messages

    async def told_later(bus: Bus) -> object:
        await read.wait()
        await roster.register(bus, Agent(who, description="Counts"), None)
        return await info(bus)

    monkeypatch.setattr(copy, "_after", read_before)
    monkeypatch.setattr(copy, "_info", told_later)

    described = {entry.id: entry.description for entry in await roster.everybody(known)}

    assert described[who] == "Counts"
    assert set(decoded) == {who}


async def test_what_one_reader_has_read_late_undoes_nothing_that_another_knows(known, monkeypatch):
    copy = roster._registrations(known)
    has_read, may_go_on, after = asyncio.Event(), asyncio.Event(), copy._after

    async def late(bus: Bus, seq: int) -> object:
        monkeypatch.setattr(copy, "_after", after)
        messages = await after(bus, seq)
        has_read.set()
        await may_go_on.wait()
        return messages

    await roster.register(known, Agent("agent-1", description="Old"), None)
    monkeypatch.setattr(copy, "_after", late)
    reading = asyncio.create_task(roster.everybody(known))
    await has_read.wait()
    await roster.register(known, Agent("agent-1", description="New"), None)
    await roster.everybody(known)
    may_go_on.set()

    described = {entry.id: entry.description for entry in await reading}

    assert described["agent-1"] == "New"


async def test_what_has_come_and_gone_unseen_is_looked_for_once(known, decoded, monkeypatch):
    copy = roster._registrations(known)
    looks: list[int] = []
    after = copy._after

    async def counted(bus: Bus, seq: int) -> object:
        looks.append(seq)
        return await after(bus, seq)

    await roster.register(known, Agent("guest"), None)
    await _purged(known, subjects.profile_subject("guest"))
    monkeypatch.setattr(copy, "_after", counted)

    assert "guest" not in await _ids(known)
    looks.clear()
    await _ids(known)
    assert (len(looks), decoded) == (1, [])


async def test_a_registration_that_cannot_be_read_is_no_reason_to_read_all_again(known, decoded):
    async with Raw(known.settings.data_dir) as raw:
        await raw.ask(b"agentbus.e/vil.profile", b"{}")
    await _ids(known)
    decoded.clear()

    assert "e/vil" not in await _ids(known)
    assert decoded == []


async def test_of_a_flood_of_registrations_nothing_is_kept(known, decoded, monkeypatch):
    monkeypatch.setattr(copies, "_KEPT_MAX", _FEW)
    await roster.register(known, Agent("newcomer"), None)

    for _ in range(2):
        decoded.clear()
        assert "newcomer" in await _ids(known)
    assert len(decoded) > _FEW
