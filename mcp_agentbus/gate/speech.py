# SPDX-License-Identifier: Apache-2.0
"""What an account may say on the bus's own subjects: tasks, records, signs of life, events.

>>> decide(Request("laptop", "agentbus.planner.sent.coder.9d", headers, data), book)
Say(subject='agentbus.planner.sent.coder.9d', ...)
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from mcp_agentbus.bus.client import H_EXPECTED_REVISION, H_MSG_ID, H_STREAM
from mcp_agentbus.bus.login.account import BUSY
from mcp_agentbus.core import ids, text
from mcp_agentbus.gate.book import Book
from mcp_agentbus.gate.verdict import (
    H_ACCOUNT,
    NOT_YOURS,
    Copied,
    Event,
    Refusal,
    Request,
    Say,
    Scheduled,
    Stored,
    Verdict,
    field_of,
    object_of,
)
from mcp_agentbus.store import subjects
from mcp_agentbus.store.subjects import AGENTS, DEAD, RESULTS, SCHEDULE, TASKS
from mcp_agentbus.store.task import DELIVER_MAX_S

# A sign of life says at most why which sender's wakes are held; a registration, who it is.
_SIGN_MAX_BYTES: Final = 16 << 10
#: So many agents one account may register.
AGENTS_MAX: Final = 500
_REVISION: Final = re.compile(r"[0-9]{1,19}")
_MSG_ID: Final = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
_TOPIC: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,63}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9]{1,64}")
_STORED_AT: Final = "Nats-Time-Stamp"
# How far off the clock of who sends may be.
_CLOCKS_DIFFER: Final = timedelta(minutes=10)


def decide(asked: Request, book: Book) -> Verdict:
    """Return what is to be done about what is said on a subject that is no API's."""
    first, *tokens = asked.subject.split(".")
    rest = asked.subject.partition(".")[2]
    if first == "agentbus" and len(tokens) > 1:
        whose, kind, *more = tokens
        if rule := _KINDS.get(kind):
            return rule(asked, (whose, *more), book)
    if first == "agentbus-events":
        return _event(asked, rest, book)
    if first == "agentbus-answers" and _TOKEN.fullmatch(rest):
        return Say(asked.subject, asked.data, _answered_by(asked, book))
    return NOT_YOURS


