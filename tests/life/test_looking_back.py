# SPDX-License-Identifier: Apache-2.0
"""The commands that look back: lists, every step, and a diary that goes on where it was."""

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import replace

import pytest
import pytest_asyncio

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.core import text
from mcp_agentbus.core.feather.printer import EXIT_CODE
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.store.records import add_wake, read_record, write_record
from mcp_agentbus.store.steps import step
from mcp_agentbus.store.task import Moment
from mcp_agentbus.tools import commands
from mcp_agentbus.tools.typed_command import Command


class Shell:
    """Whoever types commands on a bus of their own."""

    def __init__(self, bus):
        self.bus = bus

    def call(self, out, *argv):
        naming = Naming(Asked(self.bus.settings, "planner"))
        return Command(parser().parse_args(argv), naming, out, self.bus)

    async def typed(self, *argv):
        """Return what a command prints."""
        lines = []
        assert await commands.start(self.call(lambda line, _: lines.append(line), *argv)) == 0
        return "\n".join(lines)


@pytest_asyncio.fixture
async def shell():
    async with Bus.ephemeral() as bus:
        yield Shell(bus)


@pytest_asyncio.fixture
async def done(shell):
    """The id of a task that planner sent, and coder has worked on and ended."""
    async with (
        Session(shell.bus, Agent("planner")) as planner,
        Session(shell.bus, Agent("coder")) as coder,
    ):
        await coder.called()
        [receipt] = await send_task(planner, "coder", "Count the tests", "All of them.")
        await read_inbox(coder)
        await publish_result(coder, receipt.task_id, "working", summary="Half of them.")
        await publish_result(coder, receipt.task_id, "completed", body="214\n## forged")
    return receipt.task_id


async def test_tasks_are_listed_and_found(shell, done):
    listed = await shell.typed("tasks", "--sent")
    [task] = json.loads(await shell.typed("search", "214", "--json"))["tasks"]

    assert "1 task sent by planner, the latest first.\n" + done[:8] in listed
    assert "completed by coder" in listed
    assert (task["task_id"], task["state"], task["to"]) == (done, "completed", "coder")
    assert await shell.typed("tasks", "--received") == "No task received by planner."
    assert (await shell.typed("tasks", "--all", "--received")).count(done[:8]) == 2
    assert (await shell.typed("tasks", "--with", "role:coder")).startswith("No task of planner")


@pytest.mark.promise(45)
async def test_every_step_has_a_line_and_no_text_for_people_and_for_programs(shell, done):
    for state in ("wake-held", "woken"):
        wake = Moment(state=state, at=text.now(), by="coder", reason="SAID of the wake")
        await add_wake(shell.bus, "planner", "coder", done, wake)
    record, _ = await read_record(shell.bus, "planner", "coder", done)
    for state in ("parked", "expired"):
        said = {"note": "SAID on the way", "reason": "SAID why", "artifacts": ("SAID.txt",)}
        waits = record.model_copy(update={"task_id": state, "history": ()})
        over = step(waits, state, "coder", "", text.now(), **said)
        await write_record(shell.bus, over, 0)
    lines = (await shell.typed("audit")).splitlines()
    data = (await shell.typed("audit", "--json")).splitlines()

    states = [
        "stored", "claimed", "working", "completed", "wake-held", "woken", "parked", "expired",
    ]  # fmt: skip
    assert [line.split()[2] for line in lines] == states
    assert [json.loads(line)["state"] for line in data] == states
    assert [json.loads(line)["task"]["task_id"][:8] for line in data[:6]] == [done[:8]] * 6
    for said in ("SAID", "Count the tests", "All of them", "Half of them", "214\\n"):
        assert said not in "".join((*lines, *data))
    assert all("planner to coder, by " in line for line in lines)
    assert all(done[:8] in line for line in lines[:6])
    assert await shell.typed("audit", "--agent", "reviewer") == (
        "No step of a task is known in this time."
    )


async def test_the_steps_of_an_agent_are_those_of_its_roles_as_well(shell, done):
    builder = Agent("builder", roles=("builders",))
    async with (
        Session(shell.bus, Agent("planner")) as planner,
        Session(shell.bus, builder) as session,
    ):
        await session.called()
        [receipt] = await send_task(planner, "role:builders", "Build it", "Now.")

    for command in ("audit", "export"):
        steps = await shell.typed(command, "--agent", "builder")

        assert receipt.task_id[:8] in steps
        assert done[:8] not in steps


async def test_a_diary_has_all_texts_and_nobody_can_forge_an_entry(shell, done):
    diary = await shell.typed("export")

    entries = [line.split()[2] for line in diary.splitlines() if line.startswith("## ")]
    assert entries == ["stored", "claimed", "working", "completed"]
    for said in ("    All of them.", "    Half of them.", "    214", "    ## forged"):
        assert said in diary.splitlines()


