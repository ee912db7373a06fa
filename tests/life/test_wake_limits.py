# SPDX-License-Identifier: Apache-2.0
"""What its user has not allowed, or not so often, wakes nobody, and everybody can read why."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
import served
from listeners import configure, known, listening, recorder, send, starts, steps

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.notices import WHY
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.wakes.ledger import Ledger

LIMITS = {
    "sender_rate": {"per_sender_hour": 1},
    "agent_rate": {"per_hour": 1},
    "daily_budget": {"per_day": 1},
}

# A listener on a server that is old enough to have heard from every session that lives.
LATER = """
import sys
from mcp_agentbus.cli import main as cli
from mcp_agentbus.store import roster

async def lives(bus, agent, session):
    return session in await roster.live_sessions(bus, agent)

roster.may_live = lives
sys.exit(cli.main(["listen"]))
"""


@pytest.fixture
def house():
    """A server that one test's listener has for itself."""
    with embedded.ephemeral() as settings:
        yield settings


@pytest_asyncio.fixture
async def speakers(house):
    """Yield what opens a session of an agent."""
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(Bus.connect(house))
        await streams.ensure_streams(bus)

        async def speaker(agent, roles=()):
            session = await stack.enter_async_context(Session(bus, Agent(agent, roles=roles)))
            await session.called()
            await session.can_read()
            return session

        yield speaker


def shared(house):
    """Return the environment in which that server is a shared one."""
    files = embedded.Files(house.data_dir)
    return {
        "AGENTBUS_URL": embedded.find(house).url,
        "AGENTBUS_TOKEN_FILE": str(files.token),
    }


async def beaten(bus, **reasons):
    """Wait until the roster knows why each agent's wakes are held."""
    beats = asyncio.Queue()
    async with bus.subscribed(subjects.heartbeat_subject("*", "*"), beats.put_nowait):
        async with asyncio.timeout(60):
            while reasons:
                beat = await beats.get()
                agent = beat.subject.split(".")[1]
                if agent in reasons and reasons[agent] in beat.data.decode():
                    del reasons[agent]


@pytest.mark.promise(22)
async def test_each_limit_holds_the_next_wake_and_the_life_and_a_later_receipt_say_why(
    house, speakers, notes
):
    planner = await speakers("planner")
    agents = {reason: reason.replace("_", "-") for reason in LIMITS}
    configure(house, notes, **{
        agents[reason]: {"command": recorder(notes), **limit} for reason, limit in LIMITS.items()
    })  # fmt: skip
    await known(planner, *agents.values())
    async with listening(house) as listener:
        for reason, agent in agents.items():
            await send(planner, agent)
            await listener.logged("read", agent=agent)
            over = await send(planner, agent)
            assert (over.wake, over.reason) == ("held", WHY[reason])
            await listener.logged("held", agent=agent, reason=reason)
            assert ("wake-held", WHY[reason]) in await steps(planner, over.task_id)
        await listener.end()

    assert len(starts(notes)) == len(LIMITS)
    for agent in agents.values():
        async with Session(planner.bus, Agent(agent)) as reader:
            assert len((await read_inbox(reader)).tasks) == 1


@asynccontextmanager
async def used_up(house, often, notes, agent):
    """Listen, and have a sender use up its hour with an agent; yield the listener, the held task."""
    configure(house, notes, **{agent: {"command": recorder(notes), "per_sender_hour": 1}})
    await known(often, agent)
    async with listening(house) as listener:
        await send(often, agent)
        await listener.logged("read", agent=agent)
        over = await send(often, agent)
        await listener.logged("held", agent=agent, reason="sender_rate")
        yield listener, over


@pytest.mark.promise(22)
async def test_one_senders_used_up_hour_keeps_no_other_sender_from_waking(house, speakers, notes):
    often, seldom = await speakers("often"), await speakers("seldom")
    async with used_up(house, often, notes, "one") as (listener, over):
        await send(seldom, "one")
        await listener.logged("read", agent="one")

    assert [one["stdin"][:12] for one in starts(notes)] == ["1 task waits", "2 tasks wait"]
    assert "claimed" in [state for state, _ in await steps(often, over.task_id)]


async def test_one_senders_hold_is_not_told_in_anothers_receipt(house, speakers, notes):
    often, seldom = await speakers("often"), await speakers("seldom")
    async with used_up(house, often, notes, "two") as (listener, _):
        await beaten(often.bus, two="sender_rate")
        receipt = await send(seldom, "two")
        await listener.logged("read", agent="two")

    assert (receipt.wake, receipt.reason) == ("requested", "")


async def test_a_wake_that_was_read_by_a_shell_counts_as_read(house, speakers, notes):
    planner = await speakers("planner")
    configure(house, notes, three={"command": recorder(notes)})
    await known(planner, "three")
    async with listening(house, script=["-c", LATER]) as listener:
        await send(planner, "three")
        await listener.logged("read", agent="three")

    assert len(starts(notes)) == 1


