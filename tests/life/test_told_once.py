# SPDX-License-Identifier: Apache-2.0
"""Hooks and notices of one session: the same mail is told by one of them, whichever comes first."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest
import served
from hooking import (
    ANSWER,
    HIGH,
    NEW,
    NORMAL,
    Host,
    interactive,
    notice,
    session,
)
from listeners import (
    ATTENTIVE,
    configure,
    known,
    listening,
    one_woken,
    recorder,
    send,
    starts,
    steps,
)

from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.relay import local_socket


def hasty(again_s, read_s=0.5):
    """Return a listener that does not wait a minute for a read, nor another for the next try."""
    hour = "timedelta(hours=1)"
    changed = served.changed(
        f"listener.runner.READ_WITHIN_S = {read_s}",
        "listener.desk._READ_AGAIN_S = 0.2",
        f"wakes.policy.BACKOFF = (timedelta(seconds={again_s}), {hour}, {hour})",
    )
    return [*changed, "listen"]


@pytest.mark.promise(26)
async def test_what_its_hook_has_told_a_session_no_notice_tells_again(house, planner, notes):
    await known(planner, "one")
    async with listening(house, script=ATTENTIVE) as listener:
        receipt = await send(planner, "one")
        said = await Host(house, "one")("SessionStart")
        async with session(house, "one", notes) as (pipes, notices):
            await listener.logged("decided", agent="one", means="nudge")
            await listener.logged("recorded", agent="one")
            at_its_end = await Host(house, "one")("Stop", stop_hook_active=False)
            await asyncio.to_thread(pipes.call, "read_inbox")
            await listener.logged("read", agent="one")
            silent = notices.empty()
            life = await steps(planner, receipt.task_id)
            await send(planner, "one")
            later = await notice(notices)

    assert [said, at_its_end] == [HIGH, ""]
    assert silent
    assert ("woken", "a hook has told its session") in life
    assert "waking" not in dict(life)
    assert later == HIGH


@pytest.mark.skipif(sys.platform != "linux", reason="the id is found by the parent's process id")
async def test_a_session_that_was_cleared_is_still_the_one_that_its_hook_has_told(
    house, planner, notes
):
    await known(planner, "cleared")
    noted = house.data_dir.parent / ".claude" / "sessions" / f"{os.getpid()}.json"
    async with (
        listening(house, script=ATTENTIVE) as listener,
        session(house, "cleared", notes) as (pipes, notices),
    ):
        await listener.logged("joined", agent="cleared")
        noted.parent.mkdir(parents=True)
        noted.write_text(json.dumps({"sessionId": "s-cleared"}))
        await send(planner, "cleared")
        said = await Host(house, "cleared", session="s-cleared")("SessionStart", source="clear")
        await listener.logged("recorded", agent="cleared")
        await asyncio.to_thread(pipes.call, "read_inbox")

    assert said == HIGH
    assert notices.empty()


@pytest.mark.promise(26)
async def test_a_session_whose_hook_was_first_is_left_alone_and_none_is_started(
    house, planner, notes
):
    rules = {"command": recorder(notes)}
    await known(planner, "two")
    configure(house, notes, two={**rules, "per_hour": 0})
    try:
        async with (
            listening(house, script=ATTENTIVE) as listener,
            session(house, "two", notes) as (pipes, notices),
        ):
            await listener.logged("joined", agent="two")
            await send(planner, "two")
            await listener.logged("held", agent="two", reason="limit_0")
            said = await Host(house, "two")("PostToolBatch")
            configure(house, notes, two=rules)
            await asyncio.to_thread(local_socket.ask, house, {"op": "reload"})
            await listener.logged("ended", agent="two", outcome="asked")
            await asyncio.to_thread(pipes.call, "read_inbox")
            await listener.logged("read", agent="two")
    finally:
        house.config_file.unlink()

    assert said == HIGH
    assert notices.empty()
    assert starts(notes) == []


async def test_a_session_that_does_not_read_what_its_hook_told_gets_a_notice(house, planner, notes):
    await known(planner, "three")
    async with listening(house, script=hasty(again_s=0.1)) as listener:
        await send(planner, "three")
        host = Host(house, "three")
        said = await host("SessionStart")
        async with session(house, "three", notes) as (_, notices):
            for _ in range(2):  # what the hook has told, and then what the notice has
                await listener.logged("unread", agent="three")
            late = await notice(notices)
            again = await host("UserPromptSubmit")

    assert [said, late, again] == [HIGH, HIGH, ""]
    assert notices.empty()


async def test_what_its_hook_did_not_tell_a_notice_does(house, planner, notes):
    await known(planner, "four")
    async with listening(house):
        await send(planner, "four")
        said = await Host(house, "four")("SessionStart")
        await send(planner, "four")
        async with session(house, "four", notes) as (_, notices):
            told = await notice(notices)
            later = await Host(house, "four")("UserPromptSubmit")

    assert said == HIGH
    assert told == "2 tasks wait in your agentbus inbox, all high priority. Call read_inbox."
    assert later == ""


async def test_what_a_notice_has_told_no_hook_tells_again(house, planner, notes):
    await known(planner, "five")
    async with (
        listening(house, script=hasty(again_s=3600, read_s=4)) as listener,
        session(house, "five", notes) as (_, notices),
    ):
        await listener.logged("joined", agent="five")
        await send(planner, "five", priority="normal")
        await send(planner, "five")
        told = await notice(notices)
        host = Host(house, "five")
        events = ("Stop", "UserPromptSubmit", "PostToolBatch")
        await listener.logged("ended", agent="five", outcome="asked")
        said = [await host(one) for one in events]
        await listener.logged("unread", agent="five")
        said += [await host(one) for one in events]
        await send(planner, "five", priority="low")
        later = await host("UserPromptSubmit")

    assert told.startswith("2 tasks wait")
    assert set(said) == {""}
    assert later == NEW + NORMAL


async def test_what_was_read_late_holds_nothing_that_comes_then(house, planner, notes):
    await known(planner, "late")
    async with (
        listening(house, script=hasty(again_s=3600)) as listener,
        session(house, "late", notes) as (pipes, notices),
    ):
        await listener.logged("joined", agent="late")
        await send(planner, "late")
        told = [await notice(notices)]
        await listener.logged("unread", agent="late")
        await asyncio.to_thread(pipes.call, "read_inbox")
        receipt = await send(planner, "late")
        told.append(await notice(notices))

    assert told == [HIGH, HIGH]
    assert "wake-held" not in [state for state, _ in await steps(planner, receipt.task_id)]


async def test_a_hook_tells_what_a_notice_could_not(house, planner, notes):
    await known(planner, "six")
    nowhere = interactive("s-six", notes / "nowhere")
    async with listening(house, script=ATTENTIVE) as listener:
        with served.Pipes(served.environ(house.data_dir.parent) | nowhere, agent="six") as pipes:
            await asyncio.to_thread(pipes.greet, served.MODERN)
            await listener.logged("joined", agent="six")
            await send(planner, "six")
            await listener.logged("unread", agent="six")
            said = [await Host(house, "six")(one) for one in ("UserPromptSubmit", "Stop")]

    assert said == [HIGH, ""]


async def _asked(planner, agent, pipes):
    """Have an agent's session ask about a task; return its id."""
    receipt = await send(planner, agent, priority="normal")
    await asyncio.to_thread(pipes.call, "read_inbox")
    asks = {"task_id": receipt.task_id, "status": "needs_input", "summary": "Which branch?"}
    await asyncio.to_thread(pipes.call, "publish_result", **asks)
    return receipt.task_id


