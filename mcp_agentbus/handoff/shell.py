# SPDX-License-Identifier: Apache-2.0
"""The session of a shell: many short processes that are one session of an agent.

    async with shell_session(bus, agent, settings.state_dir) as session:
        ...

`agentbus inbox` claims a task and ends; `agentbus result` answers it later. Between them nobody
keeps the claim alive, so it is a lease of 2 hours, noted in a 0600 file that one process at a time
may use.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids, locks
from mcp_agentbus.core.files import check_private, write_whole
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.handoff.claims import Claim, Claims, delivery_of, reference_of
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.task import Record, Task

# How long after another command of the agent has ended the next one sees it, at the latest.
_LOOK_AGAIN_S: Final = 0.02


@dataclass(frozen=True)
class Kept:
    """What an earlier process of a shell's session left."""

    session: str
    claims: tuple[Claim, ...] = ()
    #: The task that was ended last, and when: what is sent next may be caused by it.
    finished: tuple[datetime, Task] | None = None


@dataclass(frozen=True)
class ClaimFile:
    """Keeps a shell session's claims in a file."""

    path: Path

    def save(self, session: str, claims: Claims) -> None:
        """Keep exactly these, all or none of them."""
        document: dict[str, Any] = {"session": session, "claims": [*map(_dump, claims.values())]}
        if claims.finished:
            task = claims.finished.task.model_dump(mode="json", by_alias=True)
            document["finished"] = [claims.finished.at.isoformat(), task]
        write_whole(self.path, json.dumps(document).encode())

    def load(self) -> Kept:
        """Return what is kept; a new session that holds nothing if nothing is.

        Raises:
            BadSetup: the file is open to others, or is not one of ours.
        """
        try:
            check_private(self.path)
            document = json.loads(self.path.read_text(encoding="utf-8"))
            finished = None
            if "finished" in document:
                at, task = document["finished"]
                finished = datetime.fromisoformat(at), Task.model_validate(task)
            claims = tuple(map(_load, document["claims"]))
            return Kept(str(document["session"]), claims, finished)
        except FileNotFoundError:
            return Kept(ids.SHELL_PREFIX + ids.new_session_id())
        except (ValueError, LookupError, TypeError):
            raise BadSetup(
                f"{self.path} cannot be read as a list of claims.",
                hint="Move it away: its tasks are offered again 2 hours after they were claimed.",
            ) from None


@asynccontextmanager
async def shell_session(bus: Bus, agent: Agent, folder: Path) -> AsyncGenerator[Session, None]:
    """Open the shell session of an agent; waits while another process has it open.

    Args:
        bus: where it works.
        agent: whose session.
        folder: where its file lies, and the file's lock.

    Raises:
        BadSetup: its file cannot be used.
    """
    path = folder / f"shell-{agent.id}.json"
    descriptor = await _locked(path.with_suffix(".lock"))
    try:
        file = ClaimFile(path)
        kept = file.load()
        async with Session(bus, agent, id=kept.session, leased=True) as session:
            if kept.finished:
                at, task = kept.finished
                session.claims.recall(task, at)
            for claim in kept.claims:
                session.claims.hold(claim)
            session.claims.on_change = lambda: file.save(session.id, session.claims)
            yield session
    finally:
        os.close(descriptor)


async def _locked(path: Path) -> int:
    """Wait for a lock; return its descriptor.

    Not in a thread: one that waits there cannot be cancelled, and would take the lock in the end.
    """
    while True:
        descriptor = locks.take(path, wait=False)
        if descriptor is not None:
            return descriptor
        await asyncio.sleep(_LOOK_AGAIN_S)


def agents(settings: Settings) -> frozenset[str]:
    """Return the agents that had a shell's session here."""
    files = settings.state_dir.glob("shell-*.json")
    return frozenset(file.stem.removeprefix("shell-") for file in files)


def _dump(claim: Claim) -> dict[str, Any]:
    return {
        "task": claim.task.model_dump(mode="json", by_alias=True),
        "record": claim.record.model_dump(mode="json"),
        "revision": claim.revision,
        "delivery": reference_of(claim),
    }


def _load(kept: dict[str, Any]) -> Claim:
    return Claim(
        task=Task.model_validate(kept["task"]),
        delivery=delivery_of(kept["delivery"]),
        record=Record.model_validate(kept["record"]),
        revision=int(kept["revision"]),
    )
