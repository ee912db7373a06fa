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
from collections.abc import AsyncGenerator, Iterable
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
from mcp_agentbus.handoff.claims import delivery_of, reference
from mcp_agentbus.handoff.session import Claim, Session
from mcp_agentbus.store.task import Record, Task

# How long after another command of the agent has ended the next one sees it, at the latest.
_LOOK_AGAIN_S: Final = 0.02


@dataclass
class ClaimFile:
    """Keeps a shell session's claims in a file."""

    path: Path
    session: str
    #: The task that was ended last, and when: what is sent next may be caused by it.
    finished: tuple[datetime, Task] | None = None

    def save(self, claims: Iterable[Claim]) -> None:
        """Keep exactly these, all or none of them."""
        document: dict[str, Any] = {"session": self.session, "claims": [*map(_dump, claims)]}
        if self.finished:
            at, task = self.finished
            document["finished"] = [at.isoformat(), task.model_dump(mode="json", by_alias=True)]
        write_whole(self.path, json.dumps(document).encode())

    def load(self) -> list[Claim]:
        """Return what is kept, and take over the session's id.

        Raises:
            BadSetup: the file is open to others, or is not one of ours.
        """
        try:
            check_private(self.path)
            document = json.loads(self.path.read_text(encoding="utf-8"))
            self.session = str(document["session"])
            if "finished" in document:
                at, task = document["finished"]
                self.finished = datetime.fromisoformat(at), Task.model_validate(task)
            return [_load(one) for one in document["claims"]]
        except FileNotFoundError:
            return []
        except (ValueError, LookupError, TypeError):
            raise BadSetup(
                f"{self.path} cannot be read as a list of claims.",
                hint="Move it away: its tasks are offered again 2 hours after they were claimed.",
            ) from None


@asynccontextmanager
async def shell_session(bus: Bus, agent: Agent, folder: Path) -> AsyncGenerator[Session, None]:
    """Open the shell session of an agent; waits while another process has it open.

    Raises:
        BadSetup: its file cannot be used.
    """
    path = folder / f"shell-{agent.id}.json"
    descriptor = await _locked(path.with_suffix(".lock"))
    try:
        store = ClaimFile(path, ids.SHELL_PREFIX + ids.new_session_id())
        claims = store.load()
        async with Session(bus, agent, id=store.session, store=store) as session:
            for claim in claims:
                session.hold(claim)
            session.recall(store.finished)
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
    found = settings.state_dir.glob("shell-*.json")
    return frozenset(one.stem.removeprefix("shell-") for one in found)


def _dump(claim: Claim) -> dict[str, Any]:
    return {
        "task": claim.task.model_dump(mode="json", by_alias=True),
        "record": claim.record.model_dump(mode="json"),
        "revision": claim.revision,
        "delivery": reference(claim),
    }


def _load(kept: dict[str, Any]) -> Claim:
    return Claim(
        task=Task.model_validate(kept["task"]),
        delivery=delivery_of(kept["delivery"]),
        record=Record.model_validate(kept["record"]),
        revision=int(kept["revision"]),
    )
