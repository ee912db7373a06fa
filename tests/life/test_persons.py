# SPDX-License-Identifier: Apache-2.0
"""A person at a terminal: one agent in every folder, who finds the tasks of all of theirs."""

import functools
import json
import sys
import uuid
from dataclasses import replace

import pytest
import served

from mcp_agentbus.config import names, spelling
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.core import hosts
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects
from mcp_agentbus.store.own_name import Naming

# Whoever runs the tests may be within a host itself.
OUTSIDE = [sys.executable, *served.changed("core.feather.ancestors.ANCESTORS_MAX = 0")]
#: What is typed so is its folder's, as it was for everybody before persons had a name.
FOLDERS = {"AGENTBUS_HOST": "shell"}


@pytest.fixture
def typed(home):
    """Type a command outside of any host."""
    return functools.partial(served.typed, home.data_dir.parent, program=OUTSIDE)


@pytest.fixture
def me(home):
    return names.read(home).person() or spelling.plain_name()


@pytest.fixture
def folders(tmp_path):
    """Two folders, of names that no other test uses."""
    made = [tmp_path / f"w{uuid.uuid4().hex[:8]}" for _ in range(2)]
    for folder in made:
        folder.mkdir()
    return made


async def test_a_person_is_one_agent_everywhere_and_finds_what_is_between_others(
    world, way, typed, me, folders
):
    shop, other = folders
    planner, coder = await world.session("planner"), await world.session("coder")
    await coder.called()
    [between] = await send_task(planner, coder.me.id, "Between two others", "b")
    _, receipt = await typed("send", coder.me.id, "Mine", "b", "--json", folder=shop)
    [mine] = json.loads(receipt)["receipts"]
    _, inbox = await typed("inbox", folder=other)
    _, own = await typed("task", mine["task_id"][:12], folder=other)
    lives = [
        await typed("task", task_id, folder=other)
        for task_id in (between.task_id, between.task_id[:12])
    ]
    await typed("inbox", "--agent", "reviewer", folder=other)
    code, refused = await typed("task", between.task_id, "--agent", "reviewer", folder=other)
    inside = await typed("task", between.task_id, folder=other, CLAUDECODE="1")
    _, all_of_them = await typed("tasks", folder=other)
    _, data = await typed("tasks", "--json", folder=other)
    _, only_mine = await typed("tasks", "--agent", me, folder=other)
    _, hosts_own = await typed("tasks", folder=other, CLAUDECODE="1")
    _, of_all = await typed("tasks", "--all", folder=other, CLAUDECODE="1")

    assert inbox.startswith(f"Inbox of {me}:")
    assert f"From {me}" in own or f"{me} to {coder.me.id}" in own, own
    for ended, life in lives:
        assert (ended, "Between two others" in life) == (0, True), life
    assert code == inside[0] == 1
    assert "reviewer neither sent nor received a task" in refused
    both = {between.task_id, mine["task_id"]}
    assert both <= {task["task_id"] for task in json.loads(data)["tasks"]}
    assert "tasks of your agents, the latest first." in all_of_them
    assert f"{planner.me.id} to {coder.me.id}" in all_of_them
    assert f"{me} to {coder.me.id}" in all_of_them
    assert between.task_id[:8] not in only_mine
    assert mine["task_id"][:8] in only_mine
    assert hosts_own.startswith(f"No task of {other.name}-claude")
    assert between.task_id[:8] in of_all


async def test_a_person_finds_and_offers_again_what_was_set_aside_for_any_of_their_agents(
    world, way, typed, folders
):
    planner, coder = await world.session("planner"), await world.session("coder")
    where = subjects.dead_subject(coder.me.id, "normal", planner.me.id)
    await world.bus.publish(where, b"no task", {subjects.H_REASON: "it cannot be read"})
    inside = await typed("parked", "--json", folder=folders[0], CLAUDECODE="1")
    _, listed = await typed("parked", "--json", folder=folders[0])
    [parked] = [each for each in json.loads(listed)["parked"] if each["to"] == coder.me.id]
    code, said = await typed("replay", str(parked["number"]), folder=folders[0])
    again = await typed("replay", str(parked["number"]), folder=folders[0])

    assert json.loads(inside[1])["parked"] == []
    assert (code, said.startswith("Offered again: ")) == (0, True), said
    assert "is parked for your agents." in again[1]


