# SPDX-License-Identifier: Apache-2.0
"""What a session that ends does, how long it waits for it, and that it does nothing after that."""

import asyncio
from contextlib import suppress

import pytest
from messages import read_record
from session_stand_in import SessionBus

from mcp_agentbus.errors import Refused, StoreFull
from mcp_agentbus.handoff import session
from mcp_agentbus.handoff.ends.awaited import Result
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster
from mcp_agentbus.store.records import read_record as read_record_of

HANG_S = 20  # only a hang takes as long


async def test_what_a_cancelled_call_leaves_to_do_holds_up_an_end_no_longer_than_a_host_waits(
    world, monkeypatch
):
    monkeypatch.setattr(session, "_END_TIMEOUT_S", 0.05)
    coder = await world.session("coder")
    done = asyncio.Event()
    coder.finish_in_background(done.wait())

    async with asyncio.timeout(HANG_S):
        await coder.settled()

    assert not done.is_set()
    done.set()


@pytest.mark.parametrize("called", [True, False])
async def test_after_its_end_a_session_refuses_what_it_is_asked(tmp_path, monkeypatch, called):
    bus = SessionBus(tmp_path / "home", monkeypatch)
    async with bus.session() as coder:
        if called:
            await coder.called()
    said = list(bus.said)

    with pytest.raises(Refused, match="This session has ended") as refused:
        await read_inbox(coder)

    assert "Open another session" in refused.value.hint
    assert bus.said == said


async def test_who_waits_while_a_session_ends_is_told_so_and_given_nothing(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    waits = asyncio.Event()
    watching = watch_inbox(coder, timeout_s=HANG_S, waiting=lambda _: _set(waits))
    watch = asyncio.create_task(watching)
    async with asyncio.timeout(HANG_S):
        await waits.wait()

    await coder.close()
    [receipt] = await send_task(planner, coder.me.id, "Late", "x")

    with pytest.raises(Refused, match="This session has ended"):
        await watch
    record, _ = await read_record_of(world.bus, planner.me.id, coder.me.id, receipt.task_id)
    assert record is None


async def _set(event):
    event.set()


async def test_whatever_a_session_cannot_give_back_at_its_end_it_says_that_it_leaves(
    tmp_path, monkeypatch
):
    bus = SessionBus(tmp_path / "home", monkeypatch)
    async with bus.session() as coder:
        await coder.called()
        claim = bus.claim(coder)
        coder.outcomes.taken["r1"] = Result(read_record(), 1, claim.delivery)

        async def full(*_, **__):
            raise StoreFull

        monkeypatch.setattr(coder.claims, "give_back", full)
        bus.clock_s += 60
        bus.said.clear()

    given_back = ("gives back", claim.delivery.seq)
    assert bus.said == [("leaves", "session-1"), given_back, ("registers", "coder")]


async def test_a_session_that_has_ended_is_kept_no_longer_by_a_keeper_that_its_cancel_missed(
    tmp_path, monkeypatch
):
    bus = SessionBus(tmp_path / "home", monkeypatch)
    monkeypatch.setattr(roster, "BEAT_S", 0)
    extends = asyncio.Event()

    async def loses_a_cancel(delivery):
        bus.said.append(("extends", delivery.seq))
        extends.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(bus, "extend", loses_a_cancel)
    coder = bus.session()
    await coder.called()
    seqs = [bus.claim(coder, task_id).delivery.seq for task_id in ("t1", "t2")]
    async with asyncio.timeout(HANG_S):
        await extends.wait()
        await coder.close()

    assert coder._keeper.done()
    assert ("extends", seqs[1]) not in bus.said
    assert [each for each in bus.said if "session-1" in each][-1] == ("leaves", "session-1")


async def test_whoever_cuts_an_end_short_ends_the_keeper_of_the_session(tmp_path, monkeypatch):
    bus = SessionBus(tmp_path / "home", monkeypatch)
    gives, heard = asyncio.Event(), set()

    async def hangs(*_, **__):
        gives.set()
        await asyncio.Event().wait()

    coder = bus.session()
    await coder.called()
    bus.claim(coder)
    heard.update(bus.heard)
    monkeypatch.setattr(coder.claims, "give_back", hangs)
    closing = asyncio.create_task(coder.close())
    async with asyncio.timeout(HANG_S):
        await gives.wait()
        closing.cancel()
        await asyncio.wait([closing])

    assert closing.cancelled()
    assert heard
    assert (bus.heard, coder._keeper.done()) == ({}, True)


async def test_who_has_many_tasks_has_time_to_give_each_back(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_END_TIMEOUT_S", 0)
    monkeypatch.setattr(session, "_GIVEN_BACK_S", HANG_S)
    bus = SessionBus(tmp_path / "home", monkeypatch)
    coder = bus.session()
    await coder.called()
    claim = bus.claim(coder)

    async def slowly(delivery):
        for _ in range(9):  # rounds of the loop
            await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=0)
        bus.said.append(("gives back", delivery.seq))

    monkeypatch.setattr(bus, "give_back", slowly)
    await coder.close()

    assert ("gives back", claim.delivery.seq) in bus.said
    assert ("leaves", "session-1") in bus.said
