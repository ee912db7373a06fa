# SPDX-License-Identifier: Apache-2.0
"""What has fallen due and is in the way: how it is known, and how often it is looked for."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.store.upkeep import due
from mcp_agentbus.store.upkeep.due import Due, KeptBack, find, in_the_way, let_go

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
SECOND = 1_000_000_000  # of the server's
FULL, FEW = 5, 4


def message(seq=7, size=100):
    return Found("agentbus.coder.due.normal.planner", seq, NOON, {}, b"x" * size)


class Server:
    """What a server says of its streams, and what has fallen due there."""

    def __init__(self, *, sources=None, stored=FEW, used=0, latest=None, limit=10 << 20):
        here = {"name": "AGENTBUS_SCHED", "active": SECOND, "seq": 6}
        self._info = {
            "config": {"max_bytes": limit, "max_msgs_per_subject": FULL},
            "state": {
                "bytes": used,
                "subjects": {"agentbus.coder.tasks.normal.planner": stored},
            },
            "sources": [here] if sources is None else sources,
        }
        self._first, self._latest = message(), latest
        self.asked = []

    async def api(self, call, body=None):
        return self._info

    async def many(self, stream, request):
        self.asked.append(request)
        return [self._first]

    async def last(self, stream, subject):
        return self._latest


def source(**fields):
    return {"name": "AGENTBUS_SCHED", "active": SECOND, **fields}


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({"stored": FULL}, "its lane is full"),
        ({"stored": FULL, "used": 10 << 20}, "its lane is full"),
        ({"stored": FEW}, "it is larger than the server takes"),
        ({"stored": FEW, "used": (9 << 20) - 101}, "it is larger than the server takes"),
        ({"stored": FEW, "used": (9 << 20) - 100}, None),  # the stream itself may be full
        ({"limit": -1}, "it is larger than the server takes"),  # one without a limit never is
        ({"limit": 0, "used": 1 << 40}, "it is larger than the server takes"),
        ({"sources": [source(name="OTHER", seq=6)]}, None),
        ({"sources": [source(active=10 * SECOND, seq=6)]}, None),  # it does not copy
        ({"sources": [source(active=-1, seq=6)]}, None),
        ({"sources": []}, None),
        # A server that does not say what it has copied.
        ({"sources": [source()], "latest": message()}, None),
        ({"latest": message()}, "it is larger than the server takes"),
        ({"sources": [source(active=0)]}, "it is larger than the server takes"),
    ],
)
async def test_what_the_server_cannot_put_into_an_inbox_is_found_with_the_reason(server, why):
    found = await find(Server(**server))

    assert (found and found.why) == why


@pytest.mark.parametrize(
    ("source_", "asked"),
    [(source(seq=6), {"seq": 7, "batch": 1}), (source(), {"seq": 1, "batch": 100})],
)
async def test_the_first_is_looked_for_behind_what_was_copied(source_, asked):
    server = Server(sources=[source_])

    found = await find(server)

    assert server.asked == [{**asked, "next_by_subj": "agentbus.*.due.*.*"}]
    assert (found.inbox, found.sender) == ("coder", "planner")


@pytest.fixture
def clock(monkeypatch):
    """Let the clock of those looks stand, until a test sets it."""
    clock = SimpleNamespace(now=1_000.0)
    monkeypatch.setattr(due, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def test_what_is_first_for_10_s_is_let_go_and_what_is_behind_it_looked_at_soon(
    clock, monkeypatch
):
    first, looks, gone = [None], [], []

    async def found(bus):
        looks.append(clock.now)
        return first[0]

    async def let_go(bus, kept_back):
        gone.append((clock.now, kept_back.first.seq))

    monkeypatch.setattr(due, "find", found)
    monkeypatch.setattr(due, "let_go", let_go)
    watch = Due(None)

    async def until(end_s):
        """Look each second; return what was let go."""
        while clock.now < 1_000 + end_s:
            if kept_back := await watch.look():
                assert kept_back is first[0]
            clock.now += 1

    await until(1)
    first[0] = KeptBack(message(1), True)
    await until(26)
    assert gone == [(1_025, 1)]
    first[0] = KeptBack(message(2), True)
    await until(39)
    assert gone[1:] == [(1_038, 2)]
    first[0] = None
    await until(60)
    assert looks == [1_000, 1_015, 1_025, 1_028, 1_038, 1_041, 1_056]
    first[0] = KeptBack(message(1), True)
    assert await Due(None).look() is None  # whichever it is, it is not so for long yet


@pytest.mark.parametrize(
    ("before", "later", "is_in_the_way"),
    [
        (KeptBack(message(1), True), None, True),  # clear at once
        (KeptBack(message(1), False), KeptBack(message(1), False), True),
        (KeptBack(message(1), False), KeptBack(message(2), False), False),
        (KeptBack(message(1), False), None, False),
        (None, KeptBack(message(1), False), False),
    ],
)
async def test_what_is_just_under_way_keeps_nobody_back(monkeypatch, before, later, is_in_the_way):
    answers, slept = [before, later], []

    async def found(bus):
        return answers.pop(0)

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(due, "find", found)
    monkeypatch.setattr(due, "asyncio", SimpleNamespace(sleep=sleep))

    assert await in_the_way(None) == (before if is_in_the_way else None)
    is_clear = before is None or before.lane_is_full
    assert slept == ([] if is_clear else [10])


@pytest.mark.parametrize(
    ("subject", "removed"),
    [
        (
            "agentbus.coder.due.normal.planner",
            [("PURGE", "agentbus.coder.due.normal.planner"), ("MSG.DELETE", 7)],
        ),
        # As a filter it would name others' as well.
        ("agentbus.*.due.normal.planner", [("MSG.DELETE", 7), ("MSG.DELETE", 8)]),
        ("agentbus.coder.due.normal.>", [("MSG.DELETE", 7), ("MSG.DELETE", 8)]),
    ],
)
async def test_what_is_in_the_way_is_ended_and_removed_with_so_much_behind_it(
    monkeypatch, subject, removed
):
    server, asked, ended, calls = Server(), [], [], []

    async def stored(*where, **how):
        asked.append((*where, how))
        for seq in (7, 8, 9):
            yield [message(seq)]

    async def end(bus, message, why):
        ended.append((message.seq, why))

    async def api(call, body):
        verb = call.removeprefix("STREAM.").removesuffix(".AGENTBUS_SCHED")
        calls.append((verb, *body.values()))

    server.stored, server.api = stored, api
    monkeypatch.setattr(due, "_end", end)
    monkeypatch.setattr(due, "_ENDED_MAX", 2)

    await let_go(server, KeptBack(replace(message(7), subject=subject), True))

    assert asked == [("AGENTBUS_SCHED", subject, {"start": 7, "page": 100})]
    assert ended == [(7, "its lane is full"), (8, "its lane is full")]
    assert calls == removed
