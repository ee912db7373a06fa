# SPDX-License-Identifier: Apache-2.0
"""A call is cut off half done: what is stored is never denied, and calling again completes it."""

from contextlib import contextmanager

import pytest
from local_server import kill_servers
from set_aside import set_aside

from mcp_agentbus.bus import budget, embedded
from mcp_agentbus.errors import AgentbusError, BusUnreachable, Unconfirmed
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.records import read_record, read_sent, write_record
from mcp_agentbus.store.task import ATTEMPTS_MAX

PROMISED_S = 5
HANG_S = 60  # only a hang takes as long

TASK_ACK = b'{"stream":"AGENTBUS_TASKS"'
RECORD_ACK = b'{"stream":"AGENTBUS_RESULTS"'


@contextmanager
def hurried():
    """Have a call give up sooner than it does for its users."""
    with pytest.MonkeyPatch.context() as sooner:
        sooner.setattr(budget, "CALL_S", 1.0)
        sooner.setattr(budget, "_ANSWERS_WITHIN_S", 1.0)
        yield


async def stored_tasks(bus):
    return (await bus.api(f"STREAM.INFO.{subjects.TASKS}"))["state"]["messages"]


@pytest.mark.promise(2)
@pytest.mark.parametrize("server_dies", [False, True])
async def test_a_retry_after_a_lost_acknowledgement_leaves_one_task(proxied, server_dies):
    world, proxy, planner, coder = proxied
    settings = world.bus.settings
    proxy.stay_away = True
    if server_dies:
        proxy.before_cut = lambda: kill_servers(settings)
    proxy.cut_at_answer(TASK_ACK)

    with hurried(), pytest.raises(Unconfirmed) as unsure:
        await send_task(planner, coder.me.id, "Once", "x", request_id="r1")
    embedded.ensure(settings)
    proxy.accept()
    [again] = await send_task(planner, coder.me.id, "Once", "x", request_id="r1")

    assert proxy.cut.is_set()
    assert "request_id='r1'" in unsure.value.hint
    assert again.duplicate
    assert [item.task.id for item in (await watch_inbox(coder, timeout_s=HANG_S)).tasks] == [
        again.task_id
    ]
    assert (await read_inbox(coder)).waiting == {}
    assert (await read_sent(world.bus, planner.me.id, coder.me.id, again.task_id))[0] is not None


@pytest.mark.promise(2)
async def test_the_hint_of_an_unconfirmed_send_names_an_id_that_makes_it_repeatable(proxied):
    _, proxy, planner, coder = proxied
    proxy.stay_away = True
    proxy.cut_at_answer(TASK_ACK)

    with hurried(), pytest.raises(Unconfirmed) as unsure:
        await send_task(planner, coder.me.id, "Once", "x")
    proxy.accept()
    request_id = unsure.value.hint.split("'")[1]
    [again] = await send_task(planner, coder.me.id, "Once", "x", request_id=request_id)

    assert again.duplicate
    assert len((await read_inbox(coder)).tasks) == 1


@pytest.mark.promise(2)
async def test_one_call_heals_a_lost_acknowledgement_itself_and_calls_it_no_duplicate(proxied):
    _, proxy, planner, coder = proxied
    proxy.cut_at_answer(TASK_ACK)

    [receipt] = await send_task(planner, coder.me.id, "Once", "x")

    assert proxy.cut.is_set()
    assert not receipt.duplicate
    assert [item.task.id for item in (await read_inbox(coder)).tasks] == [receipt.task_id]


@pytest.mark.promise(1)
async def test_a_task_that_is_stored_is_never_reported_as_not_stored(proxied):
    """The connection ends after the task is acknowledged, before its sender's record is written."""
    _, proxy, planner, coder = proxied
    proxy.stay_away = True
    proxy.cut_at_request(f"HPUB {subjects.sent_subject(planner.me.id, coder.me.id, '')}".encode())

    with hurried(), pytest.raises(Unconfirmed) as unsure:
        await send_task(planner, coder.me.id, "Stored", "x", request_id="r1")
    proxy.accept()

    assert "request_id='r1'" in unsure.value.hint
    assert "Nothing was stored" not in str(unsure.value)
    assert [item.task.subject for item in (await read_inbox(coder)).tasks] == ["Stored"]


