# SPDX-License-Identifier: Apache-2.0
"""What stands of one task on the sides that may know of it, read by one request.

    >>> [side] = await read_sides(bus, [("planner", "*")], task_id)
    >>> side.record.state
    'completed'

A side is an owner and an inbox, either of them `*` where it is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.aio import together
from mcp_agentbus.store import records, subjects
from mcp_agentbus.store.queries import senders
from mcp_agentbus.store.task import Record, Sent, Wakes

Side = tuple[str, str]
_PLACES: Final = (subjects.record_subject, subjects.sent_subject, subjects.wakes_subject)


@dataclass(frozen=True)
class Records:
    """The records of a task, as far as there are any."""

    record: Record | None = None
    sent: Sent | None = None
    wakes: Wakes | None = None


async def read_sides(bus: Bus, sides: Sequence[Side], task_id: str) -> list[Records]:
    """Return what stands of a task on each side, in their order.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.many`.
    """
    places = [place(*side, task_id) for side in dict.fromkeys(sides) for place in _PLACES]
    messages = await records.lasts(bus, places)
    return await together(*(_standing(bus, side, messages) for side in sides))


async def _standing(bus: Bus, side: Side, messages: Iterable[Found]) -> Records:
    owner, inbox = side
    here = [each for each in messages if _is_of(each, owner, inbox)]
    if owner == "*" and inbox != "*":
        whose = await senders.owner_among(bus, here)
        here = [each for each in here if _is_of(each, whose, inbox)]
    sent, _ = records.kept_among(here)
    if sent and not sent.unasked:  # nobody else, and no other inbox, has a word about it
        here = [each for each in here if _is_of(each, sent.owner, sent.inbox)]
    else:
        sent = None
    record, wakes = records.latest(here, "results"), records.latest(here, "wakes")
    return Records(
        record if isinstance(record, Record) else None,
        sent,
        wakes if isinstance(wakes, Wakes) else None,
    )


def _is_of(message: Found, owner: str, inbox: str) -> bool:
    whose, _, rest = subjects.parts(message.subject)
    return owner in ("*", whose) and inbox in ("*", *rest[:1])
