# SPDX-License-Identifier: Apache-2.0
"""What waits under an agent's old names is told where the bus can say it."""

from types import SimpleNamespace

import pytest

from mcp_agentbus.config import names
from mcp_agentbus.errors import BusUnreachable, NotAllowed
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.views import old_names
from mcp_agentbus.handoff.views.old_names import under_old_names
from mcp_agentbus.store import streams


@pytest.fixture
def away(monkeypatch):
    """Return a bus out of reach of an agent that was `old` before; it may keep what is sent."""

    async def is_away(_):
        raise BusUnreachable

    book = SimpleNamespace(renamed={"old": "new"}, became=lambda was, agent: agent == "new")
    monkeypatch.setattr(names, "read", lambda _: book)
    monkeypatch.setattr(streams, "ensure_streams", is_away)
    return lambda keeps: SimpleNamespace(settings=SimpleNamespace(keeps_outbox=keeps))


async def test_no_call_that_may_do_without_the_bus_fails_for_the_sake_of_old_names(away):
    assert await under_old_names(away(keeps=True), "new") == ()


async def test_where_nothing_is_kept_here_a_bus_out_of_reach_is_said_to_be_so(away):
    with pytest.raises(BusUnreachable):
        await under_old_names(away(keeps=False), "new")
    assert await under_old_names(away(keeps=False), "other") == ()


async def test_a_name_that_is_another_account_s_by_now_keeps_no_call_from_going_on(
    world, monkeypatch
):
    async def is_anothers(*_):
        raise NotAllowed

    book = SimpleNamespace(renamed={"old": "new"}, became=lambda was, agent: agent == "new")
    monkeypatch.setattr(names, "read", lambda _: book)
    monkeypatch.setattr(old_names.unseen, "look_up", is_anothers)

    assert await under_old_names(world.bus, "new") == ()


async def test_what_waits_there_is_counted_and_what_is_more_is_not_counted_on(world, monkeypatch):
    old, coder = await world.session("planner"), await world.session("coder")
    new = world.name("lead")
    book = SimpleNamespace(renamed={old.me.id: new}, became=lambda was, agent: agent == new)
    monkeypatch.setattr(names, "read", lambda _: book)
    monkeypatch.setattr(old_names, "_LEFT_MAX", 2)
    while_it_lives = await under_old_names(world.bus, new)
    [sent] = await send_task(old, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    await publish_result(coder, sent.task_id, "completed")
    await old.close()
    told = []
    for number in range(3):
        told += await under_old_names(world.bus, new)
        await send_task(coder, old.me.id, f"{number}", "x")
    told += await under_old_names(world.bus, new)

    assert while_it_lives == ()
    assert [each.partition("waits: ")[2].partition(". ")[0] for each in told] == [
        "1 result", "1 task, 1 result", "2 or more tasks, 1 result", "3 or more tasks, 1 result",
    ]  # fmt: skip
    assert told[0].endswith(f"agentbus agent rename {old.me.id} {new}")
