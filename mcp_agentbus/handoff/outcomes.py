# SPDX-License-Identifier: Apache-2.0
"""What became of the tasks that an agent sent: given to a session, until it has seen it.

    >>> await session.outcomes.results(20)     # taken, and in each look ...
    [Record(state='completed', summary='214 tests', ...)]
    >>> session.outcomes.give(records, call)   # ... until an answer has it,
    >>> await session.outcomes.confirm(later)  # which counts as seen once it is known to arrive

A result goes to the session that sent the task while it lives, else to any session of its agent.
A task whose deadline passed without a word from its worker's side is ended here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery, HandedOut, Message
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import by_portions, together
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.call import Call, Given
from mcp_agentbus.handoff.dispatch.sent_records import SentRecords
from mcp_agentbus.handoff.ends import to_tell
from mcp_agentbus.handoff.ends.awaited import (
    Awaited,
    Result,
    no_answer_comes,
    note_as_seen,
    stored,
)
from mcp_agentbus.handoff.ends.to_tell import Stands, ToldRecord
from mcp_agentbus.handoff.views.whose import unknown_task
from mcp_agentbus.store import records, subjects, unseen
from mcp_agentbus.store.queries import consumers, pulls
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.task import Record, Task, utc
from mcp_agentbus.store.upkeep import deadlines
from mcp_agentbus.store.upkeep.lost import Losses

# How soon, in seconds, another session's result is offered again; that session is told besides.
_NOT_MINE_S: Final = 2.0
# How often, in seconds, deadlines of tasks that another session sent are looked at.
_SWEEP_S: Final = 60.0
_BATCH: Final = 100
# Of these so many in one look, which then takes a second: others may have written thousands.
_SWEEP_BATCHES: Final = 3
# As many pages of what the agent has sent are looked through for what nobody keeps.
_SWEEP_PAGES: Final = 3


class Outcomes:
    """What one session knows of the tasks that it and its agent sent.

    Made by a `Session` for itself, which tells it of every record that comes in.
    """

    def __init__(self, bus: Bus, me: str, session_id: str) -> None:
        self._bus, self._me, self._session_id = bus, me, session_id
        #: Tasks sent here that have no end yet, by id.
        self.sent: dict[str, Awaited] = {}
        #: Those of them of which a record came in that no look has read yet.
        self.unread: set[str] = set()
        #: By task id, until they count as seen.
        self.taken: dict[str, Result] = {}
        #: When the deadlines of this agent's open tasks were last looked at; monotonic.
        self.swept_at: float | None = None
        #: Of what was sent, the records that are written behind receipts.
        self.sent_records = SentRecords(bus, me)
        self._losses = Losses(bus, me)

    @contextmanager
    def awaiting(self, task: Task) -> Iterator[None]:
        """Expect an outcome of a task from before it is stored; not if storing it fails."""
        if task.expect == "answer":
            self.sent[task.id] = Awaited(task.to, task.expires_at, is_stored=False)
        try:
            yield
        except BaseException:
            self.sent.pop(task.id, None)
            raise
        if awaited := self.sent.get(task.id):
            self.sent[task.id] = replace(awaited, is_stored=True)

    def heard(self, message: Message | None) -> None:
        """Note that a record came in; None: there was a gap, so any of them may have."""
        if message is None:
            self.unread.update(self.sent)
            return
        _, task_id = subjects.parts(message.subject).rest
        if task_id in self.sent:
            self.unread.add(task_id)

    def forget(self, task_id: str) -> None:
        """Await nothing more of a task."""
        self.sent.pop(task_id, None)
        self.unread.discard(task_id)

    def shown(self, task_ids: Collection[str]) -> frozenset[str]:
        """Return those of these tasks of whose results this session shows one."""
        # A list, made at once: it is asked in another thread than the one that takes.
        given = {task_id for task_id, result in list(self.taken.items()) if not result.is_new}
        return frozenset(task_ids) & given

    async def results(self, limit: int) -> list[Record]:
        """Take records of this agent's tasks that no session was given; return those to give now.

        At most `limit`, where those that are told as one count as one. `look_up` finds the others
        as well.

        Raises:
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        await self._sweep()
        await self._take_heard(limit)
        await self._take_offered(limit)
        return unseen.at_most(limit, self._new)

    @property
    def _new(self) -> list[Record]:
        """What was taken and no answer has had."""
        return [result.record for result in self.taken.values() if result.is_new]

    def doubtful(self, by: Call | None) -> list[Result]:
        """Return what was given and may not have arrived; `by` as in `Given.is_doubtful`."""
        return [
            result
            for result in self.taken.values()
            if result.given and not result.is_new and result.given.is_doubtful(by)
        ]

    def give(self, records: Iterable[Record], call: Call) -> None:
        """Note that the answer to a call has these results, whole or those given before as a line.

        What was not taken, but asked for otherwise, does not count.
        """
        for record in records:
            result = self.taken.get(record.task_id)
            if result and result.record is record:
                at = result.given.at if result.given and not result.is_new else text.now()
                self.taken[record.task_id] = replace(result, given=Given(at, call))

    async def look_up(self, limit: int, thread_id: str | None = None) -> unseen.Looked:
        """Return results that this session should see, and take none of them.

        It finds what another session has taken and not confirmed as well.

        Raises:
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        await self._sweep()
        return await unseen.look_up(
            self._bus, self._me, limit, session=self._session_id, thread_id=thread_id
        )

    def take(self, end: unseen.Unseen) -> Result:
        """Take what was looked up; return it with what is known of it."""
        self.unread.discard(end.record.task_id)
        if end.record.ended and not end.record.unasked:
            self.sent.pop(end.record.task_id, None)
        return self._keep(end.record, end.revision, None)

    def _keep(self, record: Record, revision: int, delivery: Delivery | None) -> Result:
        """Keep what was taken until it counts as seen, if it is newer than what is kept."""
        before = self.taken.get(record.task_id)
        delivery = delivery or (before.delivery if before else None)
        if before and before.revision >= revision:
            result = replace(before, delivery=delivery)
        else:
            result = Result(record, revision, delivery)
        self.taken[record.task_id] = result
        return result

    async def _stands(self, task_ids: Collection[str]) -> list[Stands]:
        awaited = {each: self.sent[each].inbox for each in task_ids if each in self.sent}
        return await to_tell.stands(self._bus, self._me, task_ids, awaited)

    async def results_of(self, task_ids: Sequence[str]) -> list[Record]:
        """Return what became of tasks that this agent sent, of those of which there is any to tell.

        Raises:
            BadInput: one wants no answer.
            UnknownTask: this agent sent no such task.
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        await self._sweep()
        await self.sent_records.settled()
        stands = await self._stands(task_ids)
        if any(each.sent is None for each in stands) and await self.sent_records.look():
            stands = await self._stands(task_ids)
        for task_id, (record, _, sent) in zip(task_ids, stands, strict=True):
            if record is None and sent is None:
                said = f"{self._me} sent no task {task_id}"
                raise await unknown_task(self._bus, task_id, said, "wait for", by="sender")
            if sent and sent.expect == "nothing":
                raise no_answer_comes(task_id)
        return [
            self.take(unseen.Unseen(record, revision)).record
            for record, revision, sent in stands
            # The same question is not asked twice.
            if record and record.is_told
            if record.ended or not sent or sent.seen_revision < revision
        ]

    async def confirm(self, by: Call | None = None) -> None:
        """Note that the session has seen what it was given; what cannot be noted is given again.

        That is what has arrived as `by` tells, and everything if whoever shows it says so (None).
        """
        await self.sent_records.settled()
        seen = [
            result
            for result in self.taken.values()
            if result.given and not result.is_new
            if by is None or result.given.has_arrived(by)
        ]
        noted = (note_as_seen(self._bus, self._me, result) for result in seen)
        outcomes = await asyncio.gather(*noted, return_exceptions=True)
        for result, outcome in zip(seen, outcomes, strict=True):
            if outcome is None:
                self.taken.pop(result.record.task_id, None)
            elif not isinstance(outcome, AgentbusError):
                raise outcome

    async def give_back(self, record: Record) -> None:
        """Undo the taking of a result that nobody was given."""
        result = self.taken.get(record.task_id)
        if result is None or not result.is_new:
            return
        del self.taken[record.task_id]
        self.unread.add(record.task_id)
        if result.delivery:
            await self._bus.give_back(result.delivery)

    async def leave(self, end: Call | None) -> None:
        """Let another session show what may not have arrived; `end` as `confirm` has it."""
        await self.sent_records.settled()
        if end:
            await self.confirm(end)
        for result in self.taken.values():
            if result.delivery:
                with suppress(AgentbusError):  # it is offered again by itself
                    await self._bus.give_back(result.delivery)
        self.taken = {}
        with suppress(AgentbusError):  # another session finds it by its task
            await self.sent_records.again()

    async def hand_over(self) -> dict[str, Any]:
        """Know no more of what is to be told here; return what another session needs for that."""
        given = [task_id for task_id, result in self.taken.items() if not result.is_new]
        sent = {each: (inbox, at.isoformat()) for each, (inbox, at) in stored(self.sent).items()}
        await self.leave(None)
        self.sent = {}
        self.unread.clear()
        return {"given": given, "sent": sent}

    async def take_over(self, handed: Mapping[str, Any], given_up: Call) -> None:
        """Go on with what another session has handed over, which may have lost what it gave.

        Raises:
            ValueError, LookupError, TypeError: it has handed over something else.
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        self._losses.go_on()
        for task_id, (inbox, deadline) in handed["sent"].items():
            if ids.is_task_id(task_id) and ids.is_inbox(inbox):
                self.sent[task_id] = Awaited(inbox, utc(datetime.fromisoformat(deadline)))
                self.unread.add(task_id)
        for task_id in handed["given"]:
            known = await self._stands([task_id] if ids.is_task_id(task_id) else [])
            for record, revision, _ in known:
                if record and record.is_told:
                    self.give([self._keep(record, revision, None).record], given_up)

    async def _take_heard(self, limit: int) -> None:
        """Take what is told by records that came in, up to `limit`, whoever pulled them."""
        heard, is_any = sorted(self.unread), True
        while heard and (told := unseen.told(self._new)) < limit:
            most = limit - told if is_any else _BATCH
            some, heard = heard[:most], heard[most:]
            self.unread.difference_update(some)  # what comes in meanwhile is to be read again
            left, is_any = set(some), False
            try:
                stands = zip(some, await self._stands(some), strict=True)
                for task_id, (record, revision, sent) in stands:
                    if record and record.is_told:
                        is_any = True
                        if unseen.told(self._new) >= limit:
                            continue
                        await self._take_told(ToldRecord(record, revision, sent))
                    left.remove(task_id)
            finally:
                self.unread.update(left)

    async def _take_offered(self, limit: int) -> None:
        """Take what is offered and no other session should show, up to `limit`; each result once.

        What is left to others is offered again while this goes on: then all has been seen.
        """
        others = unseen.Others(self._bus, self._me, self._session_id)
        seen: set[int] = set()
        is_any = True
        while (told := unseen.told(self._new)) < limit:
            wanted = min(_BATCH, limit - told) if is_any else _BATCH
            deliveries = await pulls.pull(self._bus, consumers.results(self._me), wanted)
            new = await unseen.finish_seen(self._bus, deliveries)
            own = await self._own(new, others)
            is_any = bool(own)
            while own and unseen.told(self._new) < limit:
                await self._take_told(own.pop(0))
            await together(*map(self._offer_again, own))
            if len(deliveries) < wanted or not seen.isdisjoint(each.seq for each in new):
                break
            seen.update(each.seq for each in new)

    async def _own(self, deliveries: Sequence[Delivery], others: unseen.Others) -> list[ToldRecord]:
        """Return what deliveries tell this session; what is for another one is offered again."""
        told = await by_portions(
            lambda each: to_tell.offered(self._bus, self._me, each, self._awaits), deliveries
        )
        own, theirs = list[ToldRecord](), list[ToldRecord]()
        for each in filter(None, told):
            (theirs if await others.own(each.record) else own).append(each)
        await by_portions(lambda each: self._offer_again(each, _NOT_MINE_S), theirs)
        return own

    async def _offer_again(self, told: ToldRecord, after_s: float = 0.0) -> None:
        """Have what offered it be offered again."""
        if told.delivery:
            await self._bus.give_back(told.delivery, after_s)

    def _awaits(self, record: Record) -> bool:
        awaited = self.sent.get(record.task_id)
        return awaited is not None and awaited.inbox == record.inbox

    async def _take_told(self, told: ToldRecord) -> None:
        """Take what a record tells, unless the agent knows it already."""
        record, revision, sent, delivery = told
        with suppress(AgentbusError):  # its worker may be of an older version, or have died
            await records.copy(self._bus, record)
        already = self.taken.get(record.task_id)
        if already and already.record.inbox != record.inbox:
            # Whoever writes plain NATS chooses ids: what was asked for goes first.
            later = delivery if record.unasked else already.delivery
            if later:
                await self._bus.give_back(later, _NOT_MINE_S)
            if record.unasked:
                return
            del self.taken[record.task_id]
        elif already and already.revision >= revision:
            self._keep(record, revision, delivery)
            return
        if record.ended and not record.unasked:
            self.sent.pop(record.task_id, None)
        if sent and sent.seen_revision >= revision:
            if delivery:
                await self._bus.finish(delivery)
            return
        self._keep(record, revision, delivery)

    async def _sweep(self) -> None:
        """End the tasks of this agent whose deadline has passed, whoever sent them.

        The sender's record of an open task lies in a consumer of its own and is given back until
        its deadline: JetStream keeps the time, across restarts, and nobody has to search.
        """
        first = min((awaited.deadline for awaited in self.sent.values()), default=None)
        fresh = self.swept_at is not None and time.monotonic() - self.swept_at < _SWEEP_S
        if fresh and not (first and await has_come(self._bus, first)):
            return
        self.swept_at = time.monotonic()
        await self.sent_records.settled()  # what is lost is told by what is kept
        await together(
            self.sent_records.tried(_SWEEP_PAGES),
            self._losses.look(stored(self.sent)),
            self._end_due(),
        )

    async def _end_due(self) -> None:
        """End what is due; of very many a part."""
        for _ in range(_SWEEP_BATCHES):
            try:
                deliveries = await pulls.pull(self._bus, consumers.sent(self._me), _BATCH)
            except HandedOut:  # more tasks are open than the server counts deadlines for
                return
            await together(*map(self._check_deadline, deliveries))
            if len(deliveries) < _BATCH:
                return
        self.swept_at = None  # the next look goes on

    async def _check_deadline(self, delivery: Delivery) -> None:
        ended = await deadlines.end_if_over(self._bus, self._me, delivery)
        if ended and ended.task_id in self.sent:
            self.unread.add(ended.task_id)  # another session's is told like any result
