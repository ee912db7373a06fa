# SPDX-License-Identifier: Apache-2.0
"""Why a task is not done, and what to do about it.

    >>> why(case).sentence
    'It is normal, and nobody is woken for normal; no session of coder is open, last seen 3 d ago.'

Pure: what is known goes in, this program's own sentences come out, with ids and times in them and
nothing that a peer wrote. What is not known is said to be not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mcp_agentbus.core.ids import ROLE_PREFIX
from mcp_agentbus.core.notices import WHY, Reason, why_held
from mcp_agentbus.core.text import many
from mcp_agentbus.errors import NoListener
from mcp_agentbus.listener.status import State
from mcp_agentbus.overview.case import Case
from mcp_agentbus.overview.todo import todo_for
from mcp_agentbus.store.asked.decisions import is_against
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.registered.presence import AWAY, REMOVED
from mcp_agentbus.store.task import ATTEMPTS_MAX, ENDS
from mcp_agentbus.tools.answers.past import short
from mcp_agentbus.tools.answers.words import AGAINST, ELSEWHERE, HERE, ago, clock

#: What a question's state asks of whoever can give it.
ASKS: Final[Mapping[str, str]] = {"needs_approval": "an approval", "needs_input": "an answer"}


@dataclass(frozen=True)
class Why:
    """An answer."""

    #: A few words, for a list.
    brief: str
    #: One sentence.
    sentence: str
    #: What to do, with the command; empty if there is nothing to do but wait.
    todo: str = ""


def why(case: Case) -> Why:
    """Return why a task is not done, or how it ended, and what to do about it."""
    if case.task.state in ENDS:
        return _over(case)
    if case.task.is_elsewhere:
        return Why("not seen on this bus", f"It is {ELSEWHERE}.")
    question = case.task.question
    if question and (question.is_open or not case.rests):
        return _asks(case, question)
    if not case.rests:
        return _held(case)
    rests = next(answer for rule in _RESTING if (answer := rule(case)))
    return replace(rests, sentence=f"{_left(case)}{rests.sentence}")


def _left(case: Case) -> str:
    """Return what became of a claim that ended with its session; empty where there was none."""
    task = case.task
    if not task.is_left:
        return ""
    return (
        f"{task.agent} claimed it {ago(case.claimed_at or task.updated_at, case.now)} and that "
        "session has ended, so it is offered again. "
    )


def _over(case: Case) -> Why:
    task = case.task
    at = case.ended_at or task.updated_at
    when = ago(at, case.now)
    if task.state == "expired":
        return _expired(case)
    if task.state == "parked":
        who = task.inbox if _is_agent(case) else "ID"  # of any that holds the role
        often = f" after {many(task.attempts, 'claim')}" if task.attempts >= ATTEMPTS_MAX else ""
        return Why(
            f"set aside{often}",
            f"It was set aside {when}{often} without an end.",
            f"`agentbus parked --agent {who}` says why; to offer it again: "
            f"`agentbus replay {short(task.task_id)} --agent {who}`.",
        )
    if task.state == "cancelled":
        return Why("withdrawn", f"{task.owner}, who sent it, withdrew it {when}.")
    if task.expect == "nothing" and task.state == "completed":  # its sender is told of nothing
        return Why("shown", f"It wants no answer, and was shown to {task.agent} {when}.")
    seen = task.seen_at is not None and task.seen_at >= at
    late = ", after its deadline" if task.late else ""
    told = "has seen that" if seen else "has not seen that yet"
    brief, against = "seen" if seen else "not seen yet", ""
    if is_against(task.state, task.reason):
        brief, against = f"DENIED before, {brief}", f", {AGAINST}"
    return Why(
        brief,
        f"It is over: {task.state} by {task.agent or 'nobody known'} {when}{late}{against}; "
        f"{task.owner} {told}.",
        f"Its result: `agentbus task {short(task.task_id)}`.",
    )


def _expired(case: Case) -> Why:
    task = case.task
    nobody = not case.claimed_at
    at = clock(task.expires_at, case.now) if task.expires_at else "some time"
    had = f"nobody of {case.inbox} had read it" if nobody else "it was claimed, and had no end"
    return Why(
        "its deadline passed",
        f"Its deadline passed at {at}: {had}.",
        "Send it again if it is still wanted; --expires-in gives it longer.",
    )


def _asks(case: Case, question: Question) -> Why:
    task = case.task
    what, when = ASKS[question.state], ago(question.at, case.now)
    gone = "" if case.holder_lives or case.rests else "; whether its session lives is not known"
    fact = f"{question.by} asked for {what} {when}, and {{}} holds it now"
    if case.rests:
        fact = fact.format("nobody")
    elif question.by != task.agent:
        fact = fact.format(task.agent)
    else:
        fact = f"{task.agent} holds it and asked for {what} {when}"
    task_id = short(task.task_id)
    if replied := _replied(case, question):
        brief, told = replied
        return Why(
            f"{brief}, not read yet",
            f"{fact}; {told}, and it has not read that yet{gone}.",
            f'Say "read your inbox" in the session of {task.agent}.',
        )
    answer = f"its user decides: `agentbus approve {task_id}`, or deny"
    if question.state == "needs_input":
        answer = f"`agentbus answer {task_id} TEXT --agent {task.owner}` answers it"
    return Why(
        f"waits for {what}",
        f"{fact}{gone}.",
        f"What it asks: `agentbus task {task_id}`; {answer}.",
    )


def _replied(case: Case, question: Question) -> tuple[str, str] | None:
    """Return what was said to a question, in a word and a clause; None while it is open."""
    if not question.replied_at:
        return None
    when = ago(question.replied_at, case.now)
    if question.state == "needs_approval":
        return question.verdict, f"its user {question.verdict} that {when}"
    return "answered", f"{case.task.owner} answered {when}"


def _held(case: Case) -> Why:
    task = case.task
    since = "for a time that is not known"
    if case.claimed_at:
        since = f"since {clock(case.claimed_at, case.now)}"
    facts = [f"{task.agent} holds it {since}"]
    if task.progress is not None:
        facts.append(f"{task.progress:g}% done")
    if case.noted_at:
        facts.append(f"its last word came {ago(case.noted_at, case.now)}")
    if task.lease_ends:
        facts.append(f"in a shell, which keeps it until {clock(task.lease_ends, case.now)}")
    elif case.holder_lives:
        facts.append("its session lives")
    else:
        facts.append("whether its session lives is not known")
    brief = f"held by {task.agent} {since}"
    return Why(brief, ", ".join(facts) + ".", f"Its steps: `agentbus task {short(task.task_id)}`.")


# What may be said of a task that nobody holds, each None if it does not apply; the first counts.


def _outgoing(case: Case) -> Why | None:
    if not case.task.is_outgoing:
        return None
    since = ago(case.task.created_at, case.now)
    why_not = f" {case.outgoing_says}" if case.outgoing_says else ""
    handed_on = f"It is handed on {case.handed_on_once}; to withdraw it: "
    if case.listener in {"stopped", "silent"}:  # it alone has the outbox open
        handed_on = f"{_AWAY[case.listener][2].partition('; or')[0].rstrip('.')}: a listener "
        handed_on += f"hands it on {case.handed_on_once}, and has it withdrawn by "
    return Why(
        HERE,
        f"It was sent {since} and is {HERE}, so nobody can read it.{why_not}",
        f"{handed_on}`agentbus result {short(case.task.task_id)} cancelled --agent "
        f"{case.task.owner}`.",
    )


def _not_yet(case: Case) -> Why | None:
    at = case.task.deliver_at
    if at is None or at <= case.now:
        return None
    when = clock(at, case.now)
    return Why(f"for {when}", f"Its sender wants it offered from {when} on, not before.")


def _bus_away(case: Case) -> Why | None:
    if case.is_live:
        return None
    return Why(
        "the bus is away",
        "Nobody can read it while the bus server is away; whether it was read since the archive "
        "was last brought up to date is not known.",
        "`agentbus doctor` says why; a server of one's own: `agentbus server start`.",
    )


def _unregistered(case: Case) -> Why | None:
    if case.addressee is not None:
        return None
    role = case.task.inbox.startswith(ROLE_PREFIX)
    who = f"no registered agent holds {case.inbox}" if role else f"no agent {case.inbox} is known"
    return Why(
        who,
        f"Nobody can read it: {who}.",
        "`agentbus agents` shows who is known; an agent is from the first call of a tool in a "
        "session of it, or from `agentbus agent add`, on.",
    )


def _wakes_nobody(case: Case) -> Why | None:
    lane, is_word = case.task.priority, case.task.expect == "nothing"
    if lane in case.wake_on and not is_word:
        return None
    word, what = "", f"It is {lane}, and nobody is woken for {lane}"
    if is_word:
        word = "a word, "
        what = "It is a word: its reader is shown it at its next call, and it wakes nobody"
    return Why(
        f"{word}wakes nobody; {_there(case, brief=True)}",
        f"{what}; {_there(case)}.{_place(case)}",
        _have_it_read(case),
    )


def _under_way(case: Case) -> Why | None:
    if case.word is None or not case.word.waking:
        return None
    return Why(
        "a wake is under way",
        f"A wake of {case.inbox} for it is under way.{_place(case)}",
        f"How it goes: `agentbus agent wakes {case.word.agent}`.",
    )


def _held_back(case: Case) -> Why | None:
    word = case.word
    if word is None or not word.reason:
        return None
    until = f" until {clock(word.until, case.now)}" if word.until else ""
    reason = why_held(word.reason, word.not_started) or "its listener holds wakes"
    return Why(
        f"held{until}: {reason}",
        f"The wake of {case.inbox} is held{until}: {reason}; {_there(case)}.{_place(case)}",
        todo_for(
            word.reason, word.agent, case.task.owner, word.host, is_begun=not word.not_started
        ),
    )


def _told(case: Case) -> Why | None:
    if not case.woken_at:
        return None
    when = ago(case.woken_at, case.now)
    return Why(
        f"woken {when}, not read yet",
        f"{case.inbox} was woken for it {when} and has not read it; {_there(case)}.",
        _have_it_read(case),
    )


# What is so, and what to do, where no listener of this user can wake anybody.
_AWAY: Final[Mapping[State, tuple[str, str, str]]] = {
    "stopped": (
        "no listener runs", " that could wake {inbox}",
        f"{NoListener.hint.removesuffix('.')}; or open a session of {{inbox}}.",
    ),
    "silent": (
        "the listener does not answer", ", so nobody is woken for it",
        "`agentbus listen --replace`.",
    ),
    "away": (
        "the listener does not reach the bus", ", so nobody is woken for it",
        "`agentbus doctor` says how to mend it.",
    ),
    "foreign": (
        "the listener that runs serves another bus or other folders", ", so it wakes nobody here",
        "`agentbus listen --status` says which, and what to do.",
    ),
}  # fmt: skip


def _no_listener(case: Case) -> Why | None:
    if not case.is_here or case.listener not in _AWAY:
        return None
    what, so, todo = _AWAY[case.listener]
    so = so.format(inbox=case.inbox)
    return Why(
        what,
        f"It is {case.task.priority}, and {what}{so}; {_there(case)}.",
        todo.format(inbox=case.inbox),
    )


def _elsewhere(case: Case) -> Why | None:
    """Of an agent that no listener of this user looks after."""
    entry = case.addressee
    held = entry.held_for(case.task.owner, case.task.priority) if entry else None
    if held:
        brief, what = f"held: {held}", f"its wake is held: {held}"
    elif held == "":
        brief = "its listener wakes it"
        what = "its listener was about to wake it; whether it did is not known yet"
    elif case.is_here:
        brief, what = "nothing starts it", WHY[Reason.UNKNOWN_HOST]
    else:
        brief = "nobody wakes it"
        what = "no listener of another machine has said that it could wake it"
    add = f"`agentbus agent add {case.inbox} --host HOST --dir FOLDER` lets a listener start it"
    is_mine = held is None and case.is_here and _is_agent(case)
    return Why(
        brief,
        f"It is {case.task.priority}, but {what}; {_there(case)}.{_place(case)}",
        f"{add}; or open a session of it." if is_mine else _have_it_read(case),
    )


_RESTING: Final[Sequence[Callable[[Case], Why | None]]] = (
    _outgoing, _not_yet, _bus_away, _unregistered, _wakes_nobody, _under_way, _held_back,
    _no_listener, _told, _elsewhere,
)  # fmt: skip


def _is_agent(case: Case) -> bool:
    return not case.task.inbox.startswith(ROLE_PREFIX)


def _there(case: Case, *, brief: bool = False) -> str:
    """Return whether a session of the addressee is open."""
    entry = case.addressee
    if entry is None:
        return "whether a session is open is not known"
    who = f"session of {case.inbox}"
    if entry.state == "live session":
        return "a session is open" if brief else f"a {who} is open"
    if entry.state == "removed":
        return REMOVED
    if entry.state == "not known":
        return f"whether a {who} is open is not known: the bus server has just started"
    seen = f"last seen {ago(entry.last_seen, case.now)}" if entry.last_seen else "never seen"
    return seen if brief else f"no {who} is open, {seen}"


def _have_it_read(case: Case) -> str:
    entry = case.addressee
    if entry and entry.state == "live session":
        return f'Say "read your inbox" in the open session of {case.inbox}.'
    if entry and entry.state == "removed":
        return "Withdraw it, or have whoever runs the bus let that account in again."
    if entry and (entry.state in AWAY or entry.state == "listening"):
        return f"Open a session of {case.inbox}: it is read there."
    return ""


def _place(case: Case) -> str:
    """Return what is read before it."""
    if not case.before:
        return ""
    return f" {many(case.before, 'task')} of its lane {'is' if case.before == 1 else 'are'} older."
