# SPDX-License-Identifier: Apache-2.0
"""Tasks that are held by shells which are gone: nobody keeps such a claim, and it lasts two hours.

    >>> await checks(settings)
    [Check(name='claims', state='warning', said='a shell of coder that is gone holds 1 task: ...')]

It is known of the shells of this user on this machine alone, by the processes above their commands.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.text import many
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.doctor.stored.mends import asks, is_whole
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff import shell_session, shells
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.installers.steps import Step

_GONE: Final = "the shell that held it is gone"
# A file's time may be that of the last tick.
_EXACT_WITHIN: Final = timedelta(seconds=1)


async def checks(settings: Settings) -> list[Check]:
    """Name the claims of vanished shells; empty where none is, or no server runs.

    Raises:
        AgentbusError: that cannot be found out.
    """
    gone = [agent for agent in sorted(shells.agents(settings)) if _gone_since(settings, agent)]
    if not gone:
        return []
    async with Bus(settings) as bus:
        if not await is_whole(bus):
            return []
        held = {agent: len((await _held(bus, agent))[1]) for agent in gone}
    return [_check(settings, agent, count) for agent, count in held.items() if count]


async def of_shells(settings: Settings) -> dict[str, int]:
    """Return how many of an agent's own tasks its shells hold, if any, as far as that is known.

    Also of shells that live: who leaves a bus takes all of them along. What was sent to a role goes
    to others who have it.
    """
    held = dict[str, int]()
    with suppress(AgentbusError):
        async with Bus(settings) as bus:
            for agent in sorted(shells.agents(settings)) if await bus.reconnected(0) else ():
                claims, _ = await _held(bus, agent)
                held[agent] = sum(claim.task.to == agent for claim in claims.values())
    return {agent: count for agent, count in held.items() if count}


def _gone_since(settings: Settings, agent: str) -> datetime | None:
    session = shells.session_id(agent, settings.state_dir)
    return shells.gone_since(settings.state_dir, session)


async def _held(bus: Bus, agent: str) -> tuple[Claims, list[Claim]]:
    """Return what the session of an agent's shells holds, and of that what those that are gone do.

    By the records, and as far as nobody has typed anything since they were looked for.
    """
    claims = await shell_session.held(bus, agent)
    since = _gone_since(bus.settings, agent)
    theirs = [
        claim
        for claim in claims.values()
        if since and claim.record.updated_at <= since + _EXACT_WITHIN
    ]
    return claims, theirs


def _check(settings: Settings, agent: str, tasks: int) -> Check:
    count = many(tasks, "task", grouped=True)
    said = f"a shell of {agent} that is gone holds {count}, which nobody else gets for two hours"
    what = f"give back what the shell of {agent} holds: {count}"
    mend = Step(what, asks(settings, partial(_give_back, agent)))
    fix = f"To go on: `agentbus inbox --agent {agent}`. To let others: `agentbus doctor --fix`."
    return Check("claims", "warning", said, fix, mend)


async def _give_back(agent: str, bus: Bus) -> None:
    claims, theirs = await _held(bus, agent)
    for claim in theirs:
        await claims.give_back(claim, counts=False, reason=_GONE)
