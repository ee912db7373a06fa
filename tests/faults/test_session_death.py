# SPDX-License-Identifier: Apache-2.0
"""Sessions in processes of their own die, stop and come back: each task has one end all the same."""

import asyncio
import os
import signal
from collections import Counter

import pytest
from halting import halt
from workers import HASTY, forget, workers

from mcp_agentbus.errors import BusUnreachable, NotClaimed
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.intake import watches
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import queues, roster, subjects
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.records import read_record

HANG_S = 90  # only a hang takes as long


@pytest.fixture
def hasty(monkeypatch):
    """Claims come back after 2 s: for tests of what happens then, not of when."""
    monkeypatch.setattr(consumers, "ACK_WAIT_S", HASTY["store.queries.consumers.ACK_WAIT_S"])
    monkeypatch.setattr(roster, "BEAT_S", HASTY["store.roster.BEAT_S"])
    monkeypatch.setattr(watches, "LOOK_AGAIN_S", HASTY["handoff.intake.watches.LOOK_AGAIN_S"])


async def send_many(session, to, count):
    """Send tasks, some at a time; return their ids."""
    ids = []
    while len(ids) < count:
        some = await asyncio.gather(
            *(send_task(session, to, "Do it", "x") for _ in range(min(50, count - len(ids))))
        )
        ids += [receipt.task_id for [receipt] in some]
    return ids


async def stored_tasks(bus, agent):
    """Return how many unfinished tasks an agent has, held ones included."""
    counts = await queues.stored_tasks(bus)
    return sum(count for subject, count in counts.items() if subject.split(".")[1] == agent)


async def shown_until_empty(session):
    """Read until nothing is stored for the agent any more; return what was shown."""
    shown = []
    async with asyncio.timeout(HANG_S):
        while await stored_tasks(session.bus, session.me.id):
            shown += (await watch_inbox(session, timeout_s=1)).tasks
    return shown


async def assert_ended_once(bus, owner, agent, ids):
    """See that each task has one end in its record, and none is left to do."""
    records = await asyncio.gather(*(read_record(bus, owner, agent, one) for one in ids))
    ends = [[step.state for step in record.history].count("completed") for record, _ in records]
    assert Counter(ends) == {1: len(ids)}
    assert await stored_tasks(bus, agent) == 0


@pytest.mark.promise(12)
async def test_two_processes_of_one_agent_take_each_of_600_tasks_once(world, home):
    planner = await world.session("planner")
    await world.session("coder")
    agent = world.name("coder")
    sent = await send_many(planner, agent, 600)

    async with workers(home) as start:
        both = await asyncio.gather(start(agent), start(agent))
        for worker in both:
            worker.order("work", limit=10)
        taken = await asyncio.gather(*(hear_it_out(worker) for worker in both))

    assert sorted(taken[0] + taken[1]) == sorted(sent)
    assert all(taken)
    await assert_ended_once(world.bus, planner.me.id, agent, sent)


async def hear_it_out(worker):
    """Listen until a worker has no more to do; return what it took."""
    taken = []
    while (said := await worker.said()).get("finished") != 0:
        taken += said.get("took", [])
    return taken


@pytest.mark.promise(9)
@pytest.mark.promise(12)
async def test_what_a_killed_process_held_is_offered_again_and_done_once(world, home):
    """With the time limits that users have: the last claims come back 24 s after the kill."""
    planner, coder = await world.session("planner"), await world.session("coder")
    agent = coder.me.id
    sent = await send_many(planner, agent, 600)

    async with workers(home) as start:
        doomed = await start(agent)
        doomed.order("work", limit=20, share=2)
        finished = []
        while len(finished) < 30:
            said = await doomed.said()
            finished += [said["task"]] if "task" in said else []
        await doomed.kill()

        mine = []
        while len(mine) + len(finished) < len(sent):
            found = await watch_inbox(coder, timeout_s=HANG_S, limit=50)
            if found.timed_out:
                break
            for item in found.tasks:
                mine.append(item.task.id)
                await publish_result(coder, item.task.id, "completed")

    # It may have finished one more than it had the time to say.
    unsaid = set(sent) - set(mine) - set(finished)
    assert len(mine) == len(set(mine))
    assert set(mine).isdisjoint(finished)
    assert len(unsaid) <= 1
    await assert_ended_once(world.bus, planner.me.id, agent, sent)


