# SPDX-License-Identifier: Apache-2.0
"""The session of a shell: many short processes that are one session of an agent.

    async with shell_session(bus, agent, settings.state_dir) as session:
        ...

`agentbus inbox` claims a task and ends; `agentbus result` answers it later. Between them nobody
keeps the claim alive, so it is a lease of 2 hours. Which tasks the session holds their records say,
by its id, which follows from agent and machine: nothing of that is lost with a process or a file,
and any number of commands may run at once. A small file remembers what no record does.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids, processes, text
from mcp_agentbus.core.files import check_private, own_folder, read_whole, unusable, write_whole
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff import shells
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.sending.cause import Finished
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shells import file_of
from mcp_agentbus.store.task import Task, utc

# What tells one Linux from another, see machine-id(5); the second is of those without systemd.
_MACHINE_IDS: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")

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
        memory = ShellMemory(file_of(folder, agent.id), session.claims)
        memory.recall()
        session.claims.on_change = memory.note
        try:
            yield session
        finally:
            if pid and session.claims:  # while its command waits, so that its shell is there
                memory.note_shell(session.id, pid)


def session_id(agent: str, folder: Path) -> str:
    """Return the id of an agent's shell session: the same each time, on this machine alone.

    Two users, or two homes of one, differ by the folder in which its file lies.
    """
    named = "\0".join((_machine(), os.path.realpath(folder), agent))
    digest = hashlib.sha256(named.encode(errors="surrogateescape"))
    return ids.SHELL_PREFIX + digest.hexdigest()[:16]


def _machine() -> str:
    """Return what no other machine has, and this one has for good."""
    if uuid := processes.machine():
        return uuid
    number = ""
    for path in _MACHINE_IDS:
        with suppress(OSError, ValueError):
            number = number or read_whole(path).decode("ascii").strip()
    # A container has its image's number, or none, and a name of its own.
    return f"{number} {socket.gethostname()}"


class ShellMemory:
    """What a shell's session remembers from command to command, in a file.

    It is by what way the task came that it ended last: for a while, what it sends goes on from
    there. Without the file that is not known, and nothing else is lost.
    """

    def __init__(self, path: Path, claims: Claims) -> None:
        self._path, self._claims = path, claims
        self._noted: Finished | None = None

    def recall(self, *, make: bool = True) -> None:
        """Go on from what an earlier command noted; `make` the file if there is none.

        Raises:
            BadSetup: it is open to others, somebody else's, or a link; or its folder is.
        """
        try:
            check_private(self._path)
            document = text.from_json(read_whole(self._path) or "{}")
            if ended := document.get("ended"):
                at = utc(datetime.fromisoformat(ended["at"]))
                self._claims.recall(map(str, ended["chain"]), int(ended["hops"]), at)
        except FileNotFoundError:
            if not make:
                return
            with self._wherever_it_can_be():
                own_folder(self._path.parent)
                # By it the agent is known here, see `agents`.
                with suppress(FileExistsError):
                    new = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    os.write(new, b"{}")
                    os.close(new)
        except OSError as error:
            _log.warning("%s", unusable(error, self._path, done="read"))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            _log.warning("%s says nothing of use: %s", self._path, error)
        self._noted = self._claims.finished

    def note(self) -> None:
        """Write down the end of a task, if there was one."""
        ended = self._claims.finished
        if ended and ended is not self._noted:
            self._noted = ended
            way = {"at": ended.at.isoformat(), "chain": ended.chain, "hops": ended.hops}
            with self._wherever_it_can_be():
                own_folder(self._path.parent)
                # A loss of power may take it: it counts for ten minutes.
                write_whole(self._path, json.dumps({"ended": way}).encode(), durable=False)

    def note_shell(self, session: str, pid: int) -> None:
        """Write down from which shell the command was typed after which the session holds tasks."""
        with self._wherever_it_can_be():
            shells.note(self._path.parent, session, shells.above(pid))

    @contextmanager
    def _wherever_it_can_be(self) -> Generator[None]:
        """Write the file; where that cannot be, say so and go on without."""
        try:
            yield
        except OSError as error:
            _log.warning("%s", unusable(error, self._path, done="written"))


def remember(session: Session, task: Task) -> None:
    """Note by what way a task came of which a call reports that may be its session's only one."""
    session.claims.recall(task.chain, task.hops, text.now())
    if not session.leased:
        _memory_of(session).note()


def cause(session: Session) -> tuple[tuple[str, ...], int]:
    """Return the chain and hops that a task sent now continues, as `Claims.cause`.

    Of a client that starts a server for each call, those of the task that it reported on last; in a
    worker's program at least those of what that is at.
    """
    own = _own_cause(session)
    return max(own, _workers_cause(session), key=lambda way: way[1]) if session.me.worker else own


def _own_cause(session: Session) -> tuple[tuple[str, ...], int]:
    known = session.claims.cause()
    if known[1] >= 0 or session.leased or session.calls.count > 1:
        return known
    with suppress(AgentbusError):  # a file that is not ours says nothing
        _memory_of(session).recall(make=False)
    return session.claims.cause()


def _workers_cause(session: Session) -> tuple[tuple[str, ...], int]:
    """Return the chain and hops of what the worker is at in whose program this session runs."""
    its_own = Claims(session.bus, session.me.worker, "")
    with suppress(AgentbusError):  # as above
        _memory(session, session.me.worker, its_own).recall(make=False)
    return its_own.cause()


def _memory_of(session: Session) -> ShellMemory:
    return _memory(session, session.me.id, session.claims)


def _memory(session: Session, agent: str, claims: Claims) -> ShellMemory:
    return ShellMemory(file_of(session.bus.settings.state_dir, agent), claims)
