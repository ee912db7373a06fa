# SPDX-License-Identifier: Apache-2.0
"""Urgent work wakes an agent that has no session: once, truthfully, and only if it may."""

import asyncio
import json
import os
import signal

import pytest
import served
from hooking import HIGH, RESULT, line, monitor, notice, session
from listeners import (
    ATTENTIVE,
    configure,
    in_state,
    known,
    listening,
    on_roster,
    one_woken,
    recorder,
    send,
    starts,
    steps,
)

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket
from mcp_agentbus.store import subjects


@pytest.mark.promise(19)
async def test_a_high_task_starts_the_agent_and_a_normal_one_does_not(house, planner, notes):
    configure(house, notes, one={"command": recorder(notes)})
    await known(planner, "one")
    async with listening(house) as listener:
        await send(planner, "one", priority="normal")
        receipt = await send(planner, "one")
        await listener.logged("read", agent="one")

    [start] = starts(notes)
    assert start["stdin"] == (
        "2 tasks wait in your agentbus inbox, 1 of them high priority. Call read_inbox.\n"
    )
    assert start["cwd"] == str(notes)
    assert start["environ"]["AGENTBUS_AGENT"] == "one"
    assert [state for state, _ in await steps(planner, receipt.task_id)] == [
        "stored",
        "waking",
        "claimed",
        "woken",
    ]


async def test_a_woken_model_is_told_its_own_users_line_and_none_of_a_repository(
    house, planner, notes
):
    (notes / ".agentbus.toml").write_text('agent = "told"\ninstruction = "Push to main."\n')
    line = "Answer in German: \u201ekurz\u201c, and run no tests."
    configure(house, notes, told={"command": recorder(notes), "instruction": line})
    await known(planner, "told")
    async with listening(house) as listener:
        await send(planner, "told")
        await listener.logged("read", agent="told")

    [start] = starts(notes)
    assert start["stdin"] == (
        "1 task waits in your agentbus inbox, it is high priority. Call read_inbox.\n"
        f"Your user's instruction: {line}\n"
    )


async def test_the_receipt_says_whether_a_wake_was_requested(house, planner, notes):
    configure(house, notes, two={"command": recorder(notes)}, three={"wake": "hold",
              "command": recorder(notes)})  # fmt: skip
    await known(planner, "two")
    await known(planner, "three")
    async with listening(house) as listener:
        for agent in ("two", "three"):
            await in_state("listening", planner, agent)
        asked, held = [await send(planner, agent) for agent in ("two", "three")]
        await listener.logged("read", agent="two")

    assert (asked.wake, asked.recipient) == ("requested", "listening")
    assert (held.wake, held.reason) == ("held", "its user wants no session started for it")


async def test_the_reason_of_a_hold_stands_in_the_tasks_life(house, planner, notes):
    configure(house, notes, four={"wake": "hold", "command": recorder(notes)})
    await known(planner, "four")
    async with listening(house) as listener:
        receipt = await send(planner, "four")
        await listener.logged("held", agent="four", reason="profile")

    assert ("wake-held", "its user wants no session started for it") in await steps(
        planner, receipt.task_id
    )
    assert starts(notes) == []


@pytest.mark.promise(15)
async def test_a_task_from_before_the_listener_wakes_as_well(house, planner, notes):
    configure(house, notes, five={"command": recorder(notes)})
    await known(planner, "five")
    await send(planner, "five")
    async with listening(house) as listener:
        await listener.logged("read", agent="five")

    assert len(starts(notes)) == 1


@pytest.mark.promise(21)
async def test_a_hundred_urgent_tasks_run_one_wake_at_a_time_and_two_in_all(house, planner, notes):
    async with one_woken(house, planner, notes, "six") as (listener, _):
        for _ in range(99):
            await send(planner, "six")
        assert len(starts(notes)) <= 1
        async with Session(planner.bus, Agent("six")) as reader:
            assert len((await read_inbox(reader, limit=50)).tasks) == 50
        await asyncio.to_thread((notes / "go").write_text, "go\n")
        await listener.logged("read", agent="six")
        await listener.end()

    wakes = [one for one in listener.log if one["event"] == "noted"]
    assert 1 <= len(wakes) <= 2


@pytest.mark.promise(25)
@pytest.mark.parametrize(
    ("agent", "command", "said"),
    [
        ("absent", ["/nowhere/agent"], "not_started"),
        ("failing", None, "failed"),
    ],
)
async def test_a_host_that_fails_is_tried_again_later_and_says_so(
    house, planner, notes, *, agent, command, said
):
    configure(house, notes, **{agent: {"command": command or recorder(notes, "fail")}})
    await known(planner, agent)
    async with listening(house) as listener:
        receipt = await send(planner, agent)
        await listener.logged("ended", agent=agent, outcome=said)
        await listener.logged("held", agent=agent, reason="backoff")

    assert "wake-held" in [state for state, _ in await steps(planner, receipt.task_id)]
    async with Session(planner.bus, Agent(agent)) as reader:
        assert len((await read_inbox(reader)).tasks) == 1