@pytest.mark.promise(12)
async def test_a_stopped_process_loses_its_claim_and_cannot_answer_when_it_goes_on(
    world, home, hasty
):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_many(planner, coder.me.id, 1)

    async with workers(home, **HASTY) as start:
        sleeper = await start(coder.me.id)
        assert (await sleeper.ask("read"))["tasks"] == [sent]
        with pytest.raises(NotClaimed, match=sleeper.session):
            await publish_result(coder, sent, "working")

        halt(sleeper.pid)
        await forget(world.bus, coder.me.id, sleeper.session)
        [item] = (await watch_inbox(coder, timeout_s=HANG_S)).tasks
        sleeper.signal(signal.SIGCONT)
        answer = await sleeper.ask("publish", task_id=sent, status="completed")
        again = await sleeper.ask("publish", task_id=sent, status="completed")

    assert (item.task.id, item.attempt) == (sent, 2)
    assert (answer["error"], again["error"]) == ("NotClaimed", "NotClaimed")
    assert coder.id in again["message"]
    assert (await publish_result(coder, sent, "completed")).state == "completed"
    await assert_ended_once(world.bus, planner.me.id, coder.me.id, [sent])


@pytest.mark.promise(12)
async def test_a_stopped_process_that_reads_again_is_told_that_its_claim_is_gone(
    world, home, hasty
):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_many(planner, coder.me.id, 1)

    async with workers(home, **HASTY) as start:
        sleeper = await start(coder.me.id)
        await sleeper.ask("read")
        halt(sleeper.pid)
        await forget(world.bus, coder.me.id, sleeper.session)
        await watch_inbox(coder, timeout_s=HANG_S)
        sleeper.signal(signal.SIGCONT)
        seen = await sleeper.ask("read")

    assert seen["tasks"] == []
    assert [sent in note and "taken over" in note for note in seen["notes"]] == [True]


@pytest.mark.promise(31)
async def test_a_process_killed_between_result_and_end_leaves_one_result_and_no_task(
    world, home, hasty
):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_many(planner, coder.me.id, 1)

    async with workers(home, **HASTY) as start:
        doomed = await start(coder.me.id)
        await doomed.ask("read")
        await doomed.ask("die_before", what="finish")
        doomed.order("publish", task_id=sent, status="completed", summary="done")
        assert await doomed.died() == -signal.SIGKILL

    [result] = (await watch_inbox(planner, task_id=sent, timeout_s=HANG_S)).results
    assert (result.state, result.summary) == ("completed", "done")
    assert await stored_tasks(world.bus, coder.me.id) == 1
    assert await shown_until_empty(coder) == []
    assert (await read_inbox(planner)).results == ()
    await assert_ended_once(world.bus, planner.me.id, coder.me.id, [sent])


@pytest.mark.promise(31)
async def test_a_result_whose_task_could_not_be_finished_stands(world, hasty, monkeypatch):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_many(planner, coder.me.id, 1)
    await read_inbox(coder)

    with monkeypatch.context() as broken:

        async def fails(_):
            raise BusUnreachable

        broken.setattr(coder.bus, "finish", fails)
        published = await publish_result(coder, sent, "completed")
    same = await publish_result(coder, sent, "completed")

    assert (published.state, published.unchanged, same.unchanged) == ("completed", False, True)
    assert await shown_until_empty(coder) == []


@pytest.mark.promise(13)
async def test_a_claim_outlives_the_servers_time_limit_while_its_session_lives(world, hasty):
    """The limit is 2 s here; another session's task, not extended, tells when it has passed."""
    planner, coder = await world.session("planner"), await world.session("coder")
    rival, dead = await world.session("coder"), await world.session("coder")
    kept, lost = await send_many(planner, coder.me.id, 2)
    await read_inbox(coder, limit=1)
    await read_inbox(dead, limit=1)
    await stop_keeping(dead)

    [item] = (await watch_inbox(rival, timeout_s=HANG_S)).tasks
    again = await watch_inbox(rival, timeout_s=3)

    assert item.task.id == lost
    assert again.timed_out
    with pytest.raises(NotClaimed, match=coder.id):
        await publish_result(rival, kept, "completed")
    assert (await publish_result(coder, kept, "completed")).state == "completed"


