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
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.files import unusable
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import shells
from mcp_agentbus.handoff.sending.memory import CauseMemory
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shells import file_of, session_id

_log = logging.getLogger(__name__)


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
        session.claims.on_change = memory.note
        try:
            yield session
        finally:
            if pid and session.claims:  # while its command waits, so that its shell is there
                _note_shell(path, session.id, pid)


def _note_shell(path: Path, session: str, pid: int) -> None:
    """Write down from which shell the command was typed after which a session holds tasks."""
    try:
        shells.note(path.parent, session, shells.above(pid))
    except OSError as error:
        _log.warning("%s", unusable(error, path, done="written"))
