# SPDX-License-Identifier: Apache-2.0
"""A session goes on in another process, with what an earlier process of it has held."""

from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.intake.references import reference_of
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster


async def test_what_it_held_it_holds_reads_as_nothing_new_and_ends(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    sent = [(await send_task(planner, coder.me.id, name, "x"))[0].task_id for name in "ab"]
    await read_inbox(coder)
    references = [reference_of(coder.claims[task_id].delivery) for task_id in sent]
    await publish_result(coder, sent[0], "completed")
    await roster.beat(world.bus, coder.me, coder.id, leaving=True)

    async with Session(world.bus, coder.me, id=coder.id) as again:
        await again.take_over([{}, *references])
        held, live = list(again.claims), await roster.live_sessions(world.bus, coder.me.id)
        items = (await watch_inbox(again, timeout_s=0)).tasks
        ended = await publish_result(again, sent[1], "completed")

    assert (held, set(live)) == ([sent[1]], {coder.id})
    assert [(item.task.id, item.new) for item in items] == [(sent[1], False)]
    assert (ended.state, ended.unchanged) == ("completed", False)


async def test_what_a_shells_command_claimed_the_next_one_holds_and_waits_for_as_nothing_new(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    shells = {"id": f"shell-{coder.me.id}", "leased": True}
    async with Session(world.bus, coder.me, **shells) as claims:
        await read_inbox(claims)

    async with Session(world.bus, coder.me, **shells) as goes_on:
        await goes_on.called()
        held = list(goes_on.claims)
        items = (await watch_inbox(goes_on, timeout_s=0)).tasks

    assert held == [sent.task_id]
    assert [(item.task.id, item.new) for item in items] == [(sent.task_id, False)]


async def test_a_reply_that_it_was_given_it_goes_on_from_or_is_shown_again(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    sent = [(await send_task(planner, coder.me.id, name, "x"))[0].task_id for name in "ab"]
    await read_inbox(coder)
    for task_id in sent:
        await publish_result(coder, task_id, "needs_input", summary="Which branch?")
        await publish_result(planner, task_id, "answered", body="main")
    await read_inbox(coder)

    async with Session(world.bus, coder.me, id=coder.id) as again:
        await again.take_over(coder.claims.references())
        went_on = await publish_result(again, sent[0], "working")
        items = (await read_inbox(again)).tasks
        known = await publish_result(again, sent[1], "working")

    assert (went_on.state, went_on.passed, known.passed) == ("working", True, False)
    assert [[answer.body for answer in item.answers] for item in items] == [[], ["main"]]


async def test_of_a_word_that_was_shown_in_part_it_keeps_the_rest(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    words = [
        (await send_task(planner, coder.me.id, name, "x", expect="nothing"))[0].task_id
        for name in "ab"
    ]
    given = await read_inbox(coder)
    coder.claims.shown(given.given, {words[0]})

    async with Session(world.bus, coder.me, id=coder.id) as again:
        await again.take_over(coder.claims.references())
        [line] = [(await read_inbox(again)).tasks for _ in range(2)][1]

    assert (line.task.id, line.given_at is None) == (words[0], False)
