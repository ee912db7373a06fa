# SPDX-License-Identifier: Apache-2.0
"""A session of `coder` that reads, on no bus: what it is offered is set, what is asked is noted.

>>> reader.taken = Brought([claim("t1")], {"low": 3})
>>> (await read_inbox(reader.session)).tasks
(Item(task=Task(id='t1', ...
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from messages import read_record, read_task

from mcp_agentbus.handoff import inbox
from mcp_agentbus.handoff.call import Calls
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.ends import news
from mcp_agentbus.handoff.ends.news import Results
from mcp_agentbus.handoff.intake import arrivals, only
from mcp_agentbus.handoff.intake.brought import Brought
from mcp_agentbus.handoff.intake.rest import InboxRest
from mcp_agentbus.handoff.intake.watches import Watches
from mcp_agentbus.handoff.views import glances
from mcp_agentbus.handoff.views.glances import Glance
from mcp_agentbus.store.queues import Lane

RESULT, OTHER = (
    read_record(on=f"agentbus.coder.results.tester.{task_id}", state="completed")
    for task_id in ("r1", "r2")
)


def claim(task_id, *, lane="high", found=False, **more):
    """Return the claim of a task that a session has not yet."""
    task = read_task(on=f"agentbus.coder.tasks.{lane}.planner", id=task_id, **more)
    return Claim(task, None, read_record(), 1, found=found)


class Reader:
    """What a reading finds, and in `asked` what it has asked for."""

    def __init__(self, monkeypatch):
        self.asked = []
        #: What the lanes bring, with a word on what is left, and new results.
        self.taken, self.left, self.new = Brought(), InboxRest({"low": 3}, 1), Results()
        #: What they bring once what waits is looked for that is not offered.
        self.unoffered = Brought()
        #: The same by a look at each task, and at each result.
        self.looked, self.old = {"normal": Lane(2, 4)}, Results()
        self.glance, self.notes = Glance((), (), None), []
        self.outcomes, self.only = {}, only.Gone("It is gone.")
        claims = Claims(None, "coder", "session-1")
        claims.check = self._check
        self.session = SimpleNamespace(
            bus=SimpleNamespace(
                reconnected=self._reconnected, settings=SimpleNamespace(state_dir=Path(os.devnull))
            ),
            claims=claims,
            entrusted=Claims(None, "coder", ""),
            leased=False,
            outcomes=SimpleNamespace(
                confirm=self._confirm, give=self._give, results_of=self._results_of
            ),
            calls=Calls(),
            watches=Watches(),
            lock=asyncio.Lock(),
            called=self._noted("called"),
            can_read=self._noted("can read"),
            only="",
            outbox=None,
            successor="",
            see_open=lambda: None,
            ungranted=frozenset(),
            me=SimpleNamespace(id="coder"),
            inboxes=("coder",),
        )
        for module, names in (
            (inbox.lanes, ("take", "take_for_one")),
            (inbox.rest, ("as_told", "offered")),
            (inbox.rest.offers, ("doubt",)),
            (news, ("results", "looked_up")),
        ):
            for name in names:
                monkeypatch.setattr(module, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(inbox.rest, "_looks", self._looks)
        monkeypatch.setattr(glances, "peek", self._peek)
        monkeypatch.setattr(only, "claim", self._claim)
        monkeypatch.setattr(arrivals, "confirm", self._arrived)

    def held(self, *task_ids, **more):
        """Have the session hold tasks; return the claims."""
        return [self.session.claims.hold(claim(task_id, **more)) for task_id in task_ids]

    def given(self, *task_ids, doubtful=False):
        """Have an answer have named held tasks that has arrived, or may not have; return when."""
        call = self.session.calls.begin()
        if doubtful:
            self.session.calls.begin()
        call.answered(surely=not doubtful)
        self.session.claims.give(task_ids, call)
        return self.session.claims.given(task_ids[0]).at

    def _noted(self, what):
        async def note():
            self.asked.append(what)

        return note

    async def _reconnected(self, within_s, **_):
        self.asked.append(("reconnected", within_s))
        return True

    async def _confirm(self, call):
        self.asked.append("results arrived")

    async def _arrived(self, bus, claims, call):
        if claims is self.session.claims:
            self.asked.append("tasks arrived")

    def _give(self, records, call):
        self.asked.append(("given", [record.task_id for record in records]))

    async def _results_of(self, task_ids):
        return [self.outcomes[task_id] for task_id in task_ids if task_id in self.outcomes]

    async def _check(self, claims):
        self.asked.append(("checked", [claim.task.id for claim in claims]))
        return self.notes

    async def _take(self, _, limit, lanes, before=()):
        self.asked.append(("take", limit, list(lanes), [each.task.id for each in before]))
        return self._held_by_now()

    async def _take_for_one(self, _, limit, lanes, before=()):
        self.asked.append(("take one", limit, list(lanes), [each.task.id for each in before]))
        return self._held_by_now()

    def _doubt(self, _, consumer):
        self.asked.append(("doubt", consumer.name))
        self.taken = self.unoffered

    def _held_by_now(self):
        return replace(self.taken, claims=list(map(self.session.claims.hold, self.taken.claims)))

    async def _as_told(self, _, taken, told=()):
        self.asked.append(("as told", taken.waiting, dict(told)))
        return self.left

    async def _looks(self, session):
        self.asked.append("looked at")
        lanes = {"high": Lane()} | self.looked
        # Of what is held the session's own is a part.
        lanes["high"] = replace(lanes["high"], held=lanes["high"].held + len(session.claims))
        return {("coder", lane): now for lane, now in lanes.items()}

    async def _offered(self, _, lanes):
        self.asked.append(("offered", lanes))
        return dict.fromkeys(lanes, 7)

    async def _results(self, _, limit, by):
        self.asked.append(("results", limit, by and by.arrival(by)))
        return self.new

    async def _looked_up(self, _, limit, thread_id=None, *, take=True):
        self.asked.append(("looked up", limit, thread_id, take))
        return self.old

    async def _peek(self, _, limit, thread_id, cursor):
        self.asked.append(("peek", limit, thread_id, cursor))
        return self.glance

    async def _claim(self, _):
        self.asked.append("claim")
        known = isinstance(self.only, Claim)
        return self.session.claims.hold(self.only) if known else self.only
