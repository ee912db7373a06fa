# SPDX-License-Identifier: Apache-2.0
"""How times, counts, facts and questions are spelled in answers.

>>> ago(now() - timedelta(minutes=4))
'4 min ago'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.core.text import now, stamp
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.registered.presence import REMOVED

# From when on a time that has passed is told in hours, and in days.
_HOURS_FROM_MIN: Final = 120
_DAYS_FROM_H: Final = 48
#: Said of what was completed all the same.
AGAINST: Final = "after its worker's user had DENIED what it asked"
#: Said of a task behind who has claimed it, once that is over without an end of it.
LEFT: Final = "; that session has ended, so it is offered again"

#: Of a word, and of one that is held as its beginning alone was shown.
WANTS_NOTHING: Final = "wants no answer"
IS_OVER: Final = "over once its end was read"

#: Of a task that its bus does not have yet: more than `stored` must not be said of it.
HERE: Final = "stored here, not yet at the bus"

#: Of an open task that was read of another bus, or before a restore whose tasks are not read yet.
ELSEWHERE: Final = "not seen on this bus, as last known"


def about(facts: Mapping[str, str | None]) -> str:
    """Return a line for each name that has a value."""
    return "\n".join(f"{name}: {value}" for name, value in facts.items() if value)


def of_word(*, goes_on: bool) -> list[str]:
    """Return what is said of a word; of one that `goes_on` to be held also until when."""
    return [WANTS_NOTHING, IS_OVER] if goes_on else [WANTS_NOTHING]


def line(facts: Iterable[str]) -> str:
    """Return facts on one line."""
    return " \u00b7 ".join(facts)


def ago(at: datetime, since: datetime | None = None) -> str:
    """Return how long before now, or another time, something was; hours and days from two on."""
    minutes = int(((since or now()) - at).total_seconds()) // 60
    if minutes < 1:
        return "just now"
    if minutes < _HOURS_FROM_MIN:
        return f"{minutes} min ago"
    hours = minutes // 60
    return f"{hours} h ago" if hours < _DAYS_FROM_H else f"{hours // 24} d ago"


def clock(at: datetime, current: datetime) -> str:
    """Return a time as this user's clock shows it, with its day where that is not today's."""
    here, today = at.astimezone(), current.astimezone()
    return f"{here:%H:%M}" if here.date() == today.date() else f"{here:%Y-%m-%d %H:%M}"


def when(at: datetime) -> str:
    """Return a time, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def whether_there(agent: str, state: str) -> str:
    """Return how an agent stands by the roster, without a full stop."""
    if state == "not known":
        return f"Whether {agent} is there is not known yet"
    if state == "removed":
        return f"Nobody is {agent} now: {REMOVED}"
    if state == "never seen":
        return f"{agent} has not been seen yet"
    return f"{agent} is {'in a live session' if state == 'live session' else state}"


def counts(waiting: Mapping[Priority, int]) -> str:
    """Return how many wait in each lane that has any."""
    return ", ".join(f"{waiting[lane]} {lane}" for lane in LANES if waiting.get(lane)) or "none"


def asked(question: Question | None, state: str, how: Sequence[str]) -> list[str]:
    """Return what is to be said of a question.

    Args:
        question: None: there is none.
        state: of its task, which says by itself that something is asked while its asker holds it.
        how: what is typed or called to reply.
    """
    if question is None:
        return []
    by_whom = f"{question.by} asked {ago(question.at)}"
    left = [] if state == question.state else [by_whom]
    if not question.replied_at:
        return [*left, *how]
    is_users = question.state == "needs_approval"
    replied = f"its user {question.verdict} that" if is_users else "answered"
    return [*left, f"{replied} {ago(question.replied_at)}, not read yet"]


def of_question(question: Question | None) -> dict[str, Any] | None:
    """Return a question as data; None if there is none."""
    if question is None:
        return None
    times = {name: getattr(question, name) for name in ("at", "answered_at", "decided_at")}
    return {
        "asks": question.state,
        "by": question.by,
        **{name: stamp(at) if at else None for name, at in times.items()},
        "approved": question.approved,
    }
