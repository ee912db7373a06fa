# SPDX-License-Identifier: Apache-2.0
"""Names at work: sessions, shells and hooks of folders that would have one name."""

import functools
import json
import sys
import uuid

import hooking
import pytest
import served
from listeners import listening

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster
from mcp_agentbus.store.records import read_sent
from mcp_agentbus.store.subjects import AGENTS, PRESENCE, RESULTS, TASKS
from mcp_agentbus.store.task import ATTEMPTS_MAX

ERA = served.MODERN
# With it what is typed is not a person's own, and has its folder's name.
FOLDERS = {"AGENTBUS_HOST": "shell"}
# Whoever runs the tests may be within a host itself.
OUTSIDE = [sys.executable, *served.changed("core.feather.ancestors.ANCESTORS_MAX = 0")]


@pytest.fixture
def word():
    """A name that no other test uses."""
    return f"w{uuid.uuid4().hex[:8]}"


@pytest.fixture
def folder(tmp_path):
    def made(name, text=None):
        path = tmp_path / name
        path.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (path / ".agentbus.toml").write_text(text)
        return path

    return made


def serving(house, folder, program=served.AGENTBUS):
    """A session in a folder that nobody has given a name."""
    environ = served.environ(house.data_dir.parent) | {"AGENTBUS_HOST": "claude-code"}
    return served.Pipes(environ, [*program, "serve"], cwd=folder)


def inbox(pipes):
    """Read the inbox; return whose it is, and what else is said."""
    pipes.greet(ERA)
    first, *rest = (part["text"] for part in pipes.call("read_inbox")["content"])
    return first.removeprefix("Inbox of ").partition(":")[0], rest


def test_two_new_folders_of_one_name_are_open_at_once_and_are_two_agents(home, way, folder, word):
    with serving(home, folder(f"a/{word}")) as one, serving(home, folder(f"b/{word}")) as other:
        other.greet(ERA)
        one.greet(ERA)  # both would be the same, until one of them calls
        second, nothing = inbox(other)
        first, [remark] = inbox(one)
        sent = one.call("send_task", to=second, subject="Count", body="b")
        again, silent = inbox(one)

    assert second == f"{word}-claude"
    assert first.startswith(f"{word}-claude-")
    assert (nothing, silent, again) == ([], [], first)
    assert f"ask your user to run: agentbus agent rename {first} NAME" in remark
    assert sent["structuredContent"]["receipts"][0]["to"] == second
    with serving(home, folder(f"b/{word}")) as other:
        other.greet(ERA)
        assert "Count" in other.call("read_inbox")["content"][0]["text"]


async def test_what_is_said_of_a_name_is_in_the_data_that_claude_code_shows(
    home, way, folder, word
):
    await served.typed(home.data_dir.parent, "inbox", "--agent", f"{word}-claude")
    clone = folder(f"clone-{word}", f'agent = "{word}-claude"')

    with serving(home, clone) as session:
        session.greet(ERA)
        sent = session.call("send_task", to=f"{word}-claude", subject="Count", body="x")
        [remark] = sent["structuredContent"]["remarks"]

    assert f"ask your user to run: agentbus agent allow {clone}" in remark


async def test_a_listener_knows_a_session_by_the_name_that_it_took(house, folder, word):
    async with listening(house) as listener:
        with (
            serving(house, folder(f"a/{word}")) as one,
            serving(house, folder(f"b/{word}")) as other,
        ):
            for session in (one, other):
                session.greet(ERA)
                await listener.logged("joined", agent=f"{word}-claude")
            second, _ = inbox(other)
            first, _ = inbox(one)
            joined = await listener.logged("joined", agent=first)
            await listener.end()
            async with listening(house) as next_:
                again = await next_.logged("joined", agent=first)
                await next_.end()

    assert joined["agent"] == again["agent"] == first != second == f"{word}-claude"


async def test_a_session_that_is_named_before_it_has_joined_joins_by_that_name(house, folder, word):
    late = served.living(after_s=3)
    async with listening(house) as listener:
        with (
            serving(house, folder(f"a/{word}"), late) as one,
            serving(house, folder(f"b/{word}"), late) as other,
        ):
            for session in (one, other):  # served under the one name, and both not joined yet
                session.greet(ERA)
            second, _ = inbox(other)
            first, _ = inbox(one)
            joined = [await listener.logged("joined") for _ in range(2)]
            await listener.end()

    assert second == f"{word}-claude" != first
    assert {(line["pid"], line["agent"]) for line in joined} == {
        (one.process.pid, first),
        (other.process.pid, second),
    }


