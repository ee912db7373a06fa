# SPDX-License-Identifier: Apache-2.0
"""A worker by a function: what its handler returns, raises or does not do, and what it leaves."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, BusUnreachable, NotClaimed, StoreFull
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.work import job
from mcp_agentbus.work import worker as module
from mcp_agentbus.work.result import Result
from mcp_agentbus.work.worker import Worker

HANG_S = 60  # only a hang takes as long


@asynccontextmanager
async def working(world, handler, agent="coder", **options):
    """Have a worker run, which drains at the end."""
    async with Worker(world.bus, Agent(world.name(agent)), **options) as worker:
        running = asyncio.create_task(worker.run(handler))
        yield worker
        worker.drain()
        async with asyncio.timeout(HANG_S):
            await running


async def asked(planner, to, subject="Count", **options):
    """Send a task and wait for its result."""
    [receipt] = await send_task(planner, to, subject, "all", **options)
    [record] = (await watch_inbox(planner, task_id=receipt.task_id, timeout_s=HANG_S)).results
    return record


async def test_a_text_is_the_body_and_a_result_is_stored_as_it_is(world):
    planner = await world.session("planner")
    full = Result("rejected", "Not mine.", "because", ("https://example.org/1",))

    async def handler(task):
        return "three" if task.subject == "Count" else full

    async with working(world, handler) as worker:
        text = await asked(planner, worker.me)
        result = await asked(planner, worker.me, "Other")

    assert (text.state, text.body, text.summary) == ("completed", "three", "")
    assert (result.state, result.summary, result.body) == ("rejected", "Not mine.", "because")
    assert result.artifacts == ("https://example.org/1",)
    assert [step.state for step in text.history] == ["stored", "claimed", "working", "completed"]


async def test_a_handler_finds_with_its_task_what_a_session_before_has_asked(world):
    planner, agent = await world.session("planner"), world.name("coder")
    async with Session(world.bus, Agent(agent)) as before:
        await before.called()
        [receipt] = await send_task(planner, agent, "Count", "all")
        await read_inbox(before)
        await publish_result(before, receipt.task_id, "needs_input", summary="Of what?")
    await publish_result(planner, receipt.task_id, "answered", body="Of the tests.")

    async with Worker(world.bus, Agent(agent)) as worker:

        async def handler(task):
            item = worker.item(task)
            return f"{item.question} {item.answers[0].body} Attempt {item.attempt}."

        done = await worker.run_once(handler)
        with pytest.raises(NotClaimed):
            worker.item(await task_of(world, planner, agent))

    [record] = (await watch_inbox(planner, task_id=receipt.task_id, timeout_s=HANG_S)).results
    assert done.state == "completed"
    assert record.body == "Of what? Of the tests. Attempt 2."


async def test_one_that_is_given_a_task_back_finds_what_was_answered_before(world):
    planner, agent = await world.session("planner"), world.name("coder")
    async with Session(world.bus, Agent(agent)) as before:
        await before.called()
        [receipt] = await send_task(planner, agent, "Count", "all")
        await read_inbox(before)
        await publish_result(before, receipt.task_id, "needs_input", summary="Of what?")
    await publish_result(planner, receipt.task_id, "answered", body="Of the tests.")
    seen = []

    async with Worker(world.bus, Agent(agent)) as ended:

        async def given_back(task):
            seen.append(ended.item(task))
            ended.stop()
            await asyncio.Event().wait()

        assert (await ended.run_once(given_back)).state == "released"
    async with Worker(world.bus, Agent(agent)) as worker:

        async def handler(task):
            seen.append(worker.item(task))
            return "214"

        assert (await worker.run_once(handler)).state == "completed"

    assert [item.attempt for item in seen] == [2, 3]
    for item in seen:
        assert (item.question, item.asked_by) == ("Of what?", agent)
        assert [answer.body for answer in item.answers] == ["Of the tests."]


async def test_one_that_is_stopped_while_the_bus_is_full_gives_its_task_back(world, monkeypatch):
    planner, agent = await world.session("planner"), world.name("coder")

    async def full(session, task_id, status, **details):
        if status == "completed":
            asyncio.get_running_loop().call_soon(worker.stop)
            raise StoreFull
        return await publish_result(session, task_id, status, **details)

    async def handler(task):
        return task.body

    monkeypatch.setattr("mcp_agentbus.work.worker.publish_result", full)
    async with Worker(world.bus, Agent(agent)) as worker:
        await send_task(planner, agent, "Count", "all")
        async with asyncio.timeout(5):
            done = await worker.run_once(handler)

    assert done.state == "released"


async def task_of(world, planner, agent):
    """Return a task that nobody has claimed."""
    await send_task(planner, agent, "Other", "all")
    async with Session(world.bus, Agent(agent)) as reader:
        return (await read_inbox(reader, peek=True)).tasks[0].task


async def test_a_word_is_handled_once_and_over_then_whatever_came_of_it(world):
    planner, words = await world.session("planner"), []

    async def handler(task):
        words.append(task.body)
        return Result("failed", "no")

    async with working(world, handler) as worker:
        [word] = await send_task(planner, worker.me, "Green", "all", expect="nothing")
        await asked(planner, worker.me)

    life = await task_life(planner, word.task_id)
    assert words == ["all", "all"]
    assert (life.state, life.record.summary) == ("completed", "")


async def test_what_goes_wrong_in_a_handler_fails_the_task_in_our_words(world, caplog):
    planner = await world.session("planner")

    async def handler(task):
        match task.subject:
            case "raises":
                raise ValueError("a secret of the worker's")
            case "nothing":
                return None
            case "awaits nothing":
                return handler(task)
            case "keeps":
                return Result("working")
            case "too long":
                return "x" * 300_000
            case _:
                raise asyncio.CancelledError

    whys = {
        "raises": "the handler failed with ValueError",
        "nothing": "the handler returned NoneType, which is no result",
        "awaits nothing": "the handler returned a coroutine that it did not await",
        "keeps": "the handler ended it as 'working'",
        "too long": (
            "its result cannot be stored. The body has 300,000 bytes; the limit is 262,144"
        ),
        "cancels": "the handler failed with CancelledError",
    }
    async with working(world, handler) as worker:
        records = [await asked(planner, worker.me, subject) for subject in whys]

    assert {(record.state, record.body) for record in records} == {("failed", "")}
    assert [record.summary for record in records] == [
        f"The task was not done: {why}." for why in whys.values()
    ]


async def test_a_handler_that_hangs_is_cancelled_and_one_that_does_not_end_is_left(
    world, monkeypatch
):
    monkeypatch.setattr(job, "_ENDS_WITHIN_S", 0.05)
    planner, free = await world.session("planner"), asyncio.Event()

    async def handler(task):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if task.subject == "deaf":
                await free.wait()
            raise

    async with working(world, handler, time_limit_s=0.1) as worker:
        records = [await asked(planner, worker.me, subject) for subject in ("deaf", "hangs")]
    free.set()

    why = "The task was not done: the handler did not end in 0.1s and was cancelled."
    assert [record.summary for record in records] == [why, why]


async def test_so_many_are_done_at_once_and_no_more(world):
    planner = await world.session("planner")
    at_once, most, free = set(), [], asyncio.Event()

    async def handler(task):
        at_once.add(task.id)
        most.append(len(at_once))
        if len(at_once) == 3:
            free.set()
        await free.wait()
        at_once.discard(task.id)
        return "done"

    async with working(world, handler, jobs=3) as worker:
        sent = [(await send_task(planner, worker.me, f"{n}", "all"))[0].task_id for n in range(7)]
        inbox = await watch_inbox(planner, task_id=sent, timeout_s=HANG_S)

    assert [record.state for record in inbox.results] == ["completed"] * 7
    assert max(most) == 3


async def test_urgent_tasks_are_done_first_and_those_of_roles_too(world):
    planner, done = await world.session("planner"), []
    coder, role = world.name("coder"), world.name("review")
    agent = Agent(coder, roles=(role,))

    async def handler(task):
        done.append(task.subject)
        return ""

    async with Worker(world.bus, agent) as worker:
        sent = [
            (await send_task(planner, to, subject, "b", priority=priority))[0].task_id
            for to, subject, priority in (
                (coder, "low", "low"), (coder, "normal", "normal"),
                (f"role:{role}", "role", "normal"), (coder, "high", "high"),
            )
        ]  # fmt: skip
        while await worker.run_once(handler):
            pass

    inbox = await watch_inbox(planner, task_id=sent, timeout_s=HANG_S)
    assert [record.state for record in inbox.results] == ["completed"] * 4
    assert done == ["high", "normal", "role", "low"]


async def test_it_takes_no_results_of_what_its_agent_has_sent(world):
    """They are its other sessions', which would never see them."""
    planner = await world.session("planner")
    reader = await world.session("reader")

    async def handler(task):
        [receipt] = await send_task(worker.session, reader.me.id, "Sub", "task")
        [item] = (await read_inbox(reader)).tasks
        assert item.task.hops == 1
        answer = await asked_by_worker(receipt.task_id, item)
        return answer.body

    async def asked_by_worker(task_id, item):
        await publish_result(reader, item.task.id, "completed", body="of the sub-task")
        found = await watch_inbox(worker.session, task_id=task_id, timeout_s=HANG_S)
        return found.results[0]

    beside, other = await world.session("coder"), await world.session("other")
    [receipt] = await send_task(beside, other.me.id, "Question", "?")
    [question] = (await read_inbox(other)).tasks
    async with working(world, handler) as worker:
        assert (await asked(planner, worker.me)).body == "of the sub-task"
        await publish_result(other, question.task.id, "completed", body="an answer")
        assert (await asked(planner, worker.me)).body == "of the sub-task"

    news = await watch_inbox(beside, timeout_s=HANG_S)
    assert [record.task_id for record in news.results] == [receipt.task_id]