def moved(wanted: Stored, stored: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a message that is parked, or offered again: those that it has.

    Whoever moves it says why, and no more of it: it stays what its sender has said.
    """
    kept = _of_agentbus(stored)
    kept.pop(subjects.H_REASON, None)
    reason = (subjects.H_REASON,) if wanted.stream == TASKS else ()
    mover = (H_MSG_ID, H_STREAM, H_ACCOUNT, *reason)
    if scheduler := stored.get(subjects.H_SCHEDULER):
        kept[subjects.H_SCHEDULED_BY] = scheduler
    said = dict(wanted.say.headers)
    # In a stream that is made anew its number is another's, whom the server would drop for it.
    said[H_MSG_ID] += f"-{stored.get(_STORED_AT, '')}"
    return {**kept, **{name: said[name] for name in mover if name in said}}


def _task(asked: Request, tokens: tuple[str, ...], book: Book) -> Verdict:
    if len(tokens) != 3:
        return NOT_YOURS
    inbox, lane, sender = tokens
    subject = subjects.task_subject(inbox, lane, sender)
    say = Say(subject, asked.data, _of_task(asked, TASKS), sends=sender, stores=TASKS)
    return _sent_by(asked, (inbox, lane, sender), say, book)


def _scheduled(asked: Request, tokens: tuple[str, ...], book: Book) -> Verdict:
    if len(tokens) != 4 or not ids.is_task_id(tokens[3]):
        return NOT_YOURS
    inbox, lane, sender, task_id = tokens
    at = _time(asked.headers.get(subjects.H_SCHEDULE, ""))
    if at is None:
        return NOT_YOURS
    due = {
        subjects.H_SCHEDULE: subjects.AT + text.stamp(at),
        "Nats-Schedule-Target": subjects.due_subject(inbox, lane, sender),
    }
    headers = {**_of_task(asked, SCHEDULE), **due}
    subject = subjects.scheduled_subject(inbox, lane, sender, task_id)
    say = Say(subject, asked.data, headers, sends=sender, stores=SCHEDULE)
    decided = _sent_by(asked, (inbox, lane, sender), say, book)
    return Scheduled(decided) if isinstance(decided, Say) else decided


def _sent_by(asked: Request, task: tuple[str, str, str], say: Say, book: Book) -> Verdict:
    """Decide about a task by who sends it, and to whom."""
    inbox, lane, sender = task
    if not _is_task(task):
        return NOT_YOURS
    if not book.is_own(asked.account, sender):
        if book.is_own_inbox(asked.account, inbox) and say.stores == TASKS:
            # What was set aside is offered again; it counts among nobody's sent ones.
            dead = subjects.dead_subject(inbox, lane, sender)
            return _moving(asked, DEAD, dead, replace(say, sends=""))
        return replace(NOT_YOURS, about=(sender,))
    if not book.is_there(inbox):
        return Refusal("unknown-agent", about=(inbox,))
    if not book.accepts(inbox, sender):
        return Refusal("not-accepted", about=(inbox, sender))
    is_free = book.is_own_inbox(asked.account, inbox) or book.writes_to_all(asked.account)
    return say if is_free else replace(say, reaches=inbox)


def _dead(asked: Request, tokens: tuple[str, ...], book: Book) -> Verdict:
    if len(tokens) != 3 or not _is_task(tokens):
        return NOT_YOURS
    inbox, lane, sender = tokens
    if not book.is_own_inbox(asked.account, inbox):
        return replace(NOT_YOURS, about=(inbox,))
    dead = subjects.dead_subject(inbox, lane, sender)
    say = Say(dead, asked.data, _of_task(asked, DEAD), stores=DEAD)
    return _moving(asked, TASKS, subjects.task_subject(inbox, lane, sender), say)


def _moving(asked: Request, stream: str, subject: str, say: Say) -> Stored:
    """Return what is done about a message that is to be moved: by one id, so that it is once."""
    number = _moved(asked)
    by = {H_MSG_ID: f"moved-{stream}-{number}", H_ACCOUNT: asked.account}
    return Stored(stream, subject, number, replace(say, headers={**say.headers, **by}))


def _result(asked: Request, tokens: tuple[str, ...], book: Book) -> Verdict:
    route = _route(tokens)
    if route is None:
        return NOT_YOURS
    owner, inbox, task_id = route
    subject = subjects.record_subject(owner, inbox, task_id)
    say = Say(subject, asked.data, _of_record(asked, RESULTS), stores=RESULTS)
    if book.is_own(asked.account, owner) or book.is_own_inbox(asked.account, inbox):
        return say
    sender = field_of(asked.data, "asked_by")
    if book.is_own(asked.account, sender):
        sent = subjects.sent_subject(sender, inbox, task_id)
        original = subjects.record_subject(sender, inbox, task_id)
        own = subjects.sent_subject(owner, inbox, task_id)
        return Copied(sent, sender, original, reply_to=owner, own=own, say=say)
    return replace(NOT_YOURS, about=(owner, inbox))


def _kept(asked: Request, tokens: tuple[str, ...], book: Book) -> Verdict:
    route = _route(tokens)
    if route is None:
        return NOT_YOURS
    owner, inbox, task_id = route
    if not book.is_own(asked.account, owner):
        return replace(NOT_YOURS, about=(owner,))
    subject = subjects.sent_subject(owner, inbox, task_id)
    return Say(subject, asked.data, _of_record(asked, RESULTS), stores=RESULTS)


def _woken(asked: Request, tokens: tuple[str, ...], book: Book) -> Verdict:
    route = _route(tokens)
    if route is None:
        return NOT_YOURS
    owner, inbox, task_id = route
    if not book.is_own_inbox(asked.account, inbox):
        return replace(NOT_YOURS, about=(inbox,))
    subject = subjects.wakes_subject(owner, inbox, task_id)
    return Say(subject, asked.data, _of_record(asked, RESULTS), stores=RESULTS)


def _profile(asked: Request, tokens: tuple[str, ...], book: Book) -> Verdict:
    [agent, *more] = tokens
    if more or not ids.is_agent(agent):
        return NOT_YOURS
    headers = _of_record(asked, AGENTS)
    if refusal := _not_registered(asked.account, agent, headers, book):
        return refusal
    fields = object_of(asked.data)
    if fields is None or len(asked.data) > _SIGN_MAX_BYTES:
        return NOT_YOURS
    roles = fields.get("roles") or []
    for role in roles if isinstance(roles, list) else [""]:
        if not ids.is_role(role) or role not in book.roles(asked.account):
            return Refusal("not-granted", {"role": role if ids.is_role(role) else ""})
    said = {**fields, "id": agent, "account": asked.account}
    said.pop("removed", None)  # the word of whoever runs the bus; who registers is in
    data = json.dumps(said, separators=(",", ":")).encode()
    # Each gate reads it again then, as whoever is sent a task looks.
    subject = subjects.profile_subject(agent)
    return Say(subject, data, headers, sends=agent, stores=AGENTS)


def _not_registered(
    account: str, agent: str, headers: Mapping[str, str], book: Book
) -> Refusal | None:
    """Return why an account may not register an agent, or say more of it; None if it may."""
    if not book.may_be(account, agent):
        return Refusal("name-taken", {"free": book.free(agent, account)}, about=(agent,))
    revision, is_new = headers.get(H_EXPECTED_REVISION, ""), not book.is_own(account, agent)
    is_new = is_new or book.is_gone(agent)
    # Whoever else may have claimed it meanwhile: the server is to see that it is as it is known.
    if not revision or (is_new and int(revision) != book.revision(agent)):
        return replace(NOT_YOURS, about=(agent,))
    # What is later than is known here may be another's, who has claimed it by another gate.
    if int(revision) > book.revision(agent):
        return Refusal(BUSY, about=(agent,))
    return Refusal("too-many") if is_new and book.count(account) >= AGENTS_MAX else None


def _beat(asked: Request, tokens: tuple[str, ...], book: Book) -> Verdict:
    if len(tokens) != 2 or not ids.is_label(tokens[1]):
        return NOT_YOURS
    agent, session = tokens
    if not ids.is_agent(agent) or len(asked.data) > _SIGN_MAX_BYTES:
        return NOT_YOURS
    if not book.may_be(asked.account, agent):
        return replace(NOT_YOURS, about=(agent,))
    subject = subjects.heartbeat_subject(agent, session)
    return Say(subject, asked.data, {H_ACCOUNT: asked.account}, session=subject)


def _back(asked: Request, tokens: tuple[str, ...], book: Book) -> Verdict:
    [inbox, *more] = tokens
    if more or not ids.is_inbox(inbox):
        return NOT_YOURS
    if not book.is_there(inbox):
        return Refusal("unknown-agent", about=(inbox,))
    # Who is told so looks, each time: as a task of no size, unless it is one's own inbox.
    sends = "" if book.is_own_inbox(asked.account, inbox) else inbox
    return Say(subjects.back_subject(inbox), sends=sends)


def _refused(asked: Request, tokens: tuple[str, ...], book: Book) -> Verdict:
    inbox, sender = tokens if len(tokens) == 2 else ("", "")
    if not ids.is_inbox(inbox) or not ids.is_agent(sender):
        return NOT_YOURS
    if not book.is_own(asked.account, sender):
        return replace(NOT_YOURS, about=(sender,))
    if not book.is_there(inbox):
        return Refusal("unknown-agent", about=(inbox,))
    return Say(subjects.refused_subject(inbox, sender))


_KINDS: Final[Mapping[str, Callable[[Request, tuple[str, ...], Book], Verdict]]] = {
    "tasks": _task,
    "sched": _scheduled,
    "dead": _dead,
    "results": _result,
    "sent": _kept,
    "wakes": _woken,
    "profile": _profile,
    "heartbeat": _beat,
    "back": _back,
    "refused": _refused,
}


def _event(asked: Request, rest: str, book: Book) -> Verdict:
    sender, _, topic = rest.partition(".")
    if not ids.is_agent(sender) or not _TOPIC.fullmatch(topic):
        return NOT_YOURS
    if not book.is_own(asked.account, sender):
        return replace(NOT_YOURS, about=(sender,))
    say = Say(subjects.event_subject(sender, topic), asked.data)
    return Event(say) if asked.wants_answer else say


def _is_task(task: tuple[str, ...]) -> bool:
    inbox, lane, sender = task
    return ids.is_inbox(inbox) and lane in ids.LANES and ids.is_agent(sender)


def _route(tokens: tuple[str, ...]) -> tuple[str, str, str] | None:
    """Return owner, inbox and task of a record's subject."""
    if len(tokens) != 3:
        return None
    owner, inbox, task_id = tokens
    known = ids.is_agent(owner) and ids.is_inbox(inbox) and ids.is_task_id(task_id)
    return (owner, inbox, task_id) if known else None


def _of_task(asked: Request, stream: str) -> dict[str, str]:
    """Return the headers of a task that are kept; its id is this account's own."""
    kept = _of_agentbus(asked.headers)
    given = asked.headers.get(H_MSG_ID, "")
    own = given if _MSG_ID.fullmatch(given) else secrets.token_hex(8)
    return {**kept, H_STREAM: stream, H_MSG_ID: f"{asked.account}.{own}"}


def _of_agentbus(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those of some headers that say something of a task, and are no gate's."""
    kept = {
        name: value
        for name, value in headers.items()
        if name.startswith("Agentbus-") and not name.lower().startswith("agentbus-gate-")
    }
    kept.pop(subjects.H_MOVED, None)
    return kept


def _moved(asked: Request) -> int:
    """Return which message is moved; 0, which none has, if that is not said."""
    number = asked.headers.get(subjects.H_MOVED, "")
    return int(number) if _REVISION.fullmatch(number) else 0


def _of_record(asked: Request, stream: str) -> dict[str, str]:
    """Return the headers of a record: its writer's id, and the revision that it replaces."""
    given = asked.headers.get(H_MSG_ID, "")
    headers = {H_STREAM: stream, H_MSG_ID: given if _MSG_ID.fullmatch(given) else ""}
    if stream == RESULTS:
        headers[H_ACCOUNT] = asked.account
    revision = asked.headers.get(H_EXPECTED_REVISION, "")
    if _REVISION.fullmatch(revision):
        headers[H_EXPECTED_REVISION] = revision
    return {name: value for name, value in headers.items() if value}


def _answered_by(asked: Request, book: Book) -> dict[str, str]:
    who = asked.headers.get(subjects.H_FROM, "")
    return {subjects.H_FROM: who} if book.is_own(asked.account, who) else {}


def _time(schedule: str) -> datetime | None:
    """Return when a task is to be offered, by what a client says; None if that is no such time."""
    if not schedule.startswith(subjects.AT):
        return None
    try:
        at = datetime.fromisoformat(schedule.removeprefix(subjects.AT))
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    latest = text.now() + timedelta(seconds=DELIVER_MAX_S) + _CLOCKS_DIFFER
    return at if text.now() - _CLOCKS_DIFFER <= at <= latest else None
