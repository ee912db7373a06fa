# SPDX-License-Identifier: Apache-2.0
"""`agentbus approve TASK --wake PROFILE`: a closed agent is started for that task alone, or not."""

import asyncio
import json
import os
import shlex
import sys
from pathlib import Path

import served
from listeners import configure, listening, send, steps
from local_server import script
from persons import at_terminal

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session

_STANDIN = Path(served.__file__).with_name("claude_alone.py")
ASKS = "May I drop the table carts?"


async def asked(house, planner, agent):
    """Return the id of a task about which an agent has asked its user, and has closed since."""
    async with Bus.connect(house) as bus, Session(bus, Agent(agent)) as coder:
        await coder.called()
        await coder.can_read()
        [receipt] = await send_task(planner, agent, "Clean up", "please")
        await read_inbox(coder)
        await publish_result(coder, receipt.task_id, "needs_approval", summary=ASKS)
    return receipt.task_id


async def approved(house, task_id, *argv):
    """Approve what is asked about a task, as its user does."""
    home = house.data_dir.parent
    typed = await asyncio.to_thread(at_terminal, home, task_id[:6], "approve", task_id, *argv)
    return typed.code, " ".join(typed.out.split())


async def test_it_is_started_once_with_the_named_profile_and_given_no_other_task(
    house, planner, notes
):
    configure(house, notes, coder={"host": "claude-code", "wake": "hold"})
    task_id = await asked(house, planner, "coder")
    other = (await send(planner, "coder")).task_id
    words = [sys.executable, str(_STANDIN), str(notes), other]
    (notes / "bin").mkdir()
    script(notes / "bin" / "claude", f'exec {shlex.join(words)} "$@"')
    async with listening(house, PATH=f"{notes / 'bin'}:{os.environ['PATH']}") as listener:
        before = await approved(house, task_id)
        code, said = await approved(house, task_id, "--wake", "work")
        await listener.logged("recorded", agent="coder")
        _, wakes = await served.typed(house.data_dir.parent, "agent", "wakes", "coder", "--json")

    run = json.loads((notes / "run.json").read_text())
    assert (before[0], "With `--wake answer`" in before[1]) == (0, True)
    assert (code, "coder is started for this task alone" in said) == (0, True)
    assert run["notice"] == (
        f"Your user has approved what was asked about task {task_id} in your agentbus inbox. This "
        "session is for that task alone. Call read_inbox.\n"
    )
    assert "--tools" not in run["argv"]  # `work`, though its rules say `hold`
    assert "Your user has APPROVED this" in run["read"]
    assert (ASKS in run["read"], "Count" in run["read"], other in run["read"]) == (
        True, False, False,
    )  # fmt: skip
    assert f"This session was started for task {task_id} alone" in run["refused"]
    life = await steps(planner, task_id)
    assert ("waking", "starts claude-code, profile work, for this task alone") in life
    assert [state for state, _ in life][-2:] == ["completed", "woken"]
    assert {"claimed", "woken"}.isdisjoint(state for state, _ in await steps(planner, other))
    [wake] = json.loads(wakes)
    assert (wake["outcome"], wake["usd"], wake["read"]) == ("exited", 0.25, True)


async def test_one_that_ends_without_a_look_has_read_nothing_and_the_approval_is_kept(
    house, planner, notes
):
    for folder in ("bin", "shop"):
        (notes / folder).mkdir()
    configure(house, notes / "shop", deaf={"host": "claude-code"})
    task_id = await asked(house, planner, "deaf")
    script(notes / "bin" / "claude", "exit 1")
    async with listening(house, PATH=f"{notes / 'bin'}:{os.environ['PATH']}") as listener:
        await approved(house, task_id, "--wake", "answer")
        await listener.logged("unread", agent="deaf")
        async with asyncio.timeout(60):
            while "wake-failed" not in [state for state, _ in await steps(planner, task_id)]:
                pass
    async with Bus.connect(house) as bus, Session(bus, Agent("deaf")) as session:
        [item] = (await read_inbox(session)).tasks

    assert item.decision.approved


async def test_one_that_cannot_be_started_is_not_and_it_says_why_and_keeps_the_approval(
    house, planner, notes
):
    limited = {"host": "claude-code", "per_day": 0}
    rules = {"other": {"command": ["/bin/true"]}, "lost": {"host": "claude-code"}}
    inside = {"host": "claude-code", "wake": "work", "dir": str(notes)}
    for folder in ("bin", "shop"):
        (notes / folder).mkdir()
    configure(house, notes / "shop", spent=limited, open=limited, inside=inside, **rules)
    agents = ("spent", "other", "nobody", "open", "inside", "lost")
    ids = {agent: await asked(house, planner, agent) for agent in agents}
    said = {"off": await approved(house, ids["spent"], "--wake", "answer")}
    (notes / "bin" / "claude").symlink_to("/bin/true")
    async with listening(house, PATH=str(notes)):
        said["lost"] = await approved(house, ids["lost"], "--wake", "answer")
    async with (
        listening(house, PATH=f"{notes / 'bin'}:{os.environ['PATH']}") as listener,
        served.client(house.data_dir.parent, "open", served.LEGACY) as live,
    ):
        await served.call(live, "list_agents")
        await listener.logged("joined", agent="open")
        for agent in agents[:-1]:
            said[agent] = await approved(house, ids[agent], "--wake", "answer")
    async with Bus.connect(house) as bus, Session(bus, Agent("spent")) as session:
        [item] = (await read_inbox(session)).tasks

    for agent, why in {
        "off": "No listener runs",
        "spent": "a limit that its user has set for its wakes is 0",
        "other": "other runs in command, whose sessions cannot be given one task alone",
        "nobody": "Nothing says how nobody is started",
        "lost": "claude is not on the listener's PATH",
        "inside": f"on the listener's PATH outside of its folder {notes}",  # though `work` has it
        "open": "a live session of open is open, and is told at its next call",
    }.items():
        assert (agent, said[agent][0], why in said[agent][1]) == (agent, 1, True), said[agent]
        assert "The approval is kept; nothing was started" in said[agent][1]
    assert item.decision.approved
