# SPDX-License-Identifier: Apache-2.0
"""What goes on, and why a task is not done, asked of a real bus, a real listener and an archive."""

import asyncio
import json
import re
import sys

import pytest
import pytest_asyncio
import served
from listeners import configure, listening
from made_cluster import until
from rawclient import Raw
from workers import forget, workers

from mcp_agentbus.archive.history import history
from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.notices import WHY, Reason
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.overview.listener import ask_listener
from mcp_agentbus.relay import local_socket
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.queries.clock import has_come


@pytest_asyncio.fixture
async def bus():
    async with Bus.ephemeral() as bus:
        yield bus


@pytest.fixture
def home(bus):
    return bus.settings.data_dir.parent


async def sent(planner, to, subject="Count the tests", **more):
    """Send a task and return its id."""
    [receipt] = await send_task(planner, to, subject, "All of them.", **more)
    return receipt.task_id


async def asked(home, *argv):
    """Return what a command answers as data."""
    code, printed = await served.typed(home, *argv, "--json")
    assert code == 0, printed
    return json.loads(printed)


async def lines(home, *argv):
    """Return the lines of facts about tasks that a command prints, without what was written."""
    _, printed = await served.typed(home, *argv)
    return [line for line in printed.splitlines() if "planner to coder \u00b7 " in line]


async def test_it_says_who_is_at_what_what_needs_a_person_what_waits_and_what_is_over(bus, home):
    async with Session(bus, Agent("planner")) as planner, Session(bus, Agent("coder")) as coder:
        await coder.called()
        first = await sent(planner, "coder")
        await read_inbox(coder)
        await publish_result(coder, first, "completed", body="214")
        doubtful = await sent(planner, "coder")
        await read_inbox(coder)
        await publish_result(coder, doubtful, "needs_approval", summary="May I?")
        waits = await sent(planner, "coder", priority="high")
        await roster.register(bus, Agent("reviewer"), None)
        urgent = await sent(planner, "reviewer", priority="high")
        now = await asked(home, "status")
        _, shown = await served.typed(home, "status")
        why = await asked(home, "why", waits[:8])
        bare = await asked(home, "why", first)

    agents = {agent["id"]: agent for agent in now["agents"]}
    assert [held["task_id"] for held in agents["coder"]["holds"]] == [doubtful]
    assert agents["coder"]["waiting"] == {"high": 1}
    assert [(need["kind"], need["about"]) for need in now["needs"]] == [
        ("held", urgent), ("asks", doubtful)
    ]  # fmt: skip
    assert now["needs"][0]["what"] == "is high and wakes nobody: no listener runs"
    assert [(some["count"], some["oldest"]["task_id"]) for some in now["waits"]] == [
        (1, waits), (1, urgent)
    ]  # fmt: skip
    assert [over["task_id"] for over in now["over"]] == [first]
    assert why["why"].startswith("It is high, and no listener runs that could wake coder; a")
    assert bare["why"].startswith("It is over: completed by coder just now; planner has not")
    titles = re.findall("^[A-Z]{4}.*", shown, re.MULTILINE)
    assert titles == [
        "NEEDS YOU: 2", "AGENTS: 3, 2 with an open session", "WAITING: 2 tasks", "OVER"
    ]  # fmt: skip


async def test_it_starts_no_server_and_tells_what_the_archive_knows(bus, home):
    async with Session(bus, Agent("planner")) as planner, Session(bus, Agent("coder")) as coder:
        await coder.called()
        task = await sent(planner, "coder")
        await asked(home, "status")
    await served.typed(home, "server", "stop")

    now = await asked(home, "status")
    why = await asked(home, "why", task)
    _, unknown = await served.typed(home, "why", "abcdef")

    assert embedded.find(bus.settings) is None
    assert now["server"]["url"] is None
    assert "not running" in now["server"]["away"]
    assert [some["oldest"]["task_id"] for some in now["waits"]] == [task]
    assert {agent["state"] for agent in now["agents"]} == {"not known"}
    assert "while the bus server is away" in why["why"]
    assert unknown.startswith("agentbus: No task of your agents is known by 'abcdef'.")


async def test_a_task_of_another_producer_waits_although_its_sender_keeps_nothing(bus, home):
    async with Session(bus, Agent("coder")) as coder:
        await coder.called()
        body = json.dumps({"type": "task.request", "id": "odd-id", "payload": {"content": "y"}})
        async with Raw(bus.settings.data_dir) as raw:
            where = subjects.task_subject("coder", "normal", "stranger")
            await raw.ask(where.encode(), body.encode())
        now = await asked(home, "status")
        [waits] = now["waits"]
        why = await asked(home, "why", waits["oldest"]["task_id"])

    assert (waits["to"], waits["count"], waits["oldest"]["from"]) == ("coder", 1, "stranger")
    assert why["why"] == "It is normal, and nobody is woken for normal; a session of coder is open."


