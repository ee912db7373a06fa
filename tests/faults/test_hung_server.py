# SPDX-License-Identifier: Apache-2.0
"""A server that hangs, or is slow: each call ends in time, says what is true, and can be repeated."""

import asyncio
import contextlib
import re
import sys
import time

import pytest
import served
from halting import halted
from listeners import configure, listening
from local_server import configured

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.cli import parser
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable, Unconfirmed
from mcp_agentbus.handoff import agents, send
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.tools import commands
from mcp_agentbus.tools.typed_command import Command

PROMISED_S = 5
_STOP = "If it stays so, run `agentbus server stop`, then `agentbus server start`."


def hung(settings):
    """Have the server take what it is sent and say nothing, in a block."""
    return halted(embedded.find(settings).pid)


async def failed(call):
    """See that a call fails in time; return its error."""
    async with asyncio.timeout(PROMISED_S):
        with pytest.raises((BusUnreachable, Unconfirmed)) as error:
            await call
    return error.value


async def calls(world):
    """Return one call of each tool by its name, each of a session of its own that knows the bus."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [held] = await send_task(planner, coder.me.id, "Count", "the tests")
    [other] = await send_task(planner, coder.me.id, "Count", "the tests")
    await read_inbox(coder, limit=1)
    waits, peeks, waits_for_it = [await world.session("coder") for _ in range(3)]
    return {
        "watch": watch_inbox(waits, timeout_s=1),
        "wait": watch_inbox(planner, timeout_s=0, task_id=other.task_id),
        "read": read_inbox(waits_for_it),
        "peek": read_inbox(peeks, peek=True),
        "send": send_task(planner, coder.me.id, "Count", "once"),
        "report": publish_result(coder, held.task_id, "working"),
        "cancel": publish_result(planner, other.task_id, "cancelled"),
        "life": task_life(peeks, held.task_id),
        "list": agents.page(peeks.bus),
        "first": read_inbox(Session(world.bus, Agent(world.name("new")))),
    }


@pytest.mark.promise(1)
async def test_each_call_ends_in_time_with_what_is_true_and_can_be_repeated(own_world):
    by_name = await calls(own_world)
    with hung(own_world.bus.settings):
        errors = dict(
            zip(by_name, await asyncio.gather(*map(failed, by_name.values())), strict=True)
        )

    assert {name: error.message for name, error in errors.items()} == dict.fromkeys(
        by_name, "The bus server does not answer. Nothing was stored."
    ) | dict.fromkeys(
        ("send", "report"),
        "The bus server does not answer: it is not known whether this was stored.",
    )
    assert all(error.hint.endswith(_STOP) for error in errors.values())
    assert [name for name, error in errors.items() if "request_id" in error.hint] == ["send"]

    # It has stored what it was sent, as it turns out.
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [key] = re.findall("request_id='(.*?)'", errors["send"].hint)
    again = await send_task(planner, coder.me.id, "Count", "once", request_id=key)
    assert [receipt.duplicate for receipt in again] == [True]


@pytest.mark.promise(1)
async def test_so_it_is_with_one_whose_answers_come_after_four_seconds(proxied):
    _, proxy, planner, coder = proxied
    proxy.late_s = 4

    sent, read = await asyncio.gather(
        failed(send_task(planner, coder.me.id, "Count", "x")),
        failed(watch_inbox(planner, timeout_s=1)),
    )

    proxy.late_s = 0

    assert sent.message.startswith("The bus server does not answer")
    assert read.message.startswith("The bus server does not answer")


async def test_a_slow_one_that_answers_each_question_is_waited_for(proxied):
    _, proxy, planner, coder = proxied
    proxy.late_s = 0.6

    [receipt] = await send_task(planner, coder.me.id, "Count", "x")

    proxy.late_s = 0

    assert receipt.state == "stored"


async def test_that_all_is_claimed_is_said_only_where_the_server_says_so(own_world, monkeypatch):
    monkeypatch.setattr(consumers, "CLAIMS_MAX", 1)
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    for _ in range(2):
        await send_task(planner, coder.me.id, "Count", "x")
    assert len((await read_inbox(coder, limit=1)).tasks) == 1

    began = time.monotonic()
    empty = await watch_inbox(await own_world.session("coder"), timeout_s=0)

    assert empty.degraded.startswith("all tasks that may be claimed at once")
    assert time.monotonic() - began < PROMISED_S


async def test_a_connection_to_one_that_takes_nothing_any_more_holds_up_nobody(own_world):
    async with Bus.connect(own_world.bus.settings) as bus:
        with hung(bus.settings), contextlib.suppress(BusUnreachable):
            async with asyncio.timeout(PROMISED_S):
                for _ in range(64):
                    await bus.send("agentbus.nobody.back", bytes(1 << 19), {})
        with hung(bus.settings):
            async with asyncio.timeout(PROMISED_S):
                await bus.close()


@pytest.mark.parametrize("way", ["alone", "relayed"])
async def test_a_command_says_so_too(planner, tmp_path, way):
    settings = planner.bus.settings
    command = ("send", "planner", "Count", "x", "--agent", "coder")
    async with contextlib.AsyncExitStack() as stack:
        if way == "relayed":
            configure(settings, tmp_path)
            await stack.enter_async_context(listening(settings))
            assert (await served.typed(settings.data_dir.parent, *command))[0] == 0
        with hung(settings):
            code, said = await served.typed(settings.data_dir.parent, *command)

    assert code == 3
    # By when the server was started it is known to hang, or might just be starting.
    assert "does not answer" in said or "No bus server answered in time" in said
    assert "`agentbus server stop`" in said


async def test_a_command_names_its_own_option_for_a_second_try(planner, monkeypatch):
    async def unconfirmed(*_, **__):
        raise Unconfirmed(again="Command again with request_id='once'.")

    monkeypatch.setattr(send, "send_task", unconfirmed)
    typed = parser.parser().parse_args(
        ["send", "coder", "Count", "x", "--agent", "planner", "--request-id", "once"]
    )
    naming = Naming(Asked(planner.bus.settings, typed.agent))
    call = Command(typed, naming, print, planner.bus)

    with pytest.raises(Unconfirmed, match="Run the same with --request-id once: it is stored once"):
        await commands.start(call)


_SILENT_NAME_SERVER = """
import socket, sys, threading
look_up = socket.getaddrinfo
def silent(name, *more, **options):
    if name == "bus.invalid":
        threading.Event().wait(600)
    return look_up(name, *more, **options)
socket.getaddrinfo = silent
from mcp_agentbus.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


async def test_a_name_server_that_does_not_answer_holds_up_no_command(tmp_path):
    configured(tmp_path / "home", '[server]\nurl = "tls://bus.invalid:4222"\n')
    program = [sys.executable, "-W", "error", "-c", _SILENT_NAME_SERVER]

    code, said = await served.typed(tmp_path / "home", "agents", program=program)

    assert code == 3
    assert "bus.invalid has no address: no name server answers. Nothing was read." in said


async def test_a_name_that_nobody_has_is_said_to_have_no_address(tmp_path):
    settings = configured(tmp_path / "home", '[server]\nurl = "tls://bus.invalid:4222"\n')
    async with Bus(settings) as bus:
        error = await failed(bus.api("INFO"))

    assert error.message.startswith("bus.invalid has no address: ")
    assert error.hint.startswith("Check AGENTBUS_URL, or url in config.toml, ")