async def test_a_hook_says_once_why_a_file_does_not_name_its_agent(house, folder, word):
    environ = {**hooking.claude(house.data_dir.parent, ""), "AGENTBUS_AGENT": ""}
    async with (
        Bus.connect(house) as bus,
        Session(bus, Agent(word)) as planner,
        listening(house) as listener,
    ):
        await planner.called()
        clone = folder(f"clone-{word}", f'agent = "{word}"')
        told = [
            hooking.run(environ, "claude-code", event, session_id=word, cwd=str(clone))
            for event in ("SessionStart", "UserPromptSubmit")
        ]
        await listener.end()

    assert f"names the agent {word}, which the roster knows from elsewhere" in told[0]
    assert f"agentbus agent allow {clone}" in told[0]
    assert told[1] == ""


async def test_an_agent_is_renamed_with_all_that_waits_for_it_and_forgotten(
    home, way, folder, word, typed
):
    shop, planner, new = folder(f"{word}+"), ("--agent", f"{word}-planner"), f"{word}-new"
    old = (await typed(shop, "inbox"))[1].removeprefix("Inbox of ").partition(":")[0]
    await typed(shop, "inbox", *planner)
    await typed(shop, "send", f"{word}-planner", "Ask", "q")
    asked = json.loads((await typed(shop, "inbox", *planner, "--json"))[1])["tasks"][0]
    await typed(shop, "result", asked["task_id"], "completed", "--summary", "yes", *planner)
    await typed(shop, "send", old, "Now", "b", *planner)
    await typed(shop, "send", old, "Later", "b", "--deliver-in", "1000", *planner)

    code, said = await typed(shop, "agent", "rename", old, new)
    refused, waits = await typed(shop, "agent", "forget", new, "--yes")
    read = (await typed(shop, "inbox"))[1]
    _, life = await typed(shop, "task", asked["task_id"])

    assert (code, said.splitlines()[1]) == (0, "Moved: 2 waiting tasks, 1 result.")
    assert (refused, waits.splitlines()[0]) == (
        1, f"agentbus: 2 tasks for {new} have no end yet. Nothing was forgotten."
    )  # fmt: skip
    assert read.startswith(f"Inbox of {new}:")
    assert "Now" in read
    assert "yes" in read
    assert "completed" in life
    async with Bus.connect(home) as bus:
        assert old not in await roster.registered(bus)
    code, said = await typed(shop, "agent", "rename", new, f"{word}-planner")
    assert (code, "is an agent already" in said) == (2, True)
    await typed(shop, "agent", "forget", f"{word}-planner", "--yes")
    async with Bus.connect(home) as bus:
        assert f"{word}-planner" not in await roster.registered(bus)


async def test_what_is_parked_under_an_old_name_is_told_and_goes_to_the_new_one(
    world, folder, word, typed
):
    shop, new = folder(f"{word}+"), f"{word}-new"
    old = (await typed(shop, "inbox"))[1].removeprefix("Inbox of ").partition(":")[0]
    planner = await world.session("planner")
    [sent] = await send_task(planner, old, "Hard", "b")
    async with Session(world.bus, Agent(old)) as worker:
        for _ in range(ATTEMPTS_MAX):
            await read_inbox(worker)
            await publish_result(worker, sent.task_id, "working")
            await publish_result(worker, sent.task_id, "released")
        await read_inbox(worker)

    _, told = await typed(shop, "agent", "rename", old, new)
    await typed(shop, "replay", sent.task_id, "--agent", old)
    _, again = await typed(shop, "agent", "rename", old, new)

    assert f"Set aside under {old}: 1 task." in told
    assert (again.splitlines()[1], "Set aside" in again) == (
        "Moved: 1 waiting task, 0 results.", False
    )  # fmt: skip
    assert "Hard" in (await typed(shop, "inbox"))[1]


async def test_what_comes_back_under_an_old_name_goes_to_the_new_one_by_the_same_again(
    folder, word, typed
):
    shop, planner, new = folder(f"{word}+"), ("--agent", f"{word}-planner"), f"{word}-new"
    old = (await typed(shop, "inbox"))[1].removeprefix("Inbox of ").partition(":")[0]
    await typed(shop, "inbox", *planner)
    await typed(shop, "send", old, "Held", "b", *planner)
    await typed(shop, "send", f"{word}-planner", "Ask", "q")
    held = json.loads((await typed(shop, "inbox", "--json"))[1])["tasks"][0]["task_id"]
    asked = json.loads((await typed(shop, "inbox", *planner, "--json"))[1])["tasks"][0]

    _, first = await typed(shop, "agent", "rename", old, new)
    await typed(shop, "result", held, "released", "--agent", old)
    await typed(shop, "result", asked["task_id"], "completed", "--summary", "yes", *planner)
    told = [(await typed(shop, "agents"))[1], (await typed(shop, "inbox"))[1]]
    code, second = await typed(shop, "agent", "rename", old, new)
    read = (await typed(shop, "inbox"))[1]
    none = await typed(shop, "agent", "rename", old, new)
    silent = (await typed(shop, "inbox"))[1]
    other = await typed(shop, "agent", "rename", f"{word}-planner", new)

    again = f"agentbus agent rename {old} {new}"
    assert ("run the same again" in first, again in first.replace("\n  ", " ")) == (True, True)
    remark = f"Under {old}, which this agent was before, waits: 1 task, 1 result."
    assert [remark in each.replace("\n  ", " ") for each in (*told, silent)] == [
        False, True, False
    ]  # fmt: skip
    assert (code, second.splitlines()) == (
        0,
        [f"{old} is {new} already: this moves what has come back since.",
         "Moved: 1 waiting task, 1 result."],
    )  # fmt: skip
    assert (read.partition(":")[0], "Held" in read, "yes" in read) == (
        f"Inbox of {new}", True, True
    )  # fmt: skip
    assert (none[0], "Moved: 0 waiting tasks, 0 results." in none[1]) == (0, True)
    assert (other[0], "is an agent already" in other[1]) == (2, True)


