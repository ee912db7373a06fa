# SPDX-License-Identifier: Apache-2.0
"""What became of the tasks of `planner`, on no bus: what is offered is set, what is done is noted.

>>> results.offered = [[results.offer(ended("t1"))]]
>>> await results.outcomes.results(5)
[Record(task_id='t1', state='completed', ...
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

from server_stand_in import NOON, Server

from mcp_agentbus.bus.replies import Found, untaken
from mcp_agentbus.core import text
from mcp_agentbus.handoff import outcomes as module
from mcp_agentbus.handoff.ends.awaited import Awaited, Result
from mcp_agentbus.handoff.outcomes import Outcomes
from mcp_agentbus.store import codec, records, roster, subjects
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.subjects import RESULTS, SCHEDULE, TASKS
from mcp_agentbus.store.task import Sent

DEADLINE = NOON + timedelta(hours=1)
_MADE = {"created": text.stamp(NOON), "config": {}}
# Of a consumer that has handed out nothing yet.
_NOTHING_YET = {
    "num_pending": 1, "num_ack_pending": 0, "delivered": {"stream_seq": 0},
    "ack_floor": {"stream_seq": 0},
}  # fmt: skip


def kept(task_id="t1", inbox="coder", **more):
    """Return what `planner` keeps of a task."""
    fields = {"created_at": NOON - timedelta(hours=1), "expires_at": DEADLINE, **more}
    return Sent(task_id=task_id, owner="planner", inbox=inbox, subject="Count", **fields)


def ended(task_id="t1", state="completed", inbox="coder", **more):
    """Return what became of a task by its worker's word."""
    return step(first_record(kept(task_id, inbox)), state, inbox, "worker-1", NOON, **more)


class Results(Server):
    """What is stored, and what its consumers offer: each time they are asked, the next list."""

    def __init__(self, monkeypatch):
        super().__init__(infos=dict.fromkeys((TASKS, SCHEDULE, RESULTS), _MADE))
        self.outcomes = Outcomes(self, "planner", "session-1")
        self.offered, self.due = [], []
        #: By consumer, how many each pull wanted.
        self.pulled = {"planner_results": [], "planner_sent": []}
        self.finished, self.given_back = [], []
        #: Which sessions of `planner` live.
        self.live = {"session-1"}
        #: How many requests have asked for records.
        self.requests = 0
        #: Of which sessions it was asked whether they live.
        self.asked_of = []
        #: What is kept of tasks: on its way, tried in vain, or by who was killed before that.
        self.under_way, self.missing, self.unkept = [], [], []
        #: What a write under a subject raises.
        self.fails = {}
        #: The monotonic clock, as the code under test has it.
        self.clock_s = 5000.0
        self.outcomes.sent_records = SimpleNamespace(
            settled=self._settled, again=self._again, look=self._look, tried=self._look
        )
        monkeypatch.setattr(text, "now", lambda: self.at)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.clock_s))
        monkeypatch.setattr(module.pulls, "pull", self._pull)
        monkeypatch.setattr(roster, "may_live", self._may_live)

    def sent(self, *task_ids, inbox="coder", unread=True):
        """Have the session await what becomes of tasks, of which a record may have come in."""
        for task_id in task_ids:
            self.outcomes.sent[task_id] = Awaited(inbox, DEADLINE)
            if unread:
                self.outcomes.unread.add(task_id)

    def put(self, one):
        """Store a record, its worker's or its sender's; return its revision."""
        is_sent = isinstance(one, Sent)
        subject_of = subjects.sent_subject if is_sent else subjects.record_subject
        data = codec.encode_sent(one) if is_sent else codec.encode_record(one)
        return self._add(subject_of(one.owner, one.inbox, one.task_id), data).seq

    def offer(self, one, *, ago_s=60):
        """Store a record; return it as a consumer hands it out."""
        seq = self.put(one)
        [stored] = [each for each in self.messages if each.seq == seq]
        return untaken(
            RESULTS, replace(stored, stored_at=self.at - timedelta(seconds=ago_s)), f"token-{seq}"
        )

    def standing(self, one):
        """Return a record as it stands where that one is."""
        key = records.sent_key if isinstance(one, Sent) else records.record_key
        place = key(one.owner, one.inbox, one.task_id)
        of_it = [each for each in self.messages if each.subject == place.subject]
        return place.decode(of_it[-1]) if of_it else None

    def take(self, one, *, delivered=False, given=None):
        """Have the session have taken a record; return that as it is kept."""
        delivery = self.offer(one)
        taken = Result(
            records.record_in(delivery), delivery.seq, delivery if delivered else None, given
        )
        self.outcomes.taken[one.task_id] = taken
        return taken

    @property
    def taken(self):
        """By task what is taken: its revision, the sequence of its delivery, and its record."""
        return {
            task_id: (each.revision, each.delivery and each.delivery.seq, each.record)
            for task_id, each in self.outcomes.taken.items()
        }

    def _add(self, subject, data):
        seq = 1 + max((each.seq for each in self.messages), default=0)
        self.messages.append(Found(subject, seq, self.at, {}, data))
        return self.messages[-1]

    async def _pull(self, _, consumer, batch):
        self.pulled[consumer.name].append(batch)
        lists = self.offered if consumer.name == "planner_results" else self.due
        brought = lists.pop(0) if lists else []
        if isinstance(brought, Exception):
            raise brought
        return brought

    async def _may_live(self, _, agent, session, *, killed):
        assert (agent, killed) == ("planner", False)
        self.asked_of.append(session)
        return session in self.live

    async def _settled(self):
        while self.under_way:
            self.put(self.under_way.pop())

    async def _again(self):
        while self.missing:
            self.put(self.missing.pop())

    async def _look(self, pages=math.inf):
        await self._settled()
        found = [self.put(each) for each in self.unkept]
        self.unkept = []
        return bool(found)

    async def api(self, call, body=None):
        """As `Bus.api`."""
        if call.startswith("CONSUMER.INFO."):
            return _NOTHING_YET
        return await super().api(call, body)

    async def last(self, stream, subject):
        """As `Bus.last`."""
        self.requests += 1
        of_it = [each for each in self.messages if subjects.overlap(subject, each.subject)]
        return of_it[-1] if of_it else None

    async def many(self, stream, request):
        """As `Bus.many`, of the last under each subject."""
        self.requests += 1
        filters = request.get("multi_last", ())
        last = {each.subject: each for each in self.messages}
        return [
            each
            for each in last.values()
            if any(subjects.overlap(filter_, each.subject) for filter_ in filters)
        ]

    async def replace(self, stream, subject, data, revision):
        """As `Bus.replace`."""
        if subject in self.fails:
            raise self.fails[subject]
        return await super().replace(stream, subject, data, revision)

    async def finish(self, taken):
        """As `Bus.finish`."""
        self.finished.append(taken.seq)

    async def give_back(self, delivery, after_s=0.0):
        """As `Bus.give_back`."""
        self.given_back.append((delivery.seq, after_s))
