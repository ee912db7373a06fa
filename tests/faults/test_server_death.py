# SPDX-License-Identifier: Apache-2.0
"""The server dies, before, during and after a call: nothing is lost and nothing is made up."""

import asyncio
import os
import signal
import socket
from dataclasses import replace
from functools import partial

import pytest
from halting import halted
from local_server import is_gone, kill_servers, settings_at

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable, Unconfirmed
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.tools import commands
from mcp_agentbus.tools.typed_command import Command

PROMISED_S = 5
HANG_S = 60  # only a hang takes as long

TASK_ACK = b'{"stream":"AGENTBUS_TASKS"'
RECORD_ACK = b'{"stream":"AGENTBUS_RESULTS"'


async def kill_server(bus):
    """Kill -9 the server; return once it is gone and `bus` has seen that."""
    seen = asyncio.Event()
    async with bus.subscribed("agentbus.nobody.wake.*.*", lambda _: seen.set()):
        kill_servers(bus.settings)
        await seen.wait()


@pytest.fixture
def dead_port():
    """A port of loopback that nobody listens on, and nobody else gets meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def deaf_port():
    """A port where connections are taken and nobody ever says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


async def assert_refused_in_time(bus):
    """See that sending over a bus without a server fails, in time and in plain words."""
    session = Session(bus, Agent("planner"))
    async with asyncio.timeout(PROMISED_S):
        with pytest.raises(BusUnreachable, match="Nothing was stored"):
            await send_task(session, "coder", "Lost", "x")
    await session.close()


@pytest.mark.promise(1)
@pytest.mark.parametrize("port", ["dead_port", "deaf_port"])
async def test_a_send_to_a_server_that_is_not_there_fails_in_time(tmp_path, request, port):
    url = f"nats://127.0.0.1:{request.getfixturevalue(port)}"

    async with Bus(settings_at(tmp_path, AGENTBUS_URL=url)) as bus:
        await assert_refused_in_time(bus)


@pytest.mark.promise(1)
@pytest.mark.parametrize("does", ["exit 1", "exec sleep 30"])
async def test_a_send_whose_embedded_server_cannot_start_fails_in_time(tmp_path, monkeypatch, does):
    # The thread that waits for the start is not to keep the tests waiting as well.
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 6)
    program = tmp_path / "nats-server"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o700)
    settings = settings_at(tmp_path / "home", AGENTBUS_NATS_SERVER=str(program))
    try:
        async with Bus(settings) as bus:
            await assert_refused_in_time(bus)
    finally:
        kill_servers(settings)


