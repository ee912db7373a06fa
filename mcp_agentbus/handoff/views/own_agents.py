# SPDX-License-Identifier: Apache-2.0
"""The agents that are this user's own, as far as this machine knows.

>>> known_here(settings)
('coder', 'planner')
"""

from __future__ import annotations

from mcp_agentbus.config import names
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.handoff import shells


def of_this_user(settings: Settings) -> tuple[str, ...]:
    """Return the agents that are known to be this user's; `*`, everybody, on the embedded server.

    Raises:
        BadSetup: the book of names cannot be read.
    """
    return ("*",) if settings.url is None else known_here(settings)


def known_here(settings: Settings) -> tuple[str, ...]:
    """Return the agents that config.toml has, or that a session on this machine has been.

    Raises:
        BadSetup: the book of names cannot be read.
    """
    return tuple({*names.read(settings).names, *settings.agents, *shells.agents(settings)})
