# SPDX-License-Identifier: Apache-2.0
"""Tasks of which nothing is kept are gone through page by page, from where the look before ended."""

from datetime import UTC, datetime

import pytest
from messages import read_task

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Found
from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.store import codec, subjects, tasks
from mcp_agentbus.store.steps import sent_of
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.tasks import Kept
from mcp_agentbus.store.upkeep import unkept
from mcp_agentbus.store.upkeep.unkept import Unkept

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
INTO = "agentbus.coder.tasks.high.planner"


def message(seq, *, proof="p", **how):
    task = read_task(id=f"t{seq}")
    headers = codec.task_headers(task) | ({subjects.H_PROOF: proof} if proof else {})
    return Found(INTO, seq, NOON, headers, how.get("data", codec.encode_task(task)))


def sent(seq):
    return sent_of(read_task(id=f"t{seq}")).model_copy(update={"seq": seq})


class Server:
    """Has so many tasks of planner's, one a page."""

    def __init__(self, *messages):
        self.messages, self.made, self.starts = messages, "then", []
        self.requests, self.refuses, self.connections = [], [], 1

    async def api(self, call):
        assert call == f"STREAM.INFO.{TASKS}"
        if self.refuses:
            raise ApiError(self.refuses.pop(0))
        return {"created": self.made, "state": {"last_seq": self.messages[-1].seq}}

    async def stored(self, stream, subject, *, start, page):
        assert (stream, subject, page) == (TASKS, "agentbus.*.tasks.*.planner", 100)
        self.starts.append(start)
        found = [each for each in self.messages if each.seq >= start]
        for each in found:
            yield [each]
        if not found:
            yield []

    async def many(self, stream, request):
        assert stream == TASKS
        self.requests.append(request)
        start = request.get("seq", 0)
        return [each for each in self.messages if each.seq >= start][: request["batch"]]


@pytest.fixture
def kept(monkeypatch):
    """What was kept; of each task it was missing, and each was stored from here."""
    kept = []

    async def missing(_, stored):
        return list(stored)

    async def keep(_, what):
        kept.append(what)

    monkeypatch.setattr(unkept, "_missing", missing)
    monkeypatch.setattr(tasks, "keep", keep)
    monkeypatch.setattr(tasks, "is_from_here", lambda _, found: found.headers.get("Agentbus-Proof"))
    return kept


async def test_each_look_goes_through_some_pages_and_the_next_one_goes_on(kept):
    server = Server(message(3), message(4), message(7))
    looks = Unkept(server)

    assert [await looks.look(["planner"], pages) for pages in (2, 2, 2)] == [2, 1, 0]
    assert server.starts == [1, 5, 8]
    assert kept == [Kept(sent(seq), duplicate=True) for seq in (3, 4, 7)]


async def test_a_stream_that_was_made_anew_is_looked_at_from_its_beginning(kept):
    server = Server(message(3))
    looks = Unkept(server)
    found = []
    for server.made in ("then", "then", "later"):
        found.append(await looks.look(["planner"]))

    assert (found, server.starts) == ([1, 0, 1], [1, 4, 1])


async def test_where_there_are_no_tasks_nothing_is_missing_and_what_is_refused_is_said(kept):
    server = Server(message(3))
    server.refuses = [NO_SUCH_STREAM, 10008]

    assert await Unkept(server).look(["planner"]) == 0
    with pytest.raises(ApiError):
        await Unkept(server).look(["planner"])


async def test_an_agent_that_is_another_account_s_keeps_no_other_from_its_look(kept, monkeypatch):
    server = Server(message(3))
    theirs = server.stored

    def stored(stream, subject, **options):
        if subject.endswith(".other"):
            raise NotAllowed
        return theirs(stream, subject, **options)

    monkeypatch.setattr(server, "stored", stored)

    with pytest.raises(NotAllowed):
        await Unkept(server).look(["other", "planner"])
    assert kept == [Kept(sent(3), duplicate=True)]


async def test_of_what_was_not_stored_from_here_or_is_no_task_nothing_is_kept(kept):
    server = Server(message(3, proof=""), message(4, data=b"no task"), message(5))

    assert await Unkept(server).look(["planner"]) == 1
    assert kept == [Kept(sent(5), duplicate=True)]


@pytest.fixture
def noon(monkeypatch):
    async def now(_, stream):
        assert stream == TASKS
        return NOON

    monkeypatch.setattr(unkept, "server_now", now)


@pytest.mark.parametrize(("task_id", "found"), [("t4", sent(4)), ("t3", None), ("t9", None)])
async def test_what_is_about_to_be_kept_is_found_among_the_latest_of_an_inbox(
    noon, monkeypatch, task_id, found
):
    monkeypatch.setattr(unkept, "_PAGE", 1)
    server = Server(message(3, proof=""), message(4))

    assert await unkept.in_inbox(server, "coder", task_id) == found
    since = {"start_time": "2026-11-21T11:59:50.000Z"}
    rest = {"batch": 1, "next_by_subj": "agentbus.coder.tasks.*.*"}
    starts = [since, {"seq": 4}, {"seq": 5}] if found is None else [since, {"seq": 4}]
    assert server.requests == [start | rest for start in starts]


async def test_where_there_are_no_tasks_none_is_about_to_be_kept(monkeypatch):
    codes = [NO_SUCH_STREAM, 10008]

    async def refused(*_):
        raise ApiError(codes.pop(0))

    monkeypatch.setattr(unkept, "server_now", refused)
    assert await unkept.in_inbox(Server(), "coder", "t1") is None
    with pytest.raises(ApiError):
        await unkept.in_inbox(Server(), "coder", "t1")


async def test_it_is_kept_by_whoever_wrote_more_than_that_it_was_seen(monkeypatch):
    kept = {
        "t1": sent(1),
        "t2": sent(2).model_copy(update={"unasked": True}),
        "t3": None,
    }

    async def lasts(_, places):
        assert places == [f"agentbus.planner.sent.coder.t{seq}" for seq in (1, 2, 3, 4)]
        return [Found(place, 1, NOON, {}, b"") for place in places[:3]]

    monkeypatch.setattr(unkept, "lasts", lasts)
    monkeypatch.setattr(unkept, "sent_in", lambda found: kept[found.subject.rpartition(".")[2]])

    assert await unkept._missing(None, [sent(seq) for seq in (1, 2, 3, 4)]) == [
        sent(seq) for seq in (2, 3, 4)
    ]
    assert await unkept._missing(None, []) == []


async def test_who_waits_looks_again_in_pauses_and_goes_on_in_the_end(noon, monkeypatch):
    looks, pauses = [[sent(1)], [sent(1)], []], []

    async def missing(*_):
        return looks.pop(0)

    async def sleep(pause_s):
        pauses.append(pause_s)

    monkeypatch.setattr(unkept, "_missing", missing)
    monkeypatch.setattr(unkept.asyncio, "sleep", sleep)
    await unkept.settled(Server(message(1)), ["coder"])

    assert (looks, pauses) == ([], [0.02, 0.02])
