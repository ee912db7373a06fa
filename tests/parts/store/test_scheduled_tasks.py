# SPDX-License-Identifier: Apache-2.0
"""Tasks that wait for their time: whether there is room for one more."""

import pytest
from planners_task import LATER, ROOM, SETTINGS
from server_stand_in import Server

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.errors import StoreFull
from mcp_agentbus.store import tasks
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
