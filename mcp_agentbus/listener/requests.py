# SPDX-License-Identifier: Apache-2.0
"""What the listener answers to the commands and hooks of this machine.

    >>> await Answering(listener).answer({"op": "wake", "agent": "coder"})
    {'agent': 'coder', 'waking': True, 'held': '', ...}

Each question is one line on the local socket, its `op` says which.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

from mcp_agentbus.bus.address import start_no_server
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.config.watcher import Watcher
from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import together
from mcp_agentbus.errors import AgentbusError, BadInput, BadSetup
from mcp_agentbus.listener import status
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.digest import Digest
from mcp_agentbus.listener.members import Hub
from mcp_agentbus.listener.relayed import Commanding, Hosting
from mcp_agentbus.listener.runner import Waking
from mcp_agentbus.version import __version__
from mcp_agentbus.wakes import demand
from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken


class Asked(Protocol):
    """Who is asked: `listener.Listener`."""

    settings: Settings
    bus: Bus
    ledger: Ledger
    hub: Hub
    hosting: Hosting
    commanding: Commanding
    digest: Digest
    waking: Waking
    reloading: Watcher
    desks: dict[str, Desk]
    began: datetime
    #: Since when there is no bus; None if there is one.
    away_since: datetime | None

    def desk(self, agent: str) -> Desk:
        """Return an agent's desk."""

    def inboxes(self, agent: str) -> tuple[str, ...]:
        """Return the inboxes that an agent reads."""

    def reload(self) -> None:
        """Take over what has changed in config.toml."""

    async def reachable(self) -> bool:
        """Tell whether there is a bus."""

    async def look(self, desk: Desk) -> None:
        """Look what waits for an agent, and wake it if it is to be woken."""


class Answering:
    """Answers what a listener is asked."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a command or a hook.

        Raises:
            BadInput: there is no such question.
        """
        start_no_server()
        match request.get("op"):
            case "status":
                return await self._status()
            case "reload":
                self._asked.reload()
                if self._asked.reloading.says:
                    raise BadSetup(self._asked.reloading.says)
                return {"pid": os.getpid(), **status.place(self._asked.settings)}
            case "mail":
                return await self._asked.digest.mail(self._asked.settings, request)
            case "wake":
                return await self._wake_now(ids.agent_id(str(request.get("agent", ""))))
            case _:
                raise BadInput("The listener knows no such question.")

    async def _wake_now(self, agent: str) -> dict[str, Any]:
        """Forget an agent's failed wakes, and look at it."""
        self._asked.reload()
        if agent not in self._asked.settings.rules:
            raise BadInput(
                f"{agent} is no agent that this listener can start.",
                hint=f"Run `agentbus agent add {agent} --host HOST --dir FOLDER`.",
            )
        desk = self._asked.desk(agent)
        try:
            self._asked.ledger.forgive(agent)
            await self._asked.look(desk)
        except LedgerBroken as error:
            self._asked.waking.ledger_broke(error)
            raise AgentbusError(
                str(error), hint="Mend or move that file; nothing is woken."
            ) from None
        return self._standing(desk)

    async def _status(self) -> dict[str, Any]:
        """Return what the listener does, as data; nothing of it is a peer's."""
        asked = self._asked
        with suppress(AgentbusError):
            await self._count()
        away = asked.away_since
        return {
            "pid": os.getpid(),
            "version": __version__,
            **status.place(asked.settings),
            "since": asked.began.isoformat(timespec="seconds"),
            "bus": "away" if away else "ok",
            "away_since": away and away.isoformat(timespec="seconds"),
            "ledger": asked.waking.ledger_says or "ok",
            "config": asked.reloading.says or "ok",
            "relayed": asked.hosting.count,
            "commands": asked.commanding.count,
            "agents": [self._standing(desk) for _, desk in sorted(asked.desks.items())],
        }

    async def _count(self) -> None:
        """Count anew what waits for each agent, if there is a bus."""
        asked = self._asked
        if not await asked.reachable():
            return
        desks = list(asked.desks.values())
        looks = (demand.look(asked.bus, one.agent, asked.inboxes(one.agent)) for one in desks)
        for desk, looked in zip(desks, await together(*looks), strict=True):
            desk.counts = looked.counts

    def _standing(self, desk: Desk) -> dict[str, Any]:
        return status.agent_data(
            desk,
            self._asked.settings.rules.get(desk.agent),
            len(self._asked.hub.of(desk.agent)),
            away=self._asked.away_since is not None,
        )
