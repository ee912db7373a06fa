# SPDX-License-Identifier: Apache-2.0
"""Large results that nobody reads: whoever only looks how many there are keeps none of their texts."""

import gc

import pytest
from results_stand_in import ended, kept
from server_stand_in import NOON, Server

from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, ApiError, Found
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.store import codec, subjects
from mcp_agentbus.store.task import Record
from mcp_agentbus.tools.follow import _Following
from mcp_agentbus.wakes import demand

_COUNT = 20


def records_there():
    return sum(isinstance(each, Record) for each in gc.get_objects())


class Flood(Server):
    """A bus with results of an agent that has never read any, so large that each is a page."""

    #: How many whoever looks has in memory once it has seen the last page.
    kept = None

    async def api(self, call, body=None):
        if call.startswith("CONSUMER.INFO."):
            raise ApiError(NO_SUCH_CONSUMER)
        return await super().api(call, body)

    async def stored(self, *_, **__):
        before = records_there()
        for number in range(1, _COUNT + 1):
            record = ended(f"t{number}", summary="It is done.")
            subject = subjects.record_subject("planner", "coder", record.task_id)
            yield [Found(subject, number, NOON, {}, codec.encode_record(record))]
        self.kept = records_there() - before

    async def many(self, stream, request):
        task_ids = [subjects.parts(subject).rest[-1] for subject in request["multi_last"]]
        return [
            Found(subject, 1, NOON, {}, codec.encode_sent(kept(task_id)))
            for subject, task_id in zip(request["multi_last"], task_ids, strict=True)
        ]


async def by_listener(bus):
    return await demand._results(bus, "planner")


async def by_follower(bus):
    return await _Following(bus, Agent("planner"), None)._unread()


@pytest.mark.parametrize("look", [by_listener, by_follower])
async def test_who_looks_how_many_results_there_are_has_one_page_of_them_in_memory(look):
    bus = Flood()

    assert len(await look(bus)) == _COUNT
    assert bus.kept <= 3  # the last, as it was stored, as it was asked for, and as made here
