# SPDX-License-Identifier: Apache-2.0
"""What is sent while the bus is out of reach: it is kept here until the listener hands it on.

    >>> await keep(session, task, BusUnreachable())
    KeptHere(duplicate=False, why='No bus server answers.')

Of a session without a listener there is no outbox, as nobody would empty it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from mcp_agentbus.core import text
from mcp_agentbus.errors import (
    AgentbusError,
    BadInput,
    BusUnreachable,
    NoListener,
    NotAllowed,
    Unconfirmed,
)
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.outbox.outbox import Envelope, KeptHere, read_outbox
from mcp_agentbus.store.queries.sides import read_sides
from mcp_agentbus.store.steps import sent_of
from mcp_agentbus.store.task import Task
from mcp_agentbus.store.tasks import is_same

_P = ParamSpec("_P")
_T = TypeVar("_T")
# More ids than so many nobody reads; `agentbus status` says how many there are.
_NAMED_MAX: Final = 10
#: Why a task is kept while the bus may be there.
BEHIND_OTHERS: Final = "What was sent before it waits here, too, and goes first."
_NEEDS_LISTENER: Final = (
    f"{NoListener.hint.rstrip('.')}: a listener keeps what is sent until the bus is reached."
)


async def goes_behind_others(session: Session) -> bool:
    """Tell whether what a session sends now goes behind what its agent has sent before."""
    outbox = session.outbox
    if outbox is None or outbox.is_locked_out or not outbox.may_hold:
        return False
    return await outbox.has(session.me.id)


def why_here(session: Session) -> str:
    """Return why what a session's agent has sent before waits here, so that all else does."""
    says = session.outbox.says if session.outbox else {}
    return says.get(session.me.id) or says.get("") or BEHIND_OTHERS


def keeps(session: Session) -> bool:
    """Tell whether what a session sends is kept here; what another bus has left may lie here so."""
    return session.outbox is not None and session.bus.settings.keeps_outbox


async def keep(
    session: Session, task: Task, failure: BusUnreachable | Unconfirmed | None
) -> KeptHere:
    """Keep a task here until the bus is reached.

    Args:
        session: whose task.
        task: which has its id: an earlier try that came to the bus is known there by it.
        failure: why it is not at the bus; None: others go first.

    Raises:
        BadInput: another task lies here under its id, and it is not at the bus.
        BusUnreachable, Unconfirmed: it cannot be kept here either.
    """
    # Until it is at the bus nothing of it can be missing there, nor come back: it is forgotten.
    outbox = session.outbox
    why = failure.cause if failure else why_here(session)
    if not (outbox and keeps(session)):
        if await _was_kept_before(session, task):
            session.outcomes.forget(task.id)
            return KeptHere(duplicate=True, why=why)
        raise kept_nowhere(session, failure or BusUnreachable())
    try:
        here = await outbox.put(task, session.refreshed())
    except BadInput as local:
        if isinstance(failure, Unconfirmed):  # another id would send it twice
            said = f"{why} Nor could it be kept here: {local.cause}"
            raise Unconfirmed(said, mend=failure.mend) from None
        raise
    except AgentbusError as local:
        said = f"{why} Nor could it be kept here: {local.message}"
        if isinstance(local, Unconfirmed):
            raise Unconfirmed(said, mend=local.mend) from None
        if isinstance(failure, Unconfirmed):
            raise Unconfirmed(said, mend=local.hint) from None
        raise BusUnreachable(said, hint=local.hint) from None
    session.outcomes.forget(task.id)
    return replace(here, why=why)


async def _was_kept_before(session: Session, task: Task) -> bool:
    """Tell whether a listener that has ended had kept this very task: then it is kept still."""
    waits = await all_kept_here(session)
    ours = [each.task for each in waits if each.is_ours]
    return any(each.id == task.id and is_same(sent_of(each), task) for each in ours)


async def all_kept_here(session: Session) -> tuple[Envelope, ...]:
    """Return what is kept here, for whichever bus, as far as it can be read without a start.

    What was sent by other agents of this user's is in it, too.
    """
    if not session.bus.settings.keeps_outbox:
        return ()
    try:
        if session.outbox:
            return await session.outbox.waits()
        return await read_outbox(session.bus.settings, may_start=False)
    except AgentbusError:
        return ()


async def is_outgoing(session: Session, task_id: str) -> bool:
    """Tell whether a task that the session's agent has sent is not at the bus yet."""
    kept = await kept_here(session, task_id)
    return kept is not None and kept.task.sender == session.me.id


async def kept_here(session: Session, written: str) -> Envelope | None:
    """Return a task of the outbox that is not at the bus, by its id or the beginning of one.

    One for another bus may have the id of one that goes on at this one, which is meant then.
    """
    outbox = session.outbox
    kept = await outbox.find(written) if outbox and outbox.may_hold else None
    if kept and not kept.is_ours and await _is_at_the_bus(session, kept.task):
        return None
    return kept


async def _is_at_the_bus(session: Session, task: Task) -> bool:
    """Tell whether the bus of now knows of a task; of one that is away nothing is known."""
    with suppress(AgentbusError):
        await session.outcomes.sent_records.settled()
        [stands] = await read_sides(session.bus, [(task.sender, "*")], task.id)
        return bool(stands.record or stands.sent)
    return False


def telling_too(
    reads: Callable[Concatenate[Session, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[Session, _P], Coroutine[Any, Any, _T]]:
    """Have the error of a call that reads say what its agent has sent that waits here."""

    @functools.wraps(reads)
    async def within(session: Session, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await reads(session, *args, **kwargs)
        except (BusUnreachable, NotAllowed) as error:
            told = _told(_of_agent(session))
            if not told:
                raise
            raise error.saying(hint=f"{error.hint} {told}") from None

    return within


def _of_agent(session: Session) -> list[Envelope]:
    seen = session.outbox.seen if session.outbox else ()
    return [each for each in seen or () if each.is_ours and each.task.sender == session.me.id]


def _told(waits: Sequence[Envelope]) -> str:
    """Return what to say of tasks that wait here: ids, which no peer has chosen."""
    tasks = [each for each in waits if not each.is_over]
    named = ", ".join(each.task.id for each in tasks[:_NAMED_MAX])
    more = f" and {len(tasks) - _NAMED_MAX} more" if len(tasks) > _NAMED_MAX else ""
    over = sum(text.now() >= each.task.expires_at for each in tasks)
    late = f" The deadline of {over} of them has passed." if over else ""
    if not tasks:
        return ""
    return (
        f"Sent by this agent, stored on this machine and not yet at the bus: {named}{more}. They "
        f"are handed on once the bus takes them.{late}"
    )


async def withdrawn(session: Session, task_id: str, said: Mapping[str, Any]) -> bool:
    """Withdraw a task that is not at the bus yet; tell whether it lay here.

    The bus is told of it once it is reached: an earlier try may have come there.

    Raises:
        AgentbusError: as `Outbox.waits`.
    """
    outbox = session.outbox
    if outbox is None or await kept_here(session, task_id) is None:
        return False
    is_done = await outbox.withdraw(session.me.id, task_id, said)
    if is_done:
        session.outcomes.forget(task_id)
    return is_done


def kept_nowhere(
    session: Session, failure: BusUnreachable | Unconfirmed
) -> BusUnreachable | Unconfirmed:
    """Return the error of what is not kept: where a listener would do that, with how."""
    settings = session.bus.settings
    if session.outbox or isinstance(failure, Unconfirmed) or not settings.keeps_outbox:
        return failure
    return failure.saying(hint=f"{failure.hint} {_NEEDS_LISTENER}")
