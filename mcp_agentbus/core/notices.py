# SPDX-License-Identifier: Apache-2.0
"""The fixed texts of wakes: what a notice says, and why a wake is held.

    >>> text(Counts(high=1, others=1))
    '2 tasks wait in your agentbus inbox, 1 of them high priority. Call read_inbox.'
    >>> Reason.QUIET_HOURS.why
    "its user's quiet hours"

Numbers and this program's own sentences, and a line of the agent's own user; not one byte of them
is chosen by a peer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from mcp_agentbus.core.ids import ANY_SENDER, LANES, WAKE_ON, Priority

# Senders that a sentence names.
_NAMED_MAX: Final = 5


class Reason(StrEnum):
    """Why an agent is not woken: the word in logs, records and JSON, with its sentence for people.

    Of two reasons that end at the same time the one that stands first is named.
    """

    #: The sentence, as receipts and the lives of tasks say it; empty if there is nothing to say.
    why: str
    #: It ends once a person does something, or by itself: as time passes, or something is read.
    ends_by: Literal["itself", "a person"]
    #: As which of a person's needs its user is told of it; empty if of it nobody is told.
    need: Literal["", "held", "budget"]

    def __new__(
        cls,
        word: str,
        why: str,
        ends_by: Literal["itself", "a person"] = "itself",
        need: Literal["", "held", "budget"] = "",
    ) -> Self:
        """Make a reason of its word and its sentence: there is none without both."""
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.why, reason.ends_by, reason.need = why, ends_by, need
        return reason

    # Nothing waits that may wake it.
    NOTHING = "nothing", ""
    # No need: its user has said so, and whoever reads it ends it as rejected.
    NOT_ACCEPTED = "not_accepted", "its user does not let it take tasks of this sender", "a person"
    NOT_ALLOWED = "not_allowed", "its user does not let this sender wake it", "a person", "held"
    # No need, as its user has written it.
    LIMIT_0 = "limit_0", "a limit that its user has set for its wakes is 0", "a person"
    QUIET_HOURS = "quiet_hours", "its user's quiet hours"
    SENDER_RATE = "sender_rate", "this sender has woken it as often as an hour allows"
    AGENT_RATE = "agent_rate", "it was woken as often as an hour allows"
    # It passes with the day; its user may want to allow more, and is told once.
    DAILY_BUDGET = (
        "daily_budget",
        "it was woken as often, or spent as much, as a day allows",
        "itself",
        "budget",
    )
    # What waits now is looked at when that wake ends.
    RUNNING = "running", "another wake is under way"
    BACKOFF = "backoff", "the last wake left it waiting; it is tried again later"
    GAVE_UP = "gave_up", "several wakes left it waiting", "a person", "held"
    PROFILE = "profile", "its user wants no session started for it", "a person", "held"
    MODE = "mode", "its host cannot be started in its permission_mode", "a person", "held"
    UNKNOWN_HOST = (
        "unknown_host",
        "its user has not said how to start a session (agentbus agent add)",
        "a person",
        "held",
    )
    # The session cannot be told, and a second one is not started beside it.
    DEAF_SESSION = (
        "deaf_session",
        "a live session is open that sees the task at its next call",
        "a person",
        "held",
    )
    # Nobody need do anything: it takes the task once it has done another.
    WORKER = "worker", "a worker of it is there, which reads by itself"
    # Whoever is started for it could only ask the same again. The question is a need of its own.
    UNANSWERED = "unanswered", "what its last worker has asked is not answered", "a person"
    # No need of each task: it is one thing for all of them, which status and doctor tell.
    LEDGER = "ledger", "its listener cannot record wakes", "a person"


#: Those that end only once a person does something.
FOR_A_PERSON: Final = frozenset(reason for reason in Reason if reason.ends_by == "a person")
#: The sentences by the words, for a word that was read: a listener of another version may have
#: written one that is not here.
WHY: Final[Mapping[str, str]] = MappingProxyType(
    {reason.value: reason.why for reason in Reason if reason.why}
)
#: Those that are about how wakes of before ended.
OF_WAKES: Final = frozenset({Reason.BACKOFF, Reason.GAVE_UP})


def why_held(reason: str, not_started: str = "") -> str:
    """Return in a sentence why a wake is held; "" of a word that is not known.

    Where the last wake did not even start, its cause says more than that something still waits.
    """
    if not_started and reason in OF_WAKES:
        then = "it is tried again later" if reason == Reason.BACKOFF else "it is not tried again"
        return f"the last wake did not start, as {not_started}; {then}"
    return WHY.get(reason, "")


@dataclass(frozen=True)
class Holds:
    """Why one listener would hold a wake of an agent by a task that came now: `Reason`s."""

    #: Whoever sends; empty if it would wake.
    everybodys: str = ""
    #: By sender.
    senders: Mapping[str, str] = field(default_factory=dict)
    #: The priorities of tasks that are to wake it; of others nothing is said.
    wake_on: Sequence[Priority] = WAKE_ON

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """Return what a sign of life says of wakes; what makes no sense there says nothing."""
        senders, lanes = said.get("held_for"), said.get("wake_on")
        return cls(
            str(said.get("held") or ""),
            {who: str(why) for who, why in senders.items()} if isinstance(senders, dict) else {},
            # An earlier version says nothing of lanes.
            [lane for lane in LANES if lane in lanes] if isinstance(lanes, list) else WAKE_ON,
        )

    def said(self) -> dict[str, Any]:
        """Return what a sign of life says of it."""
        held = {"held": self.everybodys, "held_for": dict(self.senders)}
        return {**held, "wake_on": list(self.wake_on)}


@dataclass(frozen=True)
class Counts:
    """What waits for an agent."""

    high: int = 0
    #: Tasks of normal and low priority.
    others: int = 0
    #: Results of tasks that it sent.
    results: int = 0
    #: To questions of its own about tasks that it holds.
    answers: int = 0


def to_person(counts: Counts) -> str:
    """Return what a person is told of as a session starts: high tasks; "" if none waits.

    The session's model is told besides, and does nothing by itself.
    """
    if not counts.high:
        return ""
    waits = "1 urgent task waits" if counts.high == 1 else f"{counts.high} urgent tasks wait"
    return f'agentbus: {waits} here. Say "read your inbox" to have it done.'


def takes(agent: str, accept_from: Sequence[str]) -> str:
    """Return whose tasks an agent takes, in a clause, such as `coder takes tasks of a and b only`.

    `accept_from` has ids and `role:NAME`s; whoever is beyond the fifth is counted.
    """
    if ANY_SENDER in accept_from:
        return f"{agent} takes tasks of everybody"
    named = [*accept_from[:_NAMED_MAX]]
    if more := len(accept_from) - len(named):
        named.append(f"{more} more")
    if not named:
        return f"{agent} takes tasks of nobody else"
    listed = f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
    return f"{agent} takes tasks of {listed} only"


def with_instruction(notice: str, instruction: str) -> str:
    """Return a notice with the line that an agent's own user has for its model, if there is one."""
    return f"{notice}\nYour user's instruction: {instruction}" if instruction else notice


def approved(task_id: str) -> str:
    """Return the notice of a session that is started for one task alone."""
    return (
        f"Your user has approved what was asked about task {task_id} in your agentbus inbox. This "
        "session is for that task alone. Call read_inbox."
    )


def text(counts: Counts) -> str:
    """Return the notice of what waits; of nothing in particular if all are 0."""
    parts = []
    if tasks := counts.high + counts.others:
        waits, how_many = "tasks wait", f"{counts.high} of them"
        if tasks == 1:
            waits, how_many = "task waits", "it is"
        elif not counts.others:
            how_many = "all"
        urgent = f", {how_many} high priority" if counts.high else ""
        parts.append(f"{tasks} {waits} in your agentbus inbox{urgent}")
    if counts.results:
        came = "result of a task" if counts.results == 1 else "results of tasks"
        parts.append(f"{counts.results} {came} that you sent with agentbus can be read")
    if counts.answers:
        came = "answer to a question" if counts.answers == 1 else "answers to questions"
        parts.append(f"{counts.answers} {came} about a task that you hold can be read")
    return f"{'; '.join(parts) or 'Your agentbus inbox has changed'}. Call read_inbox."
