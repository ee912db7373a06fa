# SPDX-License-Identifier: Apache-2.0
"""What was sent to a bus since the backup that takes its place: each such task has an end there.

    >>> gone = await sent_since(before, backup.taken_at)
    >>> await tell(after, gone)
    2

So nobody waits for what is not there, and a result that its sender has not seen is not lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict
from mcp_agentbus.core import text
from mcp_agentbus.store import subjects
from mcp_agentbus.store.records import (
    lasts,
    read_sent,
    record_in,
    sent_in,
    write_record,
    write_sent,
)
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import Record, Sent

# A sender's clock may be so much behind that of whoever took the backup.
_CLOCKS: Final = timedelta(minutes=10)
_REASON: Final = (
    "the bus was restored from a backup that was taken before this was sent: send it again if it "
    "is wanted"
)


@dataclass(frozen=True)
class LostTask:
    """A task of a bus that is replaced."""

    #: What its sender kept of it.
    sent: Sent
    #: Its end, which its sender has not seen; None if it had none.
    end: Record | None


async def sent_since(bus: Bus, at: datetime) -> list[LostTask]:
    """Return what was sent since then, or shortly before, and whose end its sender has not seen.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    gone: list[LostTask] = []
    async for page in bus.stored(subjects.RESULTS, subjects.sent_subject("*", "*", "*")):
        kept = [sent for message in page if (sent := sent_in(message)) and _may_wait(sent, at)]
        wanted = [subjects.record_subject(each.owner, each.inbox, each.task_id) for each in kept]
        records = [record_in(message) for message in await lasts(bus, wanted)]
        ends = {(each.inbox, each.task_id): each for each in records if each and each.ended}
        gone += [LostTask(each, ends.get((each.inbox, each.task_id))) for each in kept]
    return gone


def _may_wait(sent: Sent, at: datetime) -> bool:
    return is_since(sent, at) and not (sent.closed or sent.unasked)


def is_since(sent: Sent, at: datetime) -> bool:
    """Tell whether a task was sent since then, or shortly before."""
    return sent.created_at > at - _CLOCKS


async def tell(bus: Bus, gone: Iterable[LostTask]) -> int:
    """Give those that a bus does not know their end, failed if they had none; return how many.

    Raises:
        StoreFull, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    count = 0
    for each in gone:
        # Where they stood in a stream says nothing of another.
        sent = each.sent.model_copy(update={"seq": 0, "seen_revision": 0, "seen_at": None})
        failed = step(first_record(sent), "failed", sent.owner, "", text.now(), reason=_REASON)
        # Its addressee may have another name since, and the backup have it under the one before.
        if (await read_sent(bus, sent.owner, "*", sent.task_id))[0]:
            continue
        with suppress(Conflict):  # somebody keeps something there that was not sent
            await write_sent(bus, sent, 0)
            await write_record(bus, each.end or failed, 0)
            count += 1
    return count