async def test_what_a_session_held_that_was_killed_is_shown_as_offered_again(bus, home):
    async with Session(bus, Agent("planner")) as planner, workers(bus.settings) as start:
        doomed = await start("coder")
        task = await sent(planner, "coder")
        await doomed.ask("read")
        held = await asked(home, "why", task)
        await doomed.kill()
        await forget(bus, "coder", doomed.session)
        ended = await asked(home, "why", task)
        [first, *_] = await lines(home, "why", task)
        [listed] = await lines(home, "tasks", "--agent", "planner")
        _, life = await served.typed(home, "task", task, "--agent", "planner")
        [past] = (await history(planner, view="open")).tasks
        data = await asked(home, "task", task, "--agent", "planner")

    assert held["why"].startswith("coder holds it since ")
    assert held["why"].endswith("its session lives.")
    assert ended["why"].startswith(
        "coder claimed it just now and that session has ended, so it is offered again. It is normal"
    )
    left = "claimed by coder just now, offered again"
    assert left in first
    assert left in listed
    left = "claimed by coder; that session has ended, so it is offered again"
    assert life.startswith(f"Task {task}: {left}")
    assert (past.is_left, past.holder, data["left"], data["agent"]) == (True, "", True, "coder")


async def test_a_question_needs_a_person_until_it_is_answered_though_its_session_has_ended(
    bus, home
):
    async with Session(bus, Agent("planner")) as planner:
        async with Session(bus, Agent("coder")) as coder:
            await coder.called()
            for_sender = await sent(planner, "coder")
            for_user = await sent(planner, "coder")
            await read_inbox(coder, limit=2)
            await publish_result(coder, for_sender, "needs_input", summary="Red or blue?")
            await publish_result(coder, for_user, "needs_approval", summary="May I?")
        open_ones = await asked(home, "status")
        why = await asked(home, "why", for_user)
        listed = await lines(home, "tasks", "--agent", "planner", "--state", "needs_input")
        _, said = await served.typed(home, "why", for_user)
        assert "    Asked: May I?" in said.splitlines()
        _, life = await served.typed(home, "task", for_sender, "--agent", "planner")
        await publish_result(planner, for_sender, "answered", body="Red.")
        left = await asked(home, "status")
        answered = await asked(home, "why", for_sender)
        again = await lines(home, "tasks", "--agent", "planner")
        [of_life] = await lines(home, "task", for_sender, "--agent", "planner")

    needs = {need["about"]: need for need in open_ones["needs"]}
    assert needs.keys() == {for_sender, for_user}
    assert needs[for_sender]["what"] == "coder waits for an answer"
    assert f"agentbus approve {for_user[:8]}" in needs[for_user]["todo"]
    assert "and nobody holds it now" in why["why"]
    assert [need["about"] for need in left["needs"]] == [for_user]
    assert "nobody is woken for normal" in answered["why"]
    how = f"coder asked just now \u00b7 to answer: agentbus answer {for_sender[:8]}"
    [line] = listed
    assert how in line
    assert how in life
    decide = f"coder asked just now \u00b7 to decide: agentbus approve {for_user[:8]}, or deny"
    assert decide in said.splitlines()[0]
    for line in (of_life, *(line for line in again if for_sender[:8] in line)):
        assert "coder asked just now \u00b7 answered just now, not read yet" in line
    assert any(decide in line for line in again)


async def test_what_should_wake_an_agent_and_does_not_needs_a_person_of_whatever_priority(tmp_path):
    with embedded.ephemeral() as settings:
        rules = {"command": [sys.executable, "-c", ""]}
        configure(settings, tmp_path, coder=rules, eager={**rules, "wake_on": ["high", "normal"]})
        async with Bus.connect(settings) as bus, Session(bus, Agent("planner")) as planner:
            await streams.ensure_streams(bus)
            for agent in ("coder", "eager"):
                await roster.register(bus, Agent(agent), None)
                await sent(planner, agent, priority="normal")
            eager = await asked(settings.data_dir.parent, "status")
            await sent(planner, "coder", priority="high")
            both = await asked(settings.data_dir.parent, "status")

    assert [need["what"] for need in [*eager["needs"], *both["needs"]]] == [
        "is normal and wakes nobody: no listener runs",
        "and 1 more are high or normal and wake nobody: no listener runs",
    ]


