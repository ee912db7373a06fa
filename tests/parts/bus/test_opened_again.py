# SPDX-License-Identifier: Apache-2.0
"""A connection that opens at its first use and again when it was lost: what is heard, told, ended."""

import asyncio
from types import SimpleNamespace

import pytest
import threadless
from local_server import settings_at

from mcp_agentbus.bus import budget, reconnect
from mcp_agentbus.bus.connection import LinkLost, NoResponders
from mcp_agentbus.bus.reconnect import Reconnecting
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.bus.said import GONE
from mcp_agentbus.errors import (
    BusUnreachable,
    CutOff,
    NoAnswer,
    NobodyListens,
    NotAllowed,
    Unconfirmed,
)

HANG_S = 10  # nothing here waits: only a hang takes as long
AWAY = BusUnreachable("It is away. Nothing was stored.", hint="Mend it.")


class Link:
    """A connection; what it is asked for fails as it is told."""

    is_clustered = False

    def __init__(self, failure=None, denied=()):
        self.alive, self.failure, self.denied = True, failure, denied
        self.asked, self.ended = [], lambda: None

    def _did(self, *what):
        self.asked.append(what)
        if self.failure:
            raise self.failure

    async def send(self, *what):
        self._did("send", *what)

    async def flush(self, within_s):
        self._did("flush", within_s)

    async def request(self, *what, timeout):
        self._did("request", *what, timeout)
        return Message("a.b", b"answer")

    async def subscribe(self, subject, hear, group):
        self.asked.append(("subscribe", subject, group))

        async def end():
            self.asked.append(("end", subject))

        return end

    def was_denied(self, subject):
        return subject in self.denied

    def on_end(self, call):
        self.ended = call

    async def close(self):
        self.asked.append(("close",))
        self.alive = False

    def lost(self):
        self.alive = False
        self.ended()


class Servers:
    """What is there when a connection is opened, in turn; and whether a server might be started."""

    def __init__(self, monkeypatch, settings):
        self.settings, self.there, self.may_start, self.at = settings, [], [], 0.0
        self.pauses = []
        monkeypatch.setattr(reconnect, "find_servers", self._found)
        monkeypatch.setattr(reconnect, "in_thread", self._here)
        monkeypatch.setattr(reconnect.Rotation, "open", self._open)
        monkeypatch.setattr(reconnect, "time", SimpleNamespace(monotonic=lambda: self.at))
        monkeypatch.setattr(reconnect, "_BACKOFF_S", (0.25, 0.5, 1.0))

    def _found(self, settings, *, may_start):
        assert settings is self.settings
        self.may_start.append(may_start)
        return []

    async def _here(self, find, settings, **options):
        return find(settings, **options)

    async def _open(self, _):
        there = self.there.pop(0) if self.there else AWAY
        if isinstance(there, asyncio.Event):
            await there.wait()
        if isinstance(there, Exception):
            raise there
        return there, None

    async def sleep(self, pause):
        self.pauses.append(pause)
        self.at += pause

    def bus(self, *there):
        self.there += there
        return Reconnecting(self.settings)


@pytest.fixture
def servers(monkeypatch, tmp_path):
    return Servers(monkeypatch, settings_at(tmp_path, AGENTBUS_URL="nats://127.0.0.1:4000"))


@pytest.fixture
def awaited(monkeypatch, servers):
    """Have pauses take no time but that of the test's own clock."""
    names = {**vars(asyncio), "sleep": servers.sleep}
    monkeypatch.setattr(reconnect, "asyncio", SimpleNamespace(**names))


def test_nothing_is_open_or_known_at_first(servers):
    bus = servers.bus()

    assert (bus.connections, bus.unanswered, bus.away_says, bus.is_locked_out) == (0, 0, "", False)
    assert (bus.opened.is_set(), bus.settings) == (False, servers.settings)


async def test_it_is_opened_once_for_all_and_again_when_it_was_lost(servers):
    first, second = Link(), Link()
    bus = servers.bus(first, second)

    await asyncio.gather(*(bus.send("a.b", b"", {}) for _ in range(3)))
    assert (bus.connections, bus.opened.is_set(), len(first.asked)) == (1, True, 3)
    first.lost()
    await bus.send("a.b", b"x", {"h": "1"})

    assert (bus.connections, second.asked) == (2, [("send", "a.b", b"x", {"h": "1"})])
    assert servers.may_start == [False, False]


