# SPDX-License-Identifier: Apache-2.0
"""Commands that a listener carries out: which it takes, what it says of each, and how they end."""

import argparse
import asyncio
import contextlib
import time

import pytest
from local_server import settings_at

from mcp_agentbus.errors import BadInput, UnknownTask
from mcp_agentbus.listener import relayed as module
from mcp_agentbus.listener.endpoint import Connection
from mcp_agentbus.listener.relayed import Relayed
from mcp_agentbus.listener.state import State
from mcp_agentbus.relay.carried import words
from mcp_agentbus.relay.carried.words import Typed
from mcp_agentbus.version import __version__
from mcp_agentbus.wakes.ledger import Ledger

pytestmark = pytest.mark.usefixtures("no_zone")
_HANG_S = 20  # only a hang takes as long


class Away:
    """A bus without a server."""

    def __init__(self, settings):
        self.settings = settings

    async def reconnected(self, _):
        return False


class Line:
    """The command line, played: a command does what is set as `works`."""

    def __init__(self):
        self.loaded = 0
        self.began = asyncio.Event()
        self.asks = ""
        self.orders = []
        self.complained = []

    def load(self):
        self.loaded += 1

    def read(self, typed):
        return None if "wrong" in typed else argparse.Namespace(command=typed[0], agent=None)

    def asking(self, _):
        return self.asks

    async def works(self, order):
        order.say("tell", "Done.")
        return 4

    def start(self, order):
        self.orders.append(order)
        return self._done(order)

    async def _done(self, order):
        self.began.set()
        return await self.works(order)

    def complain(self, order, error):
        self.complained.append(error)
        order.say("complain", error.message)
        return 1


class Writer:
    """Notes what is written."""

    def __init__(self):
        self.said = b""

    def write(self, said):
        self.said += said

    async def drain(self):
        pass


