# SPDX-License-Identifier: Apache-2.0
"""Send a task: check it, find its addressees, store it, keep the sender's record of it.

    >>> [receipt] = await send_task(session, "coder", "Count the tests", "In the folder ...")
    >>> receipt.state
    'stored'

A receipt says that the task is stored, never that anybody saw it; `stored_here`, that it is on this
machine alone, as its bus is out of reach. What cannot be stored whole is refused whole; among
several addressees each has a receipt of its own.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple, Unpack

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import EVERYBODY, Priority
from mcp_agentbus.errors import (
    AgentbusError,
    BadInput,
    BusUnreachable,
    HopLimit,
    Refused,
    Unconfirmed,
)
from mcp_agentbus.handoff.dispatch import memory, outgoing, sent_records
from mcp_agentbus.handoff.dispatch.addressees import Addressee
from mcp_agentbus.handoff.dispatch.draft import Draft, Options, Route, drawn
from mcp_agentbus.handoff.dispatch.receipts import receipt_of
from mcp_agentbus.handoff.dispatch.threads import thread_of
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects, tasks
from mcp_agentbus.store.outbox.outbox import KeptHere
from mcp_agentbus.store.queries.clock import now_about
from mcp_agentbus.store.records import read_sent
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.task import HOPS_MAX, Receipt, Sent, Task
from mcp_agentbus.store.tasks import Kept

ADDRESSEES_MAX: Final = 50
_ALL_LATER: Final = "{why} Who all are only the bus knows. Nothing was stored."


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
        BusUnreachable, Unconfirmed: as `Bus.publish`, where nothing can be kept here until then.
    """
    addresses = _addresses(to)
    draft = drawn(session, subject, body, options)
    # A request id of our own makes even an unconfirmed call repeatable.
    request_id = options.get("request_id")
    wanted = _Wanted(addresses, draft, request_id or secrets.token_hex(16), request_id is not None)
    if await outgoing.goes_behind_others(session):
        return await _keep(session, wanted, None)
    try:
        ready = await _made_ready(session, wanted)
    except BusUnreachable as failure:
        return await _keep(session, wanted, failure)
    return await _send(session, wanted, ready)


class _Wanted(NamedTuple):
    """What a call is to send, and to whom."""

    addresses: list[str]
    draft: Draft
    #: By it and the addressee a task has its id.
    key: str
    #: Whether the caller has given that.
    is_given: bool


class _Ready(NamedTuple):
    """What is to be stored on the bus."""

    addressees: Sequence[Addressee]
    #: One for each of them.
    tasks: Sequence[Task]
    #: What is kept of those that an earlier call has stored, by task id.
    before: Mapping[str, Sent]


async def _made_ready(session: Session, wanted: _Wanted) -> _Ready:
    """Ask the bus for whom the tasks are, and what is known of them already."""
    await session.called()
    await session.outcomes.sent_records.see_all_written()
    draft = await _in_thread(session, wanted.draft)
    if draft.reply_to:
        await session.known.find([draft.reply_to])
    addressees = await session.known.find(wanted.addresses)
    draft = draft.begun(await now_about(session.bus, draft.deliver_at or draft.expires_at))
    drawn_up = _drawn_up(session, draft, addressees, wanted.key)
    before = await _stored_before(session, drawn_up) if wanted.is_given else {}
    session.rate.check(session.me.id, len(drawn_up) - len(before))
    return _Ready(addressees, drawn_up, before)


async def _send(session: Session, wanted: _Wanted, ready: _Ready) -> tuple[Receipt, ...]:
    """Store the tasks on the bus; what does not come there is kept here, if it can be."""
    addressees, drawn_up, before = ready
    storing = (
        _store(session, (addressee, task), before.get(task.id), is_given=wanted.is_given)
        for addressee, task in zip(addressees, drawn_up, strict=True)
    )
    priority = wanted.draft.priority
    outcomes, entries = await _with_entries(session, addressees, priority, list(storing))
    _raise_common(outcomes, wanted.key)
    return tuple(
        receipt_of(addressee.address, entry, task, outcome)
        for addressee, entry, task, outcome in zip(
            addressees, entries, drawn_up, outcomes, strict=True
        )
    )


async def _with_entries(
    session: Session,
    addressees: Sequence[Addressee],
    priority: Priority,
    storing: Sequence[Coroutine[Any, Any, Kept | KeptHere]],
) -> tuple[Sequence[Kept | KeptHere | BaseException], Sequence[Entry | None]]:
    """Return what came of storing, and what the roster says of each addressee."""
    if len(storing) == 1 and (entry := session.known.recent(addressees[0], priority)):
        try:  # what is one needs nothing to be begun beside it
            return [await storing[0]], [entry]
        except AgentbusError as error:
            return [error], [entry]
    told = (session.known.entry(addressee, priority) for addressee in addressees)
    return await asyncio.gather(
        asyncio.gather(*storing, return_exceptions=True),
        asyncio.gather(*told),  # a wake is held or not by the latest word of its listener
    )


