# SPDX-License-Identifier: Apache-2.0
"""`agentbus work` as it is typed: once, wrongly, and without a bus."""

import json

import served
from places import outside_and_inside
from timeless import timeless

from mcp_agentbus.cli.grammar import work as typed_work
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NOT_DONE
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import Decision
from mcp_agentbus.store.records import read_record
from mcp_agentbus.work import program, worker


async def typed(home, *argv):
    return await served.typed(home.data_dir.parent, *argv)


async def test_once_does_one_task_that_waits_or_says_that_there_is_none(world, home):
    planner, agent = await world.session("planner"), world.name("coder")
    once = ("work", "--once", "--agent", agent)

    assert await typed(home, *once, "--", "cat") == (0, f"No task waits for {agent}.\n")
    code, none = await typed(home, *once, "--json", "--", "cat")
    assert (code, json.loads(none)) == (0, {"agent": agent, "task_id": None})

    sent = [(await send_task(planner, agent, each, "b"))[0].task_id for each in "ab"]
    code, told = await typed(home, *once, "--instruction", "Be brief.", "--", "cat")
    assert (code, told) == (0, f"Task {sent[0]} from {planner.me.id}: completed.\n")
    code, told = await typed(home, *once, "--json", "--", "false")
    assert (code, json.loads(told)["state"]) == (NOT_DONE, "failed")

    first, second = (await watch_inbox(planner, task_id=sent, timeout_s=60)).results
    assert "The instruction of your user:\nBe brief.\n" in first.body
    assert timeless(second.summary).startswith("Exit code 1 after N s.")


async def test_a_program_is_told_what_a_session_before_asked_and_what_was_said_to_that(world, home):
    planner, agent = await world.session("planner"), world.name("coder")
    asks, sent = {"needs_input": "Which branch?", "needs_approval": "May I?"}, []
    async with Session(world.bus, Agent(agent)) as coder:
        await coder.called()
        for status, question in asks.items():
            [receipt] = await send_task(planner, agent, status, "b")
            await read_inbox(coder)
            await publish_result(coder, receipt.task_id, status, summary=question)
            sent.append(receipt.task_id)
    await publish_result(planner, sent[0], "answered", body="main")
    record, _ = await read_record(world.bus, planner.me.id, agent, sent[1])
    decided = Decision(approved=True, note="only main", at=text.now())
    decisions.keep(home.state_dir, record, decided)

    for _ in sent:
        assert (await typed(home, "work", "--once", "--agent", agent, "--", "cat"))[0] == 0
    results = (await watch_inbox(planner, task_id=sent, timeout_s=60)).results
    answered, approved = [outside_and_inside(record.body) for record in results]

    assert f"A session before this one asked, {agent} in task {sent[0]}:" in answered[0]
    assert f"{planner.me.id} answered that, " in answered[0]
    assert answered[1].endswith("    Which branch?\n    main")
    assert f"Your user has APPROVED this about task {sent[1]}, " in approved[0]
    assert f'with the words "only main"; what {agent} had asked:' in approved[0]
    assert approved[1].endswith("    May I?")
    assert decisions.kept(home.state_dir, record) is None


async def test_what_is_no_program_is_told_with_the_line_to_try(home):
    code, told = await typed(home, "work")
    assert code == 2
    assert told.startswith("agentbus: There is no program.\nHint: Write it behind --: agentbus w")
    code, told = await typed(home, "work", "--jobs", "2", "claude", "-p", "it")
    assert code == 2
    assert "a program stands behind --. Try: agentbus work --jobs 2 -- claude -p it" in told
    code, told = await typed(home, "work", "--", "sh", "-c", 'echo "{input}" | wc')
    assert code == 2
    assert told.startswith("agentbus: The program has {input} within a script")
    code, told = await typed(home, "work", "--", "no-such-program")
    assert (code, told.splitlines()[0]) == (
        1,
        "agentbus: no-such-program is no program that can be run here.",
    )


async def test_once_without_a_bus_says_so(tmp_path):
    (tmp_path / "config.toml").write_text('[server]\nurl = "nats://127.0.0.1:9"\n')
    (tmp_path / "config.toml").chmod(0o600)

    code, told = await served.typed(tmp_path, "work", "--once", "--agent", "coder", "--", "cat")

    assert code == 3
    assert "Traceback" not in told


def test_the_command_line_has_the_numbers_of_the_worker():
    assert typed_work._JOBS_MAX == worker.JOBS_MAX
    assert typed_work._TIME_LIMIT_S == program.TIME_LIMIT_S