async def stop_keeping(session):
    """Have a session neither extend its claims nor say that it lives."""
    for task in asyncio.all_tasks():
        if task.get_name() == f"keeper of session {session.id}":
            task.cancel()
    await forget(session.bus, session.me.id, session.id)


@pytest.mark.promise(12)
async def test_what_the_server_forgot_is_not_given_to_another_while_its_session_lives(world, hasty):
    """As after a kill of the server, which may lose who has what."""
    planner, coder = await world.session("planner"), await world.session("coder")
    rival = await world.session("coder")
    [sent] = await send_many(planner, coder.me.id, 1)
    await read_inbox(coder)
    await world.bus.give_back(coder.claims[sent].delivery)

    assert (await watch_inbox(rival, timeout_s=0.1)).timed_out
    assert (await publish_result(coder, sent, "completed")).state == "completed"
    assert await shown_until_empty(rival) == []


async def test_a_task_that_could_not_be_given_back_is_still_held(world, monkeypatch):
    """Else it would be nobody's for as long as its session lives."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_many(planner, coder.me.id, 1)
    await read_inbox(coder)

    with monkeypatch.context() as broken:

        async def fails(*_, **__):
            raise BusUnreachable

        broken.setattr(coder.bus, "replace", fails)
        with pytest.raises(BusUnreachable):
            await publish_result(coder, sent, "released")

    assert [item.task.id for item in (await read_inbox(coder)).tasks] == [sent]
    assert (await publish_result(coder, sent, "released")).state == "stored"


async def test_what_the_server_forgot_is_still_held_by_the_session_that_gets_it_again(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_many(planner, coder.me.id, 1)
    await read_inbox(coder)
    before = coder.claims[sent]
    await world.bus.give_back(before.delivery)

    [item] = (await read_inbox(coder)).tasks

    after = coder.claims[sent]
    assert (item.task.id, item.new, item.attempt) == (sent, False, 1)
    assert after.revision == before.revision


@pytest.mark.promise(18)
async def test_a_task_whose_process_is_killed_five_times_is_parked_and_its_sender_told(
    world, home, hasty
):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_many(planner, coder.me.id, 1)

    async with workers(home, **HASTY) as start:
        for attempt in range(1, 6):
            doomed = await start(coder.me.id)
            seen = await doomed.ask("watch", timeout_s=HANG_S)
            assert (seen["tasks"], seen["attempts"]) == ([sent], [attempt])
            await doomed.kill()
            await forget(world.bus, coder.me.id, doomed.session)
    found = await watch_inbox(coder, timeout_s=HANG_S)

    assert found.tasks == ()
    assert "claimed 5 times without an end" in found.notes[0]
    [result] = (await watch_inbox(planner, task_id=sent, timeout_s=HANG_S)).results
    assert (result.state, result.reason) == ("parked", "it was claimed 5 times without an end")


@pytest.mark.promise(9)
async def test_a_process_that_ends_in_order_gives_its_claims_back_at_once(world, home):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_many(planner, coder.me.id, 1)

    async with workers(home) as start:
        leaving = await start(coder.me.id)
        await leaving.ask("read")
        await leaving.end()
        [item] = (await read_inbox(coder)).tasks

    assert (item.task.id, item.attempt) == (sent, 1)


@pytest.mark.promise(2)
async def test_a_sender_killed_before_it_noted_the_task_may_send_again(world, home):
    planner, coder = await world.session("planner"), await world.session("coder")
    order = {"to": coder.me.id, "subject": "Once", "body": "x", "request_id": "r1"}

    async with workers(home) as start:
        doomed = await start(planner.me.id)
        # Its acknowledged task is in the stream; what it keeps of it is not.
        await doomed.ask("post", **{**order, "request_id": "r0"})
        doomed.order("post", **order)
        os.kill(doomed.pid, signal.SIGKILL)
        await doomed.died()
        second = await start(planner.me.id)
        [receipt] = (await second.ask("post", **order))["receipts"]
        [again] = (await second.ask("post", **order))["receipts"]

    assert again["duplicate"]
    assert again["task_id"] == receipt["task_id"]
    assert len((await read_inbox(coder)).tasks) == 2
    subject = subjects.task_subject(coder.me.id, "normal", planner.me.id)
    assert await world.bus.last(subjects.TASKS, subject)
