# SPDX-License-Identifier: Apache-2.0
"""A session of the real Claude Code with the plugin: what its model and its user are told, once."""

import asyncio
import json

import pytest
from claude_user import TOOLS, at_model, terminal
from doctors import listener_goes
from listeners import known, listening
from local_server import server_folder
from standin import ANSWERING, CANARY, NOTICE, Standin

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket

pytestmark = pytest.mark.node

WITHIN_S = 150  # only a hang takes as long

ASKS = {"op": "status"}


@pytest.mark.promise(24)
@pytest.mark.parametrize("through", ["monitor", "socket"])
async def test_the_model_of_an_idle_session_is_told_once_and_does_the_task(
    user_with_bus, tmp_path, through
):
    machine, tree = user_with_bus
    if through == "socket":
        (tree / "monitors" / "monitors.json").write_text("[]")
    settings = machine.home / ".claude" / "settings.json"
    allowed = {"permissions": {"allow": sorted(TOOLS)}}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **allowed}))
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / ".agentbus.toml").write_text('agent = "coder"\n')
    with server_folder(tmp_path / "bus"), Standin(ANSWERING) as model:
        async with (
            Bus.connect(machine.settings) as bus,
            Session(bus, Agent("planner")) as planner,
            listening(machine.settings) as listener,
        ):
            await known(planner, "coder")
            environ = dict(at_model(machine, model).environ)
            with terminal([machine.program("claude")], folder, environ) as screen:
                processes = 2 if through == "monitor" else 1
                joined = [await listener.logged("joined", agent="coder") for _ in range(processes)]
                status = await asyncio.to_thread(local_socket.ask, machine.settings, ASKS)
                [receipt] = await send_task(
                    planner, "coder", f"{CANARY} subject", f"{CANARY} body", priority="high"
                )
                found = await watch_inbox(planner, timeout_s=WITHIN_S, task_id=receipt.task_id)
                last = [await asyncio.to_thread(model.turn) for _ in range(3)][-1]
                await listener.logged("read", agent="coder")
                seen = "\n".join(await asyncio.to_thread(screen.shows, "DONE"))
            await listener.end()

    first, said = json.dumps(model.shown[0]), json.dumps(last["messages"])
    assert {one["can_nudge"] for one in joined} == {True}
    assert NOTICE in first
    assert CANARY not in first
    # By its server it would look as if its user had typed it.
    assert ("Monitor event" in seen, "Another Claude session" in seen) == (
        through == "monitor",
        through == "socket",
    )
    assert [agent["sessions"] for agent in status["agents"] if agent["agent"] == "coder"] == [1]
    assert CANARY in said
    assert said.count("in your agentbus inbox") == 1  # neither the other way nor a hook said it
    assert len(model.shown) == 3
    assert [(one.task_id, one.summary) for one in found.results] == [(receipt.task_id, "done")]


async def test_what_waits_when_a_session_and_its_listener_start_comes_by_the_monitor(
    user_with_bus, tmp_path
):
    """As in the first session of a day, where no service manager keeps a listener."""
    machine, _ = user_with_bus
    folder = tmp_path / "shop"
    folder.mkdir()
    with server_folder(tmp_path / "bus"), Standin() as model:
        environ = dict(at_model(machine, model).environ)
        with listener_goes(machine.settings):
            async with (
                Bus.connect(machine.settings) as bus,
                Session(bus, Agent("planner")) as planner,
            ):
                await known(planner, "shop-claude")
                await send_task(planner, "shop-claude", "Count", "the tests", priority="high")
            with terminal([machine.program("claude")], folder, environ) as screen:
                ways = "Monitor event", "Another Claude session"
                way = await asyncio.to_thread(screen.shows_one_of, *ways)

    assert way == "Monitor event"


async def test_who_opens_a_session_sees_that_urgent_tasks_wait(user_with_bus, tmp_path):
    machine, _ = user_with_bus
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / ".agentbus.toml").write_text('agent = "coder"\n')
    with server_folder(tmp_path / "bus"), Standin() as model:
        async with (
            Bus.connect(machine.settings) as bus,
            Session(bus, Agent("planner")) as planner,
            listening(machine.settings) as listener,
        ):
            await known(planner, "coder")
            for _ in range(2):
                await send_task(planner, "coder", f"{CANARY} subject", CANARY, priority="high")
            environ = dict(at_model(machine, model).environ)
            with terminal([machine.program("claude")], folder, environ) as screen:
                seen = await asyncio.to_thread(screen.shows, "2 urgent tasks wait here.")
            await listener.end()

    assert CANARY not in "\n".join(seen)
