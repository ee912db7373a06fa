# SPDX-License-Identifier: Apache-2.0
"""A bus for sessions of `coder` that is none: what they say there is noted, and heard by the others.

>>> await bus.session().called()
>>> bus.said
['streams', ('registers', 'coder'), ('lives', 'session-1')]
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace

import strategies
from local_server import settings_at
from messages import TASK
from server_stand_in import NOON, Server

from mcp_agentbus.bus.replies import Found, Message, untaken
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import session as module
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.presence import keeper, succession
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import codec, records, roster, streams, subjects
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.steps import first_record, sent_of, step
from mcp_agentbus.store.subjects import TASKS

TOKEN = f"$JS.ACK.{TASKS}.coder_high.1.7.3.1795743849000000000.0"
#: What the monotonic clock of a session says at noon.
BEGUN_S = 5000.0
_HANG_S = 5  # only a question that nobody replies to takes as long


class SessionBus(Server):
    """What is said on it stands in `said`, and who hears what in `heard`, by subject."""

    def __init__(self, home, monkeypatch):
        super().__init__()
        self.settings = settings_at(home)
        self.said, self.heard, self.asked_for = [], {}, []
        #: What a beat raises, one after the other; None: nothing.
        self.fails = []
        #: Which sessions live, by what they have said or by what is set.
        self.live = set()
        #: A test clears it to have the bus hang.
        self.answers = asyncio.Event()
        self.answers.set()
        self.clock_s = BEGUN_S
        #: How long the bus may take to be reached, of each time that it was asked.
        self.reached_within = []
        self.is_reached = True
        self._replies = {}
        monkeypatch.setattr(text, "now", self._now)
        clock = SimpleNamespace(monotonic=lambda: self.clock_s, time_ns=lambda: 0)
        for each in (module, keeper, succession):
            monkeypatch.setattr(each, "time", clock)
        monkeypatch.setattr(roster, "may_live", self._may_live)
        monkeypatch.setattr(streams, "ensure_streams", self._ensure_streams)

    def session(self, session_id="session-1", **fields):
        """Return a session of `coder` that has called nothing yet."""
        return Session(self, fields.pop("me", Agent("coder")), id=session_id, **fields)

    def claim(self, session, task_id="t1", **told):
        """Have a session hold a task; return its claim."""
        subject = subjects.task_subject("coder", "high", "planner")
        data = strategies.spelt({**TASK, "id": task_id, **told})
        message = self._add(subject, data, {subjects.H_TASK: task_id})
        task = read_back.decoded(message)
        first = first_record(sent_of(task))
        record = step(first, "claimed", "coder", session.id, NOON, attempts=1)
        delivery = untaken(TASKS, message, TOKEN)
        return session.claims.hold(Claim(task, delivery, record, self.put(record)))

    def put(self, record):
        """Store a record; return its revision."""
        place = records.record_key(record.owner, record.inbox, record.task_id).subject
        return self._add(place, codec.encode_record(record)).seq

    def record(self, task_id="t1"):
        """Return the record of a task as it stands."""
        place = records.record_key("planner", "coder", task_id)
        return place.decode([each for each in self.messages if each.subject == place.subject][-1])

    def hears(self, subject, data=b"", reply=""):
        """Have a message come in on a subject that somebody hears."""
        for filter_, those in list(self.heard.items()):
            for arrived in list(those):
                if subjects.overlap(filter_, subject):
                    arrived(Message(subject, data, reply=reply))

    def _add(self, subject, data, headers=()):
        seq = len(self.messages) + 1
        self.messages.append(Found(subject, seq, self._now(), dict(headers), data))
        return self.messages[-1]

    def _now(self):
        return NOON + timedelta(seconds=self.clock_s - BEGUN_S)

    async def _may_live(self, _, agent, session):
        assert agent == "coder"
        return session in self.live

    async def _ensure_streams(self, _):
        self.said.append("streams")
        await self.answers.wait()

    @asynccontextmanager
    async def subscribed(self, subject, arrived):
        """As `Bus.subscribed`."""
        self.heard.setdefault(subject, []).append(arrived)
        try:
            yield True
        finally:
            self.heard[subject].remove(arrived)
            if not self.heard[subject]:
                del self.heard[subject]

    async def ask(self, subject, data, within_s):
        """As `Bus.ask`; a question that nobody replies to is noted as such."""
        reply = f"reply-{len(self._replies)}"
        self._replies[reply] = answer = asyncio.get_running_loop().create_future()
        if not any(subjects.overlap(filter_, subject) for filter_ in self.heard):
            return None
        self.hears(subject, data, reply)
        try:
            return Message(reply, await asyncio.wait_for(answer, _HANG_S))
        except TimeoutError:
            self.said.append("unanswered")
            return None

    async def send(self, subject, data, headers):
        """As `Bus.send`."""
        if subject in self._replies:
            self._replies[subject].set_result(data)
            return
        if ".heartbeat." in subject:
            if self.fails and (error := self.fails.pop(0)):
                raise error
            said = json.loads(data)
            self.said.append(("leaves" if said["leaving"] else "lives", subject.split(".")[-1]))
        else:
            self.said.append(("says", subject))

    async def replace(self, stream, subject, data, revision):
        """As `Bus.replace`."""
        seq = await super().replace(stream, subject, data, revision)
        _, whose, kind, *_ = subject.split(".")
        self.said.append(("registers", whose) if kind == "profile" else ("writes", subject))
        return seq

    async def api(self, call, body=None):
        """As `Bus.api`."""
        self.asked_for.append(call)
        return {"config": body["config"]} if body and "config" in body else {}

    async def last(self, stream, subject):
        """As `Bus.last`."""
        of_it = [each for each in self.messages if subjects.overlap(subject, each.subject)]
        return of_it[-1] if of_it else None

    async def many(self, stream, request):
        """As `Bus.many`, by a sequence, or the last under each subject."""
        if "seq" in request:
            return [each for each in self.messages if each.seq == request["seq"]]
        last = {each.subject: each for each in self.messages}
        filters = request["multi_last"]
        return [
            each
            for each in last.values()
            if any(subjects.overlap(filter_, each.subject) for filter_ in filters)
        ]

    async def handed_out(self, *_):
        """As `Bus.handed_out`."""
        return []

    async def reconnected(self, within_s, **_):
        """As `Bus.reconnected`."""
        self.reached_within.append(within_s)
        return self.is_reached

    async def extend(self, delivery):
        """As `Bus.extend`."""
        self.said.append(("extends", delivery.seq))

    async def finish(self, taken):
        """As `Bus.finish`."""
        self.said.append(("finishes", taken.seq))

    async def give_back(self, delivery, after_s=0.0):
        """As `Bus.give_back`."""
        self.said.append(("gives back", delivery.seq))
