# SPDX-License-Identifier: Apache-2.0
"""Results that no session of their agent has confirmed as seen: looked up, and nothing taken.

    >>> (await look_up(bus, "planner", 5)).results
    [Unseen(record=Record(state='completed', ...), revision=18)]

A consumer hands a result out once and then only after a while, so a look that takes from one says
nothing of what another session has taken. This one reads what is stored: it finds the same however
often, and whoever looks.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery
from mcp_agentbus.core.aio import together
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.records import as_asked, lasts, record_in, sent_in
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.store.task import TOLD, Record, Sent

_PAGE: Final = 100
# From so many results at once on it is asked of all of them together which were seen.
_MANY: Final = 4
# Between a task and its sender's record of it lies one round trip.
_RECORD_LATE: Final = timedelta(seconds=1)


@dataclass(frozen=True)
class Unseen:
    """A result as it is stored."""

    record: Record
    revision: int


@dataclass
class Looked:
    """What a look brought."""

    #: The oldest first.
    results: list[Unseen] = field(default_factory=list)
    #: How many it met besides that are for another session, which lives or may live.
    elsewhere: int = 0


async def look_up(
    bus: Bus,
    agent: str,
    limit: int,
    *,
    session: str = "",
    thread_id: str | None = None,
    search_max: float = math.inf,
) -> Looked:
    """Return up to `limit` results of an agent's tasks.

    Args:
        bus: where they lie.
        agent: whose tasks.
        limit: at most so many.
        session: leave out what is for another session of the agent; nothing if empty.
        thread_id: only of this conversation.
        search_max: go through about so many records after the oldest unseen one, and no more.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    looked = Looked()
    others = Others(bus, agent, session)
    found = look_through(bus, agent, thread_id=thread_id, search_max=search_max)
    async with aclosing(found) as parts:
        async for ends in parts:
            for end in ends:
                if await others.own(end.record):
                    looked.elsewhere += 1
                else:
                    looked.results.append(end)
            if len(looked.results) >= limit:
                break
    del looked.results[limit:]
    return looked


async def look_through(
    bus: Bus, agent: str, *, thread_id: str | None = None, search_max: float = math.inf
) -> AsyncGenerator[list[Unseen], None]:
    """Yield an agent's results in parts, as `look_up`: each may have a MiB, and all be a flood.

    Whoever keeps of each what he needs has but one part in memory.

    Raises: as `look_up`.
    """
    searched = 0
    start = await _first_unconfirmed(bus, agent)
    if start is None:
        return
    subject = subjects.record_subject(agent, "*", "*")
    async with aclosing(bus.stored(RESULTS, subject, start=start, page=_PAGE)) as pages:
        async for messages in pages:
            ends = [
                Unseen(record, message.seq)
                for message in messages
                if (record := record_in(message)) and record.state in TOLD
                if thread_id in {None, record.thread_id}
            ]
            stored_at = {message.seq: message.stored_at for message in messages}
            searched += len(messages)
            del messages
            yield await _unseen(bus, ends, stored_at)
            if searched >= search_max:
                return


class Others:
    """The other sessions of an agent, each looked at once."""

    def __init__(self, bus: Bus, agent: str, session: str) -> None:
        self._bus, self._agent, self._session = bus, agent, session
        self._may_live: dict[str, bool] = {}

    async def own(self, record: Record) -> bool:
        """Tell whether a result is for one of them."""
        owner = record.owner_session
        if not self._session or owner in {"", self._session}:
            return False
        if owner not in self._may_live:
            self._may_live[owner] = await roster.may_live(
                self._bus, self._agent, owner, killed=False
            )
        return self._may_live[owner]


async def _unseen(
    bus: Bus, ends: Sequence[Unseen], stored_at: Mapping[int, datetime]
) -> list[Unseen]:
    records = [end.record for end in ends]
    sents = await _kept(bus, records)
    asked = await together(
        *(as_asked(bus, record, sent) for record, sent in zip(records, sents, strict=True))
    )
    told = [
        (replace(end, record=record), sent)
        for end, record, sent in zip(ends, asked, sents, strict=True)
        if record.is_told and not (sent and sent.seen_revision >= end.revision)
    ]
    return [
        end
        for end, sent in told
        if sent or not await may_be_asked_yet(bus, end.record, stored_at[end.revision])
    ]


async def _kept(bus: Bus, records: Sequence[Record]) -> list[Sent | None]:
    """Return what the owners of some records keep of their tasks, sent or only seen, in order."""
    places = [subjects.sent_subject(each.owner, each.inbox, each.task_id) for each in records]
    stored = {message.subject: sent_in(message) for message in await lasts(bus, places)}
    return [stored.get(place) for place in places]


async def finish_seen(bus: Bus, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Finish those of an agent's results that it has seen, and return the others.

    A consumer that is made anew, as of an agent that was away for a day, hands all out again. Of
    few, as they come one by one, none is looked at: whoever takes one looks at it anyway.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.finish`.
    """
    if len(deliveries) < _MANY:
        return list(deliveries)
    records = {each.seq: record for each in deliveries if (record := record_in(each))}
    sents = dict(zip(records, await _kept(bus, list(records.values())), strict=True))
    seen = [
        each
        for each in deliveries
        if (sent := sents.get(each.seq)) and sent.seen_revision >= each.seq
        if not records[each.seq].reply_to  # of which another is told, whoever takes it
    ]
    await together(*map(bus.finish, seen))
    done = {each.seq for each in seen}
    return [each for each in deliveries if each.seq not in done]


async def may_be_asked_yet(bus: Bus, record: Record, stored_at: datetime) -> bool:
    """Tell whether a result of a task that nobody has asked was stored a moment ago.

    Then its sender may be about to keep what it has sent: the task is stored before, and may be
    read and answered meanwhile.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    return record.unasked and not await has_come(bus, stored_at + _RECORD_LATE)


async def _first_unconfirmed(bus: Bus, agent: str) -> int | None:
    """Return from which sequence on a result may be unseen; None if the agent has seen them all."""
    there = await consumers.info(bus, RESULTS, subjects.results_consumer(agent))
    if there is None:
        return 1  # it has never read any
    return 1 + there.floor if there.waiting or there.taken else None


def at_most(limit: int, records: Iterable[Record]) -> list[Record]:
    """Return the first of the records that are told as so many."""
    first: list[Record] = []
    for record in records:
        if told([*first, record]) > limit:
            break
        first.append(record)
    return first


def told(results: Iterable[Record]) -> int:
    """Return as how many these are told."""
    return len({record.told_with for record in results})
