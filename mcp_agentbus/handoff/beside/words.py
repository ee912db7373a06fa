# SPDX-License-Identifier: Apache-2.0
"""A word: a task that wants no answer, and is over once its reader has it.

    >>> await send_task(session, "coder", "The build is green", "", expect="nothing")
    >>> await confirm(coder.bus, coder.claims, call)   # its reader called again: it has arrived

It is claimed, given and named like any task, so that it is shown whole once, and again where an
answer may have been lost. Nobody ends it: that it was shown does.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import together
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.claims import Claim, Claims
from mcp_agentbus.handoff.turn import Call
from mcp_agentbus.store import tasks
from mcp_agentbus.store.records import write_record
from mcp_agentbus.store.steps import step

#: What `publish_result` says of a word.
NOTHING_TO_ANSWER: Final = (
    "It is a word that wants no answer, so nothing was stored: it ends by itself once it was shown."
)
_SHOWN: Final = "it was shown to its reader, and wants no answer"


async def confirm(bus: Bus, claims: Claims, by: Call | None = None) -> None:
    """End the held words whose reader has them; what cannot be written is named again.

    Those are the given ones that have arrived as `by` tells; if that is None, all given ones.
    """
    shown = [
        claim
        for claim in list(claims.values())
        if claim.task.expect == "nothing" and (given := claims.given(claim.task.id))
        if by is None or given.has_arrived(by)
    ]
    await together(*(end(bus, claims, claim) for claim in shown))


async def leave(bus: Bus, claims: Claims, end: Call | None) -> None:
    """End the words that have arrived by the `end` of whoever called; None: it was cut off."""
    if end:
        await confirm(bus, claims, end)


async def end(bus: Bus, claims: Claims, claim: Claim) -> None:
    """End a held word that was shown; if that cannot be written now, it is held as before."""
    record = claim.record
    ended = step(record, "completed", record.agent, record.session, text.now(), reason=_SHOWN)
    with suppress(AgentbusError):
        try:
            await write_record(bus, ended, claim.revision)
        except Conflict:  # it was withdrawn, has expired, or is another session's by now
            claims.let_go(claim.task.id)
            return
        claims.end(claim.task)  # what its reader sends now goes on from there
        await tasks.finish(bus, claim.delivery)
