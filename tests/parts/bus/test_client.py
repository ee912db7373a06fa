# SPDX-License-Identifier: Apache-2.0
"""A bus: when it connects, and how it reads what is stored, page by page."""

import asyncio
import json
import socket
import ssl
from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from local_server import settings_at

from mcp_agentbus.bus import budget, connection, reconnect
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.connection import LinkLost, NoResponders
from mcp_agentbus.bus.login.login import Login
from mcp_agentbus.bus.login.trust import Trust
from mcp_agentbus.bus.replies import ApiError, Delivery, Found, Message, api_answer
from mcp_agentbus.errors import BusUnreachable, StoreFull, TooLarge, Unconfirmed, Untrusted
from mcp_agentbus.store import streams
from mcp_agentbus.store.subjects import RESULTS

AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)


@pytest.fixture
def nobody(tmp_path):
    """The settings of a user whose shared server is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        yield settings_at(tmp_path, AGENTBUS_URL=f"nats://127.0.0.1:{taken.getsockname()[1]}")


async def test_connect_fails_where_there_is_no_server(nobody, monkeypatch):
    monkeypatch.setattr(budget, "CALL_S", 0.1)

    with pytest.raises(BusUnreachable):
        async with Bus.connect(nobody):
            pytest.fail("it says that it is connected")


async def test_connect_waits_for_a_server_that_is_just_starting(nobody, monkeypatch):
    starting = Starting()
    monkeypatch.setattr(reconnect.Link, "open", starting.open)

    async with Bus.connect(nobody):
        assert starting.tries == 2


async def test_a_bus_that_is_not_asked_for_anything_needs_no_server(nobody):
    async with Bus(nobody) as bus:
        with pytest.raises(BusUnreachable):
            await bus.send("subject", b"", {})


async def test_whoever_waits_for_a_bus_that_was_closed_is_told_and_does_not_wait(nobody):
    bus = Bus(nobody)
    await bus.close()

    with pytest.raises(BusUnreachable, match="was closed"):
        await bus.reconnected(60)


@pytest.mark.parametrize("beyond", [1, 1 - len("NATS/1.0\r\n"), 1 << 20])
async def test_what_is_larger_than_the_server_takes_is_refused_and_the_connection_stays(
    world, beyond
):
    before = world.bus.connections

    with pytest.raises(TooLarge):
        await world.bus.publish("agentbus.coder.tasks.high.planner", bytes((1 << 20) + beyond))

    assert world.bus.connections == before


async def test_a_name_without_tls_is_not_spoken_to_where_it_leads_to_a_public_address(
    tmp_path, monkeypatch
):
    async def public(*_):
        return ["203.0.113.7"]

    monkeypatch.setattr(connection, "look_up", public)
    trust = Trust(ssl.create_default_context(), "bus.example.org:4222", tmp_path / "ca.pem", None)

    with pytest.raises(Untrusted, match=r"203\.0\.113\.7"):
        await connection.Link.open("nats://bus.example.org", Login(), trust)


async def test_a_connection_that_ends_before_all_was_said_leaves_nobody_listening():
    def listening():
        return [each for each in asyncio.all_tasks() if "_wait_for_msgs" in str(each)]

    async with Bus.ephemeral() as bus, bus.subscribed("heard", lambda _: None):
        before, client = len(listening()), bus._link._client
        await client._send_command(b"PUB said 0\r\n\r\n")  # it waits to be written
        client.drop()

        await client.end()

        assert before > 0
        async with asyncio.timeout(5):  # each ends once it is told to
            await asyncio.gather(*listening(), return_exceptions=True)


def test_a_server_that_finds_no_room_on_its_disk_is_said_to_need_some():
    words = "write /srv/store/meta.inf.tmp: no space left on device"
    answer = json.dumps({"error": {"err_code": 10012, "description": words}}).encode()

    with pytest.raises(StoreFull, match=r"disk is full.*Free some disk space"):
        api_answer(answer)


class Starting:
    """The link to a server that answers from the second try on."""

    def __init__(self):
        self.tries = 0

    async def open(self, *_, **__):
        self.tries += 1
        if self.tries == 1:
            raise BusUnreachable
        return self

    def on_end(self, _):
        """Never ends."""

    async def close(self):
        """Has nothing to close."""


class Stored:
    """The link to a server whose stream holds so many messages, at every third sequence.

    Args:
        count: of messages.
        at_once: it has so many in one answer at most, as of large ones.
    """

    def __init__(self, count, at_once=100):
        self.sequences = range(3, 3 * count + 1, 3)
        self.at_once, self.asked = at_once, []

    async def stream(self, _subject, data, _timeout, _read):
        request = json.loads(data)
        self.asked.append(request["seq"])
        matching = [seq for seq in self.sequences if seq >= request["seq"]]
        some = matching[: min(request["batch"], self.at_once)]
        left = str(len(matching) - len(some))
        last = str(max(some, default=0))
        said = {"Status": "204", "Nats-Num-Pending": left, "Nats-Last-Sequence": last}
        return [Found("a.b", seq, AT, {}, b"") for seq in some], Message("", b"", said)


@pytest.fixture
def storing(nobody, monkeypatch):
    """Gives a bus on such a server."""

    def made(server):
        async def live(**_):
            return server

        bus = Bus(nobody)
        monkeypatch.setattr(bus, "_live", live)
        return bus

    return made


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9])
async def test_all_stored_messages_come_once_and_in_order(storing, count):
    server = Stored(count)

    pages = [page async for page in storing(server).stored("STREAM", "a.>", page=4)]

    assert [message.seq for page in pages for message in page] == list(server.sequences)
    assert [len(page) for page in pages[:-1]] == [4] * (count // 4)
    assert len(pages[-1]) < 4


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9])
async def test_of_large_messages_no_more_are_read_at_once_than_the_server_has_in_one_answer(
    storing, count
):
    server = Stored(count, at_once=3)

    pages = [page async for page in storing(server).stored("STREAM", "a.>", page=4)]

    assert [message.seq for page in pages for message in page] == list(server.sequences)
    assert max(map(len, pages)) == min(3, count)
    by_one = {"seq": 1, "batch": 4, "next_by_subj": "a.>"}
    assert len(await storing(server).many("STREAM", by_one)) == min(4, count)


async def test_a_page_is_asked_for_when_the_one_before_was_used_up(storing):
    server = Stored(9)
    pages = storing(server).stored("STREAM", "a.>", start=4, page=4)

    first = await anext(pages)

    assert [message.seq for message in first] == [6, 9, 12, 15]
    assert server.asked == [4]
    await anext(pages)
    assert server.asked == [4, 16]
    await pages.aclose()


class Electing:
    """The link to a cluster in which a write of the same record is under way for a moment."""

    def __init__(self, code, times):
        self.code, self.times = code, times

    async def asked(self, *given):
        read = given[-1]
        self.times -= 1
        if self.times >= 0:
            busy = b'{"error": {"err_code": %d, "description": "busy"}}' % self.code
            return read(Message("", busy))
        return read(Message("", b'{"seq": 7}'))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        *((code, "have no leader just now") for code in (10008, 10009, 10118)),
        *((code, "are still at another write") for code in (10158, 10163, 10164)),
    ],
)
async def test_what_a_cluster_cannot_do_now_is_asked_for_again(nobody, monkeypatch, code, said):
    bus, cluster = Bus(nobody), Electing(code, times=2)

    async def live(**_):
        return cluster

    monkeypatch.setattr(bus, "_live", live)

    assert await bus.replace("STREAM", "a.subject", b"", 3) == 7
    cluster.times = 1_000_000
    monkeypatch.setattr(budget, "CALL_S", 0.1)
    with pytest.raises(BusUnreachable, match=rf"servers {said}.*\. Nothing was stored"):
        await bus.publish("a.subject", b"")


class Refusing(Electing):
    """The link to a server that has not got what is asked for, in its words or in a gate's."""

    def __init__(self, error):
        self.error = error

    async def asked(self, *given):
        return given[-1](Message("", json.dumps({"error": self.error}).encode()))


