# SPDX-License-Identifier: Apache-2.0
"""Of a stream that was read before only what is new is asked for, and as seldom as can be."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Found
from mcp_agentbus.store.queries import clock, copies
from mcp_agentbus.store.queries.copies import Copy, _Held
from mcp_agentbus.store.queries.counted import stored_subjects

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def message(seq):
    return Found(f"agentbus.agent-{seq}.profile", seq, NOON, {}, b"%d" % seq)


class Stream:
    """A bus with a stream of so many messages, which notes what it is asked."""

    is_cluster = False

    def __init__(self, count=0):
        self.connections = 1
        self.count, self.refuses, self.calls, self.starts = count, [], [], []

    async def api(self, call, body=None):
        self.calls.append(call)
        if self.refuses:
            raise ApiError(self.refuses.pop(0))
        state = {"last_seq": self.count, "messages": self.count}
        return {"created": "then", "state": state | ({"first_ts": "first"} if self.count else {})}

    async def stored(self, stream, subject, start):
        assert (stream, subject) == ("AGENTS", "agentbus.*.profile")
        self.starts.append(start)
        yield [message(seq) for seq in range(start, self.count + 1)]


def copy():
    return Copy("AGENTS", "agentbus.*.profile", lambda found: int(found.data))


def values(count):
    return {message(seq).subject: seq for seq in range(1, count + 1)}


async def test_what_was_read_once_is_read_again_only_as_far_as_it_is_new():
    bus, it = Stream(2), copy()

    assert await it.read(bus) == values(2)
    bus.count = 3
    assert await it.read(bus) == values(3)
    assert await it.read(bus) == values(3)
    assert bus.starts == [1, 3, 4]


class Replicas(Stream):
    """A stream that one leads and another is asked for what it holds, which may be behind."""

    is_cluster = True

    def __init__(self):
        super().__init__(2)
        self.there, self.gone = 2, set()

    async def stored(self, stream, subject, start):
        self.starts.append(start)
        # The third is the first, written anew.
        renewed = Found(message(1).subject, 3, NOON, {}, b"3")
        every = [message(1), message(2), renewed][: self.there]
        last = {each.subject: each for each in every if each.seq not in self.gone}
        yield sorted((x for x in last.values() if x.seq >= start), key=lambda each: each.seq)

    async def api(self, call, body=None):
        info = await super().api(call, body)
        return {**info, "state": {**info["state"], "messages": 2 - len(self.gone)}}


@pytest.mark.parametrize("known", [True, False])
async def test_what_a_replica_has_not_yet_is_read_by_the_next_call(known):
    """By the leader's numbers an old profile counted as whole, for as long as nobody wrote one."""
    bus, it = Replicas(), copy()
    if known:
        assert await it.read(bus) == values(2)
    bus.count = 3
    assert await it.read(bus) == values(2)
    bus.there = 3
    assert await it.read(bus) == {**values(2), message(1).subject: 3}


async def test_what_was_removed_behind_all_that_is_stored_is_not_looked_for_again_and_again(
    monkeypatch,
):
    at = [1.0]
    monkeypatch.setattr(copies, "time", SimpleNamespace(monotonic=lambda: at[0]))
    bus, it = Replicas(), copy()
    bus.gone = {2}
    for at[0] in (1.0, 2.0, 9.0):
        bus.starts.clear()
        assert await it.read(bus) == values(1)
    assert bus.starts == [2, 2]
    bus.starts.clear()
    await it.read(bus)
    assert bus.starts == [3]


@pytest.mark.parametrize(("count", "starts"), [(2, [1, 3]), (3, [1, 1])])
async def test_of_more_than_is_kept_all_is_read_again(monkeypatch, count, starts):
    monkeypatch.setattr(copies, "_KEPT_MAX", 2)
    bus, it = Stream(count), copy()

    assert [await it.read(bus) for _ in range(2)] == [values(count)] * 2
    assert bus.starts == starts


async def test_a_stream_that_is_lost_is_made_anew_by_a_read_and_what_is_refused_is_said():
    bus = Stream(1)
    bus.refuses = [NO_SUCH_STREAM]
    assert await copy().read(bus) == values(1)
    assert (bus.starts, len(bus.calls)) == ([1, 1], 2)

    bus.refuses = [10008]
    with pytest.raises(ApiError):
        await copy().read(bus)


@pytest.mark.parametrize(
    ("count", "began"), [(1, ("then", "first")), (0, ("then", "0001-01-01T00:00:00Z"))]
)
async def test_when_it_began_is_known_once_it_was_read_on_this_connection(count, began):
    bus, it = Stream(count), copy()
    assert await it.began(bus) == began
    assert await it.began(bus) == began
    await it.read(bus)
    assert len(bus.calls) == 2

    bus.connections = 2
    assert await it.began(bus) == began
    assert len(bus.calls) == 3


def test_what_comes_twice_is_kept_once_and_what_is_older_than_what_is_kept_not_at_all():
    held, decoded = _Held(connection=1, created="then", through=0), []
    assert (held.values, held.seqs) == ({}, {})
    older = Found(message(2).subject, 1, NOON, {}, b"1")

    held.add([message(2), message(2), older], lambda found: decoded.append(found.seq) or found.seq)

    assert decoded == [2]
    assert held == _Held(1, "then", 2, {older.subject: 2}, {older.subject: 2})


class Counting:
    """A bus that tells at most two subjects at a time, and what time it is."""

    connections = 1

    def __init__(self, *subjects, total=None):
        self.subjects, self.offsets = subjects, []
        self.total = len(subjects) if total is None else total

    async def api(self, call, body):
        assert (call, body["subjects_filter"]) == ("STREAM.INFO.TASKS", "agentbus.>")
        self.offsets.append(body["offset"])
        page = self.subjects[body["offset"] :][:2]
        subjects = dict.fromkeys(page, 3) or None
        return {"ts": "2026-11-21T12:00:00Z", "total": self.total, "state": {"subjects": subjects}}


@pytest.mark.parametrize(
    ("bus", "offsets"),
    [
        (Counting("a", "b", "c"), [0, 2]),
        (Counting("a", "b"), [0]),
        (Counting(), [0]),
        (Counting("a", total=5), [0, 1]),  # some went meanwhile
    ],
)
async def test_subjects_are_counted_page_by_page_and_the_time_is_noted(bus, offsets):
    assert await stored_subjects(bus, "TASKS", "agentbus.>") == dict.fromkeys(bus.subjects, 3)
    assert bus.offsets == offsets
    assert clock._told[bus].connection == 1
