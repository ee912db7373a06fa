# SPDX-License-Identifier: Apache-2.0
"""What is given back is offered again, whenever the server is killed and whoever has died."""

import asyncio

import pytest
from local_server import kill_servers

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.intake import lanes, watches
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.store.queries import consumers

_HANG_S = 60  # only a hang takes as long


@pytest.fixture
def soon(monkeypatch):
    """What nobody extends is offered again after a second, and looked for all the time."""
    monkeypatch.setattr(consumers, "ACK_WAIT_S", 1)
    monkeypatch.setattr(watches, "LOOK_AGAIN_S", 0.1)


async def lost(*_):
    raise BusUnreachable


@pytest.mark.promise(13)
@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("word", ["said", "lost"])
@pytest.mark.parametrize("whose", ["shell", "session"])
async def test_a_released_task_is_offered_though_the_server_is_killed_at_that_moment(
    own_world, tmp_path, monkeypatch, whose, word
):
    planner, other = await own_world.session("planner"), await own_world.session("coder")
    bus = own_world.bus
    async with asyncio.timeout(_HANG_S), shell_session(bus, other.me, tmp_path) as shell:
        holder = shell if whose == "shell" else await own_world.session("coder")
        [receipt] = await send_task(planner, other.me.id, "Count", "the tests")
        [item] = (await read_inbox(holder)).tasks
        # Long enough for the server to have on its disk who has the task.
        assert (await watch_inbox(other, timeout_s=0.3)).timed_out
        if word == "lost":  # its process is killed when the record says so, and the server does not
            monkeypatch.setattr(Bus, "give_back", lost)

        assert (await publish_result(holder, item.task.id, "released")).state == "stored"
        kill_servers(bus.settings)
        await asyncio.to_thread(embedded.ensure, bus.settings)
        [again] = (await watch_inbox(other, timeout_s=_HANG_S)).tasks

    assert (again.task.id, again.attempt) == (receipt.task_id, 2)


@pytest.mark.usefixtures("soon")
async def test_a_leased_task_is_offered_meanwhile_but_neither_claimed_nor_parked(
    own_world, tmp_path, monkeypatch
):
    monkeypatch.setattr(lanes, "OFFERS_MAX", 1)
    planner, other = await own_world.session("planner"), await own_world.session("coder")
    await send_task(planner, other.me.id, "Count", "the tests")
    async with shell_session(own_world.bus, other.me, tmp_path) as shell:
        [held] = (await read_inbox(shell)).tasks

        empty = await watch_inbox(other, timeout_s=3)
        async with shell_session(own_world.bus, other.me, tmp_path / "elsewhere") as elsewhere:
            assert (await read_inbox(elsewhere)).empty
        assert (await publish_result(shell, held.task.id, "working")).state == "working"
        await publish_result(shell, held.task.id, "released")
        [again] = (await watch_inbox(other, timeout_s=_HANG_S)).tasks

    assert empty.timed_out
    assert (again.task.id, again.attempt) == (held.task.id, 2)
