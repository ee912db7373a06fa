# SPDX-License-Identifier: Apache-2.0
"""What is asked is tried for as long as its call lasts, and ends in what is known of it then."""

import asyncio
from contextvars import copy_context
from types import SimpleNamespace

import pytest
from local_server import settings_at

from mcp_agentbus.bus import budget, reconnect
from mcp_agentbus.bus.connection import LinkLost, NoResponders
from mcp_agentbus.bus.reconnect import Reconnecting
from mcp_agentbus.bus.replies import LEADERLESS, NotNow
from mcp_agentbus.bus.said import GONE, silent
from mcp_agentbus.errors import BusUnreachable, NotAllowed, OutOfReach, Unconfirmed, Untrusted

ONE, TWO = "nats://127.0.0.1:4000", "nats://127.0.0.1:4000,nats://127.0.0.1:4001"
LATE = "No bus server answered in time. Nothing was stored."
AGAIN = "Call again in a while. If it stays so, "


class Link:
    """A connection that lives; what it is asked for itself is answered as it is told."""

    alive, is_clustered, info = True, False, None

    def __init__(self):
        self.closed = 0

    async def close(self):
        self.closed += 1

    async def request(self, subject, *, timeout):
        assert (subject, timeout) == ("$JS.API.INFO", 0.4)
        if self.info:
            raise self.info


class Trial:
    """A bus whose tries end as they are told, the last for ever; in a time of its own."""

    def __init__(self, monkeypatch, home):
        self.at, self.pauses, self.asked, self.revived = 0.0, [], [], []
        self.home, self.link = home, Link()
        clock = SimpleNamespace(monotonic=lambda: self.at)
        monkeypatch.setattr(budget, "time", clock)
        monkeypatch.setattr(reconnect, "time", clock)
        monkeypatch.setattr(budget, "CALL_S", 3.0)
        monkeypatch.setattr(reconnect, "_BACKOFF_S", (0.25, 0.5, 1.0))
        monkeypatch.setattr(
            reconnect, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": self._sleep})
        )
        monkeypatch.setattr(reconnect.disk, "revive", self.revived.append)

    def bus(self, urls=None):
        bus = Reconnecting(settings_at(self.home, **({"AGENTBUS_URL": urls} if urls else {})))
        bus._link = self.link
        return bus

    async def _sleep(self, pause):
        self.pauses.append(pause)
        self.at += pause

    async def tried(self, bus, *ends, stores=True):
        """Return what is made of tries that end so."""
        left = list(ends)

        async def ask(link, within_s):
            assert link is self.link
            self.asked.append(within_s)
            end = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(end, Exception):
                raise end
            return end

        return await bus._tried(ask, stores=stores)

    async def failed(self, bus, *ends, stores=True):
        """Return the error in which such tries end: its kind, what it says, what to do."""
        with pytest.raises((BusUnreachable, Unconfirmed)) as caught:
            await self.tried(bus, *ends, stores=stores)
        return type(caught.value), caught.value.message, caught.value.hint


@pytest.fixture
def trial(monkeypatch, tmp_path):
    return Trial(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("ends", "handed_over", "unanswered"),
    [
        ((), False, 0),
        ((TimeoutError(),), True, 1),
        ((LinkLost(),), True, 1),
        ((BusUnreachable("away"), NotNow(10008, ""), NoResponders("a.b")), False, 3),
        ((TimeoutError(), BusUnreachable("away")), True, 2),
    ],
)
async def test_an_answer_tells_whether_a_try_before_it_may_have_stored_something(
    trial, ends, handed_over, unanswered
):
    bus = trial.bus(ONE)

    assert await trial.tried(bus, *ends, "answer") == ("answer", handed_over)
    assert bus.unanswered == unanswered
    assert trial.pauses == [0.25, 0.5, 1.0][: len(ends)]


async def test_it_is_tried_with_the_same_last_pause_for_as_long_as_the_call_lasts(trial):
    bus = trial.bus(ONE)
    with budget.call():
        first = await trial.failed(bus, BusUnreachable("It is away.", hint="mend it"))
        tries = len(trial.asked)
        again = await trial.failed(bus, "answer")

    assert trial.pauses == [0.25, 0.5, 1.0, 1.0]
    assert trial.asked == [1.5, 1.5, 1.5, 1.25, budget._LEAST_S]
    assert first == again == (BusUnreachable, "It is away.", "mend it")
    assert len(trial.asked) == tries == 5  # what is asked after it fails at once


