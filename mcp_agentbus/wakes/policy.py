# SPDX-License-Identifier: Apache-2.0
"""May this agent be woken now, by which means, and if not: why, and until when?

    >>> decide(facts)
    Hold(reason=<Reason.QUIET_HOURS: 'quiet_hours'>, until=datetime(2026, 11, 21, 7, 0), ...)

Pure: facts in, `Wake` or `Hold` out. A wake says only that something waits, so the worst that a
wrong answer costs is one turn too many or a task that waits for the next look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from mcp_agentbus.config.rules import Limits, Profile, Rules
from mcp_agentbus.core import hosts
from mcp_agentbus.core.ids import ANY_SENDER, WAKE_ON
from mcp_agentbus.core.notices import Holds, Reason
from mcp_agentbus.wakes.facts import DAY, Facts, Hold, PastWake, Waiting, Wake

#: How long after a wake that led to no read the next one may come; after the last one: none.
BACKOFF: Final = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=25))
HOUR: Final = timedelta(hours=1)


class _Block(NamedTuple):
    """Why something does not wake the agent, and until when; None: until something changes."""

    reason: Reason
    until: datetime | None


# What becomes of one thing that waits: it wakes the agent, there is nothing to do about it, or it
# does not wake the agent before the end of a block.
_Verdict = Literal["wakes", "settled"] | _Block

# Of what is held so no notice tells.
_NEVER: Final = frozenset({Reason.NOT_ACCEPTED, Reason.NOT_ALLOWED})

# Of two reasons that end at the same time the one that stands first in `Reason` is named.
_ORDER: Final = {reason: place for place, reason in enumerate(Reason)}


def decide(facts: Facts) -> Wake | Hold:
    """Return whether the agent is woken now, by which means, and if not: why, and until when.

    The time of a `Hold` is one at which something may wake the agent if nothing else changes, so
    one more look at that time is enough; on the night of a clock change it may take two.
    """
    if not facts.waiting:
        return Hold(Reason.NOTHING)
    if not facts.ledger_works:
        return Hold(Reason.LEDGER)
    if facts.running:
        return Hold(Reason.RUNNING)
    facts = _in_utc(facts)
    verdicts = [(thing, _verdict(thing, facts)) for thing in facts.waiting]
    because = tuple(thing for thing, verdict in verdicts if verdict == "wakes")
    held = {thing.key: block for thing, block in verdicts if isinstance(block, _Block)}
    if not because:
        return _hold(held, facts)
    reasons = {key: block.reason for key, block in held.items()}
    means = _means(facts)
    if isinstance(means, Reason):
        return Hold(means, None, {**reasons, **{thing.key: means for thing in because}})
    return Wake(means, because, because + _told_before(because, held, facts), reasons)


def approved(facts: Facts, thing: Waiting, profile: Profile) -> Wake | Hold:
    """Return whether an agent is started now for one task alone, as its user has just said.

    That one is there, so there are neither quiet hours nor pauses; all limits hold.
    """
    if facts.session != "none":
        return Hold(_beside(facts))
    rules = facts.rules and replace(facts.rules, profile=profile, quiet_hours=None)
    past = tuple(replace(wake, cleared=True) for wake in facts.past)
    decision = decide(replace(facts, waiting=(thing,), rules=rules, past=past, trusted=None))
    return replace(decision, alone=profile) if isinstance(decision, Wake) else decision


def prospects(facts: Facts) -> Holds:
    """Return what would become of a task that came now, beside a wake that is under way."""
    strangers = _prospect("", facts)
    # Of two that may wake it only their own wakes make a difference.
    of_allowed = _prospect("", replace(facts, trusted=None))
    named = (facts.trusted or frozenset()) | (facts.rules.wake_from if facts.rules else frozenset())
    senders = dict.fromkeys(named - {ANY_SENDER}, of_allowed)
    for sender in frozenset[str]().union(*(wake.senders for wake in facts.past)):
        senders[sender] = _prospect(sender, facts)
    others = {sender: why for sender, why in senders.items() if why != strangers}
    return Holds(strangers, others, facts.rules.wake_on if facts.rules else WAKE_ON)


def may_wake(thing: Waiting, rules: Rules | None, trusted: frozenset[str] | None) -> bool:
    """Tell whether an agent's user lets something wake it at all, by who has sent it.

    `trusted` as in `Facts`.
    """
    if thing.kind != "task" or trusted is None or thing.sender in trusted:
        return True
    return rules is not None and not rules.wake_from.isdisjoint({thing.sender, ANY_SENDER})


def usd_unsaid(rules: Rules | None) -> float | None:
    """Return what a run by these rules counts for if it ends and never says what it did cost.

    As much as one may cost; None where its host limits no cost, so that nobody knows.
    """
    return rules.limits.max_usd if rules and hosts.named(rules.host).limits_cost else None


def _prospect(sender: str, facts: Facts) -> str:
    task = Waiting.of_task("", sender, "")
    decision = decide(replace(facts, waiting=(task,), running=False))
    return decision.reason if isinstance(decision, Hold) else ""


def _in_utc(facts: Facts) -> Facts:
    """Return the facts with the times of past wakes in UTC, none later than now, oldest first."""
    now = facts.now.astimezone(UTC)
    past = [
        replace(
            wake,
            at=min(wake.at.astimezone(UTC), now),
            ended_at=wake.ended_at and min(wake.ended_at.astimezone(UTC), now),
        )
        for wake in facts.past
    ]
    return replace(facts, past=tuple(sorted(past, key=lambda wake: wake.at)))


def _limits(facts: Facts) -> Limits:
    return facts.rules.limits if facts.rules else Limits()


def _verdict(thing: Waiting, facts: Facts) -> _Verdict:
    """Judge one thing by itself; of several blocks the one that ends last counts."""
    if _is_settled(thing, facts):
        return "settled"
    blocks = _blocks_of_notice(facts) if thing.live_only else _blocks(thing, facts)
    return _longest(thing, blocks, facts) if blocks else "wakes"


def _is_settled(thing: Waiting, facts: Facts) -> bool:
    """Tell whether nothing is to be done about it, now or later.

    That is a notice that was given, that no session can be given, or that its user wants none of;
    and a result that the agent was woken for once, unless nothing was read then.
    """
    if thing.live_only:
        if _limits(facts).result_notices_per_hour <= 0:
            return True
        return facts.session != "can_be_told" or any(thing.key in wake.keys for wake in facts.past)
    tries = _tries(thing.key, facts) if thing.kind == "result" else []
    return any(wake.led_to_read is not False for wake in tries)


def _blocks(thing: Waiting, facts: Facts) -> list[_Block]:
    """Return all that keeps it from waking the agent now."""
    if not thing.accepted:
        return [_Block(Reason.NOT_ACCEPTED, None)]
    if not may_wake(thing, facts.rules, facts.trusted):
        return [_Block(Reason.NOT_ALLOWED, None)]
    if thing.unanswered:
        return [_Block(Reason.UNANSWERED, None)]
    limits = _limits(facts)
    counted = [wake for wake in facts.past if wake.begun and not wake.live_only]
    of_sender = [wake for wake in counted if thing.sender in wake.senders]
    blocks = [
        _quiet(facts),
        _over(Reason.DAILY_BUDGET, counted, limits.per_day, DAY, facts),
        _over(Reason.DAILY_BUDGET, counted, limits.usd_per_day, DAY, facts, cost=attrgetter("usd")),
        _over(Reason.AGENT_RATE, counted, limits.per_hour, HOUR, facts),
        _over(Reason.SENDER_RATE, of_sender, limits.per_sender_hour, HOUR, facts),
        _pause(_without_read(facts), facts),
        _pause(_tries(thing.key, facts), facts),
    ]
    return [block for block in blocks if block]


def _blocks_of_notice(facts: Facts) -> list[_Block]:
    """Return what keeps a notice of a result from a live session now: their own limit only."""
    given = [wake for wake in facts.past if wake.begun and wake.live_only]
    block = _over(Reason.AGENT_RATE, given, _limits(facts).result_notices_per_hour, HOUR, facts)
    return [block] if block else []


def _counts(wake: PastWake) -> bool:
    """Whether a wake counts for the pauses after wakes that led to no read."""
    return not (wake.live_only or wake.cleared or wake.interrupted)


def _tries(key: str, facts: Facts) -> list[PastWake]:
    """Return the past wakes that told of it."""
    return [wake for wake in facts.past if _counts(wake) and key in wake.keys]


def _without_read(facts: Facts) -> list[PastWake]:
    """Return the latest wakes as far back as none of them led to a read."""
    latest_first = (wake for wake in reversed(facts.past) if _counts(wake))
    return list(takewhile(lambda wake: wake.led_to_read is False, latest_first))


def _pause(tries: Sequence[PastWake], facts: Facts) -> _Block | None:
    if not tries:
        return None
    if len(tries) > len(BACKOFF):
        return _Block(Reason.GAVE_UP, None)
    ended = max(wake.ended_at or wake.at for wake in tries)
    return _later(Reason.BACKOFF, ended + BACKOFF[len(tries) - 1], facts)


def _over(
    reason: Reason,
    wakes: Sequence[PastWake],
    limit: float,
    window: timedelta,
    facts: Facts,
    *,
    cost: Callable[[PastWake], float] = lambda _: 1,
) -> _Block | None:
    """Return the block until so many wakes have left the window that the rest is below `limit`."""
    if limit <= 0:
        return _Block(Reason.LIMIT_0, None)
    recent = [wake for wake in wakes if wake.at + window > facts.now]
    for place, wake in enumerate(reversed(recent)):
        # Summed anew from the latest on, as the next look will: sums of floats have an order.
        if sum(map(cost, recent[len(recent) - 1 - place :])) >= limit:
            return _Block(reason, wake.at + window)
    return None


def _quiet(facts: Facts) -> _Block | None:
    return _later(Reason.QUIET_HOURS, _after_quiet(facts.now, facts), facts)


def _after_quiet(at: datetime, facts: Facts) -> datetime:
    """Return `at`, or the end of the quiet hours that it lies in, by the clock on the wall."""
    if not facts.rules or not facts.rules.quiet_hours:
        return at
    return facts.rules.quiet_hours.over(at, facts.now.tzinfo)


def _later(reason: Reason, until: datetime, facts: Facts) -> _Block | None:
    """Return a block until then, if that is yet to come."""
    until = until.astimezone(UTC)
    return _Block(reason, until) if until > facts.now.astimezone(UTC) else None


def _longest(thing: Waiting, blocks: Iterable[_Block], facts: Facts) -> _Block:
    """Return the block that ends last: it may not wake the agent before."""
    ordered = sorted(blocks, key=lambda block: _ORDER[block.reason])
    longest = ordered[0]
    for block in ordered:
        if block.until is None:
            return block
        if longest.until and block.until > longest.until:
            longest = block
    if thing.live_only or not longest.until:
        return longest
    return longest._replace(until=_after_quiet(longest.until, facts).astimezone(UTC))


def _told_before(
    because: Sequence[Waiting], held: dict[str, _Block], facts: Facts
) -> tuple[Waiting, ...]:
    """Return what the wake tells of besides what justifies it."""
    # A notice of a result passes all limits, so it must not bring a task along.
    if all(thing.live_only for thing in because):
        return ()
    told = frozenset[str]().union(*(wake.keys for wake in facts.past))
    return tuple(
        thing
        for thing in facts.waiting
        if thing.key in held and held[thing.key].reason not in _NEVER and thing.key in told
    )


def _hold(held: dict[str, _Block], facts: Facts) -> Hold:
    """Return the hold until the first thing may wake the agent."""
    if not held:
        return Hold(Reason.NOTHING)
    reasons = {key: block.reason for key, block in held.items()}
    timed = [(block.until, _ORDER[block.reason], block) for block in held.values() if block.until]
    if not timed:
        return Hold(Counter(reasons.values()).most_common(1)[0][0], None, reasons)
    until, _, block = min(timed)
    return Hold(block.reason, until.astimezone(facts.now.tzinfo), reasons)


def _means(facts: Facts) -> Literal["nudge", "start"] | Reason:
    """Return how the agent can be woken now, or why it cannot."""
    if facts.session == "can_be_told":
        return "nudge"
    # Unless its host hands a wake to the live session itself, as OpenClaw's gateway does.
    hands_on = facts.rules is not None and hosts.named(facts.rules.host).hands_on
    if facts.session != "none" and not hands_on:
        return _beside(facts)
    if not facts.rules:
        return Reason.UNKNOWN_HOST
    if facts.rules.profile == "hold":
        return Reason.PROFILE
    if usd_unsaid(facts.rules) == 0:  # what one may cost that is started; a live session is told
        return Reason.LIMIT_0
    # In another mode it might do more than its user has meant to allow.
    takes_mode = hosts.named(facts.rules.host).takes_mode(facts.rules.permission_mode)
    return "start" if takes_mode else Reason.MODE


def _beside(facts: Facts) -> Reason:
    """Return why nobody is started beside a live session that is told nothing."""
    return Reason.WORKER if facts.session == "reads_by_itself" else Reason.DEAF_SESSION
