# SPDX-License-Identifier: Apache-2.0
"""Tasks of the bus that was used before, or is used besides: known still, and none of this one's."""

from dataclasses import replace

import pytest
from server_stand_in import NOON
from situations import case

from mcp_agentbus.archive import board
from mcp_agentbus.archive.catch_up import catch_up
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.overview.why import why
from mcp_agentbus.store.task import Moment
from mcp_agentbus.tools.answers.past import fact_line

ALL, OWN, SHARED = "agentbus.*.*.*.*", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"
WAITS, HELD, ASKS, LATE = "t1", "t2", "t3", "t4"


class Bus:
    """A bus of which nothing but its stream is to be read, which was made then."""

    def __init__(self, made):
        self._made = made

    async def api(self, _):
        return {"created": self._made, "state": {"first_seq": 1, "last_seq": 0}}

    async def stored(self, *_, **__):
        for nothing in ():
            yield nothing


def changes(seq=1):
    """What the bus has of a task that waits, one that is held, one that asks, and a late one."""
    for task_id, values in (
        (WAITS, {"state": "stored"}),
        (HELD, {"state": "working", "agent": "coder", "session": "s"}),
        (ASKS, {"state": "stored"}),
        (LATE, {"state": "stored", "expires_at": NOON}),
    ):
        steps = (Moment(state="needs_input", at=NOON, by="coder"),) if task_id == ASKS else ()
        stood = {"created_at": NOON, "updated_at": NOON, **values}
        yield Change("planner", "coder", task_id, NOON, seq, "record_seq", stood, steps)


@pytest.fixture
def archive():
    with Archive(None, Keeps(days=3650)) as archive:
        archive.note(changes(), Reached(ALL, 1, 2), of=OWN)
        yield archive


def told(archive):
    at = archive.now()
    listed = [board.held(archive, at), board.asking(archive, at)]
    listed.append(board.overdue(archive, at, 9))
    rest = sum(each.count for each in board.resting(archive, at))
    return rest, [task.task_id for tasks in listed for task in tasks], board.parked(archive)


@pytest.mark.parametrize(
    ("made", "count", "listed"), [(OWN, 2, [HELD, ASKS, LATE]), (SHARED, 0, [])]
)
async def test_what_waits_on_another_bus_is_no_fact_of_this_one(archive, made, count, listed):
    """After `join` it was said that its new bus had tasks that were all at the old one."""
    await catch_up(Bus(made), archive, ["*"])

    assert told(archive) == (count, listed, {})


async def test_what_a_restored_bus_has_of_before_is_its_own(archive):
    """Its stream was made anew, and its tasks live on: they are read anew."""
    archive.note(changes(), Reached(ALL, 1, 2), of=SHARED)
    await catch_up(Bus(SHARED), archive, ["*"])

    assert told(archive) == (2, [HELD, ASKS, LATE], {})


async def test_a_task_of_another_bus_is_shown_as_it_was_last_known(archive):
    await catch_up(Bus(SHARED), archive, ["*"])
    task = board.named(archive, HELD)

    assert "not seen on this bus, as last known" in fact_line(task)
    assert "not seen on this bus, as last known" not in fact_line(replace(task, state="completed"))
    assert why(replace(case(), task=task)).brief == "not seen on this bus"
