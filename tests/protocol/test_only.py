# SPDX-License-Identifier: Apache-2.0
"""`agentbus serve --only TASK`: a session that is given one task, by real processes."""

import pytest
import served
from served import Pipes, command

from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task

pytestmark = pytest.mark.parametrize(*served.PAIRED, indirect=["way"])
BEYOND = (
    ("read_inbox", {"peek": True}),
    ("read_inbox", {"view": "received"}),
    ("send_task", {"subject": "s", "body": "b"}),
    ("list_agents", {}),
)


def only(world, agent, task_id):
    """Start a session of an agent that is given that task alone."""
    home = world.bus.settings.data_dir.parent
    return Pipes(served.environ(home), [*command(agent), "--only", task_id], agent)


def told(session, tool, era, **arguments):
    """Return what a call answers, and whether it is an error."""
    params = {"name": tool, "arguments": arguments}
    result = session.ask("tools/call", params, era=era)["result"]
    return " ".join(part["text"] for part in result["content"]), result.get("isError", False)


async def test_it_reads_reports_on_and_ends_its_task_and_sees_no_other(world, era, way):
    planner, coder = await world.session("planner"), await world.session("coder")
    agent = coder.me.id
    before, meant, urgent = [
        (await send_task(planner, agent, f"SUBJECT-{n}", "b", priority=priority))[0].task_id
        for n, priority in enumerate(("normal", "normal", "high"))
    ]
    with only(world, agent, meant) as session:
        session.greet(era)
        read, again = [told(session, "read_inbox", era)[0] for _ in range(2)]
        refused = [told(session, tool, era, **with_) for tool, with_ in BEYOND[:2]]
        refused.append(told(session, "send_task", era, to=planner.me.id, **BEYOND[2][1]))
        refused.append(told(session, "list_agents", era))
        for other in (before, urgent):
            refused.append(told(session, "publish_result", era, task_id=other, status="completed"))
            refused.append(told(session, "read_inbox", era, task_id=other))
            refused.append(told(session, "watch_inbox", era, task_id=other, timeout_s=0))
        waited, _ = told(session, "watch_inbox", era, timeout_s=0)
        working = told(session, "publish_result", era, task_id=meant[:8], status="working")
        ended = told(session, "publish_result", era, task_id=meant, status="completed", body="ok")
        after, _ = told(session, "read_inbox", era)

    for said in (read, again, waited, after):
        assert (said, "SUBJECT-0" in said, "SUBJECT-2" in said) == (said, False, False)
        assert (said, "high" in said) == (said, False)  # nor is it counted
    assert ("SUBJECT-1" in read, meant in again) == (True, True)
    assert [error for _, error in refused] == [True] * len(refused)
    assert {f"This session was started for task {meant} alone" in said for said, _ in refused} == {
        True
    }
    assert (working[1], ended[1], f"Task {meant} is over: completed" in after) == (
        False, False, True,
    )  # fmt: skip
    lives = [await task_life(planner, each) for each in (before, meant, urgent)]
    assert [life.state for life in lives] == ["stored", "completed", "stored"]
    assert [step.state for step in lives[0].history] == ["stored"]


async def test_what_it_did_not_end_waits_for_the_next_session(world, era, way):
    planner, coder = await world.session("planner"), await world.session("coder")
    agent = coder.me.id
    [receipt] = await send_task(planner, agent, "s", "b")
    with only(world, agent, receipt.task_id) as session:
        session.greet(era)
        told(session, "read_inbox", era)
        held = await task_life(planner, receipt.task_id)
        session.process.terminate()
        session.process.wait(20)
        waited = await watch_inbox(coder, timeout_s=20)

    [item] = waited.tasks
    assert (held.state, item.task.id) == ("claimed", receipt.task_id)


async def test_a_task_that_a_session_holds_stays_with_it(world, era, way):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "s", "b")
    await read_inbox(coder)
    with only(world, coder.me.id, receipt.task_id) as session:
        session.greet(era)
        said, _ = told(session, "read_inbox", era)
        taken = told(session, "publish_result", era, task_id=receipt.task_id, status="completed")

    assert "is held by another session" in said
    assert taken[1]
    assert (await publish_result(coder, receipt.task_id, "completed")).state == "completed"


async def test_a_word_that_is_no_task_gives_a_session_nothing(world, era, way):
    with only(world, world.name("coder"), "no task!") as session:
        session.greet(era)
        said, error = told(session, "read_inbox", era)

    assert error
    assert "--only: 'no task!' is not the id of a task" in said
