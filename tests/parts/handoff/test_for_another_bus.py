# SPDX-License-Identifier: Apache-2.0
"""A task that is kept here for another bus, and one of the same id at the bus of now."""

import pytest
from exact_server import ExactServer, reader
from planners_task import KEPT_AT, RECORD, SENT, TASK
from server_stand_in import NOON

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff.dispatch import outgoing
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.views.task_ids import whole_id
from mcp_agentbus.store import codec
from mcp_agentbus.store.outbox.letter import Home, Letter
from mcp_agentbus.store.outbox.outbox import Envelope
from mcp_agentbus.store.steps import first_record, step

PLANNER, ID = Agent("planner"), "5e55" * 8
KEPT = Letter(TASK.model_copy(update={"id": ID}), PLANNER, Home((), ""))
DONE = step(first_record(SENT), "completed", "coder", "s", NOON).model_copy(update={"task_id": ID})
THERE = (
    Found(RECORD.replace("t1", ID), 20, NOON, {}, codec.encode_record(DONE)),
    Found(KEPT_AT.replace("t1", ID), 21, NOON, {}, codec.encode_sent(SENT)),
)


class Outbox:
    """One letter, of this bus or another."""

    may_hold = True

    def __init__(self, *, is_ours):
        self.seen = (Envelope(KEPT.task, 1, NOON, is_ours),)
        self.withdrawn = []

    async def find(self, written):
        return self.seen[0] if ID.startswith(written) else None

    async def read(self, _):
        return KEPT

    async def withdraw(self, *asked):
        self.withdrawn.append(asked)
        return True


@pytest.fixture
def at_bus(monkeypatch, tmp_path):
    monkeypatch.setattr("mcp_agentbus.core.text.now", lambda: NOON)

    def stands(*messages, is_ours=False):
        server = ExactServer(messages=messages, state_dir=tmp_path)
        planner = reader(server, PLANNER, outbox=Outbox(is_ours=is_ours))
        planner.outcomes.forget = lambda _: None
        return planner

    return stands


@pytest.mark.parametrize(
    ("there", "is_ours", "lies"),
    [(THERE, False, False), (THERE[1:], False, False), ((), False, True), (THERE, True, True)],
    ids=["over at this bus", "at this bus", "unknown to this bus", "for this bus"],
)
async def test_what_is_for_another_bus_lies_here_where_this_one_knows_no_task_of_its_id(
    at_bus, there, is_ours, lies
):
    planner = at_bus(*there, is_ours=is_ours)

    assert await outgoing.is_outgoing(planner, ID) == lies
    assert (await task_life(planner, ID)).is_outgoing == lies
    assert await outgoing.withdrawn(planner, ID, "not any more") == lies
    assert bool(planner.outbox.withdrawn) == lies
    assert await whole_id(planner, ID[:8]) == ID


async def test_where_this_bus_cannot_be_asked_it_is_told_of_as_it_lies_here(at_bus, monkeypatch):
    async def away(*_):
        raise BusUnreachable

    planner = at_bus(*THERE)
    monkeypatch.setattr(planner.bus, "many", away)

    assert await outgoing.is_outgoing(planner, ID)
    assert (await task_life(planner, ID)).is_outgoing


@pytest.mark.parametrize(("is_ours", "told"), [(True, True), (False, False)])
async def test_an_error_names_what_waits_here_if_it_is_for_the_bus_that_failed(
    at_bus, is_ours, told
):
    @outgoing.telling_too
    async def reads(_):
        raise BusUnreachable

    with pytest.raises(BusUnreachable) as failed:
        await reads(at_bus(is_ours=is_ours))

    assert (ID in failed.value.hint) == told
