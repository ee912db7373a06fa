# SPDX-License-Identifier: Apache-2.0
"""`agentbus work` as it is typed: once, wrongly, and without a bus."""

import json

import served

from mcp_agentbus.cli.typed import work as typed_work
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.send import send_task
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
    assert json.loads(told)["state"] == "failed"

    first, second = (await watch_inbox(planner, task_id=sent, timeout_s=60)).results
    assert "Your user's instruction:\nBe brief.\n" in first.body
    assert second.summary.startswith("Exit code 1 after 0 s.")


async def test_what_is_no_program_is_told_with_the_line_to_try(home):
    code, told = await typed(home, "work")
    assert code == 2
    assert told.startswith("agentbus: There is no program.\nHint: Write it behind --: agentbus w")
    code, told = await typed(home, "work", "--jobs", "2", "claude", "-p", "it")
    assert code == 2
    assert "a program stands behind --. Try: agentbus work --jobs 2 -- claude -p it" in told
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
