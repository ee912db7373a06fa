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
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypedDict, Unpack

from mcp_agentbus.bus.replies import Conflict
from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import EVERYBODY, Priority
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import (
    AgentbusError,
    BadInput,
    BusUnreachable,
    HopLimit,
    Refused,
    Unconfirmed,
    UnknownAgent,
)
from mcp_agentbus.handoff import agents
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster
from mcp_agentbus.store.records import read_sent, sent_of, write_sent
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.task import (
    BODY_MAX_BYTES,
    DELIVER_MAX_S,
    EXPIRES_MAX_S,
    HOPS_MAX,
    Notify,
    Receipt,
    Sent,
    Task,
    check_size,
    check_subject,
)
from mcp_agentbus.store.tasks import put

ADDRESSEES_MAX: Final = 50
# What the roster said so long ago, in seconds, still goes into a receipt: sessions say that they
# live every 5 s, so it is not much older than what would be read.
_KNOWN_S: Final = 0.5


class Options(TypedDict, total=False):
    """What may be said about a task besides its subject and body."""

    #: `high` is read first, and may wake the addressee; `normal` is the default.
    priority: Priority
    #: A word for the kind of work; not interpreted.
    task_type: str
    #: The conversation it belongs to; a new one if not given.
    thread_id: str | None
    #: The id of a task that this one answers; gives its thread, if that task is held here.
    in_reply_to: str | None
    #: Seconds, at most 7 days, the default; counted from `deliver_in_s`.
    expires_in_s: int | None
    #: Seconds, at most 7 days, before it is offered.
    deliver_in_s: int | None
    #: How the sender wants to learn of the result; `live` is the default.
    notify: Notify
    #: Makes a repeated call store nothing new.
    request_id: str | None


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
        to: an agent id, `role:NAME`, `all` (every registered agent but this one), or a list.
        subject: one line of at most 200 characters.
        body: at most 64 KiB of UTF-8.
        options: see `Options`.

    Raises:
        BadInput: a value breaks its rule.
        HopLimit: the work came here through too many agents.
        UnknownAgent: nobody is registered under one of the names; nothing was sent to any.
        InboxFull, StoreFull, NotAllowed: with one addressee; with several, see its receipt.
        BusUnreachable, Unconfirmed: as `Bus.publish`.
    """
    addresses = _addresses(to)
    draft = _draft(session, subject, body, options)
    chain, hops = session.cause()
    if hops + 1 > HOPS_MAX:
        way = " -> ".join((*chain, session.me.id))
        raise HopLimit(
            f"This work came through {len(chain)} agents ({way}); "
            f"the limit is {HOPS_MAX} hand-offs. Nothing was sent."
        )
    await session.called()
    addressees = await _addressees(session, addresses)
    request_id = options.get("request_id")
    # A request id of our own makes even an unconfirmed call repeatable.
    key = request_id or secrets.token_hex(16)
    chain = (*chain, session.me.id)
    tasks = [_addressed(draft, inbox, key, chain, hops + 1) for _, inbox, _ in addressees]
    storing = (_store(session, task, repeated=request_id is not None) for task in tasks)
    outcomes, entries = await asyncio.gather(
        asyncio.gather(*storing, return_exceptions=True),
        asyncio.gather(*(_looked_at(session, inbox, entry) for _, inbox, entry in addressees)),
    )
    _raise_common(outcomes, key)
    return tuple(
        _receipt(address, entry, task, outcome)
        for (address, _, _), entry, task, outcome in zip(
            addressees, entries, tasks, outcomes, strict=True
        )
    )


@dataclass(frozen=True)
class _Stored:
    """A task that is on the server, with its sender's record."""

    sent: Sent
    duplicate: bool


def _raise_common(outcomes: Sequence[_Stored | BaseException], key: str) -> None:
    """Raise what is true of the call as a whole; a refusal is, if there is one addressee."""
    failures = [one for one in outcomes if isinstance(one, BaseException)]
    for failure in failures:
        if not isinstance(failure, Refused | BusUnreachable | Unconfirmed):
            raise failure
        if isinstance(failure, Refused) and len(outcomes) == 1:
            raise failure
    hint = f"Call again with request_id={key!r}: what is stored already is not stored twice."
    for failure in failures:
        if isinstance(failure, Unconfirmed):
            raise Unconfirmed(failure.message, hint=hint)
    unreachable = [one for one in failures if isinstance(one, BusUnreachable)]
    if unreachable and any(isinstance(one, _Stored) for one in outcomes):
        raise Unconfirmed("It is stored for some of the addressees only.", hint=hint)
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


def _draft(session: Session, subject: str, body: str, options: Options) -> Task:
    """Return the checked task, still without an addressee and an id."""
    priority, notify = options.get("priority", "normal"), options.get("notify", "live")
    expires_in_s, deliver_in_s = options.get("expires_in_s"), options.get("deliver_in_s")
    thread_id, in_reply_to = options.get("thread_id"), options.get("in_reply_to")
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
    if priority not in ids.LANES:
        raise BadInput(f"{priority!r} is no priority.", hint="Use high, normal or low.")
    if notify not in {"live", "never", "wake"}:
        raise BadInput(f"{notify!r} is no way to notify.", hint="Use live, never or wake.")
    if in_reply_to is not None:
        ids.task_id(in_reply_to)
        if thread_id is None and in_reply_to in session.claims:
            thread_id = session.claims[in_reply_to].task.thread_id
    at = now()
    deliver_at = at + timedelta(seconds=deliver_in_s) if deliver_in_s else None
    if (request_id := options.get("request_id")) is not None:
        ids.label(request_id, "request id")
    return Task(
        id="",
        sender=session.me.id,
        to="",
        subject=check_subject(subject),
        body=check_size(body, "body", BODY_MAX_BYTES),
        priority=priority,
        task_type=ids.label(options.get("task_type", "default"), "task type"),
        thread_id=ids.label(thread_id, "thread id") if thread_id is not None else "",
        in_reply_to=in_reply_to,
        created_at=at,
        deliver_at=deliver_at,
        expires_at=(deliver_at or at) + timedelta(seconds=expires_in_s),
        notify=notify,
        session=session.id,
    )