async def _keep(
    session: Session, wanted: _Wanted, failure: BusUnreachable | None
) -> tuple[Receipt, ...]:
    """Keep the tasks here until the bus is reached, which says then whether it takes them.

    `failure` is why it is not reached now; None: others go first.
    """
    is_for_all = wanted.addresses == [EVERYBODY]
    # Without an outbox only what an earlier call has stored, which this one repeats, may lie here.
    if failure and (is_for_all or not (outgoing.keeps(session) or wanted.is_given)):
        raise outgoing.kept_nowhere(session, failure)
    if is_for_all:
        why = _ALL_LATER.format(why=outgoing.why_here(session))
        raise BusUnreachable(why, hint="Name those whom you mean, or send it later.")
    addressees = [Addressee(address, ids.inbox_of(address)) for address in wanted.addresses]
    draft = _in_held_thread(session, wanted.draft)
    drawn_up = _drawn_up(session, draft, addressees, wanted.key)
    session.rate.check(session.me.id, len(drawn_up))
    outcomes: list[KeptHere | BaseException] = []
    for task in drawn_up:  # in order
        try:
            outcomes.append(await outgoing.keep(session, task, failure))
        except Refused as refusal:
            outcomes.append(refusal)
        except (BusUnreachable, Unconfirmed) as error:  # so would be all behind it
            outcomes.append(error)
            break
    _raise_common(outcomes, wanted.key)
    return tuple(
        receipt_of(addressee.address, None, task, outcome)
        for addressee, task, outcome in zip(addressees, drawn_up, outcomes, strict=True)
    )


def _drawn_up(
    session: Session, draft: Draft, addressees: Sequence[Addressee], key: str
) -> list[Task]:
    """Return the tasks for these, each with its route.

    Raises:
        HopLimit: a route would be too long.
    """
    inboxes = [addressee.inbox for addressee in addressees]
    sent = [(inbox, session.task_id(inbox, key)) for inbox in inboxes]
    routes = [_route(session, *cause) for cause in memory.causes(session, sent)]
    return [draft.task_for(*each, route) for each, route in zip(sent, routes, strict=True)]


def _route(session: Session, chain: tuple[str, ...], hops: int) -> Route:
    """Return the route of a task that the session sends now, and that goes on from there.

    Raises:
        HopLimit: it would be too long.
    """
    if hops + 1 > HOPS_MAX:
        agents = " -> ".join((*chain, session.me.id))
        raise HopLimit(
            f"This work came through {len(chain)} agents ({agents}); "
            f"the limit is {HOPS_MAX} hand-offs. Nothing was sent."
        )
    return Route((*chain, session.me.id), hops + 1)


def _raise_common(outcomes: Sequence[Kept | KeptHere | BaseException], key: str) -> None:
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
        why = unreachable[0]
        some = f"It is stored for some of the addressees only. {why.cause}"
        raise Unconfirmed(some, again=again, mend=why.hint)
    if unreachable:
        raise unreachable[0]


def _addresses(to: str | Sequence[str]) -> list[str]:
    addresses = list(dict.fromkeys(text.check_texts(to, "addressee")))
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


def _in_held_thread(session: Session, draft: Draft) -> Draft:
    """Return the draft in the conversation of the task that it answers, if that is held here."""
    held = session.claims.get(draft.in_reply_to or "")
    if draft.thread_id or held is None:
        return draft
    return replace(draft, thread_id=held.task.thread_id)


async def _in_thread(session: Session, draft: Draft) -> Draft:
    """Return the draft in the conversation of the task that it answers, sent or received here."""
    draft = _in_held_thread(session, draft)
    if draft.thread_id or draft.in_reply_to is None:
        return draft
    await session.outcomes.sent_records.settled()
    thread = await thread_of(session.bus, session.me.id, session.inboxes, draft.in_reply_to)
    return replace(draft, thread_id=thread or None)


async def _stored_before(session: Session, drawn_up: Sequence[Task]) -> dict[str, Sent]:
    """Return what is kept of those that an earlier call has stored, by task id, wherever they went.

    Raises:
        BadInput: it has stored another task under one of the ids.
    """
    await session.outcomes.sent_records.settled()
    looks = (read_sent(session.bus, task.sender, "*", task.id) for task in drawn_up)
    stored = {}
    for task, (before, _) in zip(drawn_up, await together(*looks), strict=True):
        if before:
            if not tasks.is_same(before, task):
                raise _used_for_another(task)
            stored[task.id] = before
    return stored


async def _store(
    session: Session, what: tuple[Addressee, Task], before: Sent | None, *, is_given: bool
) -> Kept | KeptHere:
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
        with suppress(AgentbusError):  # then its user does not see it
            refused = subjects.refused_subject(addressee.inbox, session.me.id)
            await session.bus.send(refused, b"", {})
        raise refusal
    with session.outcomes.awaiting(task):
        try:
            kept = await _put(session, task, is_given=is_given)
        except (BusUnreachable, Unconfirmed) as failure:
            return await outgoing.keep(session, task, failure)
        if isinstance(kept, tasks.IdInUse):
            raise _used_for_another(task)
    # Without a request id of the caller's, what was stored before was our own lost try.
    return Kept(kept.sent, duplicate=kept.duplicate and is_given)


async def _put(session: Session, task: Task, *, is_given: bool) -> Kept | tasks.IdInUse:
    """Store a task; what is kept of it is written behind its receipt, where that does no harm.

    By what is kept a repeated call is known, so whoever may repeat it waits for both; as does who
    ends with the receipt, and whoever reads of a task before its time has come.
    """
    if is_given or session.leased or task.deliver_at:
        return await sent_records.put(session.bus, task)
    stored = await tasks.store(session.bus, task)
    if isinstance(stored, Kept):
        session.outcomes.sent_records.write_behind(stored)
    return stored


def _used_for_another(task: Task) -> BadInput:
    return BadInput(
        f"This request_id was used for another task, {task.id}: its text, priority, deadline or "
        "another value was not this one. Nothing was stored.",
        hint="Use a new request_id for each task, and the same one only to repeat a call as it "
        "was.",
    )
