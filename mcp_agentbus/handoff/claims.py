# SPDX-License-Identifier: Apache-2.0
"""What a session holds: its claims, what answers have given of them, and how they are let go of.

    >>> session.claims["9d0c..."].task.subject
    'Count the tests'
    >>> await session.claims.give_back(claim, counts=True, reason="its worker released it")

A claim is the task's record, written by this session and not overwritten by another; the delivery
only says what to finish at its end. New ones are taken in `lanes`; ends are written in `results`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import SHELL_PREFIX, Priority
from mcp_agentbus.errors import AgentbusError, Unconfirmed
from mcp_agentbus.handoff.call import Answered, Call, Given
from mcp_agentbus.handoff.claim import Claim, by_delivery, claimed_by
from mcp_agentbus.handoff.dispatch.cause import Ways, at_end, earlier
from mcp_agentbus.handoff.intake.references import delivery_of, reference_of
from mcp_agentbus.store import subjects
from mcp_agentbus.store.records import Written, read_record, record_key, update
from mcp_agentbus.store.steps import Write, given_back, passed_on
from mcp_agentbus.store.task import ASKING, HELD, Record, Task
from mcp_agentbus.store.upkeep import removal


class Claims(Mapping[str, Claim]):
    """The claims of one session by task id, oldest first. Made by a `Session` for itself."""

    def __init__(self, bus: Bus, me: str, session_id: str) -> None:
        self._bus, self._me, self._session_id = bus, me, session_id
        self._held: dict[str, Claim] = {}
        self._numbers = itertools.count(1)
        #: Held tasks that an answer had whole; of the others it failed, or its process has died.
        self._given: dict[str, Given] = {}
        #: Held tasks of which answers have had a part only: of a word nothing may be lost with it.
        self.cut: set[str] = set()
        #: What answers give of what senders have said to questions about held tasks.
        self.answers: dict[str, Answered] = {}
        #: What it held when its deadline passed, by id: a result of that still counts, as late.
        self.expired: dict[str, Claim] = {}
        #: How the tasks had come that it has ended, or no longer holds.
        self.ways = Ways()
        #: When `find` was told what the session holds; None: it was not called.
        self._found_at: datetime | None = None
        #: Called whenever the claims change, for who keeps them elsewhere.
        self.on_change: Callable[[], None] | None = None
        #: As well, and when `ways` change: for who notes what this goes on from.
        self.on_way: Callable[[], None] = lambda: None

    def __getitem__(self, task_id: str) -> Claim:
        return self._held[task_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, claim: Claim) -> Claim:
        """Keep a claim, new or changed; return it with its number."""
        before = self._held.get(claim.task.id)
        number = before.number if before else next(self._numbers)
        held = self._held[claim.task.id] = replace(claim, number=number)
        self._changed()
        return held

    def let_go(self, task_id: str) -> None:
        """Forget a claim, but not by what way its task came: however it went, it was at hand."""
        if claim := self._held.pop(task_id, None):
            self.ways.add(at_end(claim.task))
        self._given.pop(task_id, None)
        self.answers.pop(task_id, None)
        self.cut.discard(task_id)
        self._changed()

    def lose(self, claim: Claim, record: Record) -> None:
        """Forget a claim that its task's record says is over, but not whose deadline has passed."""
        if record.state == "expired" and not self._session_id.startswith(SHELL_PREFIX):
            self.expired[claim.task.id] = claim
        self.let_go(claim.task.id)

    def end(self, task: Task) -> None:
        """Forget the claim of a task that this session has ended, which it may not have held."""
        self.ways.add(at_end(task))
        self.expired.pop(task.id, None)
        self.let_go(task.id)

    def after(self, number: int) -> list[Claim]:
        """Return the claims that were made after the one of that number."""
        return [claim for claim in self._held.values() if claim.number > number]

    def cursor(self, task_id: str) -> str:
        """Return by what a reader goes on after a held task; `references.number_of` knows it."""
        return f"claim-{self._held[task_id].number}"

    def given(self, task_id: str) -> Given | None:
        """Return that an answer had a held task whole; None if its reader is to get it yet."""
        given = self._given.get(task_id)
        return None if given and given.is_lost else given

    def to_give(self, priority: Priority | None) -> list[Claim]:
        """Return the claims of that priority, or of any, that no answer has given yet."""
        return [
            claim
            for claim in self._held.values()
            if self.given(claim.task.id) is None and priority in {None, claim.task.priority}
        ]

    def give(self, task_ids: Iterable[str], call: Call) -> None:
        """Note that the answer to a call names these, whole or those given before as a line."""
        for task_id in task_ids:
            if task_id in self._held:
                given = self.given(task_id)
                if given is None or not given.has_arrived(call):  # else no answer is waited for
                    self._given[task_id] = Given(given.at if given else text.now(), call)
            answered = self.answers.get(task_id)
            if answered and answered.given is None:
                self.answers[task_id] = replace(answered, given=Given(text.now(), call))
        self._changed()

    def shown(self, given: AbstractSet[str], cut: AbstractSet[str]) -> None:
        """Note of which held tasks, of those that an answer has `given`, it has a part only."""
        self.cut = (self.cut - given) | (given & cut & self._held.keys())
        self._changed()

    def read_whole(self, task_id: str, call: Call) -> None:
        """Note that the answer to a call has the end of a held task's text."""
        self.cut.discard(task_id)
        self._given.pop(task_id, None)
        self.give([task_id], call)

    def named(self, task_id: str) -> None:
        """Note that its reader has named a held task, and so has been told of it."""
        if given := self._given.get(task_id):
            self._given[task_id] = replace(given, call=None)

    def recall(self, chain: Iterable[str], hops: int, at: datetime) -> None:
        """Go on as well from a task that ended then, as by an earlier process of the session."""
        self.ways.add(earlier(chain, hops, at))
        self.on_way()

    def _changed(self) -> None:
        self.on_way()
        if self.on_change:
            self.on_change()

    def cause(self) -> tuple[tuple[str, ...], int]:
        """Return the chain and hops that a task sent now continues; ((), -1) if none."""
        return self.ways.cause(claim.task for claim in self._held.values())

    def alone(self, sent: Iterable[tuple[str, str]]) -> list[Task | None]:
        """Return the held task for which alone each is sent, by inbox and its id, if any.

        Whoever keeps the claims elsewhere is told: the next process of the session goes by it.
        """
        held = [claim.task for claim in self._held.values()]
        found = [self.ways.alone(held, *each) for each in sent]
        if any(found):
            self._changed()
        return found

    async def give_back(
        self, claim: Claim, *, counts: bool, reason: str, note: str = ""
    ) -> Record | None:
        """Let others have a task, an attempt at it if `counts` or if its worker has said anything.

        It returns the record that stands then, which may say that the task was no longer held.

        Args:
            claim: of this session.
            counts: whether that was an attempt, whatever its worker has said.
            reason: why, in this program's words.
            note: what its worker says to that.

        Raises:
            Refused, BusUnreachable, Unconfirmed: as `records.update`; it is held until `check`.
        """
        back = partial(
            given_back, session=claim.record.session, agent=self._me, counts=counts,
            at=text.now(), reason=reason, note=note,
        )  # fmt: skip
        try:
            outcome = await self._rewrite(claim, back)
        except Unconfirmed:
            if claim.task.id in self._held:
                self.hold(replace(claim, unsure=True))
            raise
        self.let_go(claim.task.id)
        standing = outcome.value if isinstance(outcome, Written) else outcome
        await self._settle(claim, standing)
        return standing

    async def _settle(self, claim: Claim, record: Record | None) -> None:
        """Tell the server what a task's record says: it is over, or is to be offered again."""
        with suppress(AgentbusError):  # it offers the task by itself, later
            if record and record.ended:
                await removal.finish(self._bus, claim.delivery)
            elif record and record.state == "stored":
                await self._bus.give_back(claim.delivery)
                await self._bus.send(subjects.back_subject(claim.task.to), b"", {})

    async def _rewrite(
        self, claim: Claim, change: Callable[[Record | None], Write[Record] | Record | None]
    ) -> Written[Record] | Record | None:
        """Write a claim's record: what stands may be newer, by another or by a write of ours."""
        key = record_key(claim.task.sender, claim.task.to, claim.task.id)
        return await update(self._bus, key, change, known=(claim.record, claim.revision))

    async def give_all_back(self, reason: str) -> None:
        """Give back every claim."""
        each = list(self._held.values())
        await together(*(self.give_back(claim, counts=False, reason=reason) for claim in each))

    async def check(self, claims: Sequence[Claim]) -> list[str]:
        """Let go of those that are no longer this session's; return what to say about them.

        Raises:
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        notes = await together(*(self._check(claim) for claim in claims))
        return [note for note in notes if note]

    async def _check(self, claim: Claim) -> str:
        task = claim.task
        if claim.unsure:
            record, revision = await self._written_again(claim)
        else:
            record, revision = await read_record(self._bus, task.sender, task.to, task.id)
        if record is None or revision == claim.revision:
            return ""
        if record.session == self._session_id and not record.ended:
            self.hold(claim.written(record, revision))  # ours, though nobody confirmed it
            return ""
        self.lose(claim, record)
        if claim.unsure and not record.ended:
            await self._settle(claim, record)
            return f"Task {task.id} was given back, as was asked."
        if record.ended:
            too_late = " While this session's process goes on, a result is stored, marked late."
            late = too_late if task.id in self.expired else ""
            await removal.finish(self._bus, claim.delivery)
            return f"Task {task.id} is over: {record.state}. This session no longer holds it.{late}"
        return f"Task {task.id} was taken over by another session while this one did not answer."

    async def _written_again(self, claim: Claim) -> tuple[Record | None, int]:
        """Store a claim's record as it stands, if it stands: so no write under way comes later."""
        own = claim.record.session
        done = await self._rewrite(claim, partial(passed_on, session=own, to=own))
        return (done.value, done.revision) if isinstance(done, Written) else (done, 0)

    async def find(self, inboxes: Sequence[str]) -> None:
        """Hold whatever the records say is this session's, in the order in which it was claimed.

        So it is the same whatever became of the processes that claimed it. All but what waits for
        somebody's approval counts as not given yet: its worker may have died with that process.

        Raises:
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        found_at = text.now()
        for claim in await claimed_by(self._bus, self._session_id, inboxes):
            self.hold(claim)
            if claim.record.state in ASKING:
                self._given[claim.task.id] = Given(claim.record.updated_at)
        self._found_at, self.ways.held_before = found_at, None
        self.on_way()

    def missed(self, claim: Claim) -> bool:
        """Tell whether a claim of this session was there when `find` did not find it.

        Else another process of it, which runs beside this one, has claimed the task meanwhile.
        """
        return self._found_at is not None and claim.claimed_at < self._found_at

    def is_unheard(self, record: Record) -> bool:
        """Tell whether a record is a claim of this session whose confirmation never came."""
        is_held = record.state in HELD and record.task_id not in self._held
        return is_held and record.session == self._session_id

    async def take_over(
        self, references: Iterable[Mapping[str, Any]], given_up: Call, *, has_tasks: bool = False
    ) -> None:
        """Hold again what an earlier process held that is held still, and gave by `given_up`.

        Raises:
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`; call it again.
        """
        for reference in references:
            with suppress(ValueError, LookupError, TypeError):
                if claim := await by_delivery(self._bus, self._session_id, delivery_of(reference)):
                    self.hold(claim)
                    self.cut |= {claim.task.id} if reference.get("cut") else set()
                    if given_at := reference.get("given_at"):
                        at = datetime.fromisoformat(given_at)
                        self._given[claim.task.id] = Given(at, None if has_tasks else given_up)
                    if mark := reference.get("replies"):
                        self.answers[claim.task.id] = Answered(mark, Given(text.now(), given_up))
                    self.ways.recall_sent(claim.task.id, reference.get("sent_for", {}))

    async def hand_over(self, to: str) -> list[dict[str, Any]]:
        """Let another session of this agent have all that this one holds; return its references.

        Raises:
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        references = self.references()
        for claim in list(self._held.values()):
            await self.pass_on(claim, to)
        return references

    async def pass_on(self, claim: Claim, to: str) -> bool:
        """Let another session of this agent have a task; tell whether it has. Raises as that."""
        passing = partial(passed_on, session=claim.record.session, to=to)
        outcome = await self._rewrite(claim, passing)
        self.let_go(claim.task.id)
        if isinstance(outcome, Record):
            await self._settle(claim, outcome)
        return isinstance(outcome, Written)

    def references(self) -> list[dict[str, Any]]:
        """Return the references of all claims, oldest first."""
        return [
            reference_of(claim.delivery, by.at if by else None, told.given_mark if told else "")
            | ({"cut": True} if task_id in self.cut else {})
            | ({"sent_for": sent} if (sent := self.ways.sent_for(task_id)) else {})
            for task_id, claim in self._held.items()
            for by, told in [(self.given(task_id), self.answers.get(task_id))]
        ]