async def test_once_it_is_closed_it_is_opened_no_more(servers):
    link = Link()
    async with servers.bus(link, Link()) as bus:
        await bus.send("a.b", b"", {})
    await bus.close()

    assert link.asked == [("send", "a.b", b"", {}), ("close",), ("close",)]
    with pytest.raises(BusUnreachable, match="This bus was closed") as caught:
        await bus.send("a.b", b"", {})
    assert caught.value.hint == "Open a new one."


async def test_what_is_to_be_taken_is_flushed_and_told_where_it_may_not_be(servers):
    link = Link(denied=["a.c"])
    bus = servers.bus(link)

    await bus.send("a.b", b"", {}, taken=True)
    await bus.send("a.c", b"", {})
    with pytest.raises(NotAllowed):
        await bus.send("a.c", b"", {}, taken=True)

    said, forbidden = (("send", subject, b"", {}) for subject in ("a.b", "a.c"))
    assert link.asked == [said, ("flush", 1.5), forbidden, forbidden, ("flush", 1.5)]


@pytest.mark.parametrize(
    ("failure", "said"),
    [(LinkLost(), GONE), (TimeoutError(), "The bus server does not answer. Nothing was stored.")],
)
async def test_what_cannot_be_sent_or_heard_is_said_to_be_not_stored(servers, failure, said):
    bus = servers.bus(Link(failure))

    with pytest.raises(BusUnreachable) as sent:
        await bus.send("a.b", b"", {})
    with pytest.raises(BusUnreachable) as heard:
        async with bus.subscribed("a.b", print):
            pytest.fail("it says that it is heard")

    assert sent.value.message == heard.value.message == said


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(NoResponders("a.b"), NobodyListens), (TimeoutError(), NoAnswer), (LinkLost(), CutOff)],
)
async def test_whoever_else_is_on_the_bus_is_asked_once(servers, failure, kind):
    link = Link()
    bus = servers.bus(link)

    assert await bus.request("a.b", b"x", 2.5) == Message("a.b", b"answer")
    link.failure = failure
    with pytest.raises(kind):
        await bus.request("a.b", b"x", 2.5)

    assert link.asked == [("request", "a.b", b"x", 2.5)] * 2
    assert servers.may_start == [True]


async def test_what_is_subscribed_to_is_heard_again_until_it_ends(servers):
    first, second, third, told = Link(), Link(denied=["a.b"]), Link(), []
    bus = servers.bus(first, second, third)
    begun = [("subscribe", "a.b", "group"), ("flush", 1.5)]

    async with bus.subscribed("a.b", told.append, group="group") as is_allowed:
        assert is_allowed
        first.lost()
        assert told == [None]
        await bus.request("x", b"", 1.0)
        assert second.asked[:2] == begun
    second.lost()
    await bus.request("x", b"", 1.0)

    assert told == [None]
    assert (first.asked, second.asked[3:]) == (begun, [("end", "a.b")])
    assert third.asked == [("request", "x", b"", 1.0)]
    assert servers.may_start == [True] * 3


async def test_what_the_server_forbids_to_hear_is_said_to_be_forbidden(servers):
    async with servers.bus(Link(denied=["a.b"])).subscribed("a.b", print) as is_allowed:
        assert not is_allowed


async def test_a_connection_on_which_not_all_can_be_heard_again_is_closed_and_none(servers):
    first, deaf, third = Link(), Link(LinkLost()), Link()
    bus = servers.bus(first, deaf, third)
    async with bus.subscribed("a.b", print):
        first.lost()
        with pytest.raises(BusUnreachable):
            await bus.send("x", b"", {})
        await bus.send("x", b"", {})

    assert deaf.asked[-1] == ("close",)
    assert bus.connections == 2
    assert third.asked[0] == ("subscribe", "a.b", "")


async def test_what_ends_as_a_connection_is_opened_ends_there_too(servers):
    first, second = Link(), Link()
    bus, heard = servers.bus(first, second), asyncio.Event()
    ends = asyncio.Event()

    async def flush(_):
        heard.set()
        await ends.wait()

    async def hearing():
        async with bus.subscribed("a.b", print):
            first.lost()
            second.flush = flush
            opening = asyncio.create_task(bus.send("x", b"", {}))
            await heard.wait()
        ends.set()
        await opening

    async with asyncio.timeout(HANG_S):
        await hearing()

    assert second.asked == [("subscribe", "a.b", ""), ("end", "a.b"), ("send", "x", b"", {})]


