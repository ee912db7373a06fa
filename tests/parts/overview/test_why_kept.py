# SPDX-License-Identifier: Apache-2.0
"""What is said of a task of the outbox where no listener has it open."""

import pytest
from situations import case

from mcp_agentbus.overview.why import why


@pytest.mark.parametrize(
    ("listener", "begins"),
    [
        ("stopped", "Run `agentbus listen`, or `agentbus listen --install` to keep it running: "),
        ("silent", "`agentbus listen --replace`: "),
    ],
)
def test_who_is_to_withdraw_what_only_a_listener_can_is_told_to_start_one_first(listener, begins):
    kept = case(of={"is_outgoing": True}, listener=listener, is_for_another=True)

    todo = why(kept).todo

    assert todo.startswith(f"{begins}a listener hands it on once that one is set up here again")
    assert todo.endswith("withdrawn by `agentbus result 9d0c2f1a cancelled --agent planner`.")
