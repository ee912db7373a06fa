# SPDX-License-Identifier: Apache-2.0
"""What sessions say of themselves as they join: what they read, and whether they do so unasked."""

import asyncio
from dataclasses import replace

import pytest

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.identity import Identity
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.listener import state as states
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.listener.members import Members
from mcp_agentbus.listener.runner import Runner
from mcp_agentbus.listener.state import State
from mcp_agentbus.wakes.ledger import Ledger
from mcp_agentbus.work.worker import Worker

_HANG_S = 20  # only a hang takes as long
ROLES = ["review", "qa"]


class Mute:
    """Takes what a member is told."""

    def write(self, _):
        """Drop it."""


class Watched:
    """What the user has set, as it was read; changed by a test."""

    says = ""

    def __init__(self, settings):
        self.settings, self.next = settings, settings

    def changed(self):
        before, self.settings = self.settings, self.next
        return before != self.settings


@pytest.fixture
def state(settings, state_on, events):
    """A listener's state, with a bus that is away."""
    return state_on(Bus(settings), emit=lambda event, who, _: events.append((event, who)))


def joining(state, roles=ROLES, session="s1", agent="coder", **more):
    request = {"agent": agent, "host": "claude-code", "session": session, "roles": roles, **more}
    return state.members.enter(request, 4711, Mute())


@pytest.mark.parametrize(
    ("given", "roles"),
    [
        (ROLES, ("review", "qa")),
        (("review",), ("review",)),
        (["review", "No role", 3, None, ["qa"], "review"], ("review",)),
        ([f"r{number}" for number in range(40)], tuple(f"r{number}" for number in range(16))),
        ("review", ()),
        (None, ()),
    ],
)
def test_a_session_joins_with_its_roles_as_far_as_they_are_such(given, roles):
    request = {"agent": "coder", "host": "cursor", "session": "s1", "roles": given}

    assert Members().enter(request, 4711, Mute()).roles == roles


def test_an_agent_reads_what_its_sessions_read_and_no_more_once_they_have_ended(state):
    joining(state, ["qa"], "s1")
    member = joining(state, ["review", "qa"], "s2")
    joining(state, ["lead"], "s3", agent="planner")
    there = state.inboxes("coder")
    state.members.leave(member)

    assert there == ("coder", "role-qa", "role-review")
    assert state.inboxes("coder") == ("coder", "role-qa")


def test_of_an_agent_that_is_set_up_its_user_says_what_it_reads(state):
    joining(state)
    coder = Agent("coder", roles=("lead",), accept_from=("planner",))
    state.watcher.settings = replace(state.settings, agents={"coder": coder})

    assert (state.inboxes("coder"), state.me("coder")) == (("coder", "role-lead"), coder)


async def test_what_a_session_that_is_served_here_reads_is_known_as_it_joins(state):
    class Session:
        me = Agent("coder", roles=("review",))

    state.sessions["s1"] = Session()

    named = await state.named({"session": "s1", "agent": "coder", "roles": []})

    assert (named["agent"], named["roles"]) == ("coder", ("review",))


async def test_what_a_monitors_folder_reads_is_known_as_it_joins(state, monkeypatch, tmp_path):
    monkeypatch.setattr(states, "neighbour_settings", lambda ours, _: ours)

    async def identified(_):
        return Identity(Agent("coder", roles=("review",)))

    monkeypatch.setattr(state, "identified", identified)

    named = await state.named({"session": "m", "folder": str(tmp_path)})

    assert (named["agent"], named["roles"]) == ("coder", ("review",))


@pytest.mark.parametrize(
    ("beside", "session"),
    [
        ([], "none"),
        ([{}], "cannot_be_told"),
        ([{}, {"reads_by_itself": True}], "reads_by_itself"),
        ([{"reads_by_itself": True}, {"can_nudge": True}], "can_be_told"),
        ([{"reads_by_itself": "yes"}], "cannot_be_told"),
    ],
)
def test_beside_a_worker_no_person_has_to_do_anything(state, beside, session):
    for number, about in enumerate(beside):
        joining(state, session=f"s{number}", **about)
    loop = Loop(state, None, Runner(state, None, {}))

    assert loop.facts(Desk("coder"), ()).session == session


async def test_a_worker_says_of_itself_what_it_reads_and_that_it_does_so_unasked(own_world):
    agent = Agent(own_world.name("coder"), roles=("review",))
    me = Worker(own_world.bus, agent)._membership._me

    assert (me.roles, me.reads_by_itself) == (("review",), True)


async def test_a_session_is_told_of_a_task_for_its_role(own_world, tmp_path):
    planner = await own_world.session("planner")
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    state = State(own_world.bus.settings, own_world.bus, ledger, lambda *_: None)
    role = own_world.name("review")
    coder = await own_world.session("coder", roles=(role,))
    joining(state, [role], agent=coder.me.id, can_nudge=True)
    await send_task(planner, f"role:{role}", "Review", "x", priority="high")

    looked = await state.look(coder.me.id)
    urgent = await state.look_for_urgent(coder.me.id)
    ledger.close()

    assert (looked.counts.high, urgent.counts.high) == (1, 1)


@pytest.fixture
def opened(state):
    """Keep the desk of coder; return the loop, and how it was opened each time."""
    loop, heard = Loop(state, None, Runner(state, None, {})), asyncio.Queue()

    async def subscribe(desk):
        heard.put_nowait(state.inboxes(desk.agent))

    async def reconnected(_):
        return True

    async def look(_):
        pass

    async def publish(*_, **__):
        pass

    state.bus.reconnected = reconnected
    loop._subscribe, loop.look, loop._publish_here = subscribe, look, publish

    async def next_opened():
        async with asyncio.timeout(_HANG_S):
            return await heard.get()

    yield loop, next_opened
    for desk in state.desks.values():
        desk.loop.cancel()


async def test_a_desk_hears_of_other_inboxes_as_soon_as_its_sessions_read_them(state, opened):
    loop, next_opened = opened
    member = joining(state, [])
    loop._joined = lambda it: loop.desk(it.agent).changed.set()
    desk = loop.desk("coder")
    first = await next_opened()
    loop._renamed(member, {"agent": "coder", "roles": ["review"]})
    second = await next_opened()
    state.members.leave(member)
    desk.changed.set()

    assert (first, second) == (("coder",), ("coder", "role-review"))
    assert await next_opened() == ("coder",)


async def test_roles_that_change_in_config_are_heard_of_at_once_for_one_nobody_starts(
    state, settings, opened, events
):
    loop, next_opened = opened
    state.watcher = Watched(settings)
    loop.desk("coder")
    first = await next_opened()
    state.watcher.next = replace(
        settings,
        agents={"coder": Agent("coder", roles=("review",)), "nobody": Agent("nobody")},
    )
    loop.reload()

    assert (first, await next_opened()) == (("coder",), ("coder", "role-review"))
    assert ("configured", "coder") in events
    assert "nobody" not in state.desks
