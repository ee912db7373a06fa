# SPDX-License-Identifier: Apache-2.0
"""What a session says on the bus from its first call to its end, and what it keeps meanwhile."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from local_server import configured
from messages import read_record
from session_stand_in import BEGUN_S, SessionBus

from mcp_agentbus.core import aio
from mcp_agentbus.core.ids import LANES, Agent
from mcp_agentbus.errors import BusUnreachable, Refused
from mcp_agentbus.handoff import session as module
from mcp_agentbus.handoff.ends.awaited import Result
from mcp_agentbus.handoff.presence import keeper
from mcp_agentbus.handoff.session import EVERYTHING, RECORDS, Session
from mcp_agentbus.store import streams

HANG_S = 20  # only a hang takes as long
KNOWN = ["streams", ("registers", "coder"), ("lives", "session-1")]
KEEPERS = {f"keeper of session {session_id}" for session_id in ("session-1", "shell-coder")}
RECORDS_OF_ITS = "agentbus.coder.results.*.*"
SIGNS = [
    f"agentbus.{inbox}.{sign}"
    for inbox in ("coder", "role-review")
    for sign in ("wake.*.*", "back")
]


@pytest.fixture
def bus(tmp_path, monkeypatch):
    return SessionBus(tmp_path / "home", monkeypatch)


def keepers():
    """Return what keeps the sessions of these tests."""
    return {each for each in asyncio.all_tasks() if each.get_name() in KEEPERS}


async def test_a_session_is_known_heard_from_and_kept_from_its_first_call_on_until_its_end(bus):
    async with bus.session() as session:
        assert (bus.said, bus.heard) == ([], {})
        await asyncio.gather(session.called(), session.called())
        await session.called()
        said, heard, kept = list(bus.said), set(bus.heard), keepers()

    assert (said, heard) == (KNOWN, {RECORDS_OF_ITS})
    [its] = kept
    assert (its.cancelled(), bus.heard) == (True, {})
    assert (bus.said, bus.reached_within) == ([*KNOWN, ("leaves", "session-1")], [0])


async def test_a_session_that_called_nothing_leaves_no_trace(bus):
    async with bus.session():
        pass

    assert (bus.said, bus.reached_within) == ([], [])


async def test_where_the_bus_is_away_at_the_end_nothing_is_said(bus):
    async with bus.session() as session:
        await session.called()
        bus.is_reached = False

    assert (bus.said, bus.heard) == (KNOWN, {})


async def test_a_first_call_that_failed_is_made_again_by_the_next_for_all_that_came_meanwhile(
    bus, monkeypatch
):
    answers = [BusUnreachable(), None]

    async def fails(_):
        bus.said.append("streams")
        await bus.answers.wait()
        if error := answers.pop(0):
            raise error

    monkeypatch.setattr(streams, "ensure_streams", fails)
    bus.answers.clear()
    async with bus.session() as session:
        calls = [asyncio.ensure_future(session.called()) for _ in range(2)]
        await asyncio.wait(calls, timeout=0)
        bus.answers.set()
        failed = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in failed] == [BusUnreachable] * 2
        await session.called()

        assert bus.said == ["streams", *KNOWN]


async def test_a_first_call_that_is_cancelled_leaves_its_work_to_the_next(bus):
    bus.answers.clear()
    async with bus.session() as session:
        call = asyncio.ensure_future(session.called())
        await asyncio.wait({call}, timeout=0)
        call.cancel()
        await asyncio.wait({call})
        bus.answers.set()
        await session.called()

        assert bus.said == KNOWN


async def test_a_session_that_ends_in_the_midst_of_its_first_call_gives_that_up(bus, monkeypatch):
    monkeypatch.setattr(module, "_END_TIMEOUT_S", HANG_S)
    bus.answers.clear()
    session = bus.session()
    call = asyncio.ensure_future(session.called())
    await asyncio.wait({call}, timeout=0)

    async with asyncio.timeout(HANG_S / 2):  # and does not wait for it
        await session.close()

    await asyncio.wait({call}, timeout=HANG_S)
    assert call.cancelled()
    assert (bus.said, bus.reached_within) == (["streams"], [])


async def test_a_shells_session_registers_and_says_nothing_more(bus):
    async with bus.session("shell-coder", leased=True) as session:
        await session.called()

        assert (bus.said, bus.heard, keepers()) == (KNOWN[:2], {}, set())
    assert bus.said == KNOWN[:2]


@pytest.mark.parametrize("leased", [False, True])
async def test_who_reads_has_its_lanes_made_and_hears_what_comes_in(bus, leased):
    me = Agent("coder", roles=("review",))
    async with bus.session(me=me, leased=leased) as session:
        await session.called()
        await session.can_read()
        await session.can_read()
        heard = {subject: len(those) for subject, those in bus.heard.items()}

    assert heard == dict.fromkeys([RECORDS_OF_ITS, *SIGNS], 1)
    made = [call.split(".")[3] for call in bus.asked_for if call.startswith("CONSUMER.CREATE.")]
    lanes = [f"{inbox}_{lane}" for inbox in ("coder", "role-review") for lane in LANES]
    assert sorted(made) == sorted(["coder_results", "coder_sent", *lanes])


@pytest.mark.parametrize(
    ("subject", "places"),
    [
        ("agentbus.coder.wake.high.planner", {"high"}),
        ("agentbus.coder.back", EVERYTHING),
        ("agentbus.coder.results.tester.t1", {RECORDS}),
    ],
)
async def test_who_waits_is_told_where_something_came_in(bus, subject, places):
    async with bus.session() as session:
        await session.called()
        await session.can_read()
        session.outcomes.sent["t1"] = None
        with session.watches.begun() as watch:
            bus.hears(subject)
            async with asyncio.timeout(HANG_S):
                assert await watch.wait() == places
        assert session.outcomes.unread == ({"t1"} if places == {RECORDS} else set())


@pytest.mark.parametrize("on", ["agentbus.coder.wake.*.*", "agentbus.coder.back"])
async def test_after_a_gap_something_may_have_come_in_everywhere(bus, on):
    async with bus.session() as session:
        await session.called()
        await session.can_read()
        with session.watches.begun() as watch:
            for arrived in bus.heard[on]:
                arrived(None)
            async with asyncio.timeout(HANG_S):
                assert await watch.wait() == EVERYTHING


async def test_a_session_whose_successor_lives_does_nothing_and_goes_on_once_that_is_gone(bus):
    async with bus.session() as session:
        await session.called()
        session.successor = "session-2"
        bus.live = {"session-2"}
        with pytest.raises(Refused, match="was replaced"):
            await session.called()
        assert bus.said == KNOWN

        bus.live = set()
        await session.called()

        assert (session.successor, bus.said) == ("", [*KNOWN, "streams", ("lives", "session-1")])


@pytest.mark.parametrize("known", [False, True])
async def test_a_session_takes_its_name_once_and_what_it_began_it_goes_on_with(bus, known):
    identity = SimpleNamespace(me=Agent("shop", host="shell"), remarks=("A remark.",), news="")

    async def take(_):
        return identity

    naming = SimpleNamespace(take=take)
    async with bus.session(me=Agent("coder", host="shell"), naming=naming) as session:
        assert session.me.host == "mcp"
        session.claims.on_change = lambda: None
        told, before = session.claims.on_change, (session.claims, session.outcomes)
        if known:
            await session.called()
            session.naming = naming
        remarks = await session.take_name()
        after = (session.claims, session.outcomes)

        assert remarks == ("A remark.",)
        assert session.me == Agent("coder" if known else "shop", host="mcp")
        assert (after == before) is known
        assert session.claims.on_change is told
        identity.news = "It is shop."
        assert await session.take_name() == ("A remark.", "It is shop.")
        session.naming = None
        assert await session.take_name() == ()


async def test_a_session_that_keeps_its_name_keeps_all_that_it_knows(bus):
    async def take(_):
        return SimpleNamespace(me=Agent("coder", roles=("review",)), remarks=(), news="")

    async with bus.session(naming=SimpleNamespace(take=take)) as session:
        claims = session.claims
        await session.take_name()

        assert (session.claims is claims, session.inboxes) == (True, ("coder", "role-review"))


async def test_whose_tasks_are_taken_holds_as_the_file_says_also_of_before_the_session(
    bus, tmp_path
):
    configured(tmp_path / "home", '[agents.coder]\naccept_from = ["planner"]\n')
    session = bus.session(me=Agent("coder", host="mcp"))
    first = session.refreshed()
    configured(tmp_path / "home", '[agents.coder]\naccept_from = ["planner", "lead"]\n')

    assert first == Agent("coder", host="mcp", accept_from=("planner",))
    assert session.refreshed().accept_from == ("planner", "lead")
    assert session.me == session.refreshed()


async def kept(bus, session, monkeypatch, times):
    """Keep a session, of which so many seconds go by until each of its rounds."""
    slept, passed = [], iter(times)

    async def sleep(seconds):
        slept.append(seconds)
        at = next(passed, None)
        if at is None:
            raise asyncio.CancelledError
        bus.clock_s = BEGUN_S + at

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "asyncio", SimpleNamespace(sleep=sleep))
        with pytest.raises(asyncio.CancelledError):
            await keeper.keep(session)
    assert slept == [5] * (len(times) + 1)


async def test_while_a_session_lives_it_says_so_and_extends_what_it_has_taken(bus, monkeypatch):
    session = bus.session()
    bus.claim(session)
    for task_id, delivery in (("r1", session.claims["t1"].delivery), ("r2", None)):
        one = delivery and replace(delivery, seq=9)
        session.outcomes.taken[task_id] = Result(read_record(), 1, one)

    await kept(bus, session, monkeypatch, [5, 10])

    assert bus.said == [("lives", "session-1"), ("extends", 1), ("extends", 9)] * 2


async def test_its_registration_is_renewed_every_five_minutes(bus, monkeypatch):
    session = bus.session()

    await kept(bus, session, monkeypatch, [300, 301, 601, 602])

    lives, registers = ("lives", "session-1"), ("registers", "coder")
    assert bus.said == [lives, lives, registers, lives, lives, registers]


async def test_what_it_holds_is_given_back_two_hours_after_its_last_call(bus, monkeypatch):
    async with bus.session() as session:
        await session.called()
        bus.claim(session)
        await kept(bus, session, monkeypatch, [7200])
        held = list(session.claims)
        await kept(bus, session, monkeypatch, [7201])

        assert (held, list(session.claims)) == (["t1"], [])
    record = bus.record()
    assert (record.state, record.reason) == ("stored", "no call from its session for 2 hours")


async def test_what_could_not_be_kept_is_tried_again_in_each_round(bus, monkeypatch):
    session, tried = bus.session(), []

    async def again():
        tried.append(bus.clock_s - BEGUN_S)

    session.outcomes.sent_records = SimpleNamespace(again=again)
    await kept(bus, session, monkeypatch, [5, 10])

    assert tried == [5, 10]


async def test_a_keeper_goes_on_whatever_fails_and_says_what_should_not(bus, monkeypatch, caplog):
    session = bus.session()
    bus.fails = [BusUnreachable("It is away."), ZeroDivisionError(), None]
    aio.failures.clear()

    with caplog.at_level("DEBUG", keeper.__name__):
        await kept(bus, session, monkeypatch, [5, 10, 15])

    assert bus.said == [("lives", "session-1")]
    [failure] = aio.failures
    assert failure.startswith("keeper of session session-1: ZeroDivisionError at ")
    assert "keeper: It is away." in caplog.messages
    aio.failures.clear()


async def test_what_is_held_is_noted_in_each_round_also_while_the_bus_is_away(bus, monkeypatch):
    session, told = bus.session(), []
    session.claims.on_way = lambda: told.append(bus.clock_s - BEGUN_S)
    bus.fails = [BusUnreachable("It is away."), None]
    await kept(bus, session, monkeypatch, [5, 10])

    assert told == [5, 10]


@pytest.mark.parametrize("in_order", [True, False])
async def test_a_session_that_ends_gives_back_what_it_holds_and_what_was_read_counts(bus, in_order):
    class Cut(Exception):
        pass

    may_go_on = asyncio.Event()

    async def undone():
        await may_go_on.wait()
        await bus.send("agentbus.undone", b"", {})

    try:
        async with bus.session() as session:
            await session.called()
            bus.claim(session)
            bus.claim(session, "t2", expect="nothing")
            call = session.calls.begin()
            session.claims.give(["t2"], call)
            result = read_record(on="agentbus.coder.results.tester.r1", state="completed")
            session.outcomes.taken["r1"] = Result(result, 1, None)
            session.outcomes.give([result], call)
            call.answered(surely=True)
            session.finish_in_background(undone())
            asyncio.get_running_loop().call_later(0.01, may_go_on.set)
            bus.clock_s += 60
            bus.said.clear()
            if not in_order:
                raise Cut
    except Cut:
        pass

    states = [bus.record(task_id).state for task_id in ("t1", "t2")]
    assert states == ["stored", "completed" if in_order else "stored"]
    assert bus.record().reason == "its session ended"
    assert bus.said[0] == ("says", "agentbus.undone")
    assert [each for each in bus.said if each[0] in {"leaves", "registers"}] == [
        ("leaves", "session-1"),
        ("registers", "coder"),
    ]
    seen = ("writes", "agentbus.coder.sent.tester.r1")
    assert (seen in bus.said) is in_order
    assert session.outcomes.taken == {}


async def test_who_waits_until_all_is_undone_waits_for_what_is_kept_and_given_back(bus):
    session, done = bus.session(), []

    async def settled():
        done.append("kept")

    async def given_back():
        done.append("given back")

    session.outcomes.sent_records = SimpleNamespace(settled=settled)
    session.finish_in_background(given_back())
    await session.settled()

    assert done == ["kept", "given back"]
    assert session._in_background == set()


def test_nobody_begins_a_session_that_has_a_successor(bus):
    with pytest.raises(TypeError, match="successor"):
        Session(bus, Agent("coder"), successor="session-2")
