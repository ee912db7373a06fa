# SPDX-License-Identifier: Apache-2.0
"""A session goes on with what another has that the same host has left for it."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from messages import read_record
from server_stand_in import NOON
from session_stand_in import SessionBus

from mcp_agentbus.handoff.call import Given
from mcp_agentbus.handoff.dispatch.cause import Finished
from mcp_agentbus.handoff.ends.awaited import Awaited, Result
from mcp_agentbus.handoff.session import EVERYTHING

HANG_S = 20  # only a hang takes as long
RESULT = read_record(on="agentbus.coder.results.tester.r1", state="completed")
ENDED = Finished(("planner", "coder"), 2, NOON, 0)
DEADLINE = NOON + timedelta(days=1)


@pytest.fixture
def bus(tmp_path, monkeypatch):
    return SessionBus(tmp_path / "home", monkeypatch)


async def test_it_has_all_that_the_other_had_which_is_over_and_says_so(bus):
    earlier, later = bus.session(hosted="host 1"), bus.session("session-2", hosted="host 1")
    async with earlier, later:
        await earlier.called()
        await earlier.can_read()
        bus.claim(earlier)
        earlier.claims.give(["t1"], earlier.calls.begin())
        earlier.claims.recall(("planner", "coder"), 2, NOON)
        task = earlier.claims["t1"].task
        assert earlier.claims.ways.alone([task], "tester", "r2") == task
        earlier.outcomes.sent["r2"] = Awaited("tester", DEADLINE)
        given = Given(NOON, earlier.calls.begin())
        earlier.outcomes.taken["r1"] = Result(RESULT, bus.put(RESULT), None, given)
        bus.said.clear()
        with earlier.watches.begun() as watch:
            await later.called()
            async with asyncio.timeout(HANG_S):
                told = await watch.wait()
        await earlier.settled()

        assert told == EVERYTHING
        assert (earlier.successor, list(earlier.claims), earlier.outcomes.sent) == (
            "session-2", [], {},
        )  # fmt: skip
        assert {len(those) for those in bus.heard.values()} == {1}
        assert (later.successor, list(later.claims)) == ("", ["t1"])
        assert (bus.record().session, bus.record().state) == ("session-2", "claimed")
        assert later.claims.given("t1").is_doubtful(later.calls.begin())
        assert later.outcomes.doubtful(later.calls.begin()) == [later.outcomes.taken["r1"]]
        assert later.outcomes.sent == {"r2": Awaited("tester", DEADLINE)}
        assert replace(later.claims.ways.deepest, at_monotonic=0) == ENDED
        assert later.claims.ways.alone([task], "tester", "r3") is None
        assert later.claims.ways.alone([task], "writer", "r3") == task
        assert "unanswered" not in bus.said
        assert [each for each in bus.said if each[0] in {"lives", "leaves"}] == [
            ("lives", "session-2"),
            ("leaves", "session-1"),
        ]


async def test_it_asks_on_until_nobody_has_anything_and_an_earlier_process_of_it_has_nothing(bus):
    first, second = (bus.session(f"session-{number}", hosted="host 1") for number in (1, 2))
    again = bus.session("session-2", hosted="host 1")
    async with first, second, again:
        await first.called()
        bus.claim(first)
        await second.called()
        await again.called()
        await asyncio.gather(first.settled(), second.settled())

        assert (first.successor, second.successor) == ("session-2", "")
        assert (list(second.claims), list(again.claims)) == (["t1"], [])
        assert "unanswered" not in bus.said


async def test_what_a_session_has_handed_over_it_hands_over_once(bus):
    earlier = bus.session(hosted="host 1")
    async with earlier:
        await earlier.called()
        await asyncio.gather(
            earlier._hand_over("session-2", "reply-a"), earlier._hand_over("session-3", "reply-b")
        )

        assert earlier.successor == "session-2"
        assert [each for each in bus.said if "reply" in each[1]] == [("says", "reply-a")]


@pytest.mark.parametrize(
    "fields", [{}, {"hosted": "host 2"}, {"hosted": "host 1", "only": "t1"}],
    ids=["by nobody", "by another host", "for one task alone"],
)  # fmt: skip
async def test_a_session_for_something_else_takes_nothing_over(bus, fields):
    earlier, later = bus.session(hosted="host 1"), bus.session("session-2", **fields)
    async with earlier, later:
        await earlier.called()
        bus.claim(earlier)
        await later.called()

        assert (list(earlier.claims), list(later.claims)) == (["t1"], [])


async def test_what_comes_without_a_place_to_answer_to_is_no_question(bus):
    earlier = bus.session(hosted="host 1")
    async with earlier:
        await earlier.called()
        [asked] = [each for each in bus.heard if ".succeed." in each]
        bus.hears(asked, b"session-2")
        for arrived in bus.heard[asked]:
            arrived(None)

        assert (earlier._in_background, earlier.successor) == (set(), "")
