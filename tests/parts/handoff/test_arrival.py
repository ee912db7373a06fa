# SPDX-License-Identifier: Apache-2.0
"""A task that was kept while its bus was out of reach is stored there as its call would have done."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_agentbus.core.text import now
from mcp_agentbus.handoff.dispatch.arrival import hand_on
from mcp_agentbus.handoff.dispatch.draft import Route, drawn
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import tasks
from mcp_agentbus.store.outbox.letter import Home, Letter
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.records import read_record, read_sent


def kept(planner, coder, **options):
    """Return a task of a planner's for a coder as the outbox keeps it."""
    draft = drawn(planner, "Besides", "x", options)
    task_id, route = planner.task_id(coder.me.id, "r1"), Route((planner.me.id,), 1)
    return Letter(draft.task_for(coder.me.id, task_id, route), planner.me, Home((), ""))


@pytest.mark.parametrize(("named", "thread"), [(None, "release-7"), ("hotfix", "hotfix")])
async def test_an_answer_is_in_the_conversation_of_what_it_answers_unless_it_names_another(
    world, named, thread
):
    planner, coder = await world.session("planner"), await world.session("coder")
    [first] = await send_task(planner, coder.me.id, "Fix it", "x", thread_id="release-7")
    await planner.outcomes.sent_records.settled()
    letter = kept(planner, coder, in_reply_to=first.task_id, thread_id=named)

    await hand_on(world.bus, letter, planner.known)

    threads = [item.task.thread_id for item in (await read_inbox(coder)).tasks]
    assert threads == ["release-7", thread]


async def test_in_the_conversation_of_what_nobody_knows_it_is_the_first(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    letter = kept(planner, coder, in_reply_to="f" * 32)

    await hand_on(world.bus, letter, planner.known)

    [item] = (await read_inbox(coder)).tasks
    assert item.task.thread_id == item.task.id == letter.task.id


@pytest.mark.parametrize("came_there", [False, True])
async def test_what_was_withdrawn_is_over_and_offered_to_nobody_and_its_sender_knows(
    world, came_there
):
    planner, coder = await world.session("planner"), await world.session("coder")
    said = {"summary": "not any more", "body": "as it rains", "artifacts": ("a.md",)}
    letter = replace(kept(planner, coder), is_over=True, said=said)
    if came_there:
        await tasks.put(world.bus, letter.task)

    await hand_on(world.bus, letter, planner.known)

    whose = planner.me.id, coder.me.id, letter.task.id
    record, _ = await read_record(world.bus, *whose)
    sent, _ = await read_sent(world.bus, *whose)
    assert (record.state, said) == ("cancelled", {each: getattr(record, each) for each in said})
    assert record.reason == "its sender withdrew it"
    assert (sent.closed, sent.seen_at is None, sent.seq > 0) == (True, False, came_there)
    assert await read_back.find(world.bus, record) is None
    assert ((await read_inbox(planner)).results, (await read_inbox(coder)).tasks) == ((), ())


async def test_what_comes_after_its_deadline_has_expired_and_its_sender_is_told(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    letter = kept(planner, coder)
    late = letter.task.model_copy(update={"expires_at": now() - timedelta(seconds=5)})

    await hand_on(world.bus, replace(letter, task=late), planner.known)

    [result] = (await read_inbox(planner)).results
    assert (result.state, result.task_id) == ("expired", late.id)
    assert "while the bus was out of reach of its sender" in result.reason
    assert (await read_inbox(coder)).tasks == ()