@pytest.mark.promise(1)
async def test_a_task_stored_for_one_of_two_is_never_reported_as_not_stored(proxied):
    world, proxy, planner, coder = proxied
    tester = await world.session("tester")
    task_for = subjects.task_subject(tester.me.id, "normal", planner.me.id)
    proxy.stay_away = True
    proxy.cut_at_answer(RECORD_ACK)

    with hurried(), pytest.raises(Unconfirmed) as unsure:
        await send_task(planner, [coder.me.id, tester.me.id], "To both", "x", request_id="r1")
    proxy.accept()
    receipts = await send_task(
        planner, [coder.me.id, tester.me.id], "To both", "x", request_id="r1"
    )

    assert "Nothing was stored" not in str(unsure.value)
    assert [receipt.state for receipt in receipts] == ["stored", "stored"]
    assert await world.bus.last(subjects.TASKS, task_for)
    assert await stored_tasks(world.bus) == 2


@pytest.mark.parametrize("server_dies", [False, True])
async def test_a_lost_acknowledgement_of_a_result_is_no_conflict(proxied, server_dies):
    world, proxy, coder, planner = proxied  # here the worker is the one behind the proxy
    settings = world.bus.settings
    [receipt] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    if server_dies:

        def restart():
            kill_servers(settings)
            embedded.ensure(settings)

        proxy.before_cut = restart
    proxy.cut_at_answer(RECORD_ACK)

    published = await publish_result(coder, receipt.task_id, "completed", summary="done")

    assert proxy.cut.is_set()
    assert (published.state, published.unchanged) == ("completed", False)
    # A server that was killed may have forgotten who held the task, and offer it once more.
    assert (await read_inbox(coder)).tasks == ()
    assert await stored_tasks(world.bus) == 0
    [result] = (await watch_inbox(planner, task_id=receipt.task_id, timeout_s=HANG_S)).results
    assert (result.state, result.summary) == ("completed", "done")


@pytest.mark.promise(32)
async def test_a_result_that_was_not_confirmed_can_be_published_again(proxied):
    world, proxy, coder, planner = proxied
    [first] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    proxy.stay_away = True
    proxy.cut_at_answer(RECORD_ACK)

    with hurried(), pytest.raises(Unconfirmed):
        await publish_result(coder, first.task_id, "completed", summary="done")
    proxy.accept()
    published = await publish_result(coder, first.task_id, "completed", summary="done")

    assert published.state == "completed"
    assert await stored_tasks(world.bus) == 0
    record, _ = await read_record(world.bus, planner.me.id, coder.me.id, first.task_id)
    assert [moment.state for moment in record.history].count("completed") == 1


async def test_a_status_that_was_not_confirmed_does_not_cost_the_claim(proxied):
    _, proxy, coder, planner = proxied
    [first] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    proxy.stay_away = True
    proxy.cut_at_answer(RECORD_ACK)

    with hurried(), pytest.raises(Unconfirmed):
        await publish_result(coder, first.task_id, "working")
    proxy.accept()

    assert [item.task.id for item in (await read_inbox(coder)).tasks] == [first.task_id]
    assert (await publish_result(coder, first.task_id, "completed")).state == "completed"


async def say_unconfirmed(proxied, status, **details):
    """Have a worker hold a task and say something of it that is stored; it is not told so."""
    _, proxy, coder, planner = proxied
    [sent] = await send_task(planner, coder.me.id, "Do it", "x", **details)
    await read_inbox(coder)
    proxy.stay_away = True
    proxy.cut_at_answer(RECORD_ACK)
    with hurried(), pytest.raises(AgentbusError):  # a word is over once its reader calls again
        await (publish_result(coder, sent.task_id, status) if status else read_inbox(coder))
    assert proxy.cut.is_set()
    proxy.accept()
    return sent.task_id


async def handed_out(world, coder):
    consumer = subjects.lane_consumer(coder.me.id, "normal")
    return (await world.bus.api(f"CONSUMER.INFO.{subjects.TASKS}.{consumer}"))["num_ack_pending"]


@pytest.mark.promise(13)
async def test_a_session_that_ends_without_its_note_being_confirmed_keeps_the_task_from_nobody(
    proxied,
):
    world, _, coder, _ = proxied  # here the worker is the one behind the proxy
    task_id = await say_unconfirmed(proxied, "working")

    await coder.close()

    [again] = (await watch_inbox(await world.session("planner"), timeout_s=0)).tasks
    assert (again.task.id, again.attempt) == (task_id, 2)


async def test_a_session_that_ends_without_its_result_being_confirmed_leaves_nothing_offered(
    proxied,
):
    world, _, coder, _ = proxied
    await say_unconfirmed(proxied, "completed")

    await coder.close()

    assert (await stored_tasks(world.bus), await handed_out(world, coder)) == (0, 0)


async def test_a_word_whose_end_was_not_confirmed_leaves_nothing_offered(proxied):
    world, _, coder, _ = proxied
    await say_unconfirmed(proxied, None, expect="nothing")

    assert (await read_inbox(coder)).held == 0
    assert (await stored_tasks(world.bus), await handed_out(world, coder)) == (0, 0)


