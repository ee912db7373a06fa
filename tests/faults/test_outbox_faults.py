# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a task that waits for its bus: it is there once, or its sender is told."""

import asyncio
import contextlib
import shutil
import signal
import time
from dataclasses import replace

import pytest
import pytest_asyncio
from hosted import Hosted, read_all
from laptop import QUICK, dying, laptop
from nats_owner import shared_server

from mcp_agentbus.bus import budget, embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import (
    BadInput,
    BusUnreachable,
    NotAllowed,
    SendLimit,
    StoreFull,
    Unconfirmed,
)
from mcp_agentbus.handoff.dispatch.addressees import Addressees
from mcp_agentbus.handoff.dispatch.arrival import hand_on
from mcp_agentbus.handoff.dispatch.draft import Route, drawn
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.listener.outbox import forwarder
from mcp_agentbus.store import tasks
from mcp_agentbus.store.outbox.outbox import read_outbox
from mcp_agentbus.store.outbox.own import own_server

HANG_S = 60  # only a hang takes as long
PROMISED_S = 5
TASK_ACK = b'{"stream":"AGENTBUS_TASKS"'


@pytest_asyncio.fixture
async def away(home, tmp_path):
    async with laptop(tmp_path, home) as there:
        yield there


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(budget, "CALL_S", 0.8)
    monkeypatch.setattr(budget, "_ANSWERS_WITHIN_S", 0.8)


@pytest.mark.promise(49)
async def test_a_listener_that_is_killed_before_it_forgets_hands_each_on_once(away, world):
    coder = await world.session("coder")
    away.proxy.refuse()
    argv = ("send", coder.me.id, "Count", "b", "--agent", world.name("planner"))
    async with away.listening(script=dying(3)) as listener:
        receipts = [(await away.json(*argv))["receipts"][0] for _ in range(5)]
        away.proxy.accept()
        await listener.process.wait()
    async with away.listening(script=QUICK) as listener:
        await listener.logged("outbox", handed_on=3)

    assert await read_all(coder, 5) == [receipt["task_id"] for receipt in receipts]
    assert len(coder.claims) == 5


@pytest.mark.usefixtures("hurried")
async def test_what_was_stored_though_nobody_said_so_is_handed_on_as_the_same(away, world):
    coder = await world.session("coder")
    async with Hosted(away.settings, world.name("planner")) as laptop:
        await laptop.session.called()
        away.proxy.stay_away = True
        away.proxy.cut_at_answer(TASK_ACK)
        [receipt] = await send_task(laptop.session, coder.me.id, "Once", "x", request_id="r1")
        assert receipt.state == "stored_here"
        [again] = await send_task(laptop.session, coder.me.id, "Once", "x", request_id="r1")
        assert again.duplicate
        with pytest.raises(BadInput):
            await send_task(laptop.session, coder.me.id, "Another", "x", request_id="r1")

        away.proxy.accept()
        async with laptop.forwarding():
            assert await laptop.step("handed_on") == 1

        assert await read_all(coder, 1) == [receipt.task_id]
        stored = await world.bus.api(
            "STREAM.INFO.AGENTBUS_TASKS",
            {"subjects_filter": f"agentbus.{coder.me.id}.tasks.*.*"},
        )
        assert sum(stored["state"]["subjects"].values()) == 1


@pytest.mark.usefixtures("hurried")
async def test_a_connection_that_only_seems_to_be_one_is_let_go_for_another(away, world):
    """As after a sleep, or in another network: by itself it is found dead after 45 s."""
    coder = await world.session("coder")
    async with Hosted(away.settings, world.name("planner")) as laptop:
        await laptop.session.called()
        away.proxy.silence()
        [receipt] = await send_task(laptop.session, coder.me.id, "Once", "x")
        assert receipt.state == "stored_here"
        async with laptop.forwarding(), asyncio.timeout(20):
            assert await laptop.step("handed_on") == 1

    assert await read_all(coder, 1) == [receipt.task_id]


@pytest.mark.usefixtures("hurried")
async def test_a_second_copy_after_days_is_offered_once(away, world):
    """Beyond ten minutes the server takes one id twice."""
    coder = await world.session("coder")
    away.proxy.refuse()
    async with Hosted(away.settings, world.name("planner")) as laptop:
        [receipt] = await send_task(laptop.session, coder.me.id, "Once", "x")
        [waits] = await laptop.outbox.waits()
        letter = await laptop.outbox.read(waits)
    await tasks._put_task(world.bus, letter.task, "as of three days ago")

    await hand_on(world.bus, letter, Addressees(world.bus, letter.sender.id))
    assert await read_all(coder, 1) == [receipt.task_id]
    await publish_result(coder, receipt.task_id, "completed", summary="done")
    assert (await watch_inbox(coder, timeout_s=0)).timed_out


@pytest.mark.usefixtures("hurried")
async def test_a_bus_that_lets_nobody_in_leaves_it_here_and_each_call_says_so(
    away, world, tmp_path
):
    coder = await world.session("coder")
    token = tmp_path / "token"
    shutil.copy(away.proxy.settings.token_file, token)
    settings = replace(away.settings, token_file=token)
    settings = replace(settings, environ={**settings.environ, "AGENTBUS_TOKEN_FILE": str(token)})
    away.proxy.refuse()
    async with Hosted(settings, world.name("planner")) as laptop:
        [receipt] = await send_task(laptop.session, coder.me.id, "Count", "x")
        right = token.read_text()
        token.write_text("of-somebody-else\n")
        away.proxy.accept()
        async with laptop.forwarding():
            assert "does not take the token" in await laptop.step("error")
            with pytest.raises(NotAllowed) as told:
                await read_inbox(laptop.session)
            with pytest.raises(NotAllowed):
                await send_task(laptop.session, coder.me.id, "Not kept", "x")

            token.write_text(right)
            assert await laptop.step("handed_on") == 1

    assert receipt.task_id in told.value.hint
    assert await read_all(coder, 1) == [receipt.task_id]


