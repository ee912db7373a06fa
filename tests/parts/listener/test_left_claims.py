# SPDX-License-Identifier: Apache-2.0
"""What a woken program's commands have claimed, once it has ended, well or not."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.core import processes
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.listener.runner import Runner
from mcp_agentbus.store.records import read_record
from mcp_agentbus.wakes.hosts.protocol import Ended

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is noted")

# It says the number of what it has started, and ends with that.
_PROGRAM = ["/bin/sh", "-c", "exec 3<&0; cat <&3 & echo $!; wait"]
_FAILED = Ended("failed", "exit code 1 after 1 s", exit_code=1)
_LIMIT = Ended("timed_out", "ended at its time limit after 900 s")
_WELL = Ended("exited", "exit code 0 after 1 s", exit_code=0)


def program():
    return subprocess.Popen(_PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.fixture
async def house(own_world, tmp_path, state_on):
    """A listener's state, its agent without a session, and an urgent task for that."""
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await coder.close()
    agent = coder.me
    rules = {agent.id: Rules(agent.id, "command", tmp_path, "work")}
    settings = replace(own_world.bus.settings, state_dir=tmp_path, rules=rules)
    bus = await own_world.another_bus()
    bus.settings = settings
    [receipt] = await send_task(planner, agent.id, "Count", "x", priority="high")
    return state_on(bus, settings), agent, receipt.task_id


async def types(state, agent, pid, status=""):
    """Claim what waits by a command of that number, and say something about it."""
    folder = state.settings.state_dir
    async with shell_session(state.bus, agent, folder, pid) as session:
        for item in (await read_inbox(session)).tasks:
            if status:
                await publish_result(session, item.task.id, status, summary="May I?")


async def standing(state, agent, task_id):
    record, _ = await read_record(state.bus, "*", agent.id, task_id)
    return record.state, record.attempts


@pytest.mark.parametrize(
    ("case", "left", "is_read"),
    [
        (("program", "", _FAILED), ("stored", 1), False),
        (("program", "working", _LIMIT), ("stored", 1), False),
        (("program", "needs_approval", _FAILED), ("needs_approval", 1), True),
        (("program", "", _WELL), ("claimed", 1), True),
        (("person", "", _FAILED), ("claimed", 1), True),
    ],
    ids=["fails", "at its limit", "has asked", "ends well", "another shell"],
)
async def test_what_a_program_has_claimed_waits_again_at_once_if_it_came_to_no_good_end(
    house, case, left, is_read
):
    (state, agent, task_id), (by, status, ended) = house, case

    async def wake(call):
        with program() as woken:
            call.started(woken.pid)
            command = int(woken.stdout.readline())
            await types(state, agent, command if by == "program" else os.getpid(), status)
        return ended

    desk, loop = Desk(agent.id), Loop(state, None, Runner(state, None, {"command": wake}))
    await loop.look(desk)
    await desk.running
    await loop.look(desk)  # at which it counts as read what waits no more

    [row] = state.ledger.latest(agent.id)
    assert await standing(state, agent, task_id) == left
    assert row.led_to_read is is_read
    record, _ = await read_record(state.bus, "*", agent.id, task_id)
    # What somebody claims once it is given back is not given back again, by the end of the wake.
    assert left[0] != "stored" or row.ended_at <= record.updated_at


@pytest.mark.parametrize("noted", [False, True], ids=["killed", "ended"])
@pytest.mark.parametrize("touched", [False, True])
async def test_what_a_program_has_left_that_its_listener_ended_the_next_one_gives_back(
    house, touched, noted
):
    """But what somebody has gone on with since, or before a killed one's end was noted."""
    state, agent, task_id = house
    wake = state.ledger.note(
        agent.id, "start", keys={f"task {agent.id} {task_id}"}, senders=(), at=datetime.now(UTC)
    )
    with program() as woken:
        state.ledger.started(wake, woken.pid, processes.known(woken.pid).mark)
        await types(state, agent, int(woken.stdout.readline()))
    if noted:
        at = datetime.now(UTC)
        state.ledger.ended(wake, at=at, outcome="stopped", said="it ended", interrupted=True)
    if touched:
        await types(state, agent, os.getpid(), "working")

    runner = Runner(state, None, {})
    assert runner.left_running() == []
    await runner.catch_up()

    expected = "working" if touched else "stored"
    assert (await standing(state, agent, task_id))[0] == expected
