# SPDX-License-Identifier: Apache-2.0
"""A session of `coder`, and lanes that offer it tasks, on no bus: what is done to them is noted.

>>> offering.lanes["coder-high"] = [[offer("t1")]]
>>> await lanes.take(offering.session, 5)
Brought(claims=[Claim(task=Task(id='t1', ...
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import strategies
from messages import TASK

from mcp_agentbus.bus.replies import Conflict, Delivery
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.intake import lanes
from mcp_agentbus.handoff.intake.watches import Watches
from mcp_agentbus.handoff.parked import parking
from mcp_agentbus.store import queues, roster
from mcp_agentbus.store.queries import consumers, offers, read_back
from mcp_agentbus.store.steps import first_record, sent_of, step
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.upkeep import removal

AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)


def offer(
    task_id, *, seq=1, offered=1, to="coder", lane="high", sender="planner", waiting=0, **told
):
    """Return the delivery of a task, of which so many wait behind it."""
    subject = f"agentbus.{to}.tasks.{lane}.{sender}"
    data = strategies.spelt({**TASK, "id": task_id})
    headers = told.get("headers", {})
    return Delivery(
        subject, told.get("data", data), headers, "token", TASKS, seq, offered, AT, waiting
    )


def untouched(delivery):
    """Return the record of an offered task that nobody has claimed yet."""
    return first_record(sent_of(read_back.decoded(delivery)))


def claimed(delivery, *, by="other-1", attempts=1):
    """Return the record of an offered task that a session of `coder` holds."""
    return step(
        untouched(delivery), "claimed", "coder", by, AT, attempts=attempts, reason=""
    )  # fmt: skip


class Offering:
    """What the lanes offer, by `INBOX-LANE`: each time they are asked, the next of the lists."""

    def __init__(self, monkeypatch):
        self.lanes, self.pulled = {}, []
        #: The lanes in which something is stored; None: that is not for us to know.
        self.stocked = None
        #: By task: its record and revision.
        self.records, self.read = {}, []
        #: Which sessions live, which deadlines have come, and why tasks of a sender are refused.
        self.live, self.over, self.refused = set(), False, {}
        self.finished, self.given_back, self.parked = [], [], []
        #: By task: what the write of its record raises, and what comes between.
        self.fails = {}
        self.session = SimpleNamespace(
            bus=self,
            me=Agent("coder"),
            id="session-1",
            inboxes=("coder", "role-review"),
            leased=False,
            claims=Claims(None, "coder", "session-1"),
            namesakes={},
            watches=Watches(),
            refreshed=lambda: Agent("coder", accept_from=("planner",)),
        )
        for module, name in (
            (offers, "pull"), (queues, "stocked"), (roster, "may_hold"), (removal, "finish")
        ):  # fmt: skip
            monkeypatch.setattr(module, name, getattr(self, f"_{name}"))
        for name in ("read_record", "write_record", "has_come"):
            monkeypatch.setattr(lanes, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(lanes.refusals, "refusal", self._refusal)
        monkeypatch.setattr(parking, "park", self._park)
        monkeypatch.setattr(parking, "park_undecodable", self._park)
        monkeypatch.setattr("mcp_agentbus.core.text.now", lambda: AT)

    async def _pull(self, _, consumer, batch, are_nobodys, seen):
        place = next(
            f"{inbox}-{lane}"
            for inbox in self.session.inboxes
            for lane in lanes.LANES
            if consumers.lane(inbox, lane) == consumer
        )
        assert (are_nobodys.func, are_nobodys.args) == (lanes._are_nobodys, (self.session,))
        self.pulled.append((place, batch, sorted(seen)))
        there = self.lanes.get(place)
        found = there.pop(0) if there else []
        if isinstance(found, Exception):
            raise found
        return found

    async def _stocked(self, _, inboxes):
        assert inboxes == self.session.inboxes
        return self.stocked

    async def _may_hold(self, _, record):
        return record.session in self.live

    async def _finish(self, _, delivery):
        self.finished.append(delivery.seq)

    async def _read_record(self, _, owner, inbox, task_id):
        self.read.append((owner, inbox, task_id))
        return self.records.get(task_id, (None, 0))

    async def _write_record(self, _, record, revision):
        if record.task_id in self.fails:
            raise self.fails[record.task_id]
        if self.records.get(record.task_id, (None, 0))[1] != revision:
            raise Conflict
        self.records[record.task_id] = (record, revision + 1)
        return revision + 1

    async def _has_come(self, _, __):
        return self.over

    async def _refusal(self, _, me, sender, inbox):
        assert (me, inbox in self.session.inboxes) == (self.session.refreshed(), True)
        return self.refused.get(sender)

    async def _park(self, _, delivery, agent, reason, record=None):
        if "park" in self.fails:
            raise self.fails["park"]
        self.parked.append((delivery.seq, agent, reason, record))

    async def give_back(self, delivery, after_s=0.0):
        """As `Bus.give_back`."""
        self.given_back.append((delivery.seq, after_s))

    @property
    def done(self):
        """What became of deliveries that were not claimed: finished, given back, parked."""
        return self.finished, self.given_back, self.parked