async def test_a_send_that_is_repeated_after_its_addressee_was_renamed_stores_nothing_again(
    world, folder, word, typed
):
    shop, new = folder(f"{word}+"), f"{word}-new"
    old = (await typed(shop, "inbox"))[1].removeprefix("Inbox of ").partition(":")[0]
    planner = await world.session("planner")
    [first] = await send_task(planner, old, "Once", "b", request_id="r")
    async with Session(world.bus, Agent(old)):  # it lives, so its old name stays on the roster
        await typed(shop, "agent", "rename", old, new)
        [again] = await send_task(planner, old, "Once", "b", request_id="r")
    in_old, _ = await read_sent(world.bus, planner.me.id, old, first.task_id)
    await typed(shop, "result", first.task_id, "completed", "--summary", "done")
    inbox = await read_inbox(planner)

    assert (again.task_id, again.duplicate, in_old) == (first.task_id, True, None)
    assert [(end.task_id, end.state) for end in inbox.results] == [(first.task_id, "completed")]


async def test_an_agent_that_gets_its_name_back_has_all_that_waited(home, folder, word, typed):
    shop, old, new = folder(word), f"{word}-shell", f"{word}-new"
    await typed(shop, "inbox")
    await typed(shop, "send", old, "Now", "b", "--agent", f"{word}-planner")

    for was, now in ((old, new), (new, old), (old, new)):
        await typed(shop, "agent", "rename", was, now)

    assert "Now" in (await typed(shop, "inbox"))[1]


async def test_an_agent_that_was_renamed_reads_on_a_bus_that_has_no_streams_yet(folder, word):
    with embedded.ephemeral() as settings:
        typed = functools.partial(
            served.typed, settings.data_dir.parent, folder=folder(word), **FOLDERS
        )
        await typed("inbox")
        await typed("agent", "rename", f"{word}-shell", f"{word}-new")
        async with Bus.connect(settings) as bus:
            for stream in (TASKS, RESULTS, AGENTS, PRESENCE):
                await bus.api(f"STREAM.DELETE.{stream}")

        read = await typed("inbox")

    assert read == (0, f"Inbox of {word}-new: ok, nothing new. Waiting: none.\n")


@pytest.fixture
def typed(home):
    async def type_(folder, *argv, program=served.AGENTBUS, **more):
        variables = {**FOLDERS, **more}
        return await served.typed(
            home.data_dir.parent, *argv, program=program, folder=folder, **variables
        )

    return type_


async def test_a_folders_file_counts_once_its_user_has_allowed_it(home, way, folder, word, typed):
    await typed(folder(f"x-{word}"), "inbox", "--agent", word)
    clone = folder(f"clone-{word}", f'agent = "{word}"\nroles = ["r-{word}"]')

    before = (await typed(clone, "inbox"))[1]
    refused, why = await typed(clone, "agent", "allow", ".", CLAUDECODE="1", AGENTBUS_HOST="")
    still = (await typed(clone, "inbox"))[1]
    code, allowed = await typed(clone, "agent", "allow", ".", program=OUTSIDE, AGENTBUS_HOST="")
    after = (await typed(clone, "inbox"))[1]
    there = folder(f"x-{word}")
    nothing = await typed(there, "agent", "allow", ".", program=OUTSIDE, AGENTBUS_HOST="")

    for each in (before, still):
        assert each.startswith(f"Inbox of clone-{word}-shell:")
    assert (refused, "for its user alone to decide" in why) == (1, True)
    assert (code, f"its sessions are {word} and they read role:r-{word}." in allowed) == (0, True)
    assert after == f"Inbox of {word}: ok, nothing new. Waiting: none.\n"
    assert nothing[0] == 2
