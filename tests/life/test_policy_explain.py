# SPDX-License-Identifier: Apache-2.0
"""`agentbus policy explain`: what would become of a task now, in the words of who decides."""

import json

import served
from listeners import configure, known, listening, recorder, send

from mcp_agentbus.core.notices import WHY


async def explained(house, *typed):
    """Return what it says for a person, and for a program."""
    home, argv = house.data_dir.parent, ("policy", "explain", *typed)
    code, shown = await served.typed(home, *argv)
    assert code == 0, shown
    return shown, json.loads((await served.typed(home, *argv, "--json"))[1])


async def test_it_says_what_the_receipt_of_such_a_task_says(house, planner, notes):
    command = {"command": recorder(notes)}
    configure(
        house, notes,
        open={**command, "per_hour": 1}, closed={**command, "accept_from": ["boss"]},
        quiet={**command, "quiet_hours": "00:00-23:59"},
    )  # fmt: skip
    await known(planner, "elsewhere", "open")
    stopped, _ = await explained(house, "planner", "open")
    async with listening(house) as listener:
        for _ in ("open", "closed", "quiet"):
            await listener.logged("ready")
        wakes, data = await explained(house, "planner", "open")
        await send(planner, "open")
        await listener.logged("read", agent="open")
        over, over_data = await explained(house, "planner", "open")
        receipt = await send(planner, "open")
        refused, refused_data = await explained(house, "planner", "closed")
        nobody, nobody_data = await explained(house, "planner", "role:nobody")
        quiet, _ = await explained(house, "planner", "quiet")
        away, _ = await explained(house, "stranger", "elsewhere")
        await listener.end()

    assert "no listener runs" in stopped
    assert "high: its listener wakes it" in wakes
    assert "normal: It is normal, and nobody is woken for normal" in wakes
    assert "wake profile work" in wakes
    assert data["agents"][0]["lanes"][0]["wakes"] is True
    assert (receipt.wake, receipt.reason) == ("held", WHY["agent_rate"])
    assert WHY["agent_rate"] in over
    assert over_data["agents"][0]["lanes"][0]["until"]
    assert "closed takes tasks of boss only, by accept_from in config.toml here." in refused
    assert "It is refused, and nothing is stored." in refused
    assert [each["accepted"] for each in refused_data["agents"]] == [False]
    assert refused_data["agents"][0]["lanes"] == []
    assert "no registered agent holds role:nobody" in nobody
    assert nobody_data["agents"] == []
    assert WHY["quiet_hours"] in quiet
    assert "stranger is not registered yet" in away
    assert "send 120 tasks a minute at most" in away
