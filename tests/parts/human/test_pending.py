# SPDX-License-Identifier: Apache-2.0
"""What a person is shown who is asked to decide."""

import pytest
from planners_task import SENT, TASK
from server_stand_in import NOON

from mcp_agentbus.human.decide import Pending
from mcp_agentbus.store.steps import first_record, step


@pytest.mark.parametrize(("body", "is_long"), [("all", False), ("x" * 2_001, True)])
def test_where_a_tasks_text_has_no_room_it_is_said_who_can_read_all_of_it(body, is_long):
    asking = step(first_record(SENT), "needs_approval", "coder", "s", NOON, summary="May I?")
    task = TASK.model_copy(update={"body": body})

    shown = Pending(asking, task, "coder", NOON).text

    # To anybody else the beginning of it is told, which the sender has kept.
    assert ("; all of it: agentbus task t1 --agent coder\n" in shown) is is_long