async def test_a_person_answers_for_the_agent_that_sent_the_task_and_is_not_asked_again(
    world, way, typed, folders
):
    planner, coder = await world.session("planner"), await world.session("coder")
    await coder.called()
    [sent] = await send_task(planner, coder.me.id, "Fix it", "b")
    await read_inbox(coder)
    await publish_result(coder, sent.task_id, "needs_input", summary="Which branch?")
    argv = ("answer", sent.task_id[:12], "main")
    inside = await typed(*argv, folder=folders[0], CLAUDECODE="1")
    _, before = await typed("status", "--json")
    code, said = await typed(*argv, folder=folders[0])
    _, after = await typed("status", "--json")
    _, why = await typed("why", sent.task_id)
    _, steps = await typed("audit", "--agent", planner.me.id)
    [item] = (await read_inbox(coder)).tasks

    assert (inside[0], f"With --agent {planner.me.id} you can answer it." in inside[1]) == (1, True)
    assert (code, "The answer is stored" in said) == (0, True)
    assert [answer.body for answer in item.answers] == ["main"]
    for shown, asks in ((before, 1), (after, 0)):
        needs = [need["about"] for need in json.loads(shown)["needs"]]
        assert needs.count(sent.task_id) == asks
    assert f"{planner.me.id} answered just now, and it has not read that yet" in why
    assert " answered " in steps


@pytest.mark.usefixtures("way")
async def test_a_folder_that_had_a_name_keeps_it_until_its_user_joins_it_to_theirs(
    world, home, typed, me, folders
):
    shop, _ = folders
    old = f"{shop.name}-shell"
    with names.writing(home) as book:
        book.before |= {old}
    _, before = await typed("inbox", folder=shop, **FOLDERS)
    planner = await world.session("planner")  # who is there before anything is typed may be joined
    [sent] = await send_task(planner, old, "For the shop", "b")
    _, doctor = await typed("doctor", "--json", folder=shop)
    code, said = await typed("agent", "rename", old, me, folder=shop)
    _, after = await typed("inbox", folder=shop)
    refused, why = await typed("agent", "rename", planner.me.id, me, folder=shop)

    assert before.startswith(f"Inbox of {old}:")
    assert f"agentbus agent rename {old} {me}" in doctor
    assert (code, said.splitlines()[1]) == (0, "Moved: 1 waiting task, 0 results.")
    assert after.startswith(f"Inbox of {me}:")
    assert sent.task_id in after
    assert (refused, f"{me} is an agent already" in why) == (2, True)


async def test_a_worker_of_a_folder_is_an_agent_of_its_own_beside_who_types_there(
    typed, me, folders
):
    code, done = await typed("work", "--once", "--json", "--", "cat", folder=folders[0])
    _, inbox = await typed("inbox", folder=folders[0])

    assert (code, json.loads(done)["agent"]) == (0, f"{folders[0].name}-worker")
    assert inbox.startswith(f"Inbox of {me}:")


async def test_what_runs_below_a_host_that_leaves_no_variables_is_no_person(way, home, folders):
    shop, _ = folders
    codex = shop / "codex"
    codex.write_text('#!/bin/sh\n"$@"\nexit 0\n')
    codex.chmod(0o755)
    inbox = await served.typed(
        home.data_dir.parent, *served.AGENTBUS, "inbox", program=[str(codex)], folder=shop
    )

    assert inbox[1].startswith(f"Inbox of {shop.name}-codex:")
    assert "codex" in hosts.named("codex").programs


async def test_on_a_shared_server_two_machines_with_a_user_of_one_name_are_two_agents(
    world, tmp_path
):
    def on(machine):
        shared = {"url": "tls://bus.example.org:4222", "state_dir": tmp_path / machine}
        settings = replace(world.bus.settings, **shared)
        return Naming(Asked(settings, None, tmp_path, is_persons=True))

    async with Session(world.bus, Agent(spelling.plain_name())) as elsewhere:
        await elsewhere.called()
    here = await on("here").take(world.bus)
    again = await on("here").take(world.bus)
    async with Session(world.bus, here.me) as session:
        await session.called()
    third = await on("third").take(world.bus)

    assert here.me.id.startswith(f"{elsewhere.me.id}-")
    assert "is somebody's already" in here.news
    assert (again.me.id, again.news) == (here.me.id, "")
    assert len({elsewhere.me.id, here.me.id, third.me.id}) == 3
