# SPDX-License-Identifier: Apache-2.0
"""What is new to a session of the tasks that wake nobody: the example of the docstring."""

from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, ApiError
from mcp_agentbus.store import subjects
from mcp_agentbus.wakes import backlog
from mcp_agentbus.wakes.backlog import Lane

MADE = "2026-11-21T10:00:00Z"


class Server:
    """Holds tasks of coder's normal lane by their sequences; its sessions were offered some."""

    def __init__(self, tasks, offered):
        self.tasks, self.offered = tasks, offered
        self.admin = self

    async def api(self, subject, _=None):
        if subject.startswith("STREAM.INFO"):
            counts = (
                {subjects.task_subject("coder", "normal", "planner"): len(self.tasks)}
                if self.tasks
                else {}
            )
            return {"created": MADE, "state": {"subjects": counts}}
        if self.offered is None:
            raise ApiError(NO_SUCH_CONSUMER, "consumer not found")
        pending = sum(task > self.offered for task in self.tasks)
        return {"delivered": {"stream_seq": self.offered}, "num_pending": pending}

    async def last(self, *_):
        return SimpleNamespace(seq=max(self.tasks))

    async def many(self, _, request):
        return [task for task in self.tasks if task >= request["seq"]][: request["batch"]]


async def normal_lane(tasks, offered, told):
    server = Server(tasks, offered)
    stored = await backlog.stored(server, ("coder",))
    return await backlog.unseen(server, stored, lambda *_: told)


@pytest.mark.parametrize(
    ("told", "new"),
    [
        (6, 1),  # those after it
        (4, 2),  # all that wait
        (3, 2),
        (0, 2),
    ],
)
async def test_new_is_what_came_after_what_was_told(told, new):
    lanes = await normal_lane([3, 4, 6, 9], offered=4, told=told)

    assert lanes == (Lane("coder_normal", MADE, last=9, new=new),)


async def test_where_too_many_are_new_to_be_counted_all_that_wait_are():
    (lane,) = await normal_lane(range(1, 101), offered=0, told=10)

    assert lane.new == 100


async def test_a_lane_that_nobody_has_read_yet_waits_as_a_whole():
    (lane,) = await normal_lane([3, 4], offered=None, told=0)

    assert lane.new == 2


@pytest.mark.parametrize("tasks", [[], [3, 4]])
async def test_a_lane_in_which_nothing_waits_is_none(tasks):
    assert await normal_lane(tasks, offered=4, told=0) == ()