def _addressed(draft: Task, inbox: str, key: str, chain: tuple[str, ...], hops: int) -> Task:
    task_id = ids.new_task_id(draft.sender, inbox, key)
    return draft.model_copy(
        update={
            "id": task_id,
            "to": inbox,
            "thread_id": draft.thread_id or task_id,
            "chain": chain,
            "hops": hops,
        }
    )


async def _addressees(
    session: Session, addresses: Sequence[str]
) -> list[tuple[str, str, Entry | None]]:
    """Return address, inbox and roster entry of each addressee.

    One that this session has met before stays registered: it is looked at while the task is
    stored, and its entry is None here.

    Raises:
        UnknownAgent: one of them is not registered.
    """
    if addresses == [EVERYBODY]:
        others = [one for one in await roster.everybody(session.bus) if one.id != session.me.id]
        if not others:
            raise UnknownAgent("No other agent is registered. Nothing was sent.")
        return [(entry.id, entry.id, entry) for entry in others]
    inboxes = [ids.inbox_of(address) for address in addresses]
    new = [inbox for inbox in inboxes if inbox not in session.met]
    found = await together(*(roster.look(session.bus, inbox) for inbox in new))
    entries = dict(zip(new, found, strict=True))
    for inbox, entry in entries.items():
        if entry is None:
            raise agents.unknown(inbox, await roster.everybody(session.bus))
    session.met.update(new)
    return [
        (address, inbox, entries.get(inbox))
        for address, inbox in zip(addresses, inboxes, strict=True)
    ]


async def _looked_at(session: Session, inbox: str, entry: Entry | None) -> Entry | None:
    """Return what the roster knows; None if it cannot be read: the task is stored anyway."""
    at, known = session.looked_at.get(inbox, (0.0, None))
    entry = entry or (known if time.monotonic() - at < _KNOWN_S else None)
    if entry is None:
        with suppress(AgentbusError):
            entry = await roster.look(session.bus, inbox)
        session.looked_at[inbox] = (time.monotonic(), entry)
    return entry


async def _store(session: Session, task: Task, *, repeated: bool) -> _Stored:
    """Store the task, then the sender's record of it.

    In this order, so that a record never speaks of a task that was not stored.
    """
    bus = session.bus
    if repeated:
        before, _ = await read_sent(bus, task.sender, task.to, task.id)
        if before:
            _check_same(before, task)
            return _Stored(before, duplicate=True)
    sent = sent_of(task)
    session.sent[task.id] = (task.to, task.expires_at)
    try:
        duplicate = await put(bus, task)
        try:
            await write_sent(bus, sent, 0)
        except Conflict:  # an earlier try of the same request had come this far
            duplicate = True
        except AgentbusError:
            raise Unconfirmed("The task is stored, but not what its sender keeps of it.") from None
    except BaseException:
        session.sent.pop(task.id, None)
        raise
    # Without a request id of the caller's, what was stored before was our own lost try.
    return _Stored(sent, duplicate=duplicate and repeated)


def _check_same(before: Sent, task: Task) -> None:
    if (before.subject, before.priority) != (task.subject, task.priority):
        raise BadInput(
            "This request_id was used for another task. Nothing was stored.",
            hint="Use a new request_id for each task, and the same one only to repeat a call.",
        )


def _receipt(
    address: str, entry: Entry | None, task: Task, outcome: _Stored | BaseException
) -> Receipt:
    common: dict[str, Any] = {
        "task_id": task.id,
        "to": address,
        "recipient": entry.state if entry else "not known",
        "last_seen": entry.last_seen if entry else None,
    }
    if isinstance(outcome, BaseException):
        why = _why(outcome)
        return Receipt(**common, state="refused", reason=why, expires_at=task.expires_at)
    wake, reason = _wake(task, entry)
    return Receipt(
        **common,
        duplicate=outcome.duplicate,
        wake=wake,
        reason=reason,
        deliver_at=outcome.sent.deliver_at,
        expires_at=outcome.sent.expires_at,
    )


def _why(failure: BaseException) -> str:
    return f"{failure.message} {failure.hint}" if isinstance(failure, AgentbusError) else ""


def _wake(
    task: Task, entry: Entry | None
) -> tuple[Literal["requested", "held", "not_requested"], str]:
    """Return what is known about a wake when the task is stored."""
    if task.priority != "high":
        return "not_requested", ""
    if entry is None:
        return "held", "the roster cannot be read"
    held = entry.held_for(task.sender)
    if held is not None:
        return ("held", held) if held else ("requested", "")
    if entry.state == "live session":
        return "held", "no listener runs there; a live session sees the task at its next call"
    return "held", "no listener runs there; the task is seen when a session of the agent starts"
