# SPDX-License-Identifier: Apache-2.0
"""What the commands and hooks of this machine ask: one line each, and one line answers it.

    {"op": "wake", "agent": "coder"}
    {"agent": "coder", "waking": true, "held": "", ...}

Each method answers the connections that begin with its own name as `op`. Nothing of an answer is a
peer's text, and nobody starts a server by asking.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from mcp_agentbus.bus.address import start_no_server
from mcp_agentbus.config import inherited
from mcp_agentbus.config.rules import Rules
from mcp_agentbus.core import ids, processes
from mcp_agentbus.core.aio import failures, together
from mcp_agentbus.core.notices import OF_WAKES, Counts
from mcp_agentbus.core.text import stamp
from mcp_agentbus.errors import AgentbusError, BadInput, BadSetup, Refused
from mcp_agentbus.listener import status
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.digest import Digest
from mcp_agentbus.listener.endpoint import Connection
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.listener.relayed import Relayed
from mcp_agentbus.listener.runner import Runner
from mcp_agentbus.listener.state import State
from mcp_agentbus.store import roster
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.steps import question_of
from mcp_agentbus.version import __version__
from mcp_agentbus.wakes import alone, policy
from mcp_agentbus.wakes.facts import Hold, Wake
from mcp_agentbus.wakes.hosts import registry
from mcp_agentbus.wakes.hosts.process import folder_lacks, looked
from mcp_agentbus.wakes.ledger import LedgerBroken


class Requests:
    """The questions of commands and hooks, put to the parts that know."""

    def __init__(
        self, state: State, loop: Loop, relayed: Relayed, runner: Runner, digest: Digest
    ) -> None:
        self._state, self._loop, self._relayed, self._digest = state, loop, relayed, digest
        self._runner = runner

    async def status(self, connection: Connection) -> None:
        """Tell how the listener and each agent stand; for `agentbus listen --status`.

        With `"count": false` what waits is as it was at the last look at each agent.
        """
        start_no_server()
        if connection.request.get("count", True):
            await self._count()
        state = self._state
        away = state.away_since
        outbox = state.outbox and status.outbox_data(state.outbox.seen, state.outbox.says)
        connection.say(
            {
                "pid": os.getpid(),
                "process": processes.known(os.getpid())._asdict(),
                "version": __version__,
                **status.place(state.settings),
                "since": stamp(state.began),
                "bus": "away" if away else "ok",
                "away_since": away and stamp(away),
                "away_says": (state.revival.says or state.bus.away_says) if away else "",
                "ledger": state.ledger_says or "ok",
                "config": state.watcher.says or "ok",
                "archive": state.keeper.says or "ok",
                "human": state.teller.says or "ok",
                "outbox": outbox,
                "failures": list(failures),
                "logins": inherited.logins(state.settings.environ),
                "relayed": len(state.sessions),
                "commands": self._relayed.commands,
                "agents": [self._agent(desk) for _, desk in sorted(state.desks.items())],
            }
        )

    async def reload(self, connection: Connection) -> None:
        """Read config.toml again; for commands that have written it.

        Raises:
            BadSetup: it cannot be read.
        """
        self._loop.reload()
        if self._state.watcher.says:
            raise BadSetup(self._state.watcher.says)
        connection.say({"pid": os.getpid(), **status.place(self._state.settings)})

    async def mail(self, connection: Connection) -> None:
        """Tell a hook what its session was not told of yet.

        Raises: as `Digest.mail`.
        """
        start_no_server()
        connection.say(await self._digest.mail(connection.request))

    async def wake(self, connection: Connection) -> None:
        """Forget an agent's failed wakes, and look at it; for `agentbus agent wake`.

        Raises:
            BadInput: it is no agent that can be started.
            Refused: the listener is ending, or lacks what starts it.
            AgentbusError: wakes cannot be recorded; and as `Loop.look`.
        """
        start_no_server()
        self._state.check_stays()
        agent = ids.agent_id(str(connection.request.get("agent", "")))
        self._loop.reload()
        if agent not in self._state.settings.rules:
            raise BadInput(
                f"{agent} is no agent that this listener can start.",
                hint=f"Run `agentbus agent add {agent} --host HOST --dir FOLDER`.",
            )
        rules = self._state.settings.rules[agent]
        if rules.profile != "hold" and not self._state.members.sessions_of(agent):
            await self._check_starts(rules)
        desk = self._loop.desk(agent)
        try:
            self._state.ledger.clear_failures(agent)
            await self._loop.look(desk)
        except LedgerBroken as error:
            self._state.ledger_broke(error)
            raise AgentbusError(str(error), hint=error.hint) from None
        connection.say(self._agent(desk))

    async def approved(self, connection: Connection) -> None:
        """Start an agent for the one task that its user has approved; for `approve --wake`.

        Raises:
            BadInput, Refused: nobody has approved that, or its agent cannot be started for it.
            AgentbusError: wakes cannot be recorded; and as `read_record`.
        """
        start_no_server()
        state, request = self._state, connection.request
        state.check_stays()
        task_id = ids.task_id(str(request.get("task_id", "")))
        owner = ids.agent_id(str(request.get("owner", "")))
        inbox = ids.inbox_of(str(request.get("inbox", "")))
        self._loop.reload()
        record, _ = await read_record(state.bus, owner, inbox, task_id)
        question = question_of(record) if record else None
        decision = record and decisions.kept(state.settings.state_dir, record)
        if not (record and question and decision and decision.approved):
            raise Refused(f"The listener finds no approval of task {task_id} on its bus.")
        rules = state.settings.rules.get(question.by)
        profile = alone.profile_of(rules, question.by, task_id, str(request.get("profile")))
        if rules:
            await self._check_starts(replace(rules, profile=profile))
        thing = alone.waiting(record)
        desk = self._loop.desk(question.by)
        async with desk.looking:
            facts = self._loop.facts(desk, (thing,))
            # What a session holds that lives elsewhere is told there, too.
            if await roster.may_hold(state.bus, record):
                facts = replace(facts, session="cannot_be_told")
            started = policy.approved(facts, thing, profile)
            if isinstance(started, Wake):
                self._begin(desk, started)
        held = started.reason if isinstance(started, Hold) else ""
        connection.say({"agent": question.by, "started": not held, "held": held})

    async def _check_starts(self, rules: Rules) -> None:
        """Refuse where an agent's host surely cannot be started: a wake would end as it began."""
        if registry.starts(rules) and (lacks := await folder_lacks(rules)):
            raise Refused(
                f"{rules.agent} cannot be started: {lacks}.",
                hint=f"Make that folder, or name another: `agentbus agent add {rules.agent} "
                "--replace --dir FOLDER`. Then run the same again.",
            )
        missing = partial(registry.missing_program, rules, self._state.settings.environ)
        if programs := await looked(missing, ()):
            lacks = registry.not_there(programs, "the listener's PATH", rules)
            raise Refused(
                f"{lacks}.",
                hint="Install it, or start the listener anew where it is: `agentbus listen "
                "--replace`. Then run the same again.",
            )

    def _begin(self, desk: Desk, wake: Wake) -> None:
        try:
            self._runner.begin(desk, wake)
        except LedgerBroken as error:
            self._state.ledger_broke(error)
            raise AgentbusError(str(error), hint=error.hint) from None

    async def _count(self) -> None:
        """Count anew what waits for each agent, if there is a bus."""
        state = self._state
        if not await state.reachable():
            return
        await together(*(self._counted(desk) for desk in list(state.desks.values())))

    async def _counted(self, desk: Desk) -> None:
        counts: Counts | None = None
        with suppress(AgentbusError, TimeoutError):  # the others are counted all the same
            counts = (await self._state.look(desk.agent)).counts
        desk.count(counts)

    def _agent(self, desk: Desk) -> dict[str, Any]:
        state = self._state
        rules, members = state.settings.rules.get(desk.agent), state.members
        data = status.agent_data(
            desk,
            rules,
            len(members.sessions_of(desk.agent)),
            away=state.away_since is not None,
            not_started=self._not_started(desk),
        )
        return data | {"other_versions": members.other_versions_of(desk.agent)}

    def _not_started(self, desk: Desk) -> str:
        """Return why the last wake did not start, where the next one is held by that; else ""."""
        if desk.held in OF_WAKES:
            with suppress(LedgerBroken):  # of which whoever looks for the agent tells
                wake = self._state.ledger.left_unread(desk.agent)
                # A session that had ended as it was to be told is nothing that anybody mends.
                is_lack = wake and (wake.means, wake.outcome) == ("start", "not_started")
                return wake.said if wake and is_lack else ""
        return ""
