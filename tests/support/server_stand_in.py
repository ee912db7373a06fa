# SPDX-License-Identifier: Apache-2.0
"""A bus that answers as a test has it, and notes what it was asked to change.

server = Server(messages=[Found(...)])
await removal.remove(server, sent)
assert server.done == [("STREAM.MSG.DELETE.AGENTBUS_TASKS", {"seq": 7})]
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mcp_agentbus.bus.replies import Conflict, Found, Stored
from mcp_agentbus.core import text
from mcp_agentbus.store import subjects

#: What time it is by its clock, unless it is told otherwise.
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
_ACK = Stored(7)


@dataclass
class Settings:
    """What of a machine's settings the bus is asked for."""

    state_dir: Path | None = None
    url: str | None = None


class Server:
    """A bus on which some messages lie, each in the stream that it is asked for.

    Args:
        messages: what a read finds, by whatever number; by subject where it has wildcards.
        infos: what is said of streams, by their names; an error is raised.
        ack: what is said of what is stored.
        at: what time it is there.
    """

    on_missing = None
    connections = 1
    is_cluster = False

    def __init__(self, *, messages=(), infos=None, ack=_ACK, at=NOON, state_dir=None):
        self.settings = Settings(state_dir)
        self.messages, self.infos, self.ack, self.at = list(messages), infos or {}, ack, at
        #: What it was asked to change, in order; and what to read.
        self.done, self.asked = [], []

    async def api(self, call, body=None):
        kind, _, stream = call.rpartition(".")
        if kind != "STREAM.INFO":
            self.done.append((call, body))
            return {}
        self.asked.append(call)
        info = self.infos.get(stream, {})
        if isinstance(info, Exception):
            raise info
        return {"ts": text.stamp(self.at), **info}

    async def many(self, stream, request):
        self.asked.append((stream, request))
        return self.messages

    async def stored(self, stream, subject, start=1, page=1000):
        self.asked.append((stream, subject, start, page))
        of_it = [
            each
            for each in self.messages
            if each.seq >= start and subjects.overlap(subject, each.subject)
        ]
        for at in range(0, len(of_it), page):
            yield of_it[at : at + page]

    async def last(self, stream, subject):
        self.asked.append((stream, subject))
        of_it = [each for each in self.messages if subjects.overlap(subject, each.subject)]
        return max(of_it, key=lambda each: each.seq, default=None)

    async def publish(self, subject, data, headers, *, message_id=None, stream=None):
        self.done.append((stream, subject, message_id, {**headers}, data))
        return self.ack

    async def send(self, subject, data, headers):
        self.done.append((subject, data, headers))

    async def replace(self, stream, subject, data, revision):
        before = await self.last(stream, subject)
        if revision != (before.seq if before else 0):
            raise Conflict
        seq = 1 + max((each.seq for each in self.messages), default=0)
        self.messages.append(Found(subject, seq, self.at, {}, data))
        self.done.append((stream, subject, revision))
        return seq

    async def finish(self, taken):
        self.done.append(("finished", taken.seq))
