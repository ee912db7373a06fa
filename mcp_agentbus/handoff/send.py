# SPDX-License-Identifier: Apache-2.0
"""Send a task: check it, find its addressees, store it, keep the sender's record of it.

    >>> [receipt] = await send_task(session, "coder", "Count the tests", "In the folder ...")
    >>> receipt.state
    'stored'

A receipt says that the task is stored, never that anybody saw it. What cannot be stored whole is
refused whole; among several addressees each has a receipt of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypedDict, Unpack

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import EVERYBODY, Priority
from mcp_agentbus.errors import BadInput, BusUnreachable, HopLimit, Refused, Unconfirmed
from mcp_agentbus.handoff import shell
from mcp_agentbus.handoff.agents import Addressee
from mcp_agentbus.handoff.beside.receipts import receipt_of
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import tasks
from mcp_agentbus.store.records import read_sent
from mcp_agentbus.store.task import (
    BODY_MAX_BYTES,
    DELIVER_MAX_S,
    EXPIRES_MAX_S,
    HOPS_MAX,
    Expect,
    Notify,
    Receipt,
    Sent,
    Task,
    check_subject,
)
from mcp_agentbus.store.tasks import Kept

ADDRESSEES_MAX: Final = 50
# 128 bits: nobody but a task's own sender gains by finding two calls of one hash.
_REQUEST_CHARS: Final = 32


class Options(TypedDict, total=False):
    """What may be said about a task besides its subject and body."""

    #: `high` is read first, and may wake the addressee; `normal` is the default.
    priority: Priority
    #: A word for the kind of work; not interpreted.
    task_type: str
    #: The conversation it belongs to; a new one if not given.
    thread_id: str | None
    #: The id of a task that this one answers; gives its thread, if that was sent or is held here.
    in_reply_to: str | None
    #: Seconds, at most 7 days, the default; counted from `deliver_in_s`.
    expires_in_s: int | None
    #: Seconds, at most 7 days, before it is offered.
    deliver_in_s: int | None
    #: How the sender wants to learn of the result; `live` is the default.
    notify: Notify
    #: Makes a repeated call store nothing new.
    request_id: str | None
    #: `nothing`: it is a word, shown once; it wakes nobody, and no result of it comes.
    expect: Expect
    #: An agent that gets the result as well; the sender keeps its own, and the right to cancel.
    reply_to: str | None
    #: What the body is: text, markdown or json. Told to its reader, and not interpreted.
    content_type: str


@one_call
async def send_task(
    session: Session,
    to: str | Sequence[str],
    subject: str,
    body: str,
    **options: Unpack[Options],
) -> tuple[Receipt, ...]:
    """Store a task for one or more agents; return one receipt for each.

    Args:
        session: the sender's session.
        to: an agent id, `role:NAME`, `all` (every other agent seen in 30 days), or a list.
        subject: one line of at most 200 characters.
        body: at most 64 KiB of UTF-8.
        options: see `Options`.

    Raises:
        BadInput: a value breaks its rule.
        SendLimit: the agent's sessions have sent as many as a minute allows.
        HopLimit: the work came here through too many agents.
        UnknownAgent: nobody is registered under one of the names; nothing was sent to any.
        NotAccepted, InboxFull, StoreFull, NotAllowed: with one addressee; with several, see its
            receipt.
        BusUnreachable, Unconfirmed: as `Bus.publish`.
    """
    addresses = _addresses(to)
    draft = _draft(session, subject, body, options)
    request_id = options.get("request_id")
    await session.called()
    way, draft = _way(session), await _in_thread(session, draft)
    if draft.reply_to:
        await session.known.find([draft.reply_to])
    addressees = await session.known.find(addresses)
    # A request id of our own makes even an unconfirmed call repeatable.
    key = request_id or secrets.token_hex(16)
    inboxes = [addressee.inbox for addressee in addressees]
    drawn_up = [draft.task_for(inbox, session.task_id(inbox, key), way) for inbox in inboxes]
    before = await _stored_before(session, drawn_up) if request_id else {}
    session.rate.check(session.me.id, len(drawn_up) - len(before))
    storing = (
        _store(session, (addressee, task), before.get(task.id), request_id)
        for addressee, task in zip(addressees, drawn_up, strict=True)
    )
    told = (session.known.entry(addressee, draft.priority) for addressee in addressees)
    outcomes, entries = await asyncio.gather(
        asyncio.gather(*storing, return_exceptions=True),
        asyncio.gather(*told),  # a wake is held or not by the latest word of its listener
    )
    _raise_common(outcomes, key)
    return tuple(
        receipt_of(addressee.address, entry, task, outcome)
        for addressee, entry, task, outcome in zip(
            addressees, entries, drawn_up, outcomes, strict=True
        )
    )


@dataclass(frozen=True)
class _Way:
    """How a piece of work came here, and goes on."""

    #: The agents that it came through, this one last.
    chain: tuple[str, ...]
    #: Hand-offs before this one.
    hops: int


def _way(session: Session) -> _Way:
    """Return the way of a task that the session sends now.

    Raises:
        HopLimit: it would be too long.
    """
    chain, hops = shell.cause(session)
    if hops + 1 > HOPS_MAX:
        agents = " -> ".join((*chain, session.me.id))
        raise HopLimit(
            f"This work came through {len(chain)} agents ({agents}); "
            f"the limit is {HOPS_MAX} hand-offs. Nothing was sent."
        )
    return _Way((*chain, session.me.id), hops + 1)


def _raise_common(outcomes: Sequence[Kept | BaseException], key: str) -> None:
    """Raise what is true of the call as a whole; a refusal is, if there is one addressee."""
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for failure in failures:
        if not isinstance(failure, Refused | BusUnreachable | Unconfirmed):
            raise failure
        if isinstance(failure, Refused) and len(outcomes) == 1:
            raise failure
    again = f"Call again with request_id={key!r}: what is stored already is not stored twice."
    for failure in failures:
        if isinstance(failure, Unconfirmed):
            raise Unconfirmed(failure.message, again=again, mend=failure.mend)
    unreachable = [failure for failure in failures if isinstance(failure, BusUnreachable)]
    if unreachable and len(failures) < len(outcomes):
        raise Unconfirmed("It is stored for some of the addressees only.", again=again)
    if unreachable:
        raise unreachable[0]


def _addresses(to: str | Sequence[str]) -> list[str]:
    addresses = list(dict.fromkeys([to] if isinstance(to, str) else to))
    if not addresses or len(addresses) > ADDRESSEES_MAX:
        raise BadInput(
            f"There are {len(addresses)} addressees.",
            hint=f"Name 1 to {ADDRESSEES_MAX}, or 'all'.",
        )
    if EVERYBODY in addresses and len(addresses) > 1:
        raise BadInput("'all' stands among other addressees.", hint="Send to 'all' alone.")
    for address in addresses:
        if address != EVERYBODY:
            ids.inbox_of(address)
    return addresses


@dataclass(frozen=True)
class _Draft:
    """A checked task that has no addressee yet, and so no id."""

    sender: str
    session: str
    subject: str
    body: str
    priority: Priority
    task_type: str
    #: None begins a conversation of its own with each addressee.
    thread_id: str | None
    #: The same as the caller gave it; `in_reply_to` may have given the other one.
    thread_given: str | None
    in_reply_to: str | None
    notify: Notify
    expect: Expect
    reply_to: str
    content_type: str
    created_at: datetime
    deliver_at: datetime | None
    expires_at: datetime

    @property
    def request(self) -> str:
        """A hash of what the caller said; the same for a repeated call, whenever that comes."""
        said = [
            self.subject,
            self.body,
            self.priority,
            self.task_type,
            self.thread_given,
            self.in_reply_to,
            self.notify,
            self.deliver_at and (self.deliver_at - self.created_at).total_seconds(),
            (self.expires_at - (self.deliver_at or self.created_at)).total_seconds(),
            # Older versions know neither, and what they have stored is to be known again.
            *([self.expect, self.content_type, self.reply_to] if self.says_more else []),
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:_REQUEST_CHARS]

    @property
    def says_more(self) -> bool:
        """Whether it has what older versions do not know."""
        return (self.expect, self.content_type, self.reply_to) != ("answer", "text", "")

    def task_for(self, inbox: str, task_id: str, way: _Way) -> Task:
        """Return the task for one inbox."""
        return Task(
            id=task_id,
            sender=self.sender,
            to=inbox,
            subject=self.subject,
            body=self.body,
            priority=self.priority,
            task_type=self.task_type,
            thread_id=self.thread_id or task_id,
            in_reply_to=self.in_reply_to,
            created_at=self.created_at,
            deliver_at=self.deliver_at,
            expires_at=self.expires_at,
            notify=self.notify,
            expect=self.expect,
            reply_to=self.reply_to,
            content_type=self.content_type,
            session=self.session,
            chain=way.chain,
            hops=way.hops,
            request=self.request,
        )


def _draft(session: Session, subject: str, body: str, options: Options) -> _Draft:
    """Check what is said about a task.

    Raises:
        BadInput: a value breaks its rule.
    """
    created_at = text.now()
    deliver_at, expires_at = _times(options, created_at)
    priority, notify = options.get("priority", "normal"), options.get("notify", "live")
    if priority not in ids.LANES:
        raise BadInput(f"{priority!r} is no priority.", hint="Use high, normal or low.")
    if notify not in {"live", "never", "wake"}:
        raise BadInput(f"{notify!r} is no way to notify.", hint="Use live, never or wake.")
    expect, content_type = options.get("expect", "answer"), options.get("content_type", "text")
    if expect not in {"answer", "nothing"}:
        raise BadInput(f"{expect!r} is nothing to expect.", hint="Use answer or nothing.")
    if expect == "nothing" and notify == "wake":
        raise BadInput(
            "notify is wake, and no result comes of a task that expects nothing.",
            hint="Leave notify out, or expect an answer.",
        )
    thread_id, in_reply_to = options.get("thread_id"), options.get("in_reply_to")
    if in_reply_to is not None:
        ids.task_id(in_reply_to)
    if (request_id := options.get("request_id")) is not None:
        ids.label(request_id, "request id")
    return _Draft(
        sender=session.me.id,
        session=session.id,
        subject=check_subject(subject),
        body=text.check_size(body, "body", BODY_MAX_BYTES),
        priority=priority,
        task_type=ids.label(options.get("task_type", "default"), "task type"),
        thread_id=ids.label(thread_id, "thread id") if thread_id is not None else None,
        thread_given=options.get("thread_id"),
        in_reply_to=in_reply_to,
        notify=notify if expect == "answer" else "never",
        expect=expect,
        reply_to=_reply_to(session, expect, options.get("reply_to")),
        content_type=ids.label(content_type, "content type"),
        created_at=created_at,
        deliver_at=deliver_at,
        expires_at=expires_at,
    )


def _reply_to(session: Session, expect: Expect, given: str | None) -> str:
    """Return the agent that gets the result as well; empty for none: its sender gets it anyway."""
    if given is None or (given == session.me.id and expect == "answer"):
        return ""
    if expect == "nothing":
        what = f"reply_to is {given[:70]!r}, and no result comes."
        raise BadInput(what, hint="Leave reply_to out.")
    return ids.agent_id(given)


async def _in_thread(session: Session, draft: _Draft) -> _Draft:
    """Return the draft in the conversation of the task that it answers, held or sent here."""
    if draft.thread_id or draft.in_reply_to is None:
        return draft
    held = session.claims.get(draft.in_reply_to)
    if held:
        return replace(draft, thread_id=held.task.thread_id)
    sent, _ = await read_sent(session.bus, session.me.id, "*", draft.in_reply_to)
    return replace(draft, thread_id=sent.thread_id or None) if sent else draft


def _times(options: Options, at: datetime) -> tuple[datetime | None, datetime]:
    """Return when a task is to be offered, None for at once, and when it expires."""
    expires_in_s, deliver_in_s = options.get("expires_in_s"), options.get("deliver_in_s")
    expires_in_s = EXPIRES_MAX_S if expires_in_s is None else expires_in_s
    if not 1 <= expires_in_s <= EXPIRES_MAX_S:
        raise BadInput(
            f"expires_in_s is {expires_in_s}.",
            hint=f"A deadline lies 1 to {EXPIRES_MAX_S} seconds (7 days) ahead.",
        )
    if deliver_in_s is not None and not 1 <= deliver_in_s <= DELIVER_MAX_S:
        raise BadInput(
            f"deliver_in_s is {deliver_in_s}.",
            hint=f"Use 1 to {DELIVER_MAX_S} seconds (7 days), or leave it out.",
        )
    deliver_at = at + timedelta(seconds=deliver_in_s) if deliver_in_s else None
    return deliver_at, (deliver_at or at) + timedelta(seconds=expires_in_s)


async def _stored_before(session: Session, drawn_up: Sequence[Task]) -> dict[str, Sent]:
    """Return what is kept of those that an earlier call has stored, by task id, wherever they went.

    Raises:
        BadInput: it has stored another task under one of the ids.
    """
    looks = (read_sent(session.bus, task.sender, "*", task.id) for task in drawn_up)
    stored = {}
    for task, (before, _) in zip(drawn_up, await together(*looks), strict=True):
        if before:
            if not tasks.is_same(before, task):
                raise _used_for_another(task)
            stored[task.id] = before
    return stored


async def _store(
    session: Session, what: tuple[Addressee, Task], before: Sent | None, request_id: str | None
) -> Kept:
    """Store a task, unless an earlier call has.

    Raises:
        NotAccepted: the addressee takes none of this sender.
        BadInput: at this moment another call has stored another one under its id.
        InboxFull, StoreFull, BusUnreachable, Unconfirmed, NotAllowed: as `tasks.put`.
    """
    addressee, task = what
    if before:
        return Kept(before, duplicate=True)
    if refusal := addressee.refusal(session.me):
        raise refusal
    with session.outcomes.awaiting(task):
        kept = await tasks.put(session.bus, task)
        if isinstance(kept, tasks.Taken):
            raise _used_for_another(task)
    # Without a request id of the caller's, what was stored before was our own lost try.
    return Kept(kept.sent, duplicate=kept.duplicate and request_id is not None)


def _used_for_another(task: Task) -> BadInput:
    return BadInput(
        f"This request_id was used for another task, {task.id}: its text, priority, deadline or "
        "another value was not this one. Nothing was stored.",
        hint="Use a new request_id for each task, and the same one only to repeat a call as it "
        "was.",
    )
