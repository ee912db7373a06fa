# SPDX-License-Identifier: Apache-2.0
"""The stages of a self-test: how each ends, and what they come to."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import pytest
from local_server import configured, settings_at

from mcp_agentbus.doctor import self_test
from mcp_agentbus.doctor.check import Stage, Stages, Stopped
from mcp_agentbus.doctor.report import last_line
from mcp_agentbus.errors import AgentbusError, BusUnreachable


async def works():
    return "it is there"


async def refuses():
    raise BusUnreachable("The server is not running.", hint="Start it.")


async def breaks():
    raise ValueError("canary")


async def hangs():
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("work", "state", "said", "fix"),
    [
        (works, "ok", "it is there", ""),
        (refuses, "failed", "The server is not running.", "No task is stored. Start it."),
        # Its message may hold anything.
        (breaks, "failed", "it failed with ValueError", "No task is stored. Please report it."),
        (hangs, "failed", "nothing came within 0 s", "No task is stored. See the log."),
    ],
)
async def test_a_stage_says_what_it_showed_or_what_its_failure_means(work, state, said, fix):
    told = []
    stages = Stages(told.append)

    with suppress(Stopped):
        await stages.take("send", work(), "No task is stored.", within_s=0.01, then="See the log.")

    [stage] = told
    assert (stage.name, stage.state, stage.said, stage.fix) == ("send", state, said, fix)
    assert stages.failed == ([] if state == "ok" else ["send"])


async def test_what_comes_after_a_failed_stage_is_not_tried():
    stages = Stages(lambda _: None)

    with pytest.raises(Stopped):
        await stages.take("send", refuses(), "No task is stored.")


@pytest.mark.parametrize(
    ("states", "line"),
    [
        (["ok", "ok"], "The task came through, and its result came back."),
        (
            ["ok", "skipped"],
            "The task came through, and its result came back. Not tested: stage1.",
        ),
        (["failed", "skipped", "failed"], "Failed: stage0, stage2."),
    ],
)
def test_the_last_line_tells_what_failed_or_was_not_tested(states, line):
    stages = Stages(lambda _: None)
    for number, state in enumerate(states):
        stages.add(Stage(f"stage{number}", state, 1.0, "said"))

    assert last_line(stages) == line


@pytest.mark.parametrize("stops", [asyncio.CancelledError, KeyboardInterrupt, Stopped])
@pytest.mark.parametrize(
    ("ours", "whole"), [(["doctor-1"], False), (["doctor-1", "doctor-2"], True)]
)
async def test_whoever_stops_a_self_test_takes_no_task_from_an_agent_that_holds_it(
    tmp_path, monkeypatch, stops, ours, whole
):
    """With both agents its own, nobody else has one; else it is withdrawn, and stays to be read."""
    taken = []

    async def forget(_, names, *, whole, sent):
        assert not sent
        taken.append((list(names), whole))
        return ""

    monkeypatch.setattr(self_test, "_forget", forget)
    with pytest.raises(stops):
        async with self_test._bus(settings_at(tmp_path), Stages(lambda _: None), *ours):
            raise stops

    assert taken == [(ours, whole)]


AGENTS = """
[agents.coder]
host = "claude-code"
dir = "{0}"
[agents.holder]
host = "openclaw"
dir = "{0}"
wake = "hold"
[agents.typist]
host = "shell"
"""


@pytest.mark.parametrize(
    ("wake", "offered"),
    [("answer", "You have coder."), ("hold", "Add one first: agentbus agent add ID --host HOST")],
)
def test_only_who_may_be_started_is_offered_for_a_test(tmp_path, wake, offered):
    text = AGENTS.format(tmp_path).replace("[agents.holder]", f'wake = "{wake}"\n[agents.holder]')
    stage = self_test._no_wake(configured(tmp_path, text))

    assert stage.fix.startswith(f"Give --wake AGENT. {offered}")


@pytest.mark.parametrize(
    ("agent", "command"),
    [
        ("holder", "`agentbus agent add holder --replace --wake work`"),
        ("typist", "`agentbus agent add typist --replace --host HOST --dir FOLDER`"),
        ("nobody", "`agentbus agent add nobody --host HOST --dir FOLDER`"),
    ],
)
async def test_who_may_not_be_started_is_let_by_a_command_that_is_taken(tmp_path, agent, command):
    settings = configured(tmp_path, AGENTS.format(tmp_path))
    planner = SimpleNamespace(bus=SimpleNamespace(settings=settings))
    with pytest.raises(AgentbusError, match="allows to be started") as refused:
        await self_test._looked_after(planner, agent, None)

    assert refused.value.hint == f"Run {command}."