async def test_a_wake_that_is_held_for_a_person_needs_one(tmp_path):
    with embedded.ephemeral() as settings:
        home = settings.data_dir.parent
        rules = {"command": [sys.executable, "-c", ""], "wake": "hold"}
        configure(settings, tmp_path, coder=rules)
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            listening(settings) as listener,
        ):
            await listener.logged("ready", agent="coder")
            task = await sent(planner, "coder", priority="high")
            await listener.logged("held", agent="coder")
            await roster.register(bus, Agent("reviewer"), None)
            strange = await sent(planner, "reviewer", priority="high")
            now = await asked(home, "status")
            why = await asked(home, "why", task)

    assert [(need["kind"], need["about"], need["what"]) for need in now["needs"]] == [
        ("held", strange, "is high and wakes nobody: nothing starts reviewer"),
        ("held", "coder", f"wake held: {WHY[Reason.PROFILE]}"),
    ]
    assert now["listener"]["state"] == "runs"
    assert "is held: its user wants no session started for it; no session" in why["why"]
    assert why["todo"].startswith("`agentbus agent add coder --replace --wake work` lets a task")


async def test_a_listener_that_tells_of_hundreds_of_agents_is_heard_whole(tmp_path):
    environ = {"AGENTBUS_HOME": str(tmp_path / "bus"), "AGENTBUS_URL": "nats://127.0.0.1:9"}
    settings = load_settings(environ)  # nobody is there: nothing has to be made for each of them
    settings.config_file.parent.mkdir()
    names = {f"agent-{number:050}" for number in range(350)}
    configure(settings, tmp_path, **{name: {"command": ["true"]} for name in names})
    async with listening(settings, AGENTBUS_URL=environ["AGENTBUS_URL"]):
        heard = await asyncio.to_thread(ask_listener, settings)
        _, shown = await served.typed(
            tmp_path / "bus", "listen", "--status", "--json", AGENTBUS_URL=environ["AGENTBUS_URL"]
        )

    assert len(json.dumps(heard.answer)) > local_socket.LINE_MAX_BYTES
    assert heard.state == "runs"
    assert {agent["agent"] for agent in heard.answer["agents"]} == names
    assert {agent["agent"] for agent in json.loads(shown)["agents"]} == names


async def test_a_task_whose_result_goes_to_a_third_as_well_is_told_once_and_of_who_sent_it(
    bus, home
):
    async with (
        Session(bus, Agent("planner")) as planner, Session(bus, Agent("coder")) as coder,
        Session(bus, Agent("reviewer")) as reviewer,
    ):  # fmt: skip
        await coder.called()
        await reviewer.called()
        task = await sent(planner, "coder", reply_to="reviewer")
        await read_inbox(coder)
        await publish_result(coder, task, "needs_input", summary="Red or blue?")
        open_ones = await asked(home, "status")
        await publish_result(coder, task, "completed", body="214")
        now = await asked(home, "status")
        told = {
            argv: await lines(home, *argv.split())
            for argv in (
                "tasks --all", "tasks --all --sent", "tasks --all --received",
                "tasks --agent coder", "tasks --agent planner", "tasks --agent reviewer",
                "search Count", f"why {task}",
            )
        }  # fmt: skip
        nothing_sent = await lines(home, "tasks", "--agent", "reviewer", "--sent")
        _, steps = await served.typed(home, "audit")

    assert [need["about"] for need in open_ones["needs"]] == [task]
    assert [(over["task_id"], over["from"]) for over in now["over"]] == [(task, "planner")]
    assert {argv: len(some) for argv, some in told.items()} == dict.fromkeys(told, 1)
    assert "its result sent to reviewer as well" in told["tasks --agent reviewer"][0]
    assert "reviewer" not in told["tasks --all"][0]
    assert nothing_sent == []
    assert steps.count(" completed ") == 1


async def test_what_has_expired_is_over_before_anybody_has_written_it_down(bus, home):
    async with Session(bus, Agent("planner")) as planner:
        await planner.called()
        await roster.register(bus, Agent("coder"), None)
        before = await asked(home, "status")
        [task] = await send_task(planner, "coder", "Count", "x", expires_in_s=1)
        async with asyncio.timeout(served.ANSWER_WITHIN_S):
            await until(lambda: has_come(bus, task.expires_at))
        now = await asked(home, "status")

    assert before["over"] == []
    assert (now["waiting"], *((each["task_id"], each["state"]) for each in now["over"])) == (
        0, (task.task_id, "expired"),
    )  # fmt: skip