async def test_its_agent_is_a_live_session_on_the_roster_until_it_ends(world):
    planner = await world.session("planner")

    async def handler(task):
        return ""

    async with working(world, handler) as worker:
        await asked(planner, worker.me)
        assert (await roster.look(world.bus, worker.me)).state == "live session"
        assert (await roster.look(world.bus, worker.me)).hosts == ("python",)
    assert (await roster.look(world.bus, worker.me)).state == "offline"


async def test_what_it_was_at_is_given_back_if_it_is_cancelled(world):
    planner, begun = await world.session("planner"), asyncio.Event()

    async def handler(task):
        begun.set()
        await asyncio.Event().wait()

    async with Worker(world.bus, Agent(world.name("coder"))) as worker:
        running = asyncio.create_task(worker.run(handler))
        [receipt] = await send_task(planner, worker.me, "Count", "all")
        async with asyncio.timeout(HANG_S):
            await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    record = await world.bus.last(subjects.RESULTS, f"agentbus.*.results.*.{receipt.task_id}")
    assert b'"stored"' in record.data


async def test_without_a_task_there_is_nothing_to_do_once(world):
    async with Worker(world.bus, Agent(world.name("coder"))) as worker:
        assert await worker.run_once(print) is None


async def test_a_bus_that_was_closed_ends_it(world):
    bus = await world.another_bus()
    async with Worker(bus, Agent(world.name("coder"))) as worker:
        running = asyncio.create_task(worker.run(print))
        await bus.close()
        with pytest.raises(BusUnreachable):
            async with asyncio.timeout(HANG_S):
                await running


