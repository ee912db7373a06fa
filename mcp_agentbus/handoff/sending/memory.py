# SPDX-License-Identifier: Apache-2.0
"""What the next task of an agent goes on from, remembered in a file across its processes.

>>> remember(session, task)
>>> cause(session)
(('planner',), 1)
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from mcp_agentbus.core import text
from mcp_agentbus.core.files import check_private, own_folder, read_whole, unusable, write_whole
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.sending.cause import Finished, said_of, way_of
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shells import file_of
from mcp_agentbus.store.task import Task

_log = logging.getLogger(__name__)


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


def remember(session: Session, task: Task) -> None:
    """Note by what way a task came of which a call reports that may be its session's only one."""
    session.claims.recall(task.chain, task.hops, text.now())
    if not session.leased:
        _memory_of(session).note()


class CauseMemory:
    """The file that says by what way the task came that an agent ended last.

    For a while, what it sends goes on from there. Without the file that is not known, and nothing
    else is lost.
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
                self._claims.recall(*way_of(ended))
        except FileNotFoundError:
            if not make:
                return
            with self._wherever_it_can_be():
                own_folder(self._path.parent)
                # By it the agent is known here, see `shells.agents`.
                with suppress(FileExistsError):
                    new = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    os.write(new, b"{}")
                    os.close(new)
        except OSError as error:
            _log.warning("%s", unusable(error, self._path, done="read"))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            _log.warning("%s says nothing of use: %s", self._path, error)
        self._noted = self._claims.ways.deepest

    def note(self) -> None:
        """Write down the end of a task, if there was one."""
        ended = self._claims.ways.deepest
        if ended and ended is not self._noted:
            self._noted = ended
            document = json.dumps({"ended": said_of(ended)}, sort_keys=True)
            with self._wherever_it_can_be():
                own_folder(self._path.parent)
                # A loss of power may take it: it counts for ten minutes.
                write_whole(self._path, document.encode(), durable=False)

    @contextmanager
    def _wherever_it_can_be(self) -> Generator[None]:
        """Write the file; where that cannot be, say so and go on without."""
        try:
            yield
        except OSError as error:
            _log.warning("%s", unusable(error, self._path, done="written"))


def _memory_of(session: Session) -> CauseMemory:
    return _memory(session, session.me.id, session.claims)


def _memory(session: Session, agent: str, claims: Claims) -> CauseMemory:
    return CauseMemory(file_of(session.bus.settings.state_dir, agent), claims)
