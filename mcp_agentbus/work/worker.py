# SPDX-License-Identifier: Apache-2.0
"""A worker: a session that takes an agent's tasks and has a handler do them, some at a time.

    async with Worker(bus, Agent("coder"), jobs=4) as worker:
        await worker.run(handler)         # async def handler(task: Task) -> str | Result: ...

| what happens                        | the task                                            |
|-------------------------------------|-----------------------------------------------------|
| the handler returns                 | its result is stored, then the task is finished     |
| it raises, or does not end in time  | `failed`, with the kind of error                    |
| its sender withdraws the task       | is over: the handler is cancelled                   |
| the worker drains                   | is done to its end; no other one is taken           |
| the same, and it cannot begin yet   | is given back: released; so is one of `run_once`    |
| the worker is stopped               | is given back: released                             |
| its process or machine dies         | is offered again within 30 s, and has not failed    |
| the bus is away                     | is done; what came of it is stored once it is back  |

It claims, keeps and ends tasks as any other session does; its host's listener starts nobody beside
it. What its agent's other sessions have sent, and their results, it does not touch.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Literal, Self, Unpack

from mcp_agentbus.bus.address import start_no_server
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own.revival import Revival
from mcp_agentbus.core.aio import in_background, note_failure, part
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import check_number
from mcp_agentbus.errors import (
    AgentbusError,
    AlreadyEnded,
    BadInput,
    BusUnreachable,
    InboxFull,
    NotClaimed,
    NotYourTask,
    StoreFull,
    Unconfirmed,
    UnknownTask,
)
from mcp_agentbus.handoff.intake import arrivals
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.reports.details import Details
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay.member import AGAIN_S, Me, Membership
from mcp_agentbus.store.task import Status, Task
from mcp_agentbus.work import result
from mcp_agentbus.work.heartbeats import Heartbeats, OnGone
from mcp_agentbus.work.intake import Patience, Repeated, claim_next, claim_waiting
from mcp_agentbus.work.job import Handler, Job, check
from mcp_agentbus.work.log import note
from mcp_agentbus.work.result import Result

#: More than any machine runs at once.
JOBS_MAX: Final = 64
_DoneState = Literal["completed", "failed", "rejected", "released", "over"]
# How often it is seen, in seconds, that what is worked on is this session's still.
_LOOK_S: Final = 5.0
# How long after a listener that is not there it is looked for, in seconds: often none is, and one
# that starts waits 15 s for the sessions of an earlier one before it starts anybody.
_JOIN_AGAIN_S: Final = AGAIN_S[:4]
# Until the bus has room again: people make it.
_ROOM_AGAIN_S: Final = 30.0


@dataclass(frozen=True)
class Done:
    """What became of a task that a worker has taken."""

    task_id: str
    sender: str
    #: `over`: somebody else has ended or taken it meanwhile.
    state: _DoneState


class Worker:
    """Takes the tasks of an agent, of all priorities, and has a handler do them.

    Several of them, anywhere, may be the same agent: each task goes to one. It is one session, so
    it is used once: `async with`, then `run`.

    Args:
        bus: where it works.
        agent: whose tasks; those of its roles, too.
        jobs: so many tasks are done at the same time, 1 to 64.
        time_limit_s: a handler is cancelled after so many seconds, and its task has failed; None:
            it sees to that itself.
        on_gone: awaited with the id of an agent whose last session has died: it said nothing for
            15 s, and did not say goodbye.
        patience: how long `run` waits for a bus that is away; for ever, if not given.

    Raises:
        BadInput: `jobs` or `time_limit_s` is out of its range.
    """

    def __init__(
        self,
        bus: Bus,
        agent: Agent,
        *,
        jobs: int = 1,
        time_limit_s: float | None = 1800,
        on_gone: OnGone | None = None,
        patience: Patience | None = None,
    ) -> None:
        hint = f"Use 1 to {JOBS_MAX}."
        check_number(jobs, "jobs", 1, JOBS_MAX, hint=hint, kind=int)
        if time_limit_s is not None:
            hint, least = "Use seconds, or None.", math.ulp(0)
            check_number(time_limit_s, "time_limit_s", least, math.inf, hint=hint)
        #: What handlers may send tasks by: such a task counts as caused by the handler's own.
        self.session = Session(bus, agent)
        self._jobs, self._time_limit_s, self._on_gone = jobs, time_limit_s, on_gone
        self._patience = patience or Patience()
        self._at_work: dict[str, Job] = {}
        self._running: set[asyncio.Task[Done]] = set()
        self._taking: asyncio.Task[None] | None = None
        self._draining = asyncio.Event()
        self._stopped = asyncio.Event()
        # A worker needs no listener: it joins the one that is there.
        where = replace(bus.settings, environ={**bus.settings.environ, "AGENTBUS_LISTENER": "off"})
        me = Me(agent.id, agent.host, self.session.id, reads_by_itself=True, roles=agent.roles)
        self._membership = Membership(
            where, me, lambda *_: "it reads by itself", again_s=_JOIN_AGAIN_S
        )

    async def __aenter__(self) -> Self:
        with suppress(BusUnreachable, Unconfirmed):  # `run` waits for it
            await self.session.called()
            await self.session.can_read()
        self._membership.start()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._membership.leave()
        self._draining.set()
        # A session that has ended refuses who takes, and `run` would fail by that.
        if self._taking:
            self._taking.cancel()
            await asyncio.wait({self._taking})
        for job in self._at_work.values():
            job.unwanted.set()
        if error is None and not self.session.claims:
            self.session.calls.end()
        # What it holds yet was not dealt with: else that a word was shown would end it.
        await self.session.close()

    @property
    def me(self) -> str:
        """Whose tasks it does."""
        return self.session.me.id

    def item(self, task: Task) -> Item:
        """Return all that is known of a task at work: which attempt it is, and its question.

        The question is one that a session before has asked about it, with what was said to that.

        Raises:
            NotClaimed: it is not at work here.
        """
        if job := self._at_work.get(task.id):
            return job.item
        raise NotClaimed(f"Task {task.id} is not at work here.")

    def drain(self) -> None:
        """Take no more: `run` returns once what is at work has ended. Safe to call at any time.

        What could not begin yet is given back.
        """
        if not self._draining.is_set():
            note("draining", at_work=len(self._running))
        self._draining.set()

    def stop(self) -> None:
        """Take no more, and give back what is at work: its handlers are cancelled."""
        self._stopped.set()
        self.drain()
        for job in self._at_work.values():
            job.unwanted.set()

    async def run(self, handler: Handler) -> None:
        """Do tasks until `drain` or `stop`; cancelled, it gives back what is at work.

        So it does, and returns, where its block is left.

        Of this user's own server it starts again what has ended by itself, as at a reboot; for one
        that somebody has stopped it waits.

        Args:
            handler: gets each task in a call of its own; up to `jobs` calls run at once.

        Raises:
            BadInput: the handler is nothing that can be called.
            BusUnreachable: the bus was closed, or is away for longer than `patience`.
            NotAllowed, BadSetup: it cannot work on this bus; what was at work has ended.
        """
        check(handler)
        await part(self._run(handler))  # a context of its own, in which no call starts a server

    async def run_once(self, handler: Handler) -> Done | None:
        """Do one task that waits, and return what became of it.

        None if none waits, and after `drain` or `stop`.

        Raises:
            BadInput: the handler is nothing that can be called.
            BusUnreachable, Unconfirmed, NotAllowed: the inbox could not be read.
        """
        check(handler)
        if self._draining.is_set():
            return None
        (last := asyncio.Event()).set()  # who waits for its end waits for no room on the machine
        for item in await claim_waiting(self.session, 1):
            keeper = in_background(self._keep(), f"keeper of {self.me}'s work")
            try:
                return await self._done(item, handler, last)
            finally:
                keeper.cancel()
        return None

    async def _run(self, handler: Handler) -> None:
        start_no_server()
        beside = [in_background(self._keep(), f"keeper of {self.me}'s work")]
        revival = Revival(self.session.bus.settings)
        beside.append(in_background(revival.run(), "starter of the server"))
        if self._on_gone:
            heartbeats = Heartbeats(self.session.bus, self._on_gone)
            beside.append(in_background(heartbeats.watch(), f"heartbeats for {self.me}"))
        taking, draining = part(self._take_on(handler)), part(self._draining.wait())
        self._taking = taking
        try:
            await asyncio.wait({taking, draining}, return_when=asyncio.FIRST_COMPLETED)
            taking.cancel()
            await asyncio.wait({taking})
            await self.session.settled()
            if self._running:
                await asyncio.wait(self._running)
            if not taking.cancelled():
                taking.result()
        finally:
            for task in (*beside, taking, draining, *self._running):
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)
            note("stopped")

    async def _take_on(self, handler: Handler) -> None:
        """Take tasks as there is room, and begin each, until it drains."""
        note("started", agent=self.me, session=self.session.id, jobs=self._jobs)
        waiting = self._waiting()
        while not self._draining.is_set():
            while len(self._running) >= self._jobs:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            # The other one ends only once there is a task: that the bus is back is told before.
            claim = claim_waiting if waiting.is_on else claim_next
            try:
                items = await claim(self.session, self._jobs - len(self._running))
            except (BusUnreachable, Unconfirmed) as error:
                await waiting.again(error)
                continue
            waiting.over()
            for item in items:
                running = in_background(
                    self._done(item, handler, self._draining), f"task {item.task.id}"
                )
                self._running.add(running)
                running.add_done_callback(self._running.discard)

    def _waiting(self) -> Repeated:
        return Repeated(self.session.bus, self._patience, self._stopped)

    async def _done(self, item: Item, handler: Handler, last: asyncio.Event) -> Done:
        """Do a task to its end, and store that; return what became of it."""
        task = item.task
        job = self._at_work[task.id] = Job(item, last=last)
        if self._stopped.is_set():  # before anybody knew of this task
            job.unwanted.set()
        note("taken", task=task.id, sender=task.sender, attempt=item.attempt)
        state: _DoneState = "over"
        try:
            if await self._published(job, "working"):
                outcome = await job.outcome(handler, self._time_limit_s)
                if outcome is not None:
                    state = outcome.status if await self._stored(job, outcome) else "over"
                elif self._stopped.is_set() or not job.unwanted.is_set():
                    state = "released" if await self._repeated(job, self._give_back) else "over"
        except Exception as error:  # noqa: BLE001  # or it is held for as long as the worker lives
            why = error.message if isinstance(error, AgentbusError) else type(error).__name__
            if not isinstance(error, AgentbusError):
                note_failure(f"task {task.id}", error)
            note("refused", logging.ERROR, task=task.id, why=why)
            state = "released"
            with suppress(AgentbusError):
                await self._give_back(job, counts=True)
        finally:
            del self._at_work[task.id]
        note("ended", task=task.id, sender=task.sender, state=state)
        return Done(task.id, task.sender, state)

    async def _stored(self, job: Job, outcome: Result) -> bool:
        """Store how a task ended; tell whether it was this session's to end."""
        job.is_ending = True
        if job.is_word:  # whatever came of it, nobody waits for that
            return await self._repeated(job, self._word_is_over)
        try:
            return await self._published(job, outcome.status, **outcome.said)
        except BadInput as error:
            why = result.not_done(f"its result cannot be stored. {error.message.rstrip('.')}")
            return await self._published(job, "failed", summary=why.summary)

    async def _published(self, job: Job, status: Status, **details: Unpack[Details]) -> bool:
        """Store a step of a task, as `_repeated`."""

        async def publish(job: Job) -> bool:
            await publish_result(self.session, job.task.id, status, **details)
            return True

        return await self._repeated(job, publish)

    async def _word_is_over(self, job: Job) -> bool:
        async with self.session.lock:
            return await arrivals.word_is_over(self.session.bus, self.session.claims, job.task.id)

    async def _give_back(self, job: Job, *, counts: bool = False) -> bool:
        """Give a task back; of a word nothing is published that could do so."""
        if not job.is_word:
            await publish_result(self.session, job.task.id, "released")
            return True
        claims = self.session.claims
        async with self.session.lock:
            if claim := claims.get(job.task.id):
                await claims.give_back(claim, counts=counts, reason="its worker released it")
        return claim is not None

    async def _repeated(self, job: Job, store: Callable[[Job], Awaitable[bool]]) -> bool:
        """Store a step of a task, however long the bus is away; False: it is another's by now.

        Raises:
            BadInput: it is nothing that can be stored.
            BusUnreachable: the worker's patience is at its end.
            StoreFull, InboxFull: there is no room for it, and the worker is stopped.
        """
        waiting = self._waiting()
        while True:
            try:
                is_ours = await store(job)
            except (BusUnreachable, Unconfirmed) as error:
                await waiting.again(error)
            except (AlreadyEnded, NotClaimed, NotYourTask, UnknownTask):
                waiting.over()
                return False
            except (StoreFull, InboxFull) as error:
                waiting.over()
                note("refused", logging.ERROR, task=job.task.id, why=error.message)
                if self._stopped.is_set():
                    raise
                with suppress(TimeoutError):
                    async with asyncio.timeout(_ROOM_AGAIN_S):
                        await self._stopped.wait()
            else:
                waiting.over()
                return is_ours

    async def _keep(self) -> None:
        """See, as long as tasks are at work, that they are this session's; it counts as a call."""
        lacks: Collection[str] = ()
        while True:
            await asyncio.sleep(_LOOK_S)
            if lacks != (lacks := self.session.ungranted) and lacks:
                note("aside", logging.WARNING, why=Inbox().lacking(lacks).degraded)
            try:
                await self._look_after()
            except AgentbusError:
                continue  # the next look finds it out
            except Exception as error:  # noqa: BLE001  # without it claims would go after 2 hours
                note_failure(f"keeper of {self.me}'s work", error)

    async def _look_after(self) -> None:
        jobs = [job for job in self._at_work.values() if not job.is_ending]
        if not jobs:
            return
        await self.session.called()
        claims = self.session.claims
        async with self.session.lock:
            await claims.check([claims[job.task.id] for job in jobs if job.task.id in claims])
        for job in jobs:
            if job.task.id not in claims and not job.is_ending:
                job.unwanted.set()
