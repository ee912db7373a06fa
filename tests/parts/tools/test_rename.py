# SPDX-License-Identifier: Apache-2.0
"""An agent that gets another name: only one that can be one has it, and with all that waits."""

import re

import pytest
from planners_task import TASK
from server_stand_in import NOON, Server

from mcp_agentbus.archive.audit import Span, steps
from mcp_agentbus.archive.history import up_to_date
from mcp_agentbus.archive.kept.sides import Sides
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BadInput, Refused
from mcp_agentbus.handoff.dispatch.noted import of_sessions, ways_in
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster, streams
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import Decision
from mcp_agentbus.store.outbox.outbox import Envelope
from mcp_agentbus.store.records import add_wake, read_record, read_sent, read_wakes, write_record
from mcp_agentbus.store.task import Moment
from mcp_agentbus.tools import forget as forgetting
from mcp_agentbus.tools.forget import forget
from mcp_agentbus.tools.rename import rename


@pytest.mark.parametrize(
    ("old", "new"),
    [("*", "x"), (">", "x"), ("role-review", "x"), ("a.b", "x"), ("\udcff", "x"), ("x", "role-a")],
)
async def test_what_can_be_no_agent_is_not_renamed_and_nothing_is_asked_of_the_bus(old, new):
    bus = Server()

    with pytest.raises(BadInput):
        await rename(bus, old, new)

    assert (bus.asked, bus.done) == ([], [])


async def test_a_task_whose_worker_has_asked_goes_to_the_new_name_with_all_that_was_said(world):
    planner, folder = await world.session("planner"), world.bus.settings.state_dir
    old, new = world.name("coder"), world.name("smith")
    async with await world.session("coder") as coder:
        [sent] = await send_task(planner, old, "Push", "x")
        await read_inbox(coder)
        await publish_result(coder, sent.task_id, "needs_approval", summary="Push to main?")
        await publish_result(planner, sent.task_id, "answered", body="Only if it is green.")
        asked = coder.claims[sent.task_id].record
        await publish_result(coder, sent.task_id, "released")
    decisions.keep(folder, asked, Decision(True, "go", asked.updated_at))
    approved = Moment(state="approved", at=asked.updated_at, by=old)
    await add_wake(world.bus, planner.me.id, old, sent.task_id, approved)

    moved = await rename(world.bus, old, new)

    [way] = ways_in(of_sessions(folder, new)).lately  # what it sends next goes on from that
    assert (way.chain, way.hops) == ((planner.me.id,), 0)
    place = world.bus, planner.me.id, new, sent.task_id
    record, _ = await read_record(*place)
    assert (moved.tasks, record.state, record.session) == (1, "stored", "")
    assert (record.summary, record.attempts) == ("Push to main?", asked.attempts)
    assert [answer.body for answer in (await read_sent(*place))[0].answers] == [
        "Only if it is green."
    ]
    assert (await read_wakes(*place))[0].moments == (approved,)
    assert decisions.kept(folder, record).note == "go"
    smith = await world.session("smith")
    [item] = (await watch_inbox(smith, timeout_s=5)).tasks
    assert (item.question, item.decision.approved) == ("Push to main?", True)
    old_one, _ = await read_record(world.bus, planner.me.id, old, sent.task_id)
    assert (old_one, decisions.kept(folder, asked)) == (None, None)


async def test_what_has_moved_stands_in_the_archive_under_its_new_name_alone(world):
    """It was told of twice, as waiting for an agent that nobody knows."""
    async with await world.session("planner") as planner, await world.session("coder") as coder:
        [done] = await send_task(planner, coder.me.id, "Done", "x")
        await read_inbox(coder)
        await publish_result(coder, done.task_id, "completed")
        [waits] = await send_task(planner, coder.me.id, "Waits", "x")
        [ended] = await send_task(
            planner, coder.me.id, "Ended, and its message is still there", "x"
        )
        record, _ = await read_record(world.bus, planner.me.id, coder.me.id, done.task_id)
        await write_record(world.bus, record.model_copy(update={"task_id": ended.task_id}), 0)
        worker, sender = coder.me.id, planner.me.id
        woken = Moment(state="woken", at=now(), by=worker)
        await add_wake(world.bus, sender, worker, done.task_id, woken)
    everybody = ["*"]
    async with up_to_date(world.bus, everybody):
        await rename(world.bus, worker, world.name("smith"))
        await rename(world.bus, sender, world.name("lead"))
    async with up_to_date(world.bus, everybody) as current:
        rows = current.archive.rows("SELECT id, owner, inbox FROM tasks ORDER BY created_at")
        trail = list(steps(current.archive, Sides(), Span()))

    assert [row[:] for row in rows if row["id"] in {done.task_id, waits.task_id}] == [
        (done.task_id, world.name("lead"), worker),
        (waits.task_id, sender, world.name("smith")),
    ]
    of_done = [(step.state, step.by) for step in trail if step.task.task_id == done.task_id]
    assert of_done == [
        ("stored", world.name("lead")), ("claimed", worker), ("completed", worker),
        ("woken", worker),
    ]  # fmt: skip
    for sent in (done, ended):
        record, _ = await read_record(world.bus, world.name("lead"), worker, sent.task_id)
        assert record.state == "completed"


async def test_who_waits_for_a_task_gets_its_result_also_from_the_new_name_of_its_worker(world):
    planner, coder = await world.session("planner"), world.name("coder")
    await roster.register(world.bus, Agent(coder), None)
    [sent] = await send_task(planner, coder, "Build", "x")
    await rename(world.bus, coder, world.name("smith"))
    async with await world.session("smith") as smith:
        await read_inbox(smith)
        await publish_result(smith, sent.task_id, "completed", summary="built")

    [record] = (await watch_inbox(planner, timeout_s=5, task_id=sent.task_id)).results

    assert record.summary == "built"


@pytest.mark.parametrize(
    ("kept", "over"), [(0, ()), (1, ()), (2, ()), (1, {0}), (2, {0}), (2, {0, 1})]
)
async def test_who_has_sent_what_is_kept_here_for_this_bus_stays_known_by_its_name(
    world, monkeypatch, kept, over
):
    """What was withdrawn does that, too: its bus is told of the end in its sender's name."""
    agent = world.name("coder")
    await streams.ensure_streams(world.bus)
    await roster.register(world.bus, Agent(agent), None)

    def waits(number, **changed):
        task = TASK.model_copy(update={"id": f"t{number}", "sender": agent, **changed})
        return Envelope(task, number, NOON, is_ours=number < 7, is_over=number in over)

    async def kept_here(_, *, may_start=True, with_over=False):
        lies = [waits(5, sender="other"), waits(7), *map(waits, range(kept))]
        return [each for each in lies if with_over or not each.is_over]

    monkeypatch.setattr(forgetting, "read_outbox", kept_here)
    monkeypatch.setattr(type(world.bus.settings), "keeps_outbox", True)
    both = ((rename, world.name("smith")), (forget,))
    for change, *to in both if kept else ():
        with pytest.raises(Refused, match=f"{kept} task") as refused:
            await change(world.bus, agent, *to)
        left = [number for number in range(kept) if number not in over]
        offered = [f"agentbus result t{left[0]} cancelled --agent {agent}"] if left else []
        assert re.findall("agentbus result .*", refused.value.hint) == offered
        assert ("agentbus status" in refused.value.hint) is bool(left)  # of the others it is silent
    assert agent in await roster.registered(world.bus)
    if not kept:
        await rename(world.bus, agent, world.name("smith"))
        assert agent not in await roster.registered(world.bus)
