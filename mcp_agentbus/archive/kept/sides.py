# SPDX-License-Identifier: Apache-2.0
"""Whose tasks are looked for: those of some agents, as sender or addressee, or of one user.

>>> users(settings)
frozenset({'coder', 'planner', 'role:reviewer'})
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.views.own_agents import known_here, of_this_user


@dataclass(frozen=True)
class Sides:
    """Whose tasks are looked for; nobody named means everybody's."""

    #: As sender.
    owners: Sequence[str] = ()
    #: As addressee, roles by their inboxes.
    inboxes: Sequence[str] = ()


def users(settings: Settings, me: Agent | None = None) -> frozenset[str]:
    """Return the agents of this user, and their roles by their inboxes; `*` where all are.

    Args:
        settings: whose user.
        me: one of them that nothing may be known of yet.

    Raises:
        BadSetup: as `of_this_user`.
    """
    return frozenset(of_this_user(settings)) if settings.url is None else named(settings, me)


def named(settings: Settings, me: Agent | None = None) -> frozenset[str]:
    """Return the same by their names alone: what others call themselves on the bus is left out.

    Raises:
        BadSetup: the book of names cannot be read.
    """
    agents = (*settings.agents.values(), *([me] if me else []))
    inboxes = (inbox for agent in agents for inbox in agent.inboxes)
    return frozenset((*known_here(settings), *inboxes))