async def test_an_answer_leaves_the_call_time_for_what_it_asks_next(trial):
    with budget.call() as left:
        trial.at = 2.5
        await trial.tried(trial.bus(ONE), "answer")

        assert left.left_s == budget._ANSWERS_WITHIN_S


@pytest.mark.parametrize("error", [OutOfReach("Elsewhere."), Untrusted("Another.")])
async def test_what_waiting_does_not_change_is_not_tried_again(trial, error):
    with pytest.raises(type(error)):
        await trial.tried(trial.bus(ONE), error)

    assert (len(trial.asked), trial.pauses) == (1, [])


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((BusUnreachable("It is away."), BusUnreachable(LATE)), "It is away."),
        ((BusUnreachable("It is away."), BusUnreachable("It is full.")), "It is full."),
        ((BusUnreachable(LATE),), LATE),
        ((BusUnreachable(GONE), BusUnreachable(LATE)), LATE),
        ((NotNow(10158, ""),), f"{NotNow(10158, '').message} Nothing was stored."),
        ((TimeoutError(),), "The bus server does not answer. Nothing was stored."),
        ((LinkLost(),), GONE),
        ((TimeoutError(), LinkLost()), "The bus server does not answer. Nothing was stored."),
        ((NotNow(10008, ""), LinkLost()), f"{LEADERLESS} Nothing was stored."),
        ((BusUnreachable(GONE), LinkLost()), GONE),
        ((BusUnreachable(LATE), LinkLost()), LATE),
    ],
)  # fmt: skip
async def test_why_a_try_before_had_no_connection_says_more_than_that_the_last_came_late(
    trial, ends, said
):
    assert (await trial.failed(trial.bus(ONE), *ends, stores=False))[:2] == (BusUnreachable, said)


async def test_what_one_request_of_a_call_has_found_is_said_of_those_beside_it_too(trial):
    bus = trial.bus(TWO)
    with budget.call() as left:
        trial.at = 2.9

        async def beside(link, within_s):
            left.failed = silent("several")  # and closes the connection of all of them
            raise LinkLost

        with pytest.raises(BusUnreachable) as caught:
            await bus._tried(beside, stores=False)

    assert caught.value.message == f"{LEADERLESS} Nothing was stored."


@pytest.mark.parametrize(
    ("urls", "hint"),
    [
        (None, BusUnreachable.hint),
        (ONE, f"{AGAIN}tell whoever runs the shared server."),
        (TWO, f"{AGAIN}tell whoever runs its servers: more than half must run."),
    ],
)
async def test_of_a_server_that_went_away_it_is_said_who_can_bring_it_back(trial, urls, hint):
    found = await trial.failed(trial.bus(urls), LinkLost(), stores=False)

    assert found == (BusUnreachable, GONE, hint)


@pytest.mark.parametrize(
    ("urls", "clustered", "what", "mend"),
    [
        (None, False, "The bus server does not answer.",
         "run `agentbus server stop`, then `agentbus server start`."),
        (ONE, False, "The bus server does not answer.", "tell whoever runs the shared server."),
        (ONE, True, LEADERLESS, "tell whoever runs its servers: more than half must run."),
        (TWO, False, LEADERLESS, "tell whoever runs its servers: more than half must run."),
    ],
)  # fmt: skip
async def test_of_a_server_that_hangs_it_is_said_who_can_mend_it(
    trial, urls, clustered, what, mend
):
    trial.link.is_clustered = clustered

    found = await trial.failed(trial.bus(urls), TimeoutError(), stores=False)

    assert found == (BusUnreachable, f"{what} Nothing was stored.", f"{AGAIN}{mend}")
    assert trial.link.closed == (urls == TWO)  # one of the others may do better
    assert bool(trial.revived) == (urls is None)


@pytest.mark.parametrize(
    ("info", "clustered", "said", "mend"),
    [
        (TimeoutError(), False, "The bus server does not answer: it is", "If it stays so, tell"),
        (LinkLost(), False, "The bus server went away before it confirmed: it is", ""),
        (NoResponders("x"), False, "The bus server went away before it confirmed: it is", ""),
        (NotAllowed(), True, "The bus server went away before it confirmed: it is", ""),
        (LinkLost(), True, f"{LEADERLESS} It is", ""),
        (None, True, f"{LEADERLESS} It is", ""),
        (None, False, "The bus server answers but confirms nothing", "tell whoever runs the"),
    ],
)
@pytest.mark.parametrize("end", [TimeoutError(), LinkLost()])
@pytest.mark.parametrize(
    "then", [BusUnreachable("It is away."), OutOfReach("Elsewhere."), Untrusted("Wants TLS.")]
)
async def test_of_what_was_handed_over_it_is_said_that_it_may_be_stored(
    trial, info, clustered, said, mend, *, end, then
):
    trial.link.info, trial.link.is_clustered = info, clustered

    kind, message, hint = await trial.failed(trial.bus(ONE), end, then)

    assert kind is Unconfirmed
    assert message.startswith(said)
    assert message.endswith("not known whether this was stored.")
    assert mend in hint
    assert mend or hint == Unconfirmed("x").hint


