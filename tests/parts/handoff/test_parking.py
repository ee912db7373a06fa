# SPDX-License-Identifier: Apache-2.0
"""What is stored as a task is set aside: all of it, there and nowhere else."""

import pytest
import strategies
from aside_stand_in import ASIDE, AT, OF_THE_TASK, Bus, aside, delivery
from messages import TASK

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.errors import Refused, StoreFull
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.parked.parking import Parked
from mcp_agentbus.store import subjects
from mcp_agentbus.store.subjects import DEAD, TASKS


@pytest.mark.parametrize(
    ("headers", "kept"),
    [({}, {}), ({subjects.H_SCHEDULER: "s1"}, {subjects.H_SCHEDULED_BY: "s1"})],
    ids=["sent at once", "scheduled"],
)
async def test_what_is_set_aside_is_the_task_with_why_and_from_where(headers, kept):
    bus, taken = Bus(), delivery(headers)

    await parking.park(bus, taken, "coder", "too often", None)

    said = {**OF_THE_TASK, **kept, subjects.H_REASON: "too often", subjects.H_MOVED: "7"}
    known = {"message_id": f"dead-{TASKS}-7-2026-05-18T10:00:00.000000Z", "stream": DEAD}
    assert bus.kept == [((ASIDE, b"{}", said), known)]
    assert bus.finished == [taken]


@pytest.mark.parametrize(
    ("account", "has_room", "parked"), [(None, True, 1), (None, False, 0), ("mine", True, 0)]
)
async def test_where_no_more_can_be_parked_room_is_made_but_by_a_gate_that_does_it_itself(
    monkeypatch, account, has_room, parked
):
    async def makes(_):
        return has_room

    monkeypatch.setattr(parking, "make_room", makes)
    bus = Bus(fails=1, account=account)

    if parked:
        await parking.park(bus, delivery(), "coder", "too often", None)
    else:
        with pytest.raises(StoreFull):
            await parking.park(bus, delivery(), "coder", "too often", None)
    assert len(bus.kept) == len(bus.finished) == parked


async def test_what_is_parked_is_listed_with_all_that_is_known_of_it():
    plain = Found(ASIDE, 2, AT, {}, strategies.spelt(TASK))

    unread, read = await parking.parked(Bus(aside(1), plain), "coder")

    of_both = {"inbox": "coder", "sender": "planner", "parked_at": AT}
    assert unread == Parked(number=1, reason="of before", task=None, size=7, **of_both)
    assert (read.task.id, read.reason, read.size) == ("t1", "no reason kept", len(plain.data))


async def test_what_can_be_moved_under_no_id_stays_where_it_is():
    bus, offering = Bus(known=2), Bus(aside(1), known=2)

    with pytest.raises(Refused, match="has gone on since"):
        await parking.park(bus, delivery(), "coder", "too often", None)
    with pytest.raises(Refused, match="has gone on since"):
        await replay.replay(offering, ["coder"], "1")

    assert bus.finished == []
    assert not any("DELETE" in call for call, _ in offering.asked)
