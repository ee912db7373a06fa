# SPDX-License-Identifier: Apache-2.0
"""Who was away for so long that all results are handed out anew reads past what it has seen."""

from __future__ import annotations

import pytest

from mcp_agentbus.core.text import now
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.store import records, unseen
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.subjects import RESULTS

_SEEN = 30


class Past:
    """A session of an agent with results of the past, and how often it asks the server."""

    def __init__(self, session, worker):
        self.session, self._worker, self.asked = session, worker, 0
        self._tried, session.bus._tried = session.bus._tried, self._count

    def _count(self, ask, **how):
        self.asked += 1
        return self._tried(ask, **how)

    async def results(self, count, *, seen, first=0):
        """Store ended tasks of the agent; return their ids."""
        me, bus = self.session.me.id, self.session.bus
        ids = [f"{number:032x}" for number in range(first, first + count)]
        for task_id in ids:
            asked = records.Sent(
                task_id=task_id, owner=me, inbox=self._worker, created_at=now(), expires_at=now()
            )
            ended = step(first_record(asked), "completed", self._worker, "w", now())
            revision = await records.write_record(bus, ended, 0)
            kept = {"seen_revision": revision, "closed": True} if seen else {}
            await records.write_sent(bus, asked.model_copy(update=kept), 0)
        return ids

    async def away(self):
        """Have what hands the results out be gone, as after a day, and made anew."""
        await self.session.bus.api(
            f"CONSUMER.DELETE.{RESULTS}.{consumers.results(self.session.me.id).name}"
        )
        self.asked = 0

    async def read(self):
        """Read the inbox; return whose results are shown first."""
        shown = (await read_inbox(self.session, limit=5)).results
        return [record.task_id for record in shown]


@pytest.fixture
async def past(own_world):
    session = await own_world.session("planner")
    return Past(session, (await own_world.session("coder")).me.id)


async def test_of_what_was_seen_before_each_costs_one_word(past):
    await past.results(_SEEN, seen=True)
    [new] = await past.results(1, seen=False, first=_SEEN)
    await past.away()

    assert await past.read() == [new]
    assert past.asked < 2 * _SEEN + 40  # one to finish each result, one each task; the read


async def test_of_more_than_are_wanted_behind_what_was_seen_each_is_told_once_and_in_order(past):
    await past.results(_SEEN, seen=True)
    new = await past.results(12, seen=False, first=_SEEN)
    await past.away()

    told = [task_id for _ in range(4) for task_id in await past.read()]

    assert list(dict.fromkeys(told)) == new


async def test_what_one_session_has_no_place_for_behind_what_was_seen_goes_to_another(
    past, own_world
):
    await past.results(_SEEN, seen=True)
    new = await past.results(12, seen=False, first=_SEEN)
    other = await own_world.session("planner")
    await past.away()

    mine = await past.read()
    theirs = [record.task_id for record in (await read_inbox(other, limit=5)).results]

    assert (mine, theirs) == (new[:5], new[5:10])


async def test_who_only_looks_asks_of_all_together_whether_they_were_seen(past):
    await past.results(_SEEN, seen=True)
    [new] = await past.results(1, seen=False, first=_SEEN)
    await past.away()

    looked = await unseen.look_up(past.session.bus, past.session.me.id, 5)

    assert [each.record.task_id for each in looked.results] == [new]
    assert past.asked < 5