async def test_what_was_not_handed_over_or_stores_nothing_is_known_to_be_not_stored(trial):
    bus, away = trial.bus(ONE), BusUnreachable("It is away.")

    assert (await trial.failed(bus, away))[:2] == (BusUnreachable, "It is away.")
    assert (await trial.failed(bus, LinkLost(), stores=False))[:2] == (BusUnreachable, GONE)
    untrusted = await trial.failed(bus, LinkLost(), Untrusted("Wants TLS."), stores=False)
    assert untrusted[:2] == (Untrusted, "Wants TLS.")


class Missing:
    """What makes anew what is missing, or cannot; notes how often it was asked."""

    def __init__(self, error=None):
        self.error, self.made = error, 0

    async def __call__(self):
        self.made += 1
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("ends", "stores", "made"),
    [
        ((TimeoutError(),), True, 1),
        ((TimeoutError(), TimeoutError()), True, 1),
        ((TimeoutError(),), False, 0),
        ((LinkLost(),), True, 0),
        ((BusUnreachable("It is away."),), True, 0),
    ],
)
async def test_where_nothing_confirms_what_is_stored_what_may_be_missing_is_made_anew_once(
    trial, ends, stores, made
):
    bus = trial.bus(ONE)
    bus.on_missing = Missing()

    await trial.tried(bus, *ends, "answer", stores=stores)

    assert bus.on_missing.made == made


NO_JETSTREAM = "The bus server answers, and has no JetStream for this login."
MISSING = "The bus server answers, but its streams are missing."
SHARED = "If it stays so, tell whoever runs the shared server."
DOCTOR = "Run `agentbus doctor`: it names what is there."


@pytest.mark.parametrize(
    ("subject", "urls", "on_missing", "said", "hint"),
    [
        ("$JS.API.INFO", ONE, None, NO_JETSTREAM, "See that it was started with JetStream"),
        ("$JS.API.INFO", None, None, NO_JETSTREAM, DOCTOR),
        ("$JS.API.INFO", TWO, None, LEADERLESS, AGAIN),
        ("a.b", ONE, None, MISSING, SHARED),
        ("a.b", None, None, MISSING, DOCTOR),
        ("$JS.API.DIRECT.GET.S", ONE, None, MISSING, SHARED),
        ("a.b", ONE, Missing(), "The bus server has its streams, but takes nothing of this",
         "Call again; if it stays so"),
        ("a.b", TWO, Missing(), LEADERLESS, AGAIN),
        ("a.b", ONE, Missing(BusUnreachable("It is away.", hint="go")), "It is away.", "go"),
        ("a.b", ONE, Missing(NotAllowed()), "The bus server answers, but no stream takes this",
         "Have whoever runs it make those"),
        ("a.b", ONE, Missing(TimeoutError()), "The bus server does not answer.", AGAIN),
    ],
)  # fmt: skip
async def test_where_nobody_takes_a_subject_it_is_said_what_is_missing(
    trial, subject, urls, *, on_missing, said, hint
):
    bus = trial.bus(urls)
    bus.on_missing = on_missing

    kind, message, mend = await trial.failed(bus, NoResponders(subject))

    assert kind is BusUnreachable
    assert message.startswith(said)
    assert mend.startswith(hint)


async def test_for_what_is_asked_to_make_it_anew_nothing_is_made_anew(trial):
    bus, asked = trial.bus(ONE), []

    async def make():
        asked.append(await trial.tried(bus, NoResponders("a.b"), "made"))

    bus.on_missing = make
    assert await trial.tried(bus, NoResponders("a.b"), "answer") == ("answer", False)
    assert asked == [("made", False)]


def test_what_was_begun_under_a_budget_apart_has_one_of_its_own_once_that_is_over():
    """What hears on a connection lives longer than what has opened it, as does what that begins."""
    with budget.apart():
        apart, begun = budget.current(), copy_context()
        assert begun.run(budget.current) is apart

    assert begun.run(budget.current) is not apart
