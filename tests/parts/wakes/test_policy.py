# SPDX-License-Identifier: Apache-2.0
"""When an agent is woken: each reason not to, and what holds for any facts."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.config.values import Hours
from mcp_agentbus.wakes.facts import DAY, Facts, Hold, PastWake, Waiting, Wake
from mcp_agentbus.wakes.policy import BACKOFF, HOUR, decide, prospects

NOW = datetime(2026, 5, 18, 10, 0, tzinfo=timezone(timedelta(hours=2)))
MINUTE = timedelta(minutes=1)
RULES = Rules("coder", "claude-code", Path("/home/me/shop"), "answer")
PLAN = replace(RULES, host="cursor", profile="work", permission_mode="plan")
NIGHT = Hours(time(22), time(7))


def _task(name="a", sender="planner"):
    return Waiting(f"task {name}", "task", name, sender, sender, "coder")


def _result(name="r", *, live_only=True):
    return Waiting(f"result {name} 1", "result", name, "tester", "coder", "tester", live_only)


def _past(ago, *keys, **fields):
    fields = {"ended_at": NOW - ago, "senders": frozenset({"planner"}), **fields}
    return PastWake(at=NOW - ago, keys=frozenset(keys), **fields)


def _facts(*waiting, **fields):
    return Facts(**{"now": NOW, "rules": RULES, "waiting": waiting, **fields})


def _limited(**limits):
    return replace(RULES, limits=Limits(**limits))


@pytest.mark.parametrize("rules", [None, RULES, replace(RULES, profile="hold"), PLAN])
def test_a_live_session_that_can_be_told_is_nudged(rules):
    assert decide(_facts(_task(), rules=rules, session="can_be_told")).means == "nudge"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (_facts(), "nothing"),
        (_facts(_task(), ledger_works=False, running=True), "ledger"),
        (_facts(_task(), running=True), "running"),
        (_facts(_task(), trusted=frozenset()), "not_allowed"),
        (_facts(replace(_task(), accepted=False)), "not_accepted"),
        (_facts(replace(_task(), accepted=False), session="can_be_told"), "not_accepted"),
        (_facts(replace(_task(), unanswered=True)), "unanswered"),
        (_facts(_task(), rules=None), "unknown_host"),
        (_facts(_task(), rules=replace(RULES, profile="hold")), "profile"),
        (_facts(_task(), rules=PLAN), "mode"),
        (_facts(_task(), session="cannot_be_told"), "deaf_session"),
        (_facts(_task(), session="reads_by_itself"), "worker"),
        (_facts(_task(), rules=_limited(per_hour=0)), "limit_0"),
        (_facts(_task(), rules=_limited(per_sender_hour=0)), "limit_0"),
        (_facts(_task(), rules=_limited(per_day=0), session="can_be_told"), "limit_0"),
        (_facts(_task(), rules=_limited(usd_per_day=0)), "limit_0"),
        (_facts(_task(), rules=_limited(max_usd=0)), "limit_0"),
        (_facts(_result(), session="cannot_be_told"), "nothing"),
    ],
)
def test_a_hold_that_no_time_ends(facts, reason):
    hold = decide(facts)

    assert (hold.reason, hold.until) == (reason, None)
    assert set(hold.held.values()) <= {reason}


@pytest.mark.parametrize("session", ["cannot_be_told", "none"])
def test_the_gateway_of_openclaw_serves_live_sessions_too(session):
    rules = replace(RULES, host="openclaw")
    never = replace(rules, profile="hold")

    assert decide(_facts(_task(), rules=rules, session=session)).means == "start"
    assert decide(_facts(_task(), rules=never, session=session)).reason == "profile"


@pytest.mark.promise(23)
@pytest.mark.parametrize("trusted", [None, {"planner"}, {"other"}, set()])
@pytest.mark.parametrize("wake_from", [set(), {"planner"}, {"*"}, {"other"}])
def test_who_may_wake(trusted, wake_from):
    rules = replace(RULES, wake_from=frozenset(wake_from))
    may = trusted in (None, {"planner"}) or wake_from in ({"planner"}, {"*"})

    assert isinstance(decide(_facts(_task(), rules=rules, trusted=trusted)), Wake) == may


def test_a_result_that_was_waited_for_needs_no_permission():
    result = _result(live_only=False)
    assert decide(_facts(result, trusted=set())) == Wake("start", (result,), (result,))


@pytest.mark.parametrize(("hour", "day"), [(22, 19), (23, 19), (0, 18), (6, 18)])
def test_quiet_hours_over_midnight(hour, day):
    now = NOW.replace(hour=hour)
    found = decide(_facts(_task(), rules=replace(RULES, quiet_hours=NIGHT), now=now))

    assert (found.reason, found.until) == ("quiet_hours", NOW.replace(day=day, hour=7))
    assert found.until.utcoffset() == NOW.utcoffset()


@pytest.mark.parametrize("hour", [7, 21])
def test_out_of_quiet_hours(hour):
    facts = _facts(_task(), rules=replace(RULES, quiet_hours=NIGHT), now=NOW.replace(hour=hour))
    assert isinstance(decide(facts), Wake)


@pytest.mark.parametrize("fold", [0, 1])
def test_quiet_hours_end_later_where_the_clock_is_set_back(fold):
    """02:30 comes twice that night; the end is never past."""
    now = datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    rules = replace(RULES, quiet_hours=Hours(time(22), time(2, 30)))
    until = decide(_facts(_task(), rules=rules, now=now)).until

    assert until.astimezone(UTC) - now.astimezone(UTC) == 20 * MINUTE


def test_a_pause_that_ends_in_quiet_hours_ends_with_them():
    """One look in the morning is enough."""
    rules = replace(RULES, quiet_hours=Hours(time(10, 2), time(12)))
    past = tuple(_past(n * MINUTE, "task a") for n in range(2))
    found = decide(_facts(_task(), rules=rules, past=past))

    assert (found.reason, found.until) == ("backoff", NOW.replace(hour=12))


@pytest.mark.promise(22)
@pytest.mark.parametrize(
    ("limits", "reason", "until"),
    [
        ({"per_day": 2}, "daily_budget", DAY - 20 * MINUTE),
        ({"per_day": 1}, "daily_budget", DAY - 10 * MINUTE),
        ({"usd_per_day": 3.0}, "daily_budget", DAY - 20 * MINUTE),
        ({"usd_per_day": 2.0}, "daily_budget", DAY - 10 * MINUTE),
        ({"per_hour": 2}, "agent_rate", HOUR - 20 * MINUTE),
        ({"per_sender_hour": 2}, "sender_rate", HOUR - 20 * MINUTE),
        ({"per_sender_hour": 1}, "sender_rate", HOUR - 10 * MINUTE),
    ],
)
def test_limits_hold_until_enough_wakes_have_left_the_window(limits, reason, until):
    """Two wakes, 20 and 10 minutes ago, for 1 and 2 dollars."""
    past = (_past(20 * MINUTE, "x", usd=1.0), _past(10 * MINUTE, "y", usd=2.0))
    found = decide(_facts(_task(), rules=_limited(**limits), past=past))

    assert found == Hold(reason, NOW + until, {"task a": reason})


@pytest.mark.parametrize("thing", [_task(), _result()])
def test_what_was_not_begun_cost_nothing_and_counts_in_no_limit(thing):
    limits = dict.fromkeys(("per_day", "per_hour", "per_sender_hour", "result_notices_per_hour"), 1)
    past = (_past(MINUTE, "x", begun=False, live_only=thing.live_only),)
    facts = _facts(thing, rules=_limited(**limits), past=past, session="can_be_told")

    assert isinstance(decide(facts), Wake)


def test_another_sender_may_still_wake():
    past = (_past(MINUTE, "x"),)
    other = _task("b", "tester")
    found = decide(_facts(_task(), other, rules=_limited(per_sender_hour=1), past=past))

    assert found == Wake("start", (other,), (other,), {"task a": "sender_rate"})


@pytest.mark.promise(29)
def test_a_wake_of_the_future_counts_as_now():
    """The clock was set back."""
    past = (replace(_past(MINUTE, "x"), at=NOW + DAY, ended_at=NOW + DAY),)

    assert decide(_facts(_task(), rules=_limited(per_hour=1), past=past)).until == NOW + HOUR


@pytest.mark.parametrize("key", ["task a", "task b"])
@pytest.mark.parametrize(("tries", "pause"), [(1, 1), (2, 5), (3, 25), (4, None)])
def test_what_is_not_read_pauses_ever_longer(key, tries, pause):
    """From the end of the last wake on; for the same task, and for others: the host is at fault."""
    seconds = [timedelta(seconds=n) for n in range(tries)]
    led_to_read = None if key == "task a" else False
    found = decide(
        _facts(_task(), past=tuple(_past(ago, key, led_to_read=led_to_read) for ago in seconds))
    )

    assert found.reason == ("backoff" if pause else "gave_up")
    assert found.until == (NOW + pause * MINUTE if pause else None)


@pytest.mark.parametrize("field", ["cleared", "interrupted", "live_only"])
def test_wakes_that_are_no_fault_cause_no_pause(field):
    past = tuple(_past(MINUTE * n, "task a", led_to_read=False, **{field: True}) for n in range(5))

    assert isinstance(decide(_facts(_task(), past=past)), Wake)


def test_one_read_ends_the_pause_of_the_agent():
    failed = [_past(MINUTE * n, f"task {n}", led_to_read=False) for n in range(1, 5)]
    past = (*failed, _past(0 * MINUTE, "task x", led_to_read=True))

    assert isinstance(decide(_facts(_task(), past=past)), Wake)


def test_a_wake_covers_what_was_told_before_and_still_waits():
    past = (_past(0 * MINUTE, "task a", "task c"),)
    new, foreign = _task("b"), _task("c", "stranger")
    facts = _facts(_task(), new, foreign, past=past, trusted=frozenset({"planner"}))

    held = {"task a": "backoff", "task c": "not_allowed"}
    assert decide(facts) == Wake("start", (new,), (new, _task()), held)


def test_a_notice_for_a_live_session_passes_the_limits_and_brings_nothing_along():
    rules = replace(
        _limited(per_day=1, result_notices_per_hour=2), quiet_hours=Hours(time(9), time(12))
    )
    past = (_past(MINUTE, "task a"), _past(MINUTE, "x", live_only=True))
    facts = _facts(_task(), _result(), rules=rules, past=past, session="can_be_told")
    found = decide(facts)
    held = decide(replace(facts, past=(*past, _past(2 * MINUTE, "y", live_only=True))))

    assert found == Wake("nudge", (_result(),), (_result(),), {"task a": "daily_budget"})
    assert (held.reason, held.until) == ("agent_rate", NOW + HOUR - 2 * MINUTE)


def test_the_most_common_reason_is_named_where_no_time_ends_the_hold():
    past = tuple(_past(MINUTE * n, "task a") for n in range(4))
    waiting = (_task(), _task("b", "x"), _task("c", "y"))
    hold = decide(_facts(*waiting, past=past, trusted=frozenset({"planner"})))

    assert (hold.reason, hold.held["task a"]) == ("not_allowed", "gave_up")


_SENDERS = st.sampled_from(["planner", "tester", "stranger"])
_KEYS = [f"task {n}" for n in "abcd"] + ["result a 1", "result b 1"]


def _thing(key, sender, live_only):
    kind, task_id = key.split()[:2]
    live_only = live_only and kind == "result"
    return Waiting(key, kind, task_id, sender, "planner", "coder", live_only)


def _wake(ago, runs, **fields):
    ended_at = None if runs is None else min(NOW - ago + runs, NOW)
    return PastWake(at=NOW - ago, ended_at=ended_at, **fields)


_things = st.builds(_thing, st.sampled_from(_KEYS), _SENDERS, st.booleans())
_ago = st.one_of(st.integers(0, 120), st.integers(0, 90_000)).map(lambda s: timedelta(seconds=s))


_pasts = st.builds(
    _wake,
    _ago,
    st.sampled_from([None, 0 * MINUTE, 10 * MINUTE]),
    keys=st.frozensets(st.sampled_from(_KEYS), min_size=1),
    senders=st.frozensets(_SENDERS, min_size=1),
    led_to_read=st.sampled_from([None, True, False]),
    interrupted=st.booleans(),
    cleared=st.booleans(),
    live_only=st.booleans(),
    usd=st.floats(0, 2),
)
_times = st.builds(time, st.integers(0, 23), st.sampled_from([0, 30, 59]))
_counts = [st.integers(0, most) for most in (4, 6, 8, 3)]
_limits = st.builds(Limits, *_counts, usd_per_day=st.floats(0, 8))
_some_rules = st.builds(
    replace,
    st.just(RULES),
    host=st.sampled_from(["claude-code", "openclaw"]),
    profile=st.sampled_from(["hold", "answer"]),
    wake_from=st.sampled_from([frozenset(), frozenset({"tester"})]),
    quiet_hours=st.none() | st.builds(Hours, _times, _times),
    limits=_limits,
)
_any_facts = st.builds(
    Facts,
    now=st.just(NOW),
    rules=st.none() | _some_rules,
    waiting=st.lists(_things, max_size=5, unique_by=lambda thing: thing.key).map(tuple),
    session=st.sampled_from(["none", "can_be_told", "cannot_be_told", "reads_by_itself"]),
    past=st.lists(_pasts, max_size=8).map(tuple),
    trusted=st.none() | st.frozensets(_SENDERS),
)


@given(_any_facts)
def test_no_wake_while_one_runs_or_without_a_ledger(facts):
    assert isinstance(decide(replace(facts, running=True)), Hold)
    assert isinstance(decide(replace(facts, ledger_works=False)), Hold)


@given(_any_facts, st.sampled_from(["none", "can_be_told"]))
def test_in_quiet_hours_only_notices_for_live_sessions(facts, session):
    for hours in ((time(9), time(12)), (time(9, 30), time(9)), (time(23), time(10, 1))):
        rules = replace(facts.rules or RULES, quiet_hours=Hours(*hours))
        found = decide(replace(facts, rules=rules, session=session))

        assert isinstance(found, Hold) or all(thing.live_only for thing in found.covers)


@given(_any_facts)
def test_the_time_of_a_hold_is_to_come_and_ends_it(facts):
    found = decide(facts)
    if isinstance(found, Wake) or found.until is None:
        return

    assert found.until > NOW
    then = decide(replace(facts, now=found.until))
    assert isinstance(then, Wake) or then.reason != found.reason
    assert isinstance(then, Wake) or then.until is None


@given(_any_facts, _SENDERS)
def test_less_trust_never_makes_a_wake(facts, sender):
    trusted = frozenset(facts.trusted or ()) | {sender}
    more = decide(replace(facts, trusted=trusted))
    less = decide(replace(facts, trusted=trusted - {sender}))

    if isinstance(less, Wake):
        assert isinstance(more, Wake)
        assert set(less.because) <= set(more.because)


@given(_any_facts)
def test_what_is_held_justifies_nothing(facts):
    found = decide(facts)
    keys = {thing.key for thing in facts.waiting}

    assert set(found.held) <= keys
    if isinstance(found, Wake):
        assert found.because
        assert not set(found.held) & {thing.key for thing in found.because}
        assert set(found.because) <= set(found.covers) <= set(facts.waiting)
        assert len(set(found.covers)) == len(found.covers)


class _Clock:
    def __init__(self, rules=RULES, *, reads, runs=MINUTE):
        self.now, self.rules, self.reads, self.runs = NOW, rules, reads, runs
        self.waiting, self.past = [], []

    def look(self):
        running = bool(self.past and self.past[-1].ended_at > self.now)
        past = tuple(wake for wake in self.past if wake.at > self.now - DAY)
        facts = _facts(*self.waiting, now=self.now, rules=self.rules, running=running, past=past)
        found = decide(facts)
        if isinstance(found, Wake):
            assert not running
            keys = frozenset(thing.key for thing in found.covers)
            senders = frozenset(thing.sender for thing in found.because)
            ended = self.now + self.runs
            self.past.append(PastWake(self.now, keys, senders, ended, self.reads))
            if self.reads:
                self.waiting = [thing for thing in self.waiting if thing.key not in keys]
        return found


@given(
    st.lists(st.tuples(st.integers(0, 3600), _SENDERS, st.booleans()), max_size=120),
    st.integers(1, 5),
    st.integers(1, 8),
)
def test_no_day_and_no_hour_has_more_wakes_than_allowed(arrivals, per_sender, per_day):
    rules = _limited(per_sender_hour=per_sender, per_day=per_day)
    clock = _Clock(rules, reads=True, runs=timedelta(seconds=5))
    for number, (later, sender, reads) in enumerate(arrivals):
        clock.now += timedelta(seconds=later)
        clock.reads = reads
        clock.waiting.append(_task(str(number), sender))
        clock.look()

    for last in clock.past:
        before = [wake for wake in clock.past if last.at - DAY < wake.at <= last.at]
        assert len(before) <= per_day
        for sender in last.senders:
            ats = [wake.at for wake in before if sender in wake.senders]
            assert sum(at > last.at - HOUR for at in ats) <= per_sender


@pytest.mark.parametrize(
    ("facts", "strangers", "planners"),
    [
        (_facts(), "", ""),
        (_facts(running=True), "", ""),
        (_facts(rules=replace(RULES, profile="hold")), "profile", "profile"),
        (_facts(rules=None), "unknown_host", "unknown_host"),
        (_facts(session="cannot_be_told"), "deaf_session", "deaf_session"),
        (_facts(session="reads_by_itself"), "worker", "worker"),
        (_facts(ledger_works=False), "ledger", "ledger"),
        (_facts(rules=replace(RULES, quiet_hours=Hours(time(9), time(11)))), "quiet_hours",
         "quiet_hours"),
        (_facts(past=(_past(MINUTE),) * 6), "", "sender_rate"),
        (_facts(past=(_past(MINUTE),) * 12), "agent_rate", "sender_rate"),
        (_facts(trusted=frozenset({"planner"})), "not_allowed", ""),
        (_facts(trusted=frozenset(), rules=replace(RULES, wake_from=frozenset({"planner"})),
                past=(_past(MINUTE),) * 6), "not_allowed", "sender_rate"),
        (_facts(trusted=frozenset(), rules=replace(RULES, wake_from=frozenset({"*"}))), "", ""),
    ],
)  # fmt: skip
def test_what_would_become_of_a_task_is_known_before_it_comes(facts, strangers, planners):
    found = prospects(facts)

    assert found.everybodys == strangers
    assert found.senders.get("planner", found.everybodys) == planners


@pytest.mark.parametrize("reads", [True, False])
def test_a_flood_leads_to_two_wakes_in_two_minutes(reads):
    """100 tasks in 10 seconds, each wake runs for a minute: one at a time."""
    clock = _Clock(reads=reads)
    for tenth in range(1200):
        clock.now = NOW + timedelta(seconds=tenth / 10)
        if tenth < 100:
            clock.waiting.append(_task(str(tenth)))
        clock.look()

    assert 1 <= len(clock.past) <= 2


def test_a_host_that_never_reads_gets_four_wakes():
    """At once, and 1, 5 and 25 minutes after the last; then no more."""
    clock = _Clock(reads=False, runs=timedelta(0))
    clock.waiting = [_task()]
    while found := clock.look():
        if isinstance(found, Hold) and not found.until:
            break
        clock.now = found.until if isinstance(found, Hold) else clock.now

    ats = [wake.at for wake in clock.past]
    assert found == Hold("gave_up", None, {"task a": "gave_up"})
    assert [later - at for at, later in pairwise(ats)] == list(BACKOFF)