@pytest.mark.parametrize(
    ("code", "words", "is_gone"),
    [
        (10043, "no message found", True),
        (10043, "sequence 3 not found", True),
        (10057, "no message found", True),
        (10057, "stream store EOF", True),
        (10057, "message delete not permitted", False),
        (10059, "stream not found", False),
    ],
)
async def test_what_is_to_be_deleted_and_is_there_no_more_is_deleted(
    nobody, monkeypatch, code, words, is_gone
):
    """As by an earlier try whose answer was lost, or by whoever has finished it at that moment."""
    bus, server = Bus(nobody), Refusing({"err_code": code, "description": words})

    async def live(**_):
        return server

    monkeypatch.setattr(bus, "_live", live)

    for call, passes in (("STREAM.MSG.DELETE.S", is_gone), ("STREAM.MSG.GET.S", False)):
        with nullcontext() if passes else pytest.raises(ApiError):
            await bus.api(call, {"seq": 7})


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_what_a_server_has_no_more_is_deleted_wherever_it_stood(world, gone):
    await streams.ensure_streams(world.bus)
    subjects = [f"agentbus.{world.name(name)}.results.x.t" for name in ("a", "b", "c")]
    stored = [await world.bus.publish(each, b"{}", stream=RESULTS) for each in subjects]
    delete = {"seq": stored[gone].seq}

    for _ in range(2):
        await world.bus.api(f"STREAM.MSG.DELETE.{RESULTS}", delete)

    left = [each for each in subjects if await world.bus.last(RESULTS, each)]
    assert left == [each for each in subjects if each != subjects[gone]]


