# SPDX-License-Identifier: Apache-2.0
"""What a sender keeps of a task is written behind its receipt: cut off there, it is made good."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from gated import gated
from local_server import kill_servers
from made_cluster import until

from mcp_agentbus.bus import budget, embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable, StoreFull, Unconfirmed, UnknownTask
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.handoff.views.task_ids import whole_id
from mcp_agentbus.store import roster, subjects, tasks, unseen
from mcp_agentbus.store.records import read_record, read_sent
from mcp_agentbus.store.upkeep import unkept
from mcp_agentbus.store.upkeep.deadlines import Deadlines
from mcp_agentbus.store.upkeep.unkept import Unkept

HANG_S = 60  # only a hang takes as long
RECORD_ACK = b'{"stream":"AGENTBUS_RESULTS"'


def at_record(session):
    """Return what a session says as it writes what it keeps of a task that it has sent."""
    return f"HPUB agentbus.{session.me.id}.sent.".encode()


async def kept(bus, session, receipt):
    """Return what is kept of a task, as its sender's side reads it."""
    return (await read_sent(bus, session.me.id, "*", receipt.task_id))[0]


@pytest.fixture
def left(proxied):
    """Send a task as a session that is gone, for all others know, before it has kept anything."""
    _, proxy, planner, coder = proxied

    async def send(**options):
        proxy.stay_away = True
        proxy.cut_at_request(at_record(planner))
        [receipt] = await send_task(planner, coder.me.id, "Do it", "x", **options)
        await proxy.cut.wait()
        return receipt

    return send


@pytest.mark.promise(1)
@pytest.mark.parametrize("server_dies", [False, True])
async def test_a_session_that_is_cut_off_behind_its_receipt_keeps_the_task_still(
    proxied, server_dies
):
    world, proxy, planner, coder = proxied
    settings = world.bus.settings
    if server_dies:

        def restart():
            kill_servers(settings)
            embedded.ensure(settings)

        proxy.before_cut = restart
    proxy.cut_at_request(at_record(planner))

    [receipt] = await send_task(planner, coder.me.id, "Do it", "x")
    await proxy.cut.wait()

    assert (receipt.state, receipt.duplicate) == ("stored", False)
    assert (await task_life(planner, receipt.task_id)).sent is not None
    assert await kept(world.bus, planner, receipt)
    assert (await publish_result(planner, receipt.task_id, "cancelled")).state == "cancelled"
    assert (await read_inbox(coder)).empty


async def test_a_record_whose_acknowledgement_was_lost_is_one(proxied):
    world, proxy, planner, coder = proxied
    proxy.cut_at_answer(RECORD_ACK)

    [receipt] = await send_task(planner, coder.me.id, "Do it", "x")
    await proxy.cut.wait()
    await planner.outcomes.sent_records.settled()

    assert (await kept(world.bus, planner, receipt)).owner_session == planner.id
    await planner.outcomes.sent_records.see_all_written()


async def test_what_could_not_be_kept_for_long_is_kept_before_the_next_is_sent(proxied, left):
    world, proxy, planner, coder = proxied
    first = await left()
    before = await kept(world.bus, planner, first)
    proxy.accept()

    [second] = await send_task(planner, coder.me.id, "And this", "x")
    await planner.outcomes.sent_records.settled()

    assert before is None
    assert await kept(world.bus, planner, first)
    assert await kept(world.bus, planner, second)


@pytest.mark.parametrize("deed", ["status", "short id", "cancel", "wait"])
async def test_another_session_finds_by_its_id_what_nobody_has_kept(proxied, left, deed):
    world, _, planner, coder = proxied
    receipt = await left()
    other = await world.session("planner")
    if deed == "wait":
        await read_inbox(coder)
        await publish_result(coder, receipt.task_id, "working", summary="At it")

    if deed == "status":
        life = await task_life(other, receipt.task_id)
        assert (life.state, life.sent.owner_session) == ("stored", planner.id)
    elif deed == "short id":
        assert await whole_id(other, receipt.task_id[:12]) == receipt.task_id
    elif deed == "cancel":
        assert (await publish_result(other, receipt.task_id, "cancelled")).state == "cancelled"
        assert (await read_inbox(coder)).empty
    else:
        assert (await watch_inbox(other, task_id=receipt.task_id, timeout_s=0)).timed_out
    assert await kept(world.bus, planner, receipt)


@pytest.mark.parametrize("deed", ["status", "end"])
@pytest.mark.parametrize("ahead_s", [0, 60])
async def test_its_addressee_finds_by_its_id_what_nobody_has_kept_yet(
    proxied, left, elapse, ahead_s, deed
):
    _, _, _, coder = proxied
    receipt = await left()
    elapse(ahead_s)

    if deed == "status":
        assert (await task_life(coder, receipt.task_id)).task.body == "x"
    else:
        done = await publish_result(coder, receipt.task_id, "completed", summary="214")
        assert (done.state, done.unchanged) == ("completed", False)


