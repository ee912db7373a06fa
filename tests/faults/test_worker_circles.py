# SPDX-License-Identifier: Apache-2.0
"""What is sent from within a worker's program goes on from its task: no circle of workers is endless."""

import asyncio
import shlex

import pytest
import served
from atwork import at_work, shell
from local_server import until

from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store.task import HOPS_MAX


@pytest.mark.promise(36)
async def test_a_model_in_a_workers_program_sends_on_from_its_task_whatever_it_has_called_before(
    world, home, way, tmp_path, monkeypatch
):
    """Whoever it is: the host's entry may name another agent."""
    monkeypatch.chdir(tmp_path)
    planner, reader = await world.session("planner"), await world.session("reader")
    agent, folder = world.name("coder"), home.data_dir.parent
    program = shell("env > up.new; mv up.new up; exec tail -f /dev/null")
    async with at_work(home, agent, *program):
        await send_task(planner, agent, "Count", "all of them")
        await asyncio.to_thread(until, (tmp_path / "up").exists, "the program runs")
        assert f"AGENTBUS_WORKER={agent}\n" in (tmp_path / "up").read_text()
        for name, more in (("other", {"AGENTBUS_WORKER": agent}), ("stranger", {})):
            me = world.name(name)
            async with served.client(folder, me, served.MODERN, **more) as client:
                await served.call(client, "list_agents")
                await served.send(client, reader.me.id)

        tasks = [item.task for item in (await watch_inbox(reader, timeout_s=60, limit=2)).tasks]
    assert [(task.chain, task.hops) for task in tasks] == [
        ((planner.me.id, world.name("other")), 1),
        ((world.name("stranger"),), 0),
    ]


@pytest.mark.promise(36)
async def test_two_workers_that_send_each_other_what_they_get_end_at_the_limit(
    world, home, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    planner = await world.session("planner")
    one, other = world.name("one"), world.name("other")

    def passes_on(to):
        sends = shlex.join([*served.AGENTBUS, "send", to, "Again", "and again"])
        return shell(f"echo x >> runs; {sends} 2>> errors || {{ echo refused; exit 1; }}")

    async with at_work(home, one, *passes_on(other)), at_work(home, other, *passes_on(one)):
        await send_task(planner, one, "Begin", "it")
        errors = tmp_path / "errors"
        await asyncio.to_thread(
            until, lambda: errors.exists() and "hand-offs" in errors.read_text(), "it is refused"
        )

    assert len((tmp_path / "runs").read_text().split()) == HOPS_MAX + 1