@pytest.mark.usefixtures("hurried")
async def test_what_is_too_much_just_now_is_handed_on_later_and_in_order(away, world, monkeypatch):
    coder = await world.session("coder")
    away.proxy.refuse()
    refusals = iter([SendLimit(), ValueError("a bug"), StoreFull()])

    async def at_first_refused(*of_one):
        for refusal in refusals:
            raise refusal
        await hand_on(*of_one)

    monkeypatch.setattr(forwarder, "hand_on", at_first_refused)
    monkeypatch.setattr(forwarder, "_HELD_S", 0.1)
    async with Hosted(away.settings, world.name("planner")) as laptop:
        sent = [
            (await send_task(laptop.session, coder.me.id, f"{n}", "x"))[0].task_id for n in range(3)
        ]
        away.proxy.accept()
        async with laptop.forwarding():
            assert "as many tasks as a minute allows" in await laptop.step("error")
            assert "which is a bug" in await laptop.step("error")
            assert await laptop.step("handed_on") == 3

    assert await read_all(coder, 3) == sent


@pytest.mark.usefixtures("hurried")
async def test_what_was_sent_to_one_bus_is_never_handed_on_to_another(away, world):
    coder = await world.session("coder")
    away.proxy.refuse()
    async with Hosted(away.settings, world.name("planner")) as laptop:
        await send_task(laptop.session, coder.me.id, "For the first", "x")

    away.proxy.accept()
    other = away.proxy.settings.url.replace("127.0.0.1", "localhost")
    moved = replace(
        away.settings, url=other, environ={**away.settings.environ, "AGENTBUS_URL": other}
    )
    async with Hosted(moved, world.name("planner")) as laptop, laptop.forwarding():
        assert "for another bus" in await laptop.step("error")
        [receipt] = await send_task(laptop.session, coder.me.id, "For this", "x")
        assert receipt.state == "stored"
        # What is for this one is not held back by what is not.
        away.proxy.refuse()
        [later] = await send_task(laptop.session, coder.me.id, "For this, too", "x")
        assert later.state == "stored_here"
        away.proxy.accept()
        assert await laptop.step("handed_on") == 1
        assert len(await laptop.outbox.waits()) == 1
    assert await read_all(coder, 2) == [receipt.task_id, later.task_id]


@pytest.mark.usefixtures("hurried")
async def test_a_sender_that_may_say_nothing_holds_nobody_else_back(tmp_path):
    denied = '"agentbus.barred.profile"'
    conf = (
        "authorization { users: [ { user: a, password: a }, "
        f"{{ user: b, password: b, permissions: {{ publish: {{ deny: [{denied}] }} }} }} ] }}"
    )
    with shared_server(tmp_path, conf) as settings:
        for user in "ab":
            (tmp_path / user).write_text(user)
            (tmp_path / user).chmod(0o600)
        owner = replace(settings, user="a", password_file=tmp_path / "a")
        mine = replace(settings, user="b", password_file=tmp_path / "b")
        async with Bus(owner) as bus, Session(bus, Agent("coder")) as coder:
            await read_inbox(coder)
            async with Hosted(mine, "planner") as laptop:
                for agent in ("barred", "planner"):
                    sender = Session(laptop.bus, Agent(agent))
                    draft = drawn(sender, "Count", "x", {})
                    task = draft.task_for("coder", sender.task_id("coder", "r"), Route((agent,), 1))
                    await laptop.outbox.put(task, sender.me)
                async with laptop.forwarding():
                    assert await laptop.step("handed_on") == 1
                    assert "permissions" in await laptop.step("error")
                assert [each.task.sender for each in await laptop.outbox.waits()] == ["barred"]
            [task_id] = await read_all(coder, 1)
            assert (await task_life(coder, task_id)).record.owner == "planner"


@pytest.mark.usefixtures("hurried")
async def test_on_a_full_disk_here_nothing_is_called_kept(small_disk, home, world):
    coder = await world.session("coder")
    async with laptop(small_disk, home) as there:
        there.proxy.refuse()
        async with Hosted(there.settings, world.name("planner")) as machine:
            kept = [(await sent(machine, coder))[0]]
            ballast = small_disk / "ballast"
            with ballast.open("wb") as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * 65536)
                    file.flush()
            with pytest.raises((BusUnreachable, Unconfirmed), match="Nor could it be kept here"):
                await _until_full(machine, coder, kept)
            ballast.unlink()
        await asyncio.to_thread(embedded.stop, own_server(there.settings), signal.SIGKILL)

        assert {each.task.id for each in await read_outbox(there.settings)} >= set(kept)


async def sent(machine, coder):
    """Send a large task; return its id and state, within the time that a call may take."""
    began = time.monotonic()
    try:
        [receipt] = await send_task(machine.session, coder.me.id, "Large", "x" * 60_000)
    finally:
        assert time.monotonic() - began < PROMISED_S
    return receipt.task_id, receipt.state


async def _until_full(machine, coder, kept):
    for _ in range(200):
        kept.append((await sent(machine, coder))[0])
