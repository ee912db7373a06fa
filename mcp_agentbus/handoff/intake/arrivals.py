# SPDX-License-Identifier: Apache-2.0
"""What follows once it is known that what an answer gave of held tasks has arrived.

    >>> await confirm(session.bus, session.claims, call)

A word is over then: a task that wants no answer is claimed, given and named like any other, and
that it was shown ends it. And a worker that has the answer to its question goes on.

With its end a word's text goes. So one of which an answer had a part only is held until another has
shown its end, or its reader ends it by a status; a session that ends before leaves it to its
agent's shell, whose session goes on. A result counts as seen by its beginning: it can be read by
its task's id for as long as its record is kept.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import together
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.call import Call
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.reports import signs
from mcp_agentbus.handoff.shells import session_id
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.replies import to_question
from mcp_agentbus.store.records import Written, record_key, update, write_record
from mcp_agentbus.store.steps import Write, step
from mcp_agentbus.store.task import Record
from mcp_agentbus.store.upkeep import removal

#: What `publish_result` says of a word, and of one that has its end.
NOTHING_TO_ANSWER: Final = (
    "It is a word that wants no answer, so nothing was stored: it ends by itself once all of it "
    "was shown."
)
WORD_IS_OVER: Final = "It is a word that wants no answer, so nothing was stored. It is over."
_SHOWN: Final = "it was shown to its reader, and wants no answer"
_READ: Final = "the answer to its question was read"


def is_any(claims: Claims) -> bool:
    """Tell whether among held tasks are words, or replies that their workers get."""
    words = (claim.task.expect == "nothing" for claim in claims.values())
    return bool(claims.answers) or any(words)


async def confirm(bus: Bus, claims: Claims, by: Call | None = None) -> None:
    """Note what has arrived as `by` tells; if that is None, all that was given.

    What cannot be noted is given again.
    """
    shown = [claim for claim in _words(claims, by) if claim.task.id not in claims.cut]
    await together(*(_end(bus, claims, claim) for claim in shown))
    await _answers(bus, claims, by)


async def leave(bus: Bus, claims: Claims, end: Call | None) -> None:
    """Note what has arrived by the `end` of whoever called; None: it was cut off.

    What is left then of words whose beginning has arrived, the agent's shell is to have.
    """
    if end is None:
        return
    await confirm(bus, claims, end)
    folder = bus.settings.state_dir
    for claim in _words(claims, end):
        shell = session_id(claim.record.agent, folder)
        if claim.task.id in claims.cut and claim.record.session != shell:
            with suppress(AgentbusError):  # then it is given back
                if await claims.pass_on(claim, shell):
                    signs.note(folder, claim.record.agent, claim.record)


async def word_is_over(bus: Bus, claims: Claims, task_id: str) -> bool:
    """Note that a held word was dealt with; tell whether it was this session's to end.

    Raises:
        Refused, BusUnreachable, Unconfirmed: as `records.update`; it is held as before.
    """
    claim = claims.get(task_id)
    return claim is not None and await end_word(bus, claims, claim)


def _words(claims: Claims, by: Call | None) -> list[Claim]:
    """Return the held words of which their reader has what was given."""
    return [
        claim
        for claim in list(claims.values())
        if claim.task.expect == "nothing" and (given := claims.given(claim.task.id))
        if by is None or given.has_arrived(by)
    ]


async def _end(bus: Bus, claims: Claims, claim: Claim) -> None:
    """End a held word that was shown; if that cannot be written now, it is held as before."""
    with suppress(AgentbusError):
        await end_word(bus, claims, claim)


async def end_word(bus: Bus, claims: Claims, claim: Claim) -> bool:
    """End a held word; tell whether it was the claim's session's to end.

    It may have been withdrawn, have expired, or be another's; or a write of ours was lost.

    Raises:
        Refused, BusUnreachable, Unconfirmed: as `records.update`; it is held as before.
    """
    session = claim.record.session

    def over(standing: Record | None) -> Write[Record] | Record | None:
        if standing is None or standing.ended or standing.session != session:
            return standing
        at = text.now()
        return Write(step(standing, "completed", standing.agent, session, at, reason=_SHOWN))

    key = record_key(claim.task.sender, claim.task.to, claim.task.id)
    outcome = await update(bus, key, over, known=(claim.record, claim.revision))
    record = outcome.value if isinstance(outcome, Written) else outcome
    is_ours = record is not None and record.session == session
    if is_ours:
        claims.end(claim.task)  # what its reader sends now goes on from there
    else:
        claims.let_go(claim.task.id)
    if record and record.ended:
        with suppress(AgentbusError):  # whoever is offered it finishes it
            await removal.finish(bus, claim.delivery)
    return is_ours


async def _answers(bus: Bus, claims: Claims, by: Call | None) -> None:
    """Have those go on who have the answers to their questions."""
    there = [
        claim
        for task_id, told in list(claims.answers.items())
        if told.given and told.is_given and (by is None or told.given.has_arrived(by))
        if (claim := claims.get(task_id))
    ]
    await together(*(_go_on(bus, claims, claim) for claim in there))


async def _go_on(bus: Bus, claims: Claims, claim: Claim) -> None:
    """Have a worker's record say that it goes on, unless there is more to be read."""
    told, record = claims.answers.pop(claim.task.id), claim.record
    with suppress(AgentbusError, Conflict):  # then it is given again
        replies = await to_question(bus, record, claim.task)
        if replies and replies.mark == told.mark:
            decided = replies.decision
            why = decisions.AFTER[decided.approved] if decided else _READ
            went_on = step(record, "working", record.agent, record.session, text.now(), reason=why)
            revision = await write_record(bus, went_on, claim.revision)
            claims.hold(replace(claim, record=went_on, revision=revision, went_on=True))
            decisions.forget(bus.settings.state_dir, record)