async def test_numbers_that_make_no_sense_are_refused(world):
    for options in ({"jobs": 0}, {"jobs": 65}, {"time_limit_s": 0}):
        with pytest.raises(BadInput):
            Worker(world.bus, Agent("coder"), **options)


async def test_it_is_told_of_an_agent_that_was_killed(world):
    planner, gone = await world.session("planner"), asyncio.Queue()

    async def handler(task):
        return ""

    async with working(world, handler, on_gone=gone.put) as worker:
        await asked(planner, worker.me)
        died = Agent(world.name("died"))
        while True:  # it hears nothing before it has begun to
            await roster.beat(world.bus, died, "5e55")
            await roster.beat(world.bus, died, "5e55", gone=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    assert await gone.get() == died.id
                    break


async def test_a_task_is_given_back_where_the_worker_itself_has_a_fault(world, monkeypatch):
    planner = await world.session("planner")
    done = publish_result

    async def fails_once(session, task_id, status, **details):
        if status == "completed":
            monkeypatch.setattr(module, "publish_result", done)
            raise ZeroDivisionError
        return await done(session, task_id, status, **details)

    monkeypatch.setattr(module, "publish_result", fails_once)

    async def handler(_):
        return "three"

    async with working(world, handler) as worker:
        result = await asked(planner, worker.me)

    told = ["stored", "claimed", "working", "stored", "claimed", "working", "completed"]
    assert [step.state for step in result.history] == told


async def test_a_result_of_more_than_the_bus_takes_ends_its_task(world):
    planner = await world.session("planner")

    async def handler(_):
        return "\0" * (200 << 10)  # each takes six bytes in JSON

    async with working(world, handler) as worker:
        result = await asked(planner, worker.me)

    assert (result.state, "cannot be stored" in result.summary) == ("failed", True)
