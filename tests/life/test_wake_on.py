# SPDX-License-Identifier: Apache-2.0
"""An agent whose user lets more than high wake it: by the same rules, told as such everywhere."""

import asyncio
import json
import sys

import pytest
import served
from hooking import NORMAL, Host, notice, session
from listeners import ATTENTIVE, configure, known, listening, recorder, send, starts, steps

from mcp_agentbus.core.notices import WHY
from mcp_agentbus.store.task import HOPS_MAX
from mcp_agentbus.wakes.ledger import Ledger

NORMAL_TOO = {"wake_on": ["high", "normal"]}
# Hands on what it is woken for, as a model might for ever.
HAND_ON = """
import os, subprocess, sys
sys.stdin.read()
os.environ["PYTHONPATH"] = sys.argv[2]
for typed in (["inbox"], ["send", sys.argv[1], "Again", "x"]):
    subprocess.run([sys.executable, "-m", "mcp_agentbus", *typed])
"""


@pytest.mark.promise(19, 22)
async def test_a_priority_that_its_user_has_named_wakes_it_within_the_same_limits(
    house, planner, notes
):
    command = {"command": recorder(notes)}
    configure(house, notes, plain=command, eager={**command, **NORMAL_TOO, "per_hour": 1})
    home = house.data_dir.parent
    async with listening(house) as listener:
        for _ in range(2):
            await listener.logged("ready")
        low = await send(planner, "eager", priority="low")
        plain = await send(planner, "plain", priority="normal")
        first = await send(planner, "eager", priority="normal")
        await listener.logged("read", agent="eager")
        over = await send(planner, "eager", priority="normal")
        await listener.logged("held", agent="eager", reason="agent_rate")
        word = await send(planner, "eager", priority="normal", expect="nothing")
        status = json.loads((await served.typed(home, "listen", "--status", "--json"))[1])
        shown = (await served.typed(home, "listen", "--status"))[1]
        whys = [(await served.typed(home, "why", task.task_id))[1] for task in (over, plain)]
        await listener.end()

    receipts = [(task.wake, task.reason) for task in (low, plain, first, over, word)]
    unasked = ("not_requested", "")
    assert receipts == [
        unasked, unasked, ("requested", ""), ("held", WHY["agent_rate"]), unasked
    ]  # fmt: skip
    [started] = starts(notes)
    assert started["environ"]["AGENTBUS_AGENT"] == "eager"
    assert started["stdin"] == "2 tasks wait in your agentbus inbox. Call read_inbox.\n"
    assert ("wake-held", WHY["agent_rate"]) in await steps(planner, over.task_id)
    assert {one["agent"]: one["wake_on"] for one in status["agents"]}["eager"] == ["high", "normal"]
    assert "wake profile work \u00b7 woken for high and normal \u00b7" in shown
    assert "held until" in whys[0]
    assert WHY["agent_rate"] in whys[0]
    assert "It is normal, and nobody is woken for normal" in whys[1]


async def test_a_live_session_is_told_of_such_a_task_once(house, planner, notes):
    configure(house, notes, open={"command": recorder(notes), **NORMAL_TOO})
    await known(planner, "open")
    async with (
        listening(house, script=ATTENTIVE) as listener,
        session(house, "open", notes) as (pipes, notices),
    ):
        await listener.logged("joined", agent="open")
        await send(planner, "open", priority="normal")
        told = await notice(notices)
        await listener.logged("recorded", agent="open")
        hooked = [await Host(house, "open")(event) for event in ("UserPromptSubmit", "Stop")]
        await asyncio.to_thread(pipes.call, "read_inbox")
        await listener.logged("read", agent="open")

    assert (told, hooked) == (NORMAL, ["", ""])
    assert notices.empty()
    assert starts(notes) == []


async def test_two_that_wake_each_other_by_every_task_come_to_an_end(house, planner, notes):
    pair = {"ping": "pong", "pong": "ping"}
    program = notes / "hand_on.py"
    program.write_text(HAND_ON)
    configure(house, notes, **{
        agent: {"command": [sys.executable, str(program), other, served.PACKAGE], **NORMAL_TOO}
        for agent, other in pair.items()
    })  # fmt: skip
    async with listening(house, script=ATTENTIVE) as listener:
        for _ in pair:
            await listener.logged("ready")
        await send(planner, "ping", priority="normal")
        for _ in range(HOPS_MAX + 1):
            await listener.logged("read")
        await listener.end()

    ledger = Ledger(house.ledger_file)
    wakes = {agent: ledger.latest(agent, 50) for agent in pair}
    ledger.close()
    assert sum(map(len, wakes.values())) == HOPS_MAX + 1
    assert f"the limit is {HOPS_MAX} hand-offs" in wakes["ping"][0].output