@pytest.mark.promise(23)
async def test_on_a_shared_server_only_neighbours_and_named_senders_wake(house, speakers, notes):
    stranger, friend = await speakers("stranger"), await speakers("friend")
    neighbour = await speakers("neighbour")
    configure(
        house, notes, target={"command": recorder(notes), "wake_from": ["friend"]},
        aim={"command": recorder(notes)}, neighbour={"command": recorder(notes)},
    )  # fmt: skip
    await known(stranger, "target", "aim")
    async with listening(house, **shared(house)) as listener:
        unheard = await send(stranger, "target")
        await listener.logged("held", agent="target", reason="not_allowed")
        assert ("wake-held", WHY["not_allowed"]) in await steps(stranger, unheard.task_id)
        assert starts(notes) == []
        async with Session(stranger.bus, Agent("target")) as reader:
            assert len((await read_inbox(reader)).tasks) == 1
        await send(friend, "target")
        await listener.logged("read", agent="target")
        await send(neighbour, "aim")
        await listener.logged("read", agent="aim")
        await listener.end()

    assert [one["environ"]["AGENTBUS_AGENT"] for one in starts(notes)] == ["target", "aim"]


@pytest.mark.promise(23)
async def test_on_this_users_own_server_everybody_may_wake(house, speakers, notes):
    stranger = await speakers("stranger")
    configure(house, notes, open={"command": recorder(notes)})
    await known(stranger, "open")
    async with listening(house) as listener:
        await send(stranger, "open")
        await listener.logged("read", agent="open")

    assert len(starts(notes)) == 1


async def test_in_quiet_hours_a_task_waits_and_says_so(house, speakers, notes):
    planner = await speakers("planner")
    now = datetime.now(UTC)
    hours = [(now + timedelta(hours=by)).strftime("%H:%M") for by in (-2, 2)]
    configure(house, notes, quiet={"command": recorder(notes), "quiet_hours": "-".join(hours)})
    await known(planner, "quiet")
    async with listening(house, TZ="UTC") as listener:
        receipt = await send(planner, "quiet")
        await listener.logged("held", agent="quiet", reason="quiet_hours")
        await listener.end()

    assert await steps(planner, receipt.task_id) == [
        ("stored", ""),
        ("wake-held", WHY["quiet_hours"]),
    ]
    assert starts(notes) == []


async def test_a_result_starts_the_closed_sender_that_asked_for_it_and_no_other(
    house, speakers, notes
):
    worker = await speakers("worker")
    configure(house, notes, asker={"command": recorder(notes)}, guest={"command": recorder(notes)})
    async with Session(worker.bus, Agent("asker")) as asker:
        wanted = await send(asker, "worker", priority="normal", notify="wake")
    async with Session(worker.bus, Agent("guest")) as guest:
        unasked = await send(guest, "worker", priority="normal")
    await read_inbox(worker)
    async with listening(house) as listener:
        await listener.logged("ready", agent="guest")
        await publish_result(worker, unasked.task_id, "completed", summary="3")
        await publish_result(worker, wanted.task_id, "completed", summary="3")
        await listener.logged("read", agent="asker")
        await send(worker, "guest")
        await listener.logged("read", agent="guest")

    result = "1 result of a task that you sent with agentbus can be read. Call read_inbox.\n"
    first, second = starts(notes)
    assert (first["environ"]["AGENTBUS_AGENT"], first["stdin"]) == ("asker", result)
    assert second["environ"]["AGENTBUS_AGENT"] == "guest"
    assert second["stdin"].startswith("1 task waits")


async def test_a_deadline_that_passes_starts_the_closed_sender_that_asked_for_the_result(
    house, speakers, notes
):
    worker = await speakers("worker")
    configure(house, notes, late={"command": recorder(notes)})
    async with Session(worker.bus, Agent("late")) as late:
        sent = await send(late, "worker", notify="wake", priority="normal", expires_in_s=1)
    quick = ("listener.daemon._LOOK_AT_DUE_S = 0.1", "store.upkeep.deadlines._PAUSE_S = 0.1")
    async with listening(house, script=[*served.changed(*quick), "listen"]) as listener:
        await listener.logged("read", agent="late")

    [state, *_] = [step.state for step in (await task_life(worker, sent.task_id)).history[1:]]
    assert state == "expired"
    assert starts(notes)[0]["stdin"].startswith("1 result of a task that you sent")


@pytest.mark.promise(19)
async def test_a_high_task_for_a_role_starts_one_of_its_two_agents(house, speakers, notes):
    planner = await speakers("planner")
    pair = {"left", "right"}
    configure(house, notes, **{
        agent: {"command": recorder(notes), "roles": ["review"]} for agent in sorted(pair)
    })  # fmt: skip
    async with listening(house) as listener:
        ready = {(await listener.logged("ready"))["agent"] for _ in pair}
        assert ready == pair
        await send(planner, "role:review")
        woken = (await listener.logged("read"))["agent"]
        [other] = pair - {woken}
        await send(planner, other)
        await listener.logged("read", agent=other)
        await listener.end()

    ledger = Ledger(house.state_dir / "wakes.db")
    inboxes = {agent: told(ledger, agent) for agent in pair}
    ledger.close()
    assert inboxes == {woken: ["role-review"], other: [other]}
    assert len(starts(notes)) == 2


def told(ledger, agent):
    """Return the inboxes of all that an agent was woken for."""
    return [key.split(" ")[1] for row in ledger.latest(agent) for key in row.keys]