async def test_the_result_of_what_was_found_counts_as_asked_for(proxied, left, monkeypatch):
    world, _, planner, coder = proxied
    monkeypatch.setattr(unseen, "_RECORD_LATE", unseen.timedelta())
    receipt = await left(notify="wake")
    other = await world.session("planner")
    await read_inbox(other)  # which looks for it
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, "completed", summary="214")

    [result] = (await watch_inbox(other, task_id=receipt.task_id, timeout_s=HANG_S)).results

    assert (result.unasked, result.notify, result.owner_session) == (False, "wake", planner.id)


async def test_the_result_of_what_was_done_before_it_was_found_is_shown_as_unasked(
    proxied, left, monkeypatch
):
    """Its task is gone, by which alone it could be told that this agent has sent it."""
    world, _, _, coder = proxied
    monkeypatch.setattr(unseen, "_RECORD_LATE", unseen.timedelta())
    receipt = await left()
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, "completed", summary="214")

    [result] = (await read_inbox(await world.session("planner"))).results

    assert (result.task_id, result.summary, result.unasked) == (receipt.task_id, "214", True)


@pytest.mark.promise(35)
async def test_the_deadline_of_what_nobody_has_kept_is_kept_where_no_session_is(
    proxied, left, elapse
):
    world, _, planner, coder = proxied
    receipt = await left(expires_in_s=60)
    elapse(61)

    async def is_ended():
        await Deadlines(world.bus).look([planner.me.id])  # each its first, which waits for no pause
        record, _ = await read_record(world.bus, planner.me.id, coder.me.id, receipt.task_id)
        return record and record.state == "expired"

    async with asyncio.timeout(HANG_S):
        await until(is_ended)


@pytest.mark.promise(2)
@pytest.mark.parametrize("option", [{"request_id": "r1"}, {"deliver_in_s": 600}, "of a shell"])
async def test_who_may_repeat_it_or_ends_with_it_or_sends_for_later_waits_for_both(
    proxied, tmp_path, monkeypatch, option
):
    monkeypatch.setattr(budget, "CALL_S", 1.0)
    monkeypatch.setattr(budget, "_ANSWERS_WITHIN_S", 1.0)
    _, proxy, planner, coder = proxied
    options = option if isinstance(option, dict) else {}
    proxy.stay_away = True
    proxy.cut_at_request(at_record(planner))

    async with shell_session(planner.bus, planner.me, tmp_path) as shells:
        with pytest.raises(Unconfirmed, match="stored"):
            await send_task(planner if options else shells, coder.me.id, "Do it", "x", **options)

    assert proxy.cut.is_set()


