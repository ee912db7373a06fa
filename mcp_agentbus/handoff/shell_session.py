# SPDX-License-Identifier: Apache-2.0
"""The session of a shell: many short processes that are one session of an agent.

    async with shell_session(bus, agent, settings.state_dir) as session:
        ...

`agentbus inbox` claims a task and ends; `agentbus result` answers it later. Between them nobody
keeps the claim alive, so it is a lease of 2 hours. Which tasks the session holds their records say,
by its id, which follows from agent and machine: nothing of that is lost with a process or a file,
and any number of commands may run at once.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.files import unusable
from mcp_agentbus.core.ids import ROLE_PREFIX, Agent
from mcp_agentbus.handoff import shells
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.dispatch.noted import CauseMemory, note_over
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shells import file_of, session_id
from mcp_agentbus.store import roster
from mcp_agentbus.store.task import ASKING

_log = logging.getLogger(__name__)
_GONE: Final = "the program that had claimed it is gone"


@asynccontextmanager
async def shell_session(
    bus: Bus, agent: Agent, folder: Path, pid: int = 0
) -> AsyncGenerator[Session, None]:
    """Open the shell session of an agent, beside whatever other process has it open.

    Args:
        bus: where it works.
        agent: whose session.
        folder: where its file lies; made if it is not there.
        pid: the process of the command for which it is opened; 0 if that is not known.

    Raises:
        BadSetup: its file is not this user's alone.
    """
    async with Session(bus, agent, id=session_id(agent.id, folder), leased=True) as session:
        path = file_of(folder, agent.id)
        memory = CauseMemory(path, session.claims)
        memory.recall()
        session.claims.on_way = memory.note
        try:
            yield session
        finally:
            if pid and session.claims:  # while its command waits, so that its shell is there
                _note_shell(path, session, pid)


async def held(bus: Bus, agent: str) -> Claims:
    """Return what the session of an agent's shells holds, by the records.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Claims.find`.
    """
    profile = await roster.registration(bus, agent)
    claims = Claims(bus, agent, session_id(agent, bus.settings.state_dir))
    roles = profile.roles if profile else ()
    await claims.find([agent, *(ROLE_PREFIX + role for role in roles)])
    return claims


async def give_back(bus: Bus, agent: str, tasks: Collection[str], until: datetime) -> None:
    """Let others have those of these tasks that the shells of an agent hold, as an attempt each.

    What was touched after `until` somebody goes on with, and what its worker has asked about waits
    for an answer. Each by itself, as one may be refused whenever it is tried.

    Raises:
        Refused, BusUnreachable, Unconfirmed, NotAllowed: as `Claims.give_back`; call it again.
    """
    claims = await held(bus, agent)

    async def given_back(claim: Claim) -> None:
        await claims.give_back(claim, counts=True, reason=_GONE)
        note_over(file_of(bus.settings.state_dir, agent), claim.task)

    left = [
        given_back(claim)
        for claim in claims.values()
        if claim.task.id in tasks
        if claim.record.updated_at <= until and claim.record.state not in ASKING
    ]
    await together(*left)


def _note_shell(path: Path, session: Session, pid: int) -> None:
    """Write down from which shell the command was typed after which a session holds tasks.

    With those that it has claimed or gone on with: who did that last is at work on them.
    """
    claims = session.claims.items()
    tasks = [task_id for task_id, claim in claims if claim.went_on or not claim.found]
    try:
        shells.note(path.parent, session.id, shells.above(pid), tasks)
    except OSError as error:
        _log.warning("%s", unusable(error, path, done="written"))
