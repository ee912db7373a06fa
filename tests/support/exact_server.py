# SPDX-License-Identifier: Apache-2.0
"""A bus as `server_stand_in` that finds what is asked for, and no more; and sessions that read there.

>>> server = ExactServer(messages=[Found(...)])
>>> life = await task_life(reader(server, Agent("coder")), "t1")
"""

from collections import Counter
from types import SimpleNamespace

from server_stand_in import Server

from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.store import subjects


class ExactServer(Server):
    """A bus whose messages lie in one stream each by their subjects, as the server sorts them."""

    async def api(self, call, body=None):
        answer = await super().api(call, body)
        if body and "subjects_filter" in body:
            there = (each.subject for each in self.messages)
            fit = Counter(each for each in there if subjects.overlap(body["subjects_filter"], each))
            return {**answer, "state": {"subjects": dict(fit)}, "total": len(fit)}
        return answer

    async def many(self, stream, request):
        self.asked.append((stream, request))
        filters = request.get("multi_last") or [request.get("next_by_subj", ">")]
        fit = [
            each
            for each in self.messages
            if any(subjects.overlap(filter_, each.subject) for filter_ in filters)
        ]
        if "multi_last" in request:
            return list({each.subject: each for each in fit}.values())
        return [each for each in fit if each.seq >= request.get("seq", 0)][: request["batch"]]


class SentRecords:
    """What a session has yet to keep: that it was waited for, and what a look has found."""

    def __init__(self):
        self.asked, self.found = [], None

    async def settled(self):
        self.asked.append("settled")

    async def look(self):
        self.asked.append("look")
        if self.found:
            self.found()
        return self.found is not None


def reader(server, me, *, session="session-1", outbox=None):
    """Return a session that reads; whether it was `called` is among what its `sent_records` was asked."""
    sent_records = SentRecords()

    async def called():
        sent_records.asked.append("called")

    return SimpleNamespace(
        bus=server,
        me=me,
        id=session,
        only="",
        inboxes=me.inboxes,
        refreshed=lambda: me,
        claims=Claims(None, me.id, session),
        outcomes=SimpleNamespace(sent_records=sent_records),
        outbox=outbox,
        called=called,
    )