async def test_a_named_export_goes_on_where_it_was(shell, done):
    first = (await shell.typed("export", "--json", "--cursor", "backup")).splitlines()
    async with Session(shell.bus, Agent("planner")) as planner:
        await send_task(planner, "coder", "Another", "x")
    second = (await shell.typed("export", "--json", "--cursor", "backup")).splitlines()

    assert [json.loads(line)["state"] for line in first][::3] == ["stored", "completed"]
    [step] = map(json.loads, second)
    assert (step["state"], step["task"]["subject"]) == ("stored", "Another")
    assert await shell.typed("export", "--json", "--cursor", "backup") == ""


@pytest.mark.parametrize("command", ["audit", "export"])
async def test_following_prints_each_step_once(shell, done, command):
    told = asyncio.Queue()
    call = shell.call(
        lambda line, _: told.put_nowait(json.loads(line)), command, "--follow", "--json"
    )
    following = asyncio.ensure_future(commands.start(call))
    try:
        before = [(await told.get())["state"] for _ in range(4)]
        async with Session(shell.bus, Agent("planner")) as planner:
            [receipt] = await send_task(planner, "coder", "Another", "x")
            await publish_result(planner, receipt.task_id, "cancelled")
        async with asyncio.timeout(20):
            after = [await told.get() for _ in range(2)]
    finally:
        following.cancel()
        await asyncio.wait([following])

    assert before == ["stored", "claimed", "working", "completed"]
    assert [(step["state"], step["task"]["task_id"]) for step in after] == [
        ("stored", receipt.task_id),
        ("cancelled", receipt.task_id),
    ]
    assert told.empty()


class Ended(Exception):
    """A listener has ended while it printed."""


def unfenced(printed):
    """Without what no two frames have alike."""
    return re.sub("<<<[0-9a-f]{6}|[0-9a-f]{6}>>>", "", printed)


async def resumed(shell, whole, *argv):
    """Type it, have its listener end after so many texts, and its process go on; what is printed."""
    printed, changed = [], {}

    def out(line, with_it):
        if len(printed) == whole:
            raise Ended
        printed.append(line)
        changed.update(with_it)

    with suppress(Ended):
        await commands.start(shell.call(out, *argv))
    if EXIT_CODE not in changed:
        rest = shell.call(lambda line, _: printed.append(line), *argv)
        vars(rest.args).update(json.loads(json.dumps(changed)))
        await commands.start(rest)
    return printed


@pytest.mark.parametrize(
    "typed",
    ["audit", "audit --limit 2", "audit --json", "export", "export --cursor C", "audit --since 2h",
     "audit --agent reviewer"],
)  # fmt: skip
async def test_no_step_is_printed_twice_or_left_out_whenever_its_listener_ends(shell, done, typed):
    every = []
    await commands.start(shell.call(lambda line, _: every.append(line), *typed.split()))

    for whole in range(len(every) + 1):
        argv = typed.replace("C", f"name-{whole}").split()
        printed = await resumed(shell, whole, *argv)
        assert list(map(unfenced, printed)) == list(map(unfenced, every))
        if "--cursor" in argv:
            assert await shell.typed(*argv) == ""


@pytest.mark.parametrize("command", ["audit", "export"])
async def test_whoever_follows_on_from_a_step_is_told_each_once(shell, done, command):
    printed, changed = asyncio.Queue(), {}

    def out(line, with_it):
        printed.put_nowait(line)
        changed.update(with_it)

    argv = [command, "--follow"]
    following = asyncio.ensure_future(commands.start(shell.call(out, *argv)))
    async with asyncio.timeout(20):
        states = [(await printed.get()).split()[2] for _ in range(4)]
    following.cancel()
    await asyncio.wait([following])
    async with Session(shell.bus, Agent("planner")) as planner:
        [receipt] = await send_task(planner, "coder", "Another", "x")
        await publish_result(planner, receipt.task_id, "cancelled")
    again = shell.call(out, *argv)
    vars(again.args).update(json.loads(json.dumps(changed)))
    following = asyncio.ensure_future(commands.start(again))
    async with asyncio.timeout(20):
        states += [(await printed.get()).split()[2] for _ in range(2)]
    following.cancel()
    await asyncio.wait([following])

    assert states == ["stored", "claimed", "working", "completed", "stored", "cancelled"]


@pytest.mark.parametrize("typed", ["send coder s b", "inbox", "task TASK"])
async def test_nothing_is_printed_behind_what_ends_a_command(shell, done, monkeypatch, typed):
    """What its user should know of the name comes before that, or with it, and once."""
    take = Naming.take

    async def told(naming, bus):
        return replace(await take(naming, bus), news="You are planner.")

    monkeypatch.setattr(Naming, "take", told)
    printed = []
    argv = typed.replace("TASK", done).split()
    call = shell.call(lambda *said: printed.append(said), *argv)
    vars(call.args).setdefault("request_id", "r")
    await commands.start(call)

    assert [EXIT_CODE in with_it for _, with_it in printed] == [False] * (len(printed) - 1) + [True]
    assert "\n".join(line for line, _ in printed).splitlines().count("You are planner.") == 1
