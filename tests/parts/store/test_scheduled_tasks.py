# SPDX-License-Identifier: Apache-2.0
"""Tasks that wait for their time: whether there is room for one, and what of a schedule is none."""

import pytest
from planners_task import LATER, ROOM, SETTINGS, TASK, WAITS, message
from server_stand_in import Server

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.errors import StoreFull
from mcp_agentbus.store import tasks
from mcp_agentbus.store.task import Repeating, Undecodable
from mcp_agentbus.store.tasks import Kept


@pytest.mark.parametrize(
    ("limit", "used", "size", "has_room"),
    [
        (1000, 0, 900, True),
        (1000, 0, 901, False),
        (1000, 300, 600, True),
        (1000, 300, 601, False),
        (0, 10**12, 1, True),
        (-1, 10**12, 1, True),
        (1, 0, 1, False),
    ],
)
def test_a_tenth_of_what_waits_for_its_time_stays_free(limit, used, size, has_room):
    info = {"config": {"max_bytes": limit}, "state": {"bytes": used}}

    assert tasks.schedule_has_room(info, size) is has_room


async def test_a_task_that_would_push_another_out_is_not_stored(tmp_path):
    full = {**ROOM, "state": {"bytes": SETTINGS["max_bytes"]}}
    server = Server(state_dir=tmp_path, infos={"AGENTBUS_SCHED": full})

    with pytest.raises(StoreFull):
        await tasks.put(server, LATER)
    assert server.done == []


async def test_where_no_stream_of_schedules_is_storing_makes_it(tmp_path):
    server = Server(state_dir=tmp_path, infos={"AGENTBUS_SCHED": ApiError(NO_SUCH_STREAM)})
    assert isinstance(await tasks.put(server, LATER), Kept)

    server = Server(state_dir=tmp_path, infos={"AGENTBUS_SCHED": ApiError(NO_SUCH_STREAM + 1)})
    with pytest.raises(ApiError):
        await tasks.put(server, LATER)
    assert server.done == []


@pytest.mark.parametrize(
    ("changed", "is_set_up"),
    [
        ({}, False),
        ({"discard": "new"}, True),
        ({"discard": "new", "metadata": {"agentbus-layout": "99999"}}, False),
    ],
)
async def test_a_stream_of_schedules_that_was_changed_is_set_up_before_its_room_is_judged(
    tmp_path, changed, is_set_up
):
    full = {"config": {**SETTINGS, **changed}, "state": {"bytes": SETTINGS["max_bytes"]}}
    server = Server(state_dir=tmp_path, infos={"AGENTBUS_SCHED": full})

    async def set_up():
        server.infos["AGENTBUS_SCHED"] = ROOM

    server.on_missing = set_up
    if is_set_up:
        assert isinstance(await tasks.put(server, LATER), Kept)
    else:
        with pytest.raises(StoreFull):
            await tasks.put(server, LATER)


@pytest.mark.parametrize(
    ("headers", "is_repeating"),
    [
        ({}, False),
        ({"Nats-Schedule": "@at 2026-11-28T12:00:00Z"}, False),
        ({"Nats-Schedule": "@every 1s"}, True),
        ({"Nats-Scheduler": WAITS}, True),
        ({"Nats-Scheduler": WAITS, "Nats-Schedule-Next": "2026-11-28T12:00:00Z"}, True),
        ({"Nats-Scheduler": WAITS, "Nats-Schedule-Next": "purge"}, False),
        ({"Nats-Schedule-Next": "2026-11-28T12:00:00Z"}, False),
    ],
)
def test_what_a_schedule_puts_there_again_and_again_is_no_task(headers, is_repeating):
    assert tasks.is_repeating(headers) is is_repeating
    if is_repeating:
        with pytest.raises(Repeating):
            tasks.decoded(message(**headers))
    else:
        assert tasks.decoded(message(**headers)) == TASK


@pytest.mark.parametrize(
    ("headers", "is_its_senders"),
    [
        ({"Agentbus-Scheduled-By": WAITS}, True),
        ({"Agentbus-Scheduled-By": f"{WAITS}x"}, False),
        ({"Nats-Scheduler": f"{WAITS}x", "Nats-Schedule-Next": "purge"}, False),
        (
            {
                "Nats-Scheduler": f"{WAITS}x", "Nats-Schedule-Next": "purge",
                "Agentbus-Scheduled-By": WAITS,
            }, False,
        ),
        ({"Agentbus-Scheduled-By": ""}, False),
    ],
)  # fmt: skip
def test_a_task_that_another_has_scheduled_is_none(headers, is_its_senders):
    if is_its_senders:
        assert tasks.decoded(message(**headers)) == TASK
    else:
        with pytest.raises(Undecodable, match="by another than its sender"):
            tasks.decoded(message(**headers))
