# SPDX-License-Identifier: Apache-2.0
"""How a call waits: when it looks, where, for how long it waits between, and how that ends."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from answering import Reader, claim

from mcp_agentbus.errors import BusUnreachable, NotAllowed
from mcp_agentbus.handoff import inbox
from mcp_agentbus.handoff.inbox import EVERYTHING, read_inbox, watch_inbox
from mcp_agentbus.handoff.intake import watches
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.intake.brought import Brought
from mcp_agentbus.handoff.intake.watches import Watch

NEWS = Inbox(notes=("It is there.",))


class Waiting:
    """A wait on a clock of its own: what looks find, what comes meanwhile, and what was done."""

    def __init__(self, monkeypatch):
        self.at, self.done = 100.0, []
        #: What each look takes, and what it finds; after these, nothing.
        self.look_s, self.finds = 0.0, []
        #: Where something comes in after so many seconds, wait by wait; after these, nothing.
        self.comes, self.reconnects, self.away = [], True, None
        self.watch = Watch()
        monkeypatch.setattr(inbox, "time", SimpleNamespace(monotonic=lambda: self.at))
        monkeypatch.setattr(inbox, "renew", lambda: self.done.append("renew"))
        monkeypatch.setattr(watches, "_came_in", self._came_in)

    async def _look(self, places, last):
        self.done.append(("look", "everywhere" if places == EVERYTHING else set(places), last))
        self.at += self.look_s
        found = self.finds.pop(0) if self.finds else Inbox()
        if isinstance(found, Exception):
            raise found
        return found

    async def _came_in(self, watch, within_s):
        assert watch is self.watch
        assert not watch._places  # what came before the look is forgotten
        self.done.append(("wait", within_s))
        places = self.comes.pop(0) if self.comes else set()
        self.at += 0 if places else within_s
        self.watch.note({"low"})  # comes as the next look begins
        return frozenset(places)

    async def _reconnected(self, within_s, *, if_let_in):
        assert if_let_in
        self.done.append(("reconnect", within_s))
        return self.reconnects

    async def _waiting(self, waited_s):
        self.done.append(("waited", waited_s))

    async def ended(self, timeout_s):
        """Return what a wait that may last so long ends with."""
        bus = SimpleNamespace(reconnected=self._reconnected, away=self.away)
        session = SimpleNamespace(bus=bus)
        return await inbox._wait(self._look, session, self.watch, timeout_s, self._waiting)


@pytest.fixture
def waiting(monkeypatch):
    return Waiting(monkeypatch)


async def test_it_looks_every_5_s_and_when_the_time_is_over_for_the_last_time(waiting):
    waiting.look_s = 1
    waiting.watch.note({"high"})

    assert await waiting.ended(10) == Inbox(timed_out=True)
    assert waiting.done == [
        ("look", "everywhere", False), ("waited", 1), ("wait", 5), ("reconnect", 4), "renew",
        ("look", "everywhere", False), ("waited", 7), ("wait", 4), ("reconnect", 0), "renew",
        ("look", "everywhere", True),
    ]  # fmt: skip


async def test_a_look_with_a_second_left_is_not_the_last(waiting):
    assert await waiting.ended(6) == Inbox(timed_out=True)
    assert [each for each in waiting.done if each[0] in {"look", "wait"}] == [
        ("look", "everywhere", False), ("wait", 5), ("look", "everywhere", False), ("wait", 1),
        ("look", "everywhere", True),
    ]  # fmt: skip


async def test_without_time_it_looks_once(waiting):
    assert await waiting.ended(0) == Inbox(timed_out=True)
    assert waiting.done == [("look", "everywhere", True)]


async def test_what_it_finds_ends_it_and_may_be_found_by_the_last_look(waiting):
    waiting.finds = [NEWS, NEWS]

    assert (await waiting.ended(10), await waiting.ended(0)) == (NEWS, NEWS)
    assert waiting.done == [("look", "everywhere", False), ("look", "everywhere", True)]


async def test_where_something_came_in_it_looks_there_and_soon_again_if_that_was_too_early(waiting):
    waiting.comes = [{"high"}]
    waiting.finds = [Inbox()] * 5 + [NEWS]

    assert await waiting.ended(60) == NEWS
    assert [each for each in waiting.done if each[0] in {"look", "wait"}] == [
        ("look", "everywhere", False), ("wait", 5), ("look", {"high"}, False), ("wait", 0.1),
        ("look", "everywhere", False), ("wait", 0.5), ("look", "everywhere", False), ("wait", 5),
        ("look", "everywhere", False), ("wait", 5), ("look", "everywhere", False),
    ]  # fmt: skip


async def test_a_bus_that_comes_back_in_time_is_gone_on_with_everywhere(waiting):
    waiting.look_s, waiting.comes = 1, [{"high"}]
    waiting.finds = [Inbox(), BusUnreachable(), NEWS]

    assert await waiting.ended(3) == NEWS
    assert waiting.done[4:] == [
        "renew", ("look", {"high"}, False), ("reconnect", 1), "renew", ("look", "everywhere", False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("look_s", "tried"), [(3, [("reconnect", 1)]), (4, []), (5, [])], ids=["1 s", "0 s", "less"]
)
async def test_one_that_stays_away_is_told_of_when_there_is_no_time_left(waiting, look_s, tried):
    waiting.look_s, waiting.reconnects = look_s, False
    waiting.finds = [BusUnreachable()]

    with pytest.raises(BusUnreachable):
        await waiting.ended(4)
    assert waiting.done == [("look", "everywhere", False), *tried]


async def test_one_that_goes_while_nothing_comes_is_told_of(waiting):
    waiting.reconnects, waiting.away = False, BusUnreachable(hint="Tell whoever runs it.")

    with pytest.raises(BusUnreachable, match="Tell whoever runs it"):
        await waiting.ended(60)
    assert waiting.done[-2:] == [("wait", 5), ("reconnect", 55)]


@pytest.fixture
def news():
    """The wait for a notice itself."""
    return watches._came_in


async def test_a_notice_says_where_and_where_none_comes_nothing_does(news):
    watch = Watch()
    nothing = await news(watch, 0)
    watch.note({"low"})

    assert (nothing, await news(watch, 60)) == (frozenset(), frozenset({"low"}))


async def test_unless_asked_otherwise_a_call_waits_45_s(monkeypatch):
    asked = []

    async def waits(look, session, watch, timeout_s, waiting):
        asked.append((timeout_s, waiting, session.watches.count))
        return await look({"high", "records"}, False)

    reader = Reader(monkeypatch)
    monkeypatch.setattr(inbox, "_wait", waits)
    await watch_inbox(reader.session)

    assert asked == [(45, None, 1)]
    assert ("take one", 5, ["high"], []) in reader.asked
    assert ("offered", ["normal", "low"]) in reader.asked
    assert ("results", 5, "not yet") in reader.asked


async def test_a_look_where_no_record_came_asks_for_no_result(monkeypatch):
    async def waits(look, session, watch, timeout_s, waiting):
        return await look({"low"}, False)

    reader = Reader(monkeypatch)
    monkeypatch.setattr(inbox, "_wait", waits)
    found = await watch_inbox(reader.session)

    assert found == Inbox()
    assert [each[0] for each in reader.asked[4:]] == ["take one", "offered", "given"]


async def test_of_awaited_tasks_no_look_but_the_last_tells_before_enough_are_known(monkeypatch):
    async def waits(look, session, watch, timeout_s, waiting):
        return [await look({"records"}, last) for last in (False, True)]

    reader = Reader(monkeypatch)
    reader.outcomes = {"r1": "of r1"}
    monkeypatch.setattr(inbox, "_wait", waits)
    monkeypatch.setattr(inbox.questions, "with_replies", lambda _, found: _same(found))
    monkeypatch.setattr(reader.session.outcomes, "give", lambda *_: None)
    for enough, first in ((None, ()), (2, ()), (1, ("of r1",))):
        looks = await watch_inbox(reader.session, task_id=["r1", "r2", "r3"], enough=enough)
        assert [found.results for found in looks] == [first, ("of r1",)]


async def _same(found):
    return found


@pytest.mark.parametrize("only", ["", "t1"], ids=["any task", "one task"])
async def test_the_last_look_alone_names_by_the_clock_what_may_not_have_arrived(monkeypatch, only):
    by = []

    async def waits(look, session, watch, timeout_s, waiting):
        return [await look({"low"}, last) for last in (False, True)][-1]

    async def with_answers(bus, claims, call, found):
        by.append(call)
        return found

    reader = Reader(monkeypatch)
    reader.session.only = only
    monkeypatch.setattr(inbox, "_wait", waits)
    monkeypatch.setattr(inbox.questions, "with_answers", with_answers)
    call = reader.session.calls.begin()
    await watch_inbox(reader.session, call=call)
    await read_inbox(reader.session, call=call)

    assert by == [call, None, call]


@pytest.mark.parametrize("what", ["notes", "answers"])
async def test_what_comes_besides_tasks_and_results_comes_with_what_waits(monkeypatch, what):
    reader = Reader(monkeypatch)

    async def with_answers(bus, claims, by, answer):
        return (
            replace(answer, tasks=(Item(claim("t1").task, "working"),))
            if what == "answers"
            else answer
        )

    monkeypatch.setattr(inbox.questions, "with_answers", with_answers)
    reader.taken = Brought(notes=["Parked."] * (what == "notes"))
    answer = await watch_inbox(reader.session, timeout_s=9, priority="high")

    assert (answer.empty, answer.waiting, answer.held_elsewhere) == (False, {"low": 3}, 1)


@pytest.mark.parametrize("finds", [[], [BusUnreachable()]])
async def test_one_that_takes_the_login_no_more_is_told_of_in_its_own_words(waiting, finds):
    waiting.reconnects, waiting.away, waiting.finds = False, NotAllowed("Not you."), finds

    with pytest.raises(NotAllowed, match="Not you"):
        await waiting.ended(60)