async def test_the_session_that_asked_is_told_of_the_answer_once(house, planner, notes):
    await known(planner, "thirty")
    async with (
        listening(house, script=ATTENTIVE) as listener,
        session(house, "thirty", notes) as (pipes, notices),
    ):
        await listener.logged("joined", agent="thirty")
        task_id = await _asked(planner, "thirty", pipes)
        await publish_result(planner, task_id, "answered", body="main")
        told = await notice(notices)
        await listener.logged("ended", agent="thirty", outcome="asked")
        by_hook = await Host(house, "thirty")("UserPromptSubmit")
        for _ in range(2):  # the second call tells that the first one's answer has arrived
            read = await asyncio.to_thread(pipes.call, "read_inbox")
        await listener.logged("read", agent="thirty")

    assert (told, by_hook) == (ANSWER, "")
    assert "working" in read["content"][0]["text"]
    assert notices.empty()


async def test_an_answer_that_a_waiting_call_has_shown_is_told_by_nothing_else(
    house, planner, notes
):
    await known(planner, "thirty-one")
    async with (
        listening(house, script=ATTENTIVE) as listener,
        session(house, "thirty-one", notes) as (pipes, notices),
    ):
        await listener.logged("joined", agent="thirty-one")
        task_id = await _asked(planner, "thirty-one", pipes)
        pipes.watch()
        await publish_result(planner, task_id, "answered", body="main")
        shown = await asyncio.to_thread(pipes.message)
        by_hook = await Host(house, "thirty-one")("UserPromptSubmit")
        await send(planner, "thirty-one")
        told = await notice(notices)

    assert "Answer of planner about task" in shown["result"]["content"][0]["text"]
    assert by_hook == ""
    assert told.startswith("1 task waits")


async def test_a_hook_tells_of_an_answer_where_no_notice_can(house, planner, notes):
    await known(planner, "thirty-two")
    nowhere = interactive("s-thirty-two", notes / "nowhere")
    environ = served.environ(house.data_dir.parent) | nowhere
    async with listening(house, script=ATTENTIVE) as listener:
        with served.Pipes(environ, agent="thirty-two") as pipes:
            await asyncio.to_thread(pipes.greet, served.MODERN)
            await listener.logged("joined", agent="thirty-two")
            task_id = await _asked(planner, "thirty-two", pipes)
            await publish_result(planner, task_id, "answered", body="main")
            await listener.logged("ended", agent="thirty-two", outcome="failed")
            await listener.logged("unread", agent="thirty-two")
            host = Host(house, "thirty-two")
            said = [await host(event) for event in ("Stop", "UserPromptSubmit")]

    assert said == [ANSWER, ""]


async def test_a_run_that_was_started_for_a_task_is_not_told_of_it_again(house, planner, notes):
    try:
        async with one_woken(house, planner, notes, "fifteen") as (listener, _):
            started = await Host(house, "fifteen")("SessionStart")
            await send(planner, "fifteen", priority="normal")
            later = await Host(house, "fifteen")("PostToolBatch")
            await asyncio.to_thread((notes / "go").write_text, "x\n")
            await listener.logged("read", agent="fifteen")
    finally:
        house.config_file.unlink()

    assert [started, later] == ["", NORMAL]