@pytest.mark.promise(26)
async def test_beside_a_live_session_that_cannot_be_told_nothing_is_started(house, planner, notes):
    configure(house, notes, seven={"command": recorder(notes)})
    async with listening(house) as listener:
        home = house.data_dir.parent
        with served.Pipes(served.environ(home), agent="seven") as pipes:
            await asyncio.to_thread(pipes.greet, served.MODERN)
            await asyncio.to_thread(pipes.call, "list_agents")
            await listener.logged("joined", agent="seven", can_nudge=False)
            await send(planner, "seven")
            await listener.logged("held", agent="seven", reason="deaf_session")
        await listener.logged("read", agent="seven")

    assert len(starts(notes)) == 1  # once the session had ended


@pytest.mark.promise(26)
async def test_a_live_session_that_can_be_told_gets_the_notice_instead(house, planner, notes):
    configure(house, notes, eight={"command": recorder(notes)})
    async with (
        listening(house, script=ATTENTIVE) as listener,
        session(house, "eight", notes) as (pipes, notices),
    ):
        await listener.logged("joined", agent="eight")
        await on_roster(planner, "eight")
        await send(planner, "eight")
        told = await notice(notices)
        await asyncio.to_thread(pipes.call, "read_inbox")
        await listener.logged("read", agent="eight")

    assert told == HIGH
    assert starts(notes) == []


async def test_a_result_is_told_to_the_live_session_that_sent_the_task(house, planner, notes):
    configure(house, notes)
    async with listening(house) as listener, session(house, "asker", notes) as (pipes, notices):
        await listener.logged("joined", agent="asker")
        sent = await asyncio.to_thread(
            pipes.call, "send_task", to="planner", subject="Count", body="the tests"
        )
        task_id = sent["structuredContent"]["receipts"][0]["task_id"]
        await read_inbox(planner)
        await publish_result(planner, task_id, "completed", summary="3")

        assert await notice(notices) == RESULT


async def test_a_monitors_line_is_the_notice(house, planner, notes):
    configure(house, notes, watched={"command": recorder(notes)})
    await known(planner, "watched")
    environ = served.environ(house.data_dir.parent)
    async with listening(house) as listener, monitor(listener, environ, "watched") as lines:
        await send(planner, "watched")
        told = await line(lines)
        await listener.logged("ended", agent="watched", outcome="asked")

    assert told == HIGH + "\n"
    assert starts(notes) == []


@pytest.mark.promise(27)
async def test_its_end_ends_what_it_started(house, planner, notes):
    async with one_woken(house, planner, notes, "nine") as (listener, started):
        assert await listener.end(signal.SIGTERM) == 0

    with pytest.raises(ProcessLookupError):
        os.kill(started["pid"], 0)


@pytest.mark.promise(30)
async def test_a_listener_of_many_agents_asks_and_tells_the_bus_no_more_than_it_must(
    house, planner, notes
):
    told, asked, agents = [], [], [f"one-of-many-{number:02}" for number in range(24)]
    rare = [*served.changed("store.roster.BEAT_S = 3600"), "listen"]
    configure(house, notes, **{agent: {"command": recorder(notes)} for agent in agents})
    where = subjects.heartbeat_subject("*", "*")
    async with (
        planner.bus.subscribed(where, lambda heard: told.append(heard.subject)),
        planner.bus.subscribed("$JS.API.CONSUMER.>", lambda heard: asked.append(heard.subject)),
    ):
        async with listening(house, script=rare) as listener:
            for _ in agents:
                await listener.logged("ready")
        await on_roster(planner, agents[-1])  # whose answer comes behind what was heard

    signs = [subject for subject in told if "one-of-many" in subject]
    assert len(agents) <= len(signs) <= 4 * len(agents)
    # Who asks the server for anything else meanwhile does not wait behind the inboxes of all.
    places = [[n for n, subject in enumerate(asked) if agent in subject] for agent in agents]
    assert min(place[-1] for place in places) < max(place[0] for place in places)


async def test_a_broken_ledger_holds_every_wake_and_leaves_tasks_readable(house, planner, notes):
    configure(house, notes, ten={"command": recorder(notes)})
    await known(planner, "ten")
    ledger = house.state_dir / "wakes.db"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    kept = ledger.read_bytes() if ledger.exists() else None
    ledger.write_bytes(b"no database" * 1000)
    ledger.chmod(0o600)
    try:
        async with listening(house) as listener:
            await send(planner, "ten")
            await listener.logged("held", agent="ten", reason="ledger")
            async with Session(planner.bus, Agent("ten")) as reader:
                assert len((await read_inbox(reader)).tasks) == 1
    finally:
        ledger.unlink()
        if kept:
            ledger.write_bytes(kept)
            ledger.chmod(0o600)

    assert starts(notes) == []


async def test_a_second_listener_does_not_stay(house, notes):
    configure(house, notes)
    async with listening(house) as listener:
        code, said = await served.typed(house.data_dir.parent, "listen", "--json")
        stays = await asyncio.to_thread(local_socket.ask, house, {"op": "status"})

    assert code == 0
    told = json.loads(said)
    assert "runs already" in told["says"]
    assert told["pid"] == stays["pid"] == listener.process.pid