@pytest.mark.promise(1)
async def test_a_send_while_the_server_hangs_fails_in_time_and_does_not_claim_either(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    pid = embedded.find(own_world.bus.settings).pid
    with halted(pid):
        async with asyncio.timeout(PROMISED_S):
            with pytest.raises((Unconfirmed, BusUnreachable)):
                await send_task(planner, coder.me.id, "Held up", "x")


@pytest.mark.promise(1)
async def test_what_could_not_be_sent_does_not_appear_when_the_server_comes_back(proxied):
    world, proxy, planner, coder = proxied
    proxy.refuse()

    async with asyncio.timeout(PROMISED_S):
        with pytest.raises(BusUnreachable, match="Nothing was stored"):
            await send_task(planner, coder.me.id, "Lost", "x")
    proxy.accept()

    # The connection is back, and so is whatever might have waited for it.
    [receipt] = await send_task(planner, coder.me.id, "Afterwards", "x")
    [item] = (await read_inbox(coder)).tasks
    assert item.task.id == receipt.task_id
    assert await stored_tasks(world.bus) == 1


async def stored_tasks(bus):
    return (await bus.api(f"STREAM.INFO.{subjects.TASKS}"))["state"]["messages"]


@pytest.mark.promise(2)
async def test_sends_in_flight_when_the_server_is_killed_leave_one_task_each(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    pid = embedded.find(own_world.bus.settings).pid
    done = 0

    async def one(number):
        nonlocal done
        for _ in range(5):
            try:
                [receipt] = await send_task(
                    planner, coder.me.id, f"{number}", "x", request_id=f"r{number}"
                )
            except (Unconfirmed, BusUnreachable):
                continue
            done += 1
            if done == 40:
                os.kill(pid, signal.SIGKILL)
            return receipt.task_id
        raise AssertionError("never confirmed")

    seen = asyncio.Event()
    async with own_world.bus.subscribed("agentbus.nobody.wake.*.*", lambda _: seen.set()):
        sent = await asyncio.gather(*(one(number) for number in range(120)))
        await seen.wait()

    read = await read_all(coder)
    assert is_gone(pid)
    assert sorted(read) == sorted(set(sent))
    assert len(set(sent)) == 120


async def read_all(session):
    """Claim and finish everything; return the ids in the order of claiming."""
    ids = []
    while tasks := (await watch_inbox(session, timeout_s=0, limit=50)).tasks:
        ids += [item.task.id for item in tasks]
        await asyncio.gather(
            *(publish_result(session, item.task.id, "completed") for item in tasks)
        )
    return ids


@pytest.mark.promise(3)
async def test_acknowledged_tasks_are_readable_after_the_server_was_killed(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    sent = [
        (await send_task(planner, coder.me.id, f"{number}", "x"))[0].task_id
        for number in range(300)
    ]
    await kill_server(own_world.bus)

    assert await read_all(coder) == sent


@pytest.mark.promise(3)
@pytest.mark.promise(10)
async def test_a_watch_blocked_across_a_restart_gets_the_task_sent_afterwards(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    blocked = asyncio.Event()

    async def waiting(_):
        blocked.set()

    async with asyncio.timeout(HANG_S):
        watch = asyncio.create_task(watch_inbox(coder, timeout_s=HANG_S, waiting=waiting))
        await blocked.wait()
        await kill_server(own_world.bus)
        other = Session(await own_world.another_bus(), planner.me)
        [receipt] = await send_task(other, coder.me.id, "Afterwards", "x")
        found = await watch
        await other.close()

    assert [item.task.id for item in found.tasks] == [receipt.task_id]


async def test_a_watch_does_not_start_a_server_that_a_person_has_stopped(own_world):
    coder = await own_world.session("coder")
    blocked = asyncio.Event()

    async def waiting(_):
        blocked.set()

    watch = asyncio.create_task(watch_inbox(coder, timeout_s=3, waiting=waiting))
    await blocked.wait()
    await asyncio.to_thread(embedded.stop, own_world.bus.settings)

    with pytest.raises(BusUnreachable):
        await watch
    await coder.close()
    assert embedded.find(own_world.bus.settings) is None


async def test_a_command_whose_server_ends_while_it_waits_says_that_its_task_is_kept(
    own_world, monkeypatch
):
    coder, blocked = await own_world.session("coder"), asyncio.Event()

    async def waiting(_):
        blocked.set()

    monkeypatch.setattr(commands.inbox, "watch_inbox", partial(watch_inbox, waiting=waiting))
    typed = ["send", coder.me.id, "Count", "x", "--wait", "2", "--agent", "planner"]
    bus, printed = own_world.bus, []
    naming = Naming(Asked(bus.settings, "planner"))
    call = Command(parser().parse_args(typed), naming, lambda *line: printed.append(line), bus)

    sending = asyncio.create_task(commands.start(call))
    await blocked.wait()
    await asyncio.to_thread(embedded.stop, bus.settings)

    with pytest.raises(BusUnreachable, match=r"stored is kept.*agentbus watch --task ID") as gone:
        await sending
    assert "Nothing was stored" not in str(gone.value)
    assert "stored as task" in str(printed)
    await coder.close()


@pytest.mark.promise(13)
async def test_claims_survive_a_restart_of_the_server_and_can_be_finished(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    for number in range(3):
        await send_task(planner, coder.me.id, f"{number}", "x")
    held = (await read_inbox(coder)).tasks

    await kill_server(own_world.bus)
    embedded.ensure(own_world.bus.settings)
    rival = Session(await own_world.another_bus(), coder.me)
    stolen = (await read_inbox(rival)).tasks
    ends = [await publish_result(coder, item.task.id, "completed") for item in held]

    assert stolen == ()
    assert (await read_inbox(rival)).tasks == ()
    assert [end.state for end in ends] == ["completed"] * 3
    assert (await read_inbox(rival)).waiting == {}
    assert await stored_tasks(own_world.bus) == 0
    results = await read_inbox(planner)
    assert {record.task_id for record in results.results} == {item.task.id for item in held}
    await rival.close()


async def test_signs_of_life_do_not_start_a_server_that_a_person_has_stopped(
    own_world, monkeypatch
):
    monkeypatch.setattr(roster, "BEAT_S", 0.02)
    coder = await own_world.session("coder")
    tried = asyncio.Event()
    beat = roster.beat

    async def noticed(*given, **options):
        try:
            await beat(*given, **options)
        except BusUnreachable:
            tried.set()
            raise

    monkeypatch.setattr(roster, "beat", noticed)
    await asyncio.to_thread(embedded.stop, own_world.bus.settings)

    async with asyncio.timeout(HANG_S):
        await tried.wait()
    await coder.close()
    assert embedded.find(own_world.bus.settings) is None


async def test_what_is_heard_is_heard_once_again_after_a_restart_and_no_more_after_the_end(
    own_world,
):
    bus = own_world.bus
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    heard: asyncio.Queue = asyncio.Queue()

    async with bus.subscribed(subjects.wake_subject(coder.me.id), heard.put_nowait):
        kill_servers(bus.settings)
        async with asyncio.timeout(HANG_S):
            assert await heard.get() is None
            await send_task(planner, coder.me.id, "Now", "x", priority="high")
            assert (await heard.get()).subject.startswith("agentbus.")
    await send_task(planner, coder.me.id, "Now", "x", priority="high")
    await read_inbox(coder)

    assert heard.empty()


async def test_a_token_file_of_the_embedded_server_opens_it_as_a_shared_one(own_world):
    settings = own_world.bus.settings
    server = embedded.find(settings)
    shared = replace(settings, url=server.url, token_file=embedded.Files(settings.data_dir).token)

    async with Bus.connect(shared) as bus, Session(bus, Agent("planner")) as planner:
        assert (await read_inbox(planner)).empty


async def test_a_result_whose_handing_out_the_server_has_forgotten_holds_up_no_other(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    for number in range(2):
        await send_task(planner, coder.me.id, f"{number}", "x")
    first, second = (await read_inbox(coder)).tasks
    await publish_result(coder, first.task.id, "completed")
    await read_inbox(planner)
    taken = planner.outcomes.taken
    for task_id, result in taken.items():  # as a server has it that was killed right after it
        token = result.delivery.token.split(".")
        token[-4:-2] = ["1000000", "1000000"]
        later = replace(result.delivery, seq=1_000_000, token=".".join(token))
        taken[task_id] = replace(result, delivery=later)
    await publish_result(coder, second.task.id, "completed")

    news = await read_inbox(planner)

    assert [record.task_id for record in news.results] == [second.task.id]
