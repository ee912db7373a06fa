# SPDX-License-Identifier: Apache-2.0
"""The results of an answer: new ones, and those that an answer before may have lost.

    >>> (await results(session, 5, call)).any
    True

Tasks are shown even where results cannot be read: then it is said why.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_agentbus.core import text
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.call import Call
from mcp_agentbus.handoff.ends.awaited import Result
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.task import Record


@dataclass(frozen=True)
class Results:
    """The results of an answer."""

    records: Sequence[Record] = ()
    #: Those that were given before, and may not have arrived.
    doubtful: Sequence[Result] = ()
    #: As `Inbox.results_elsewhere`.
    elsewhere: int = 0
    #: Why they could not be read; empty if they could.
    degraded: str = ""

    @property
    def any(self) -> bool:
        """Whether there is something to say of them."""
        return bool(self.records or self.doubtful or self.degraded)

    def of_inbox(self, limit: int) -> dict[str, Any]:
        """Return what an `Inbox` says of them."""
        given_at = {each.record.task_id: each.given.at for each in self.doubtful if each.given}
        return {
            "results": (*(result.record for result in self.doubtful), *self.records),
            "results_given_at": given_at,
            "more_results": len(self.records) >= limit,
            "results_elsewhere": self.elsewhere,
        }


def shown(session: Session, things: Collection[str]) -> frozenset[str]:
    """Return those of these that a session shows: results, or answers to what its agent asked.

    A result is named by its task's id, answers by that and their mark: `ID 2`.
    """
    answers = (session.claims.answers | session.entrusted.answers).items()
    told = {f"{task_id} {each.mark}" for task_id, each in answers if each.is_given}
    return session.outcomes.shown(things) | told.intersection(things)


async def none() -> Results:
    """Return that none were looked for."""
    return Results()


async def results(session: Session, limit: int, by: Call | None) -> Results:
    """Return new results, and why there may be more: tasks are shown even if results fail.

    And those that were given and may not have arrived, by what the call `by` tells.
    """
    try:
        records = await session.outcomes.results(limit)
        _go_on_from(session, records)
    except AgentbusError as error:
        return Results(degraded=_unreadable(error))
    return Results(records, session.outcomes.doubtful(by))


async def looked_up(
    session: Session, limit: int, thread_id: str | None = None, *, take: bool = True
) -> Results:
    """Return results as stored, whoever has them; `take` those that no answer here has yet."""
    try:
        looked = await session.outcomes.look_up(limit, thread_id)
    except AgentbusError as error:
        return Results(degraded=_unreadable(error))
    if not take:
        return Results([end.record for end in looked.results], elsewhere=looked.elsewhere)
    _go_on_from(session, [end.record for end in looked.results])
    taken = map(session.outcomes.take, looked.results)
    records = [result.record for result in taken if result.is_new or thread_id is not None]
    return Results(records, elsewhere=looked.elsewhere)


def _unreadable(error: AgentbusError) -> str:
    return f"results could not be read: {error.message}"


def _go_on_from(session: Session, records: Sequence[Record]) -> None:
    """Have what is sent next count as caused by results of tasks that others have sent."""
    copies = [record for record in records if record.asked_by]
    if copies:
        deepest = max(copies, key=lambda record: record.hops)
        session.claims.recall(deepest.chain, deepest.hops, text.now())
