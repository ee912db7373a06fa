# SPDX-License-Identifier: Apache-2.0
"""A worker's question, and its sender's answer on the same task: told once, until it arrived."""

from __future__ import annotations

import asyncio

import pytest
from test_shell import Shell

from mcp_agentbus.errors import AlreadyEnded, BadInput, NotYourTask, Refused
from mcp_agentbus.handoff.ends import news
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import tasks
from mcp_agentbus.store.asked.replies import to_question
from mcp_agentbus.tools.answers import past, render
from mcp_agentbus.tools.answers.readers import SHELL
from mcp_agentbus.wakes import demand


@pytest.fixture
def shell(home, tmp_path):
    return Shell(home.data_dir.parent, tmp_path)


async def _asking(world, status="needs_input", **options):
    """Return planner, coder and the id of a task about which coder has asked something."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Fix it", "please", **options)
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, status, summary="Which branch?")
    return planner, coder, receipt.task_id


async def test_a_worker_that_waits_is_told_at_once_what_was_answered(world):
    planner, coder, task_id = await _asking(world)
    waiting = asyncio.create_task(watch_inbox(coder, timeout_s=20))

    await publish_result(planner, task_id, "answered", body="main")
    [item] = (await waiting).tasks

    assert [answer.body for answer in item.answers] == ["main"]


@pytest.mark.parametrize("status", ["needs_input", "needs_approval"])
async def test_a_question_is_answered_on_the_task_and_its_worker_is_told_once(world, status):
    planner, coder, task_id = await _asking(world, status)
    asked = await watch_inbox(planner, timeout_s=20)
    published = await publish_result(planner, task_id, "answered", body="main")
    mark = (await to_question(coder.bus, coder.claims[task_id].record)).mark
    before = news.shown(coder, [f"{task_id} {mark}"])
    told = await watch_inbox(coder, timeout_s=20)
    shown_now = news.shown(coder, [f"{task_id} {each}" for each in (mark, f"{mark}0")])
    again = await read_inbox(coder)
    after = await task_life(planner, task_id)

    assert [result.state for result in asked.results] == [status]
    assert (before, shown_now) == (set(), {f"{task_id} {mark}"})
    shown = render.inbox_text(asked, planner.me.id)
    assert f"publish_result(task_id='{task_id}', status='answered'" in shown
    assert f"agentbus answer {task_id}" in render.inbox_text(asked, planner.me.id, reader=SHELL)
    assert "its worker is shown it at its next call" in render.published_text(published)
    [item] = told.tasks
    assert (item.question, [answer.body for answer in item.answers]) == ("Which branch?", ["main"])
    text = render.inbox_text(told, coder.me.id)
    assert f"Answer of {planner.me.id} about task {task_id}" in text
    assert "1 answer to a question" in text
    assert [(item.state, item.answers) for item in again.tasks] == [("working", ())]
    assert (after.state, "main" in render.life_text(after)) == ("working", True)
    # The question was seen by who answered it.
    assert (await read_inbox(planner)).empty


async def test_what_is_asked_right_after_an_answer_has_an_answer_of_its_own(world):
    planner, coder, task_id = await _asking(world)
    await publish_result(planner, task_id, "answered", body="main")
    first, later = coder.calls.begin(), coder.calls.begin()
    await read_inbox(coder, call=first)
    first.answered()  # it is not known to have arrived when its worker asks again
    await publish_result(coder, task_id, "needs_input", summary="And which commit?")
    await publish_result(planner, task_id, "answered", body="the last")

    [item] = (await read_inbox(coder, call=later)).tasks

    assert [answer.body for answer in item.answers] == ["the last"]


async def test_an_answer_that_may_not_have_arrived_is_told_again(world):
    planner, coder, task_id = await _asking(world)
    await publish_result(planner, task_id, "answered", body="main")

    lost, later = coder.calls.begin(), coder.calls.begin()
    await read_inbox(coder, call=lost)
    lost.lost()
    [again] = (await read_inbox(coder, call=later)).tasks
    later.answered(surely=True)
    [after] = (await read_inbox(coder)).tasks

    assert [answer.body for answer in again.answers] == ["main"]
    assert (after.answers, after.state) == ((), "working")


async def test_whoever_is_offered_the_task_next_sees_question_and_answer(world):
    planner, coder, task_id = await _asking(world)
    await coder.close()
    await publish_result(planner, task_id, "answered", body="main")

    async with Session(world.bus, coder.me) as next_session:
        inbox = await read_inbox(next_session)
        [item] = inbox.tasks
        assert (item.question, [answer.body for answer in item.answers]) == (
            "Which branch?", ["main"],
        )  # fmt: skip
        text = render.inbox_text(inbox, coder.me.id)
        assert f"Question of its worker, {coder.me.id}, about task {task_id}" in text
        await publish_result(next_session, task_id, "completed")
    assert [result.state for result in (await read_inbox(planner)).results] == ["completed"]


async def test_a_task_that_nobody_holds_wakes_once_its_question_is_answered(world):
    planner, coder, task_id = await _asking(world, priority="high")
    await coder.close()
    asked = await demand.look(world.bus, coder.me.id, coder.inboxes)
    await publish_result(planner, task_id, "answered", body="main")
    answered = await demand.look(world.bus, coder.me.id, coder.inboxes)

    assert [(thing.kind, thing.unanswered) for thing in asked.things] == [("task", True)]
    assert [(thing.kind, thing.unanswered) for thing in answered.things] == [("task", False)]
    assert vars(answered.counts) == {"high": 1, "others": 0, "results": 0, "answers": 0}


async def test_a_second_question_is_not_answered_by_what_was_said_to_the_first(world):
    planner, coder, task_id = await _asking(world)
    await publish_result(planner, task_id, "answered", body="main")
    await read_inbox(coder)
    await publish_result(coder, task_id, "needs_input", summary="Which file?")

    before = await read_inbox(coder)
    await publish_result(planner, task_id, "answered", body="a.py")
    [item] = (await read_inbox(coder)).tasks

    assert [item.answers for item in before.tasks] == [()]
    assert (item.question, [answer.body for answer in item.answers]) == ("Which file?", ["a.py"])


async def test_all_that_is_said_with_an_answer_is_told(world):
    planner, coder, task_id = await _asking(world)

    said = {"summary": "main", "body": "It was merged", "artifacts": ["4f2c"]}
    await publish_result(planner, task_id, "answered", **said)

    [item] = (await read_inbox(coder)).tasks
    assert item.answers[0].body == "main\n\nIt was merged\n\nArtifact: 4f2c"


async def test_two_answers_are_both_told_and_the_same_twice_is_one(world):
    planner, coder, task_id = await _asking(world)
    await publish_result(planner, task_id, "answered", body="main")
    same = await publish_result(planner, task_id, "answered", body="main")
    await read_inbox(coder)
    await publish_result(planner, task_id, "answered", body="no, dev")

    [item] = (await read_inbox(coder)).tasks

    assert same.unchanged
    assert [answer.body for answer in item.answers] == ["main", "no, dev"]


async def test_only_its_sender_answers_and_only_what_is_asked(world):
    planner, coder, task_id = await _asking(world)

    with pytest.raises(NotYourTask):
        await publish_result(coder, task_id, "answered", body="I do")
    with pytest.raises(BadInput, match="empty"):
        await publish_result(planner, task_id, "answered")
    await publish_result(coder, task_id, "working")
    with pytest.raises(Refused, match="asked nothing"):
        await publish_result(planner, task_id, "answered", body="main")
    await publish_result(coder, task_id, "completed")
    with pytest.raises(AlreadyEnded):
        await publish_result(planner, task_id, "answered", body="main")


async def test_a_task_that_answers_one_that_was_sent_is_in_its_thread(world):
    planner, coder, task_id = await _asking(world)

    await send_task(planner, coder.me.id, "Besides", "x", in_reply_to=task_id, thread_id=None)

    [_, item] = (await read_inbox(coder, limit=1)).tasks
    assert item.task.thread_id == task_id


async def test_a_task_that_answers_one_that_was_received_and_is_over_is_in_its_thread(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [first] = await send_task(planner, coder.me.id, "Fix it", "please", thread_id="release-7")
    await read_inbox(coder)
    await publish_result(coder, first.task_id, "completed")

    await send_task(coder, planner.me.id, "One thing more", "x", in_reply_to=first.task_id)

    [item] = (await read_inbox(planner)).tasks
    assert item.task.thread_id == "release-7"


async def test_it_is_so_while_what_is_kept_of_that_one_is_still_being_written(world, monkeypatch):
    planner, coder = await world.session("planner"), await world.session("coder")
    may_be_kept, asked_for, keep = asyncio.Event(), asyncio.Event(), tasks.keep

    async def late(*args):
        asked_for.set()
        await may_be_kept.wait()
        return await keep(*args)

    monkeypatch.setattr(tasks, "keep", late)
    [first] = await send_task(planner, coder.me.id, "Fix it", "please", thread_id="release-7")
    await asked_for.wait()
    second = asyncio.create_task(
        send_task(planner, coder.me.id, "Besides", "x", in_reply_to=first.task_id, thread_id=None)
    )
    asyncio.get_running_loop().call_later(0.05, may_be_kept.set)
    await second

    threads = [item.task.thread_id for item in (await read_inbox(coder)).tasks]
    assert threads == ["release-7"] * 2


def test_a_shell_answers_and_is_told(shell):
    shell("inbox", agent="coder")
    [receipt] = shell.json("send", shell.name("coder"), "Fix", "it", agent="planner")["receipts"]
    task_id = receipt["task_id"]
    shell("inbox", agent="coder")
    shell("result", task_id, "needs_input", "--summary", "Which branch?", agent="coder")

    listed = shell("tasks", "--state", "needs_input", agent="planner")
    shell("answer", task_id[:6], "main", agent="planner")
    told = shell("inbox", agent="coder")
    again = shell("inbox", agent="coder")

    assert f"to answer: agentbus answer {past.short(task_id)}" in listed
    assert "  main" in told
    assert "  main" not in again
    assert "working" in again
