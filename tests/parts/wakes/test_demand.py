# SPDX-License-Identifier: Apache-2.0
"""What waits for an agent and may wake it: each thing as a wake knows it, and how much there is."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mcp_agentbus.bus import client
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import queues, roster, streams, unseen
from mcp_agentbus.store.asked.replies import to_question
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import Sent
from mcp_agentbus.wakes import answers, demand
from mcp_agentbus.wakes.demand import Demand
from mcp_agentbus.wakes.facts import Waiting

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_task(sender, to, task_id, priority="high", **fields):
    key = f"task {to} {task_id}"
    return Waiting(key, "task", task_id, sender, sender, to, priority=priority, **fields)


async def sent(planner, to, priority="high", **options):
    [receipt] = await send_task(planner, to, "Count", "x", priority=priority, **options)
    return receipt.task_id


async def looked_at(coder, known=(), wake_on=("high",)):
    return await demand.look(coder.bus, coder.me.id, coder.inboxes, known, wake_on)


async def test_tasks_in_lanes_that_wake_are_told_each_and_the_others_and_words_are_counted(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    to = coder.me.id
    high, normal = await sent(planner, to), await sent(planner, to, "normal")
    await sent(planner, to, "low")
    for priority in ("high", "normal"):
        await sent(planner, to, priority, expect="nothing")

    urgent, usual = (a_task(planner.me.id, to, high), a_task(planner.me.id, to, normal, "normal"))
    assert await looked_at(coder) == Demand(Counts(1, 4), (urgent,))
    assert await looked_at(coder, (), ("normal", "high")) == Demand(Counts(1, 4), (usual, urgent))


async def test_of_results_those_are_told_of_which_their_sender_wants_to_hear(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    wishes = ("live", "wake", "never")
    ids = [await sent(planner, coder.me.id, "normal", notify=wish) for wish in wishes]
    await read_inbox(coder, limit=3)
    for task_id in ids:
        await publish_result(coder, task_id, "completed")

    found = await looked_at(planner)

    place = planner.me.id, coder.me.id
    revisions = [(await read_record(world.bus, *place, each))[1] for each in ids]
    assert found == Demand(
        Counts(results=2),
        tuple(
            Waiting(
                f"result {task_id} {revision}", "result", task_id, coder.me.id, *place,
                live_only=wish == "live", session=planner.id,
            )
            for task_id, revision, wish in zip(ids, revisions, wishes, strict=True)
            if wish != "never"
        ),
    )  # fmt: skip


async def test_a_look_goes_through_so_many_records_for_results_and_tells_of_so_many(
    world, monkeypatch
):
    planner, coder = await world.session("planner"), await world.session("coder")
    ids = [await sent(planner, coder.me.id, "normal") for _ in range(3)]
    await read_inbox(coder, limit=3)
    for task_id in ids:
        await publish_result(coder, task_id, "completed")
    monkeypatch.setattr(unseen, "_PAGE", 1)

    monkeypatch.setattr(demand, "_RECORDS_MAX", 2)
    assert [thing.task_id for thing in (await looked_at(planner)).things] == ids[:2]

    monkeypatch.setattr(demand, "_RECORDS_MAX", 3)
    monkeypatch.setattr(demand, "_RESULTS_MAX", 1)
    assert [thing.task_id for thing in (await looked_at(planner)).things] == ids[:1]


async def test_of_a_senders_large_tasks_a_look_reads_no_more_than_one_answer_has(
    world, monkeypatch
):
    planner, coder = await world.session("planner"), await world.session("coder")
    for _ in range(3):
        await send_task(planner, coder.me.id, "Count", "x" * 6_000)
    monkeypatch.setattr(client, "ANSWER_MAX_BYTES", 10_000)

    there = await demand._oldest(world.bus, coder.me.id, "normal", ())

    assert 0 < len(there) < 3


async def test_what_was_said_to_a_question_is_told_to_the_session_that_has_asked(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    ids = [await sent(planner, coder.me.id, priority) for priority in ("high", "normal")]
    await read_inbox(coder, limit=2)
    for task_id in ids:
        await publish_result(coder, task_id, "needs_input", summary="Which branch?")
    unanswered = await looked_at(coder)
    for task_id in ids:
        await publish_result(planner, task_id, "answered", body="main")

    found = await looked_at(coder)

    place = planner.me.id, coder.me.id
    asking = [(await read_record(world.bus, *place, each))[0] for each in ids]
    marks = [(await to_question(world.bus, record)).mark for record in asking]
    assert unanswered == Demand(Counts(), (), tuple(asking))
    assert found == Demand(
        Counts(answers=2),
        tuple(
            Waiting(
                f"answer {task_id} {mark}", "answer", task_id, planner.me.id, *place,
                live_only=True, session=coder.id, mark=mark,
            )
            for task_id, mark in zip(ids, marks, strict=True)
        ),
        tuple(asking),
    )  # fmt: skip

    # Who holds it now has asked nothing; and of a question that is over nothing is told.
    others = [asking[0].model_copy(update={"session": "another"})]
    assert await answers.to_holders(world.bus, others) == []
    await read_inbox(coder)
    await publish_result(coder, ids[0], "working")
    assert [each.task_id for each in await answers.to_holders(world.bus, asking)] == ids[1:]
    lost = asking[0].model_copy(update={"task_id": "nobodys"})
    assert await answers.to_holders(world.bus, [lost]) == []


async def test_a_task_whose_last_worker_has_asked_in_vain_says_so_until_it_is_answered(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    task_id = await sent(planner, coder.me.id)
    await read_inbox(coder)
    await publish_result(coder, task_id, "needs_input", summary="Which branch?")
    await coder.close()
    plain = a_task(planner.me.id, coder.me.id, task_id)

    assert await looked_at(coder) == Demand(Counts(1), (replace(plain, unanswered=True),))
    await publish_result(planner, task_id, "answered", body="main")
    assert await looked_at(coder) == Demand(Counts(1), (plain,))


@pytest.fixture
def few(monkeypatch):
    """Have each of two tasks be looked at, and of more the two oldest of each of two senders."""
    monkeypatch.setattr(queues, "LOOKED_AT_MAX", 2)
    monkeypatch.setattr(demand, "_TASKS_MAX", 2)
    monkeypatch.setattr(demand, "_SENDERS_MAX", 2)


async def test_of_many_the_oldest_of_each_sender_are_told_but_those_that_a_session_holds(
    world, few
):
    planner, tester = await world.session("planner"), await world.session("tester")
    coder = await world.session("coder")
    to = coder.me.id
    await sent(planner, to)
    ids = [await sent(planner, to) for _ in range(3)]
    theirs = await sent(tester, to)
    await read_inbox(coder, limit=1)

    found = await looked_at(coder, {planner.me.id})

    assert found.counts == Counts(4)
    assert set(found.things) == {
        a_task(planner.me.id, to, ids[0]),
        a_task(tester.me.id, to, theirs),
    }
    assert (len(found.things), found.asking) == (2, ())


async def test_of_many_words_are_counted_as_far_as_they_are_looked_at(world, few):
    planner, coder = await world.session("planner"), await world.session("coder")
    to = coder.me.id
    await sent(planner, to, expect="nothing")
    ids = [await sent(planner, to) for _ in range(3)]

    found = await looked_at(coder)

    assert found == Demand(Counts(3, 1), (a_task(planner.me.id, to, ids[0]),))


async def test_of_many_senders_those_who_are_known_come_first_and_of_others_each_look_takes_some(
    own_world, few
):
    coder = await own_world.session("coder")
    names = [f"sender{number}" for number in range(5)]
    senders = [await own_world.session(name) for name in names]
    for sender in senders:  # the first one's task is the first that is stored there at all
        await sent(sender, coder.me.id)
    known = {senders[0].me.id, senders[4].me.id}

    found = [await looked_at(coder, known) for _ in range(4)]
    others = [await looked_at(coder) for _ in range(20)]

    assert [{thing.sender for thing in each.things} for each in found] == [known] * 4
    assert {each.counts for each in (*found, *others)} == {Counts(5)}
    assert {len(each.things) for each in others} == {2}
    assert len({thing for each in others for thing in each.things}) > 2


def what_waits(*tasks, counts):
    """Return a look that has found a result and such tasks, each of another sender."""
    result = Waiting("result r 1", "result", "r", "stranger", "coder", "stranger")
    things = [a_task(sender, "coder", sender, priority) for sender, priority in tasks]
    return Demand(counts, (*things, result))


@pytest.mark.parametrize(
    ("tasks", "counts", "left"),
    [
        ((("stranger", "high"), ("planner", "high")), Counts(2, 3, 1, 1), Counts(1, 3, 1, 1)),
        ((("stranger", "normal"), ("planner", "high")), Counts(1, 3, 1, 1), Counts(1, 2, 1, 1)),
        ((("stranger", "low"), ("other", "high")), Counts(4, 3), Counts(3, 2)),
        ((("stranger", "high"), ("other", "low")), Counts(), Counts()),  # counted before they came
    ],
)
async def test_what_an_agent_does_not_take_is_said_and_not_counted(tasks, counts, left):
    looked = what_waits(*tasks, counts=counts)
    *things, result = looked.things
    judged = await demand.judged(None, Agent("coder", accept_from=("planner",)), looked)

    taken = [replace(thing, accepted=thing.sender == "planner") for thing in things]
    assert judged == Demand(left, (*taken, result))


async def test_what_an_agent_takes_is_left_as_it_is():
    looked = what_waits(("planner", "high"), ("coder", "high"), counts=Counts(2, 3))

    assert await demand.judged(None, Agent("coder", accept_from=("planner",)), looked) is looked
    assert await demand.judged(None, Agent("coder"), looked) is looked


async def test_a_sender_that_is_taken_by_its_role_is_none_that_is_not(world):
    await streams.ensure_streams(world.bus)
    names = [world.name(name) for name in ("reviewer", "tester", "nobody")]
    for name, role in zip(names, ("review", "test"), strict=False):
        await roster.register(world.bus, Agent(name, roles=(role,)), None)
    looked = what_waits(*((name, "high") for name in names), counts=Counts(3))
    agent = Agent("coder", accept_from=("planner", "role:review"))

    judged = await demand.judged(world.bus, agent, looked)

    assert judged.counts == Counts(1)
    assert [thing.accepted for thing in judged.things] == [True, False, False, True]


async def test_a_task_that_nobody_has_touched_or_asked_about_misses_no_answer():
    kept = Sent(task_id="a", owner="planner", inbox="coder", created_at=NOON, expires_at=NOON)
    for record in (
        None,
        first_record(kept),
        step(first_record(kept), "working", "coder", "s", NOON),
    ):
        assert await answers.is_missing(None, record) is False


def test_a_session_knows_an_answer_by_its_mark_and_all_else_by_its_task():
    answer = Waiting("answer a 1:2", "answer", "a", "planner", "planner", "coder", mark="1:2")
    of_task = replace(a_task("planner", "coder", "a"), mark="1:2")

    assert (answer.shown_as, of_task.shown_as) == ("a 1:2", "a")
