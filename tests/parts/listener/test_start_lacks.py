# SPDX-License-Identifier: Apache-2.0
"""Asked to wake an agent whose host cannot be started, a listener says so and begins nothing."""

import pytest
from listeners import configure

from mcp_agentbus.errors import Refused
from mcp_agentbus.listener.endpoint import Connection
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.listener.requests import Requests
from mcp_agentbus.listener.runner import Runner


@pytest.fixture
def requests(settings, tmp_path, state_on):
    """Make what a listener is asked, which may start an agent by these rules."""

    def made(rules):
        settings.config_file.parent.mkdir()
        configure(settings, tmp_path, coder=rules)
        state = state_on(None)
        state.ledger.clear_failures = pytest.fail
        loop = Loop(state, None, Runner(state, None, {}))
        return Requests(state, loop, None, loop._runner, None)

    return made


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"host": "claude-code"}, "claude is not on the listener's PATH"),
        ({"command": ["/no/such/program"]}, "/no/such/program is not there"),
        ({"command": ["/bin/true"], "dir": "/no/such/folder"}, "/no/such/folder is not there"),
    ],
)
async def test_who_asks_for_a_wake_that_cannot_begin_is_told_what_it_lacks(
    requests, events, rules, said
):
    with pytest.raises(Refused, match=said) as refused:
        await requests(rules).wake(Connection({"op": "wake", "agent": "coder"}, 1, None, None))

    assert "run the same again" in refused.value.hint
    assert "noted" not in events
