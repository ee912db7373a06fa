# SPDX-License-Identifier: Apache-2.0
"""An agent that a shell has named is this user's, on a server that others use, too."""

from __future__ import annotations

from local_server import settings_at

from mcp_agentbus.archive import history
from mcp_agentbus.handoff.agents import known_here
from mcp_agentbus.handoff.beside import shells


def test_an_agent_that_a_shell_has_named_is_this_users(tmp_path):
    settings = settings_at(tmp_path, AGENTBUS_URL="nats://127.0.0.1:1")
    settings.state_dir.mkdir(parents=True)
    shells.file_of(settings.state_dir, "planner").touch()

    assert shells.agents(settings) == {"planner"}
    assert known_here(settings) == ("planner",)
    assert history.users(settings) == {"planner"}