@pytest.fixture
def no_zone(monkeypatch):
    """The listener's clock is that of whoever types."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def here(tmp_path):
    return settings_at(tmp_path / "bus", AGENTBUS_URL="nats://127.0.0.1:1")


@pytest.fixture
def state(here):
    with contextlib.closing(Ledger(here.state_dir / "ledger.sqlite3")) as ledger:
        yield State(here, Away(here), ledger, lambda *_: None)


@pytest.fixture
def line():
    return Line()


@pytest.fixture
def relayed(state, line):
    return Relayed(state, line)


def asked(here, *argv, zone="Asia/Tokyo", is_hosted=False, come=b"go 0\n", version=__version__):
    """Return a connection on which that is typed; where nothing comes, its process waits."""
    environ = words.variables(here.environ)
    packed = Typed(
        argv or ["tasks"], "/work", environ, zone=zone, is_hosted=is_hosted
    ).pack()  # fmt: skip
    request = {"op": "typed", "version": version, "size": len(packed)}
    reader = asyncio.StreamReader()
    reader.feed_data(packed + come)
    return Connection(request, 4711, reader, Writer())


async def test_a_command_is_carried_out_and_its_exit_code_said(here, state, line, relayed):
    connections = [asked(here), asked(here, "status")]
    for connection in connections:
        await relayed.typed(connection)

    assert [each.writer.said for each in connections] == [b"taken 0\ntell 5\nDone.end 4\n"] * 2
    assert (line.loaded, relayed.commands) == (1, 0)
    order = line.orders[0]
    assert (order.args.command, order.typed.folder, order.text) == ("tasks", "/work", "")
    assert (order.bus, order.outbox, order.connection) == (state.bus, state.outbox, connections[0])
    assert order.settings.data_dir == here.data_dir
    assert str(order.naming.asked.folder) == "/work"


@pytest.mark.parametrize(
    ("agent", "is_hosted"), [(None, False), (None, True), ("coder", False), ("coder", True)]
)
async def test_a_command_is_a_persons_unless_it_has_a_name_or_a_host(
    here, line, relayed, agent, is_hosted
):
    line.read = lambda _: argparse.Namespace(command="tasks", agent=agent)
    await relayed.typed(asked(here, is_hosted=is_hosted))

    asks = line.orders[0].naming.asked
    assert asks.given == agent
    assert asks.is_persons == ((agent, is_hosted) == (None, False))


async def test_a_text_is_asked_for_where_there_is_none(here, line, relayed):
    line.asks = "required -"
    connection = asked(here, "send", come=b"go 5\nHello")
    await relayed.typed(connection)

    assert connection.writer.said == b"read 10\nrequired -tell 5\nDone.end 4\n"
    assert line.orders[0].text == "Hello"


async def test_what_is_wrong_is_left_to_its_own_process(here, line, relayed):
    connection = asked(here, "wrong")
    await relayed.typed(connection)

    assert (connection.writer.said, line.orders) == (b"left 0\n", [])


async def test_a_clock_is_the_same_however_its_zone_is_spelled(here, line, relayed, monkeypatch):
    monkeypatch.setenv("TZ", ":UTC")

    await relayed.typed(asked(here, zone="UTC"))

    assert len(line.orders) == 1


async def test_times_are_shown_by_the_clock_as_it_is_when_a_command_is_typed(
    here, line, relayed, monkeypatch
):
    monkeypatch.setenv("TZ", "XYZ-5")

    await relayed.typed(asked(here, zone="XYZ-5"))

    assert time.localtime().tm_zone == "XYZ"


@pytest.mark.parametrize(
    ("told", "said"),
    [({"zone": ""}, "This listener's clock is another one."),
     ({"version": "0.0.9"}, f"This listener is agentbus {__version__}.")],
)  # fmt: skip
async def test_of_another_clock_or_version_nothing_is_taken(here, line, relayed, told, said):
    connection = asked(here, **told)
    with pytest.raises(BadInput) as refused:
        await relayed.typed(connection)

    assert refused.value.message == said
    assert (connection.writer.said, line.orders, line.loaded) == (b"", [], 0)


async def test_another_buss_process_does_its_work_itself(here, line, relayed, tmp_path):
    with pytest.raises(BadInput, match="another bus"):
        await relayed.typed(asked(settings_at(tmp_path / "other")))
    assert line.orders == []


@pytest.mark.parametrize("url", ["", "nats://127.0.0.1:1"])
async def test_only_where_the_server_is_this_machines_may_it_be_out_of_reach_for_a_sandbox(
    tmp_path, line, monkeypatch, url
):
    monkeypatch.setattr(module, "is_cut_off", lambda _: True)
    here = settings_at(tmp_path / "bus", AGENTBUS_URL=url)
    with contextlib.closing(Ledger(here.state_dir / "ledger.sqlite3")) as ledger:
        relayed = Relayed(State(here, Away(here), ledger, lambda *_: None), line)
        with contextlib.nullcontext() if url else pytest.raises(BadInput, match="another network"):
            await relayed.typed(asked(here))

    assert len(line.orders) == bool(url)


async def test_where_its_server_is_within_reach_a_command_is_taken(tmp_path, line):
    here = settings_at(tmp_path / "bus")
    with contextlib.closing(Ledger(here.state_dir / "ledger.sqlite3")) as ledger:
        await Relayed(State(here, Away(here), ledger, lambda *_: None), line).typed(asked(here))

    assert len(line.orders) == 1


async def test_whoever_takes_its_time_to_go_on_is_waited_for(here, line, relayed):
    connection = asked(here, come=b"")
    typed = asyncio.ensure_future(relayed.typed(connection))
    done, _ = await asyncio.wait([typed], timeout=0.05)
    begun = list(line.orders)
    connection.reader.feed_data(b"go 0\n")
    async with asyncio.timeout(_HANG_S):
        await typed

    assert (done, begun) == (set(), [])
    assert connection.writer.said == b"taken 0\ntell 5\nDone.end 4\n"


@pytest.mark.parametrize("come", [b"", b"no 0\n"])
async def test_of_whoever_has_gone_before_it_began_nothing_is_done(here, line, relayed, come):
    connection = asked(here, come=come)
    connection.reader.feed_eof()
    await relayed.typed(connection)

    assert (connection.writer.said, line.orders, relayed.commands) == (b"taken 0\n", [], 0)


@pytest.mark.parametrize("come", [b"", b"go 0\n"])
async def test_a_listener_that_ends_begins_nothing_whatever_it_has_been_told(
    here, line, relayed, come
):
    await relayed.leave()
    connection = asked(here, come=come)
    async with asyncio.timeout(_HANG_S):
        await relayed.typed(connection)

    assert (connection.writer.said, line.orders) == (b"taken 0\n", [])


async def test_a_command_whose_process_goes_is_broken_off(here, line, relayed):
    ways = []

    async def works(order):
        try:
            await asyncio.Event().wait()
        finally:
            ways.append("broken off")

    line.works = works
    connection = asked(here, "watch")
    typed = asyncio.ensure_future(relayed.typed(connection))
    await asyncio.wait_for(line.began.wait(), _HANG_S)
    under_way = relayed.commands
    connection.reader.feed_eof()
    async with asyncio.timeout(_HANG_S):
        await typed

    assert (ways, under_way, relayed.commands) == (["broken off"], 1, 0)
    assert connection.writer.said == b"taken 0\nend 130\n"


async def test_a_command_that_a_listener_breaks_off_as_it_ends_is_not_said_to_have_ended(
    here, line, relayed
):
    """So its own process goes on with it."""

    async def works(order):
        order.say("tell", "Waiting.")
        await asyncio.Event().wait()

    line.works = works
    connection = asked(here, "watch")
    typed = asyncio.ensure_future(relayed.typed(connection))
    await asyncio.wait_for(line.began.wait(), _HANG_S)
    async with asyncio.timeout(_HANG_S):
        await relayed.leave()
        await typed

    assert connection.writer.said == b"taken 0\ntell 8\nWaiting."


async def test_a_command_that_is_done_as_its_listener_ends_is_said_to_be(here, line, relayed):
    async def works(order):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 0  # what it had to do was done

    line.works = works
    connection = asked(here, "send")
    typed = asyncio.ensure_future(relayed.typed(connection))
    await asyncio.wait_for(line.began.wait(), _HANG_S)
    async with asyncio.timeout(_HANG_S):
        await relayed.leave()
        await typed

    assert connection.writer.said == b"taken 0\nend 0\n"


async def test_an_error_of_a_command_is_told_there(here, line, relayed, caplog):
    error = UnknownTask("There is no such task.")

    async def works(order):
        raise error

    line.works = works
    connection = asked(here)
    await relayed.typed(connection)

    assert line.complained == [error]
    assert connection.writer.said == b"taken 0\ncomplain 22\nThere is no such task.end 1\n"
    assert caplog.messages == []


async def test_a_bug_of_a_command_is_logged_and_told_with_a_way_around_it(
    here, line, relayed, caplog
):
    async def works(order):
        raise ZeroDivisionError

    line.works = works
    await relayed.typed(asked(here))

    [told] = line.complained
    assert told.message == "It failed inside the listener: ZeroDivisionError."
    assert "agentbus listen --stop" in told.hint
    assert [(each.message, each.exc_info[0]) for each in caplog.records] == [
        ("a command failed", ZeroDivisionError)
    ]