@pytest.mark.parametrize(("status", "session"), [("working", "next"), ("completed", "")])
async def test_what_was_not_confirmed_is_handed_over_as_it_stands(proxied, status, session):
    world, _, coder, planner = proxied
    task_id = await say_unconfirmed(proxied, status)

    await coder.claims.hand_over("next")

    record, _ = await read_record(world.bus, planner.me.id, coder.me.id, task_id)
    assert record.state == status
    assert (record.session == "next") is bool(session)
    assert await handed_out(world, coder) == bool(session)


@pytest.mark.promise(31)
async def test_a_result_that_is_stored_is_never_reported_as_not_stored(proxied):
    """The connection ends between the result and the end of the task."""
    world, proxy, coder, planner = proxied
    [first] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    proxy.stay_away = True
    proxy.cut_at_request(b"PUB $JS.ACK.AGENTBUS_TASKS")

    with hurried():
        published = await publish_result(coder, first.task_id, "completed", summary="done")

    assert proxy.cut.is_set()
    assert published.state == "completed"
    record, _ = await read_record(world.bus, planner.me.id, coder.me.id, first.task_id)
    assert record.state == "completed"


@pytest.mark.promise(34)
async def test_a_result_whose_showing_failed_is_shown_by_the_next_call(own_world, monkeypatch):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    await publish_result(coder, sent.task_id, "completed")

    with monkeypatch.context() as broken:

        async def fails(*_):
            raise BusUnreachable

        broken.setattr("mcp_agentbus.handoff.intake.rest.as_told", fails)
        with pytest.raises(AgentbusError):
            await read_inbox(planner)

    assert [record.task_id for record in (await read_inbox(planner)).results] == [sent.task_id]


async def test_tasks_that_a_failed_watch_had_claimed_are_shown_by_the_next(own_world, monkeypatch):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")

    with monkeypatch.context() as broken:

        async def fails(*_):
            raise BusUnreachable

        broken.setattr("mcp_agentbus.handoff.intake.rest.as_told", fails)
        with pytest.raises(BusUnreachable):
            await watch_inbox(coder, timeout_s=0)

    [item] = (await watch_inbox(coder, timeout_s=0)).tasks
    assert (item.task.id, item.new, item.attempt) == (sent.task_id, True, 1)


async def half_park(bus, claim, monkeypatch):
    """Park a task that a session holds, cut off before the task's record says so."""

    async def fails(*_):
        raise BusUnreachable

    with monkeypatch.context() as broken:
        broken.setattr(parking, "write_record", fails)
        with pytest.raises(BusUnreachable):
            await parking.park(
                bus, claim.delivery, "coder", "too often", (claim.record, claim.revision)
            )


@pytest.mark.promise(18)
async def test_a_task_parked_half_is_offered_again_on_request(own_world, monkeypatch):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Too hard", "x")
    await read_inbox(coder)
    claim = coder.claims[sent.task_id]
    dead = claim.record.model_copy(update={"session": "dead", "attempts": ATTEMPTS_MAX})
    await write_record(own_world.bus, dead, claim.revision)
    coder.claims.let_go(sent.task_id)
    await half_park(own_world.bus, claim, monkeypatch)

    async def dies(*_):
        return False

    monkeypatch.setattr(roster, "may_live", dies)

    await replay.replay(own_world.bus, [coder.me.id], sent.task_id)
    found = await watch_inbox(coder, timeout_s=HANG_S)

    assert [(item.task.id, item.attempt) for item in found.tasks] == [(sent.task_id, 1)]


@pytest.mark.promise(12)
async def test_offering_a_task_again_takes_it_from_no_session_that_lives(own_world, monkeypatch):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    await half_park(own_world.bus, coder.claims[sent.task_id], monkeypatch)

    await replay.replay(own_world.bus, [coder.me.id], sent.task_id)

    assert (await publish_result(coder, sent.task_id, "completed")).state == "completed"


@pytest.mark.promise(18)
async def test_a_task_offered_again_half_stays_parked_and_is_one_once_that_is_repeated(
    own_world, monkeypatch
):
    _, coder, task_id = await set_aside(own_world)
    bus = own_world.bus
    again = bus, [coder.me.id], task_id
    api = bus.api

    async def cut_off(call, *rest):
        if call.startswith("STREAM.MSG.DELETE."):
            raise BusUnreachable
        return await api(call, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(bus, "api", cut_off)
        with pytest.raises(BusUnreachable):
            await replay.replay(*again)
    [parked] = await parking.parked(own_world.bus, coder.me.id)
    await replay.replay(*again)

    assert parked.task.id == task_id
    assert await parking.parked(own_world.bus, coder.me.id) == []
    assert await stored_tasks(own_world.bus) == 1