async def test_whoever_waits_for_one_that_is_opened_knows_why_the_last_was_not(servers):
    """And of no earlier one: a server that hung was said not to run, as it had not before."""
    bus = servers.bus(asyncio.Event(), AWAY, asyncio.Event())

    async def refused():
        with pytest.raises(BusUnreachable) as caught:
            await bus._live(within_s=0.01)
        return caught.value.message, caught.value.hint

    again = "Call again in a while. If it stays so, tell whoever runs the shared server."
    late = ("No bus server answered in time. Nothing was stored.", again)
    assert await refused() == late
    with pytest.raises(BusUnreachable, match="It is away"):
        await bus.send("a.b", b"", {})
    assert await refused() == late
    bus._opening = Opening(bus, BusUnreachable("They failed.", hint="Wait."))
    assert await refused() == ("They failed.", "Wait.")
    assert servers.may_start == [True, False, True]


class Opening:
    """The lock of who opens a connection, which others have until they have failed, for ever."""

    def __init__(self, bus, failure):
        self.bus, self.failure = bus, failure

    async def __aenter__(self):
        self.bus._refused = self.failure
        await asyncio.Event().wait()

    async def __aexit__(self, *_):
        """Nobody gets here."""


@pytest.fixture
def brief(monkeypatch):
    """Have a call last for a moment."""
    monkeypatch.setattr(budget, "CALL_S", 0.05)
    monkeypatch.setattr(budget, "_LEAST_S", 0.01)


async def test_a_call_waits_for_a_connection_no_longer_than_it_lasts(servers, brief):
    bus = servers.bus(asyncio.Event())

    async with asyncio.timeout(2):  # less than any other call would wait
        with pytest.raises(BusUnreachable, match="in time"):
            await bus._connected()


async def test_what_was_handed_over_as_the_connection_ended_is_asked_for_without_a_start(
    servers, brief
):
    bus = servers.bus(Link())

    async def ask(link, _):
        link.lost()
        raise LinkLost

    with pytest.raises(Unconfirmed, match="went away before it confirmed"):
        await bus._tried(ask, stores=True)

    assert servers.may_start == [True, False]


async def test_how_long_it_is_waited_for_and_why_it_is_away_is_told(servers, awaited):
    bus = servers.bus(AWAY, AWAY, NotAllowed("Not you.", hint="Ask."), Link())

    assert await bus.reconnected(0.75) is False
    assert (servers.pauses, bus.away_says) == ([0.25], "It is away. Mend it.")
    assert bus.is_locked_out is False
    assert await bus.reconnected(0.1) is False
    assert (servers.pauses, bus.away_says, bus.is_locked_out) == ([0.25], "Not you. Ask.", True)
    assert await bus.reconnected(0.1) is True
    assert (bus.away_says, bus.is_locked_out) == ("", False)
    assert set(servers.may_start) == {False}


async def test_who_is_not_let_in_waits_no_longer_if_that_was_not_asked_for(servers, awaited):
    bus = servers.bus(AWAY, NotAllowed("Not you.", hint="Ask."))

    assert await bus.reconnected(3600, if_let_in=True) is False
    assert (servers.pauses, str(bus.away)) == ([0.25], "Not you. Hint: Ask.")


async def test_one_servers_refusal_ends_no_wait_for_those_that_are_away(servers, awaited):
    """A cluster that is changed one server after the other ended what waited for it."""
    bus = servers.bus(NotAllowed("Not you."), NotAllowed("Not you."), Link())
    bus._rotation.some_away = True

    assert (await bus.reconnected(0.1), bus.is_locked_out) == (False, False)
    assert await bus.reconnected(3600, if_let_in=True) is True
    assert servers.pauses == [0.25]


async def test_it_is_waited_for_with_the_same_last_pause(servers, awaited):
    assert await servers.bus().reconnected(4.0) is False
    assert servers.pauses == [0.25, 0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("failure", [LinkLost(), TimeoutError(), None])
async def test_a_connection_on_which_no_ping_is_answered_is_let_go(servers, failure):
    link = Link()
    bus = servers.bus(link)
    await bus.let_go_if_silent(0.5)  # there is none yet
    await bus.send("a.b", b"", {})
    link.failure = failure

    await bus.let_go_if_silent(0.5)
    link.lost()
    await bus.let_go_if_silent(0.5)

    pinged = [("send", "a.b", b"", {}), ("flush", 0.5)]
    assert link.asked == (pinged if failure is None else [*pinged, ("close",)])


async def test_where_no_thread_is_to_be_had_to_find_it_the_bus_is_away_and_looked_for_again(
    tmp_path, monkeypatch
):
    async with Reconnecting(settings_at(tmp_path)) as connection:
        threadless.for_tries(monkeypatch, 1)
        away = [await connection.reconnected(0), connection.away_says]
        away += [await connection.reconnected(0), connection.away_says]

    assert (away[0], away[2]) == (False, False)
    assert "no more threads are to be had" in away[1]
    assert "is not running" in away[3]