async def test_what_is_kept_is_written_also_where_another_writes_there_meanwhile(
    own_world, monkeypatch
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    replace_, forged = own_world.bus.replace, [b"nothing that can be read"] * 3

    async def beside_another(stream, subject, data, revision):
        if ".sent." in subject and forged:
            await own_world.bus.publish(subject, forged.pop())
        return await replace_(stream, subject, data, revision)

    monkeypatch.setattr(own_world.bus, "replace", beside_another)

    [receipt] = await send_task(planner, coder.me.id, "Do it", "x", request_id="r1")

    assert forged == []
    assert (await kept(own_world.bus, planner, receipt)).request


@pytest.mark.parametrize("ends", [Session.close, Session.settled])
async def test_a_session_that_ends_in_order_waits_for_what_it_has_yet_to_keep(
    own_world, monkeypatch, ends
):
    keep, may_go_on = tasks.keep, asyncio.Event()

    async def slow(bus, stored):
        asyncio.get_running_loop().call_later(0.1, may_go_on.set)
        await may_go_on.wait()
        return await keep(bus, stored)

    coder = await own_world.session("coder")
    monkeypatch.setattr(tasks, "keep", slow)

    async with Session(own_world.bus, replace(coder.me, id=own_world.name("planner"))) as planner:
        [receipt] = await send_task(planner, coder.me.id, "Do it", "x")
        at_once = await kept(own_world.bus, planner, receipt)
        await ends(planner)
        in_the_end = await kept(own_world.bus, planner, receipt)

    assert at_once is None
    assert in_the_end.owner_session == planner.id


@pytest.mark.promise(1)
@pytest.mark.parametrize(
    ("fails", "refused"), [(StoreFull, StoreFull), (Unconfirmed, BusUnreachable)]
)
async def test_where_nothing_can_be_kept_any_more_the_next_send_is_refused(
    own_world, monkeypatch, fails, refused
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")

    async def full(*_):
        raise fails

    with monkeypatch.context() as broken:
        broken.setattr(tasks, "keep", full)
        [first] = await send_task(planner, coder.me.id, "First", "x")
        await planner.outcomes.sent_records.settled()
        with pytest.raises(refused, match="Nothing was stored") as second:
            await send_task(planner, coder.me.id, "Second", "x")
    await send_task(planner, coder.me.id, "Third", "x")

    assert "not known" not in second.value.message
    assert await kept(own_world.bus, planner, first)
    assert [item.task.subject for item in (await read_inbox(coder)).tasks] == ["First", "Third"]


async def test_an_id_that_nobody_knows_is_said_to_be_unknown_where_the_stream_of_tasks_is_gone(
    own_world,
):
    planner = await own_world.session("planner")
    await own_world.bus.api(f"STREAM.DELETE.{subjects.TASKS}")

    with pytest.raises(UnknownTask):
        await task_life(planner, "f" * 32)


async def test_what_could_not_be_kept_is_kept_with_a_sign_of_life_though_nobody_calls(
    own_world, monkeypatch
):
    monkeypatch.setattr(roster, "BEAT_S", 0.05)
    planner, coder = await own_world.session("planner"), await own_world.session("coder")

    async def full(*_):
        raise StoreFull

    with monkeypatch.context() as broken:
        broken.setattr(tasks, "keep", full)
        [receipt] = await send_task(planner, coder.me.id, "First", "x")
        await planner.outcomes.sent_records.settled()

    async with asyncio.timeout(HANG_S):
        await until(lambda: kept(own_world.bus, planner, receipt))


async def test_a_look_that_does_not_come_to_the_end_goes_on_with_the_next(own_world, monkeypatch):
    monkeypatch.setattr(unkept, "_PAGE", 1)
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    for number in range(5):
        await send_task(planner, coder.me.id, "Do it", "x", request_id=f"r{number}")
    everything = subjects.sent_subject(planner.me.id, "*", "*")
    await own_world.bus.api(f"STREAM.PURGE.{subjects.RESULTS}", {"filter": everything})
    looks = Unkept(own_world.bus)

    found = [await looks.look([planner.me.id], pages=2) for _ in range(4)]

    assert found == [2, 2, 1, 0]


@pytest.mark.parametrize(
    "forged",
    [
        {subjects.H_PROOF: ""},
        {"data": b"of another"},
        {subjects.H_TASK: "f" * 32},
        {subjects.H_SESSION: "mallorys"},
        {subjects.H_THREAD: "mallorys"},
        {subjects.H_REQUEST: "mallorys"},
        {subjects.H_CHAIN: "mallory"},
        {subjects.H_HOPS: "6"},
    ],
    ids=lambda forged: next(iter(forged)),
)
async def test_what_another_has_written_in_a_senders_name_is_not_kept(own_world, forged):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    subject = subjects.task_subject(coder.me.id, "normal", planner.me.id)
    [sent] = await send_task(planner, coder.me.id, "Real", "x", request_id="r1")
    real = await own_world.bus.last(subjects.TASKS, subject)
    place = subjects.sent_subject(planner.me.id, coder.me.id, sent.task_id)
    await own_world.bus.api(f"STREAM.PURGE.{subjects.RESULTS}", {"filter": place})
    await own_world.bus.api(f"STREAM.MSG.DELETE.{subjects.TASKS}", {"seq": real.seq})
    ours = {name: said for name, said in real.headers.items() if name.startswith("Agentbus-")}
    headers = {**ours, **forged}
    data = real.data.replace(b'"x"', b'"y"') if headers.pop("data", "") else real.data
    await own_world.bus.publish(subject, data, headers)

    kept_of = await Unkept(own_world.bus).look([planner.me.id])

    assert kept_of == 0
    with pytest.raises(UnknownTask):
        await task_life(planner, headers[subjects.H_TASK])


@pytest.mark.asyncio(loop_scope="function")
async def test_by_a_gate_an_account_finds_what_its_own_agent_has_not_kept(tmp_path):
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(gated(tmp_path, laptop=[], vps=[]))
        admin, laptop, vps = [
            await stack.enter_async_context(Bus.connect(settings))
            for settings in (shared.admin, shared.settings("laptop"), shared.settings("vps"))
        ]
        coder = await stack.enter_async_context(Session(vps, Agent("coder")))
        await coder.called()
        planner = await stack.enter_async_context(Session(laptop, Agent("planner")))
        [receipt] = await send_task(planner, "coder", "Do it", "x", request_id="r1")
        subject = subjects.sent_subject("planner", "coder", receipt.task_id)
        await admin.api(f"STREAM.PURGE.{subjects.RESULTS}", {"filter": subject})

        life = await task_life(planner, receipt.task_id)

    assert (life.state, life.sent.owner_session) == ("stored", planner.id)


async def test_each_look_goes_on_from_the_one_before_and_begins_anew_in_a_stream_made_anew(
    own_world,
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    bus, unkept = own_world.bus, Unkept(own_world.bus)

    async def send_unkept():
        [receipt] = await send_task(
            planner, coder.me.id, "Do it", "x", request_id=ids.new_session_id()
        )
        subject = subjects.sent_subject(planner.me.id, coder.me.id, receipt.task_id)
        await bus.api(f"STREAM.PURGE.{subjects.RESULTS}", {"filter": subject})

    found = []
    for _ in range(2):
        await send_unkept()
        found += [await unkept.look([planner.me.id]), await unkept.look([planner.me.id])]
    await bus.api(f"STREAM.DELETE.{subjects.TASKS}")
    await bus.on_missing()
    await send_unkept()

    assert [*found, await unkept.look([planner.me.id])] == [1, 0, 1, 0, 1]
