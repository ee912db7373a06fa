# SPDX-License-Identifier: Apache-2.0
"""A bus for what is set aside that is none: it notes what is stored, finished and asked there.

>>> await parking.park(bus := Bus(), delivery(), "coder", "too often", None)
>>> len(bus.kept)
1
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

from mcp_agentbus.bus.replies import Delivery, Found, Stored
from mcp_agentbus.errors import StoreFull
from mcp_agentbus.store import subjects
from mcp_agentbus.store.subjects import DEAD, TASKS

AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)
LANE = "agentbus.coder.tasks.high.planner"
ASIDE = subjects.dead_subject("coder", "high", "planner")
TOKEN = f"$JS.ACK.{TASKS}.coder-high.1.7.3.1795743849000000000.0"
OF_THE_TASK = {"Agentbus-Task": "t1", "Agentbus-Hops": "2"}
OF_ITS_STORING = {"Nats-Msg-Id": "m1", subjects.H_REASON: "of before", subjects.H_MOVED: "3"}


class Bus:
    """Notes what is stored, finished and asked of a server, which has what stands in `found`.

    It says of so many messages as are `known` that it has them already, under `at`.
    """

    def __init__(self, *found, fails=0, account=None, url=None, known=0, at=9):
        self.kept, self.finished, self.asked = [], [], []
        self.found, self.fails, self.known, self.at = found, fails, known, at
        self.settings = SimpleNamespace(account=account, url=url)

    async def publish(self, *what, **how):
        if self.fails:
            self.fails -= 1
            raise StoreFull
        self.kept.append((what, how))
        return Stored(self.at, duplicate=len(self.kept) <= self.known)

    async def finish(self, delivery):
        self.finished.append(delivery)

    async def many(self, stream, request):
        self.asked.append((stream, request))
        return [each for each in self.found if each.seq >= request["seq"]][:1]

    async def api(self, call, request):
        self.asked.append((call, request))

    async def stored(self, stream, subject, *, page):
        assert (stream, page) == (DEAD, 100)
        inbox = subject.split(".")[1]
        yield [each for each in self.found if inbox in {"*", each.subject.split(".")[1]}]


def delivery(headers=()):
    every = {**OF_THE_TASK, **OF_ITS_STORING, **dict(headers)}
    return Delivery(LANE, b"{}", every, TOKEN, TASKS, 7, 1, AT, 0)


def aside(seq, data=b"rubbish", on=ASIDE):
    return Found(on, seq, AT, {**OF_THE_TASK, **OF_ITS_STORING}, data)
