# SPDX-License-Identifier: Apache-2.0
"""A session's claims, on their way from one process to the next.

    told = references(session.claims.values())    # in the process that holds them
    await take_over(session, told)                # in the one that goes on

A claim is a lease on the bus, so whoever knows the session's id and the delivery's token holds it.
What the task says is read from the bus again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any

from mcp_agentbus.bus.replies import Delivery
from mcp_agentbus.handoff.session import Claim, Session
from mcp_agentbus.store import codec as wire
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.task import HELD


def reference(claim: Claim) -> dict[str, Any]:
    """Return what a claim can be found by again, as JSON has it."""
    delivery = {**asdict(claim.delivery), "data": "", "headers": {}}
    return {**delivery, "stored_at": claim.delivery.stored_at.isoformat()}


def delivery(told: Mapping[str, Any]) -> Delivery:
    """Return a delivery from its reference.

    Raises:
        ValueError, LookupError, TypeError: it is none.
    """
    stored_at = datetime.fromisoformat(told["stored_at"])
    return Delivery(**{**told, "data": b"", "stored_at": stored_at})


def references(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """Return the references of all claims, in their order."""
    return [reference(claim) for claim in claims]


async def take_over(session: Session, told: Iterable[Mapping[str, Any]]) -> None:
    """Have a session hold again what an earlier process of it held.

    What was ended, given back or taken by another session meanwhile is left out.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`; call it again.
    """
    await session.called()
    for one in told:
        with suppress(ValueError, LookupError, TypeError, wire.Undecodable):
            claim = await _claim(session, delivery(one))
            if claim:
                session.hold(claim)


async def _claim(session: Session, taken: Delivery) -> Claim | None:
    request = {"seq": taken.seq, "batch": 1, "next_by_subj": taken.subject}
    for found in await session.bus.admin.many(taken.stream, request):
        if found.seq != taken.seq:
            continue
        task = wire.decode_task(found.subject, found.headers, found.data, found.stored_at)
        record, revision = await read_record(session.bus, task.sender, task.to, task.id)
        if record and record.session == session.id and record.state in HELD:
            return Claim(task, taken, record, revision)
    return None