class Hanging:
    """The link to a server that hangs, or that is lost as something is said; in a time of its own."""

    alive, is_clustered = True, False

    def __init__(self, monkeypatch, *answers):
        self.at, self.asked, self.answers = 0.0, [], list(answers)
        monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: self.at))

    async def send(self, *_):
        raise LinkLost

    async def request(self, subject, data=b"", timeout=2.0):
        self.asked.append((data, timeout))
        if self.answers:
            return self.answers.pop()
        self.at += timeout
        raise TimeoutError

    async def live(self, **_):
        return self

    def taken(self):
        return Delivery("a.b", b"", {}, "$JS.ACK.S.c.1.7.3.1.0", "S", 7, 1, AT, 0)


async def test_what_is_given_back_as_the_connection_is_lost_is_said_on_the_next(
    nobody, monkeypatch
):
    bus, link = Bus(nobody), Hanging(monkeypatch, Message("", b""))
    monkeypatch.setattr(bus, "_live", link.live)
    await bus.give_back(link.taken())

    assert [data for data, _ in link.asked] == [b"-NAK"]


async def test_a_server_that_hangs_is_asked_what_it_has_forgotten_for_what_is_left_of_the_call(
    nobody, monkeypatch
):
    bus, link = Bus(nobody), Hanging(monkeypatch)
    monkeypatch.setattr(bus, "_live", link.live)
    with budget.call(), pytest.raises(Unconfirmed):
        await bus.finish(link.taken())

    assert link.asked[:2] == [(b"+ACK", 1.5), (b"", budget.CALL_S - 1.5)]


class Forgetful:
    """The link to a server that has lost its streams."""

    def __init__(self):
        self.lost = True

    async def asked(self, *given):
        if self.lost:
            raise NoResponders("a.subject")
        return given[-1](Message("", b'{"seq": 1}'))


async def test_what_the_server_lost_is_made_anew_once_however_many_calls_miss_it(
    nobody, monkeypatch
):
    bus, server, made = Bus(nobody), Forgetful(), []

    async def nothing():
        pass

    async def live(**_):
        return server

    async def make():
        made.append("streams")
        await asyncio.wait([asyncio.create_task(nothing())])  # the other calls come meanwhile
        server.lost = False

    monkeypatch.setattr(bus, "_live", live)
    bus.on_missing = make

    stored = await asyncio.gather(*(bus.publish("a.subject", b"") for _ in range(20)))

    assert {answer.seq for answer in stored} == {1}
    assert made == ["streams"]
