# SPDX-License-Identifier: Apache-2.0
"""Sessions that a listener serves for their relays: as whom, with what, and how each is let go."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from local_server import settings_at

from mcp_agentbus.config.identity import Identity
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, SendLimit
from mcp_agentbus.handoff.dispatch.rate import SENT_A_MINUTE
from mcp_agentbus.handoff.inbox import WATCH_MAX_S
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.listener import relayed as module
from mcp_agentbus.listener.endpoint import Connection
from mcp_agentbus.listener.relayed import Relayed
from mcp_agentbus.listener.state import State
from mcp_agentbus.relay.carried import words
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.version import __version__
from mcp_agentbus.wakes.ledger import Ledger

_HANG_S = 20  # only a hang takes as long
URL = "nats://127.0.0.1:1"


class Away:
    """A bus without a server."""

    def __init__(self, settings):
        self.settings = settings

    async def reconnected(self, _):
        return False


class Told:
    """A writer: what was written, a line of JSON each."""

    def __init__(self):
        self.said = []

    def write(self, said):
        self.said += map(json.loads, said.splitlines())


class Server:
    """What serves sessions, played: each until `go`, with what they were served by in `served`."""

    def __init__(self):
        self.served, self.ended = [], []
        self.began, self.go = asyncio.Event(), asyncio.Event()
        self.fails = None
        #: Who a session is found to be at a call.
        self.named = Identity(Agent("coder"))

    async def serve(self, session, *streams, **told):
        self.served.append((session, streams, told))
        self.began.set()
        await self.go.wait()
        if self.fails:
            raise self.fails

    async def end(self, way, session):
        self.ended.append((way, session.id))

    async def take(self, *_):
        return self.named


@pytest.fixture
def here(tmp_path):
    return settings_at(tmp_path / "bus", AGENTBUS_URL=URL)


@pytest.fixture
def state(here):
    with contextlib.closing(Ledger(here.state_dir / "ledger.sqlite3")) as ledger:
        yield State(here, Away(here), ledger, lambda *_: None)


@pytest.fixture
def relayed(state):
    return Relayed(state, None)


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(module, "_load", lambda: server.serve)
    monkeypatch.setattr(module, "_LEAVE_TIMEOUT_S", 0.05)
    for name in ("close", "settled"):
        monkeypatch.setattr(Session, name, lambda it, name=name: server.end(name, it))
    monkeypatch.setattr(Naming, "take", server.take)
    return server


@contextlib.asynccontextmanager
async def served(relayed, server, connection):
    """Have a session served for the length of a block; give it, and what it is served by."""
    serving = asyncio.ensure_future(relayed.serve(connection))
    await asyncio.wait_for(server.began.wait(), _HANG_S)
    session, _, told = server.served[-1]
    yield session, told
    server.go.set()
    async with asyncio.timeout(_HANG_S):
        await serving


def asking(here, session="s1", **told):
    """Return the connection of a relay that asks for a session to be served."""
    request = {
        "op": "serve", "version": __version__, "session": session, "agent": "coder",
        "folder": "/work", "environ": words.variables(here.environ), **told,
    }  # fmt: skip
    return Connection(request, 4711, asyncio.StreamReader(), Told())


def joined(state, session="s1", agent="coder"):
    """Have the relay of a session join; return what it is told from then on."""
    told = Told()
    state.members.enter(
        {"agent": agent, "host": "cursor", "session": session, "can_nudge": True}, 4711, told
    )
    told.said.clear()
    return told


async def test_a_session_is_served_as_its_relay_says_until_it_ends(here, state, relayed, server):
    connection = asking(here, hosted="c1 4710", only="9d0c", watch_max_s=5)
    async with served(relayed, server, connection):
        among = dict(state.sessions)

    [(session, streams, told)] = server.served
    assert connection.writer.said == [
        {"serving": "s1", "agent": "coder", "host": "mcp", "roles": [], "server": {"url": URL}}
    ]
    assert (among, state.sessions) == ({"s1": session}, {})
    assert (session.id, session.hosted, session.only) == ("s1", "c1 4710", "9d0c")
    assert (session.naming.asked.given, session.naming.asked.folder) == ("coder", Path("/work"))
    assert (session.bus, session.outbox) == (state.bus, state.outbox)
    assert state.outbox is not None
    assert streams == (connection.reader, connection.writer)
    assert (told["watch_max_s"], told["leaving"].is_set()) == (5.0, False)
    assert server.ended == [("close", "s1")]


async def test_all_sessions_of_an_agent_send_by_one_rate(here, relayed, server):
    server.go.set()
    for each in ("s1", "s2"):
        await relayed.serve(asking(here, each))

    [one, other] = [session.rate for session, _, _ in server.served]
    assert one is other
    one.check("coder", SENT_A_MINUTE)
    with pytest.raises(SendLimit):
        other.check("coder", 1)


@pytest.mark.parametrize("given", [None, "5"])
async def test_who_says_no_limit_watches_for_as_long_as_any(here, relayed, server, given):
    server.go.set()
    await relayed.serve(asking(here, watch_max_s=given))

    assert server.served[0][2]["watch_max_s"] == WATCH_MAX_S


@pytest.mark.parametrize("session", ["", "a b", "../s1", "s1"])
async def test_what_has_no_id_of_its_own_is_served_by_itself(here, state, relayed, server, session):
    there = state.sessions["s1"] = object()
    connection = asking(here, session)
    with pytest.raises(BadInput, match="an id of its own"):
        await relayed.serve(connection)

    assert (state.sessions, server.served, connection.writer.said) == ({"s1": there}, [], [])


async def test_a_session_that_fails_is_logged_and_closed_and_no_other_is_told(
    here, state, relayed, server, caplog
):
    server.fails = ZeroDivisionError()
    server.go.set()
    await relayed.serve(asking(here))

    assert [(each.message, each.exc_info[1]) for each in caplog.records] == [
        ("a relayed session failed", server.fails)
    ]
    assert (state.sessions, server.ended) == ({}, [("close", "s1")])


async def test_a_listener_that_ends_leaves_its_sessions_with_all_that_they_hold(
    here, state, relayed, server, monkeypatch
):
    """Only what cancelled calls have taken is given back before."""
    monkeypatch.setattr(module, "_LEAVE_TIMEOUT_S", _HANG_S)
    async with served(relayed, server, asking(here)) as (_, told):
        leaving = asyncio.ensure_future(relayed.leave())
        done, _ = await asyncio.wait([leaving], timeout=0.01)
        is_told = told["leaving"].is_set()
    async with asyncio.timeout(_HANG_S):
        await leaving

    assert (done, is_told) == (set(), True)
    assert (state.sessions, server.ended) == ({}, [("settled", "s1")])


async def test_a_session_that_does_not_leave_is_cut_off(here, state, relayed, server, caplog):
    serving = asyncio.ensure_future(relayed.serve(asking(here)))
    await asyncio.wait_for(server.began.wait(), _HANG_S)
    async with asyncio.timeout(_HANG_S):
        await relayed.leave()
        await serving

    assert (state.sessions, server.ended, caplog.messages) == ({}, [("settled", "s1")], [])


async def test_its_relay_is_told_what_a_session_holds_at_each_change(here, state, relayed, server):
    told = joined(state)
    relayed.tell_claims("s1")  # it is not served here yet
    async with served(relayed, server, asking(here)) as (session, _):
        session.claims.references = lambda: {"t1": "..."}
        session.claims.on_change()
        relayed.tell_claims("s2")

    assert told.said == [{"op": "claims", "claims": {"t1": "..."}}]


async def test_of_a_session_that_has_not_joined_nobody_is_told(here, relayed, server):
    async with served(relayed, server, asking(here)) as (session, _):
        session.claims.on_change()

    assert server.ended == [("close", "s1")]


@pytest.mark.parametrize(
    "me", [Agent("coder"), Agent("coder-2"), Agent("coder", roles=("review",))]
)
async def test_a_call_counts_and_its_relay_is_told_of_a_new_name_and_of_other_roles(
    here, state, relayed, server, me
):
    server.named = Identity(me, news="You are another.")
    told = joined(state)
    async with served(relayed, server, asking(here)) as (_, by):
        remarks = await by["called"]()

    assert remarks == ("You are another.",)
    news = {"op": "named", "agent": me.id, "roles": list(me.roles)}
    assert told.said == ([] if me == Agent("coder") else [news])
    assert state.members.get("s1").called_at > 0


async def test_a_call_of_a_session_that_has_not_joined_yet_is_one_as_well(here, relayed, server):
    async with served(relayed, server, asking(here)) as (_, by):
        assert await by["called"]() == ()
