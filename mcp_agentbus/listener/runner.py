# SPDX-License-Identifier: Apache-2.0
"""One wake, carried out: started or nudged, noted in the ledger, told in the life of its tasks.

    waking.begin(desk, decision)

In this order, so that a listener killed at any point wakes an agent at most once more: the ledger
knows of the wake before anything is started, of the process before that is told anything, of its
end before anybody else does. A process that outlives its listener is taken over by the next one,
and what the last one could not write into the lives of its tasks is written then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.rules import Rules
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import notices
from mcp_agentbus.core.processes import born
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.members import HANGS, Hub, Member
from mcp_agentbus.store.records import add_wake, read_sent
from mcp_agentbus.store.task import Moment
from mcp_agentbus.wakes.hosts.process import outlive
from mcp_agentbus.wakes.hosts.protocol import Call, Ended, Waker
from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken, Row
from mcp_agentbus.wakes.policy import Waiting, Wake

#: A host that took a notice has so long to read the inbox; until then no other wake follows.
READ_WITHIN_S: Final = 60.0
# Outcomes of a wake that came about; the others are failures in the life of a task.
_WOKEN: Final = frozenset({"exited", "asked"})
# The service manager's own, which a started process must not speak to.
_NOT_INHERITED: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})

#: Told of each step: its name, the agent, ids and numbers.
Emit = Callable[[str, str, Mapping[str, Any]], None]


class Telling(Protocol):
    """Knows what hooks and notices have told the live sessions: `digest.Digest`."""

    def spares(self, members: Iterable[Member], keys: Collection[str]) -> bool:
        """Tell whether one of these sessions heard of all that from its hook, which counts once."""

    def noticed(self, member: Member, things: Sequence[Waiting]) -> None:
        """Remember that a notice has told a session of these."""


class Waking:
    """Carries out wakes."""

    def __init__(
        self, settings: Settings, bus: Bus, ledger: Ledger, *, hub: Hub, emit: Emit,
        wakers: Mapping[str, Waker], has_shown: Callable[[str, tuple[str, ...]], bool],
        telling: Telling,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._bus, self._ledger, self._hub = bus, ledger, hub
        self._emit, self._wakers = emit, wakers
        #: Whether a session that is served here was shown results.
        self._has_shown, self._telling = has_shown, telling
        #: Why wakes cannot be recorded; empty if they can.
        self.ledger_says = ""
        #: Whether the ledger may know of ends that the lives of tasks do not know.
        self._behind = True
        self._catching_up = asyncio.Lock()

    def begin(self, desk: Desk, decision: Wake) -> None:
        """Note a wake in the ledger, then have it carried out.

        Raises:
            LedgerBroken: it cannot be noted; nothing was started.
        """
        self._emit("decided", desk.agent, {"means": decision.means})
        keys = [one.key for one in decision.covers]
        wake = self._ledger.note(
            desk.agent,
            decision.means,
            keys=keys,
            senders=sorted({one.sender for one in decision.because}),
            at=datetime.now(UTC),
            live_only=all(one.live_only for one in decision.because),
        )
        self._emit("noted", desk.agent, {"wake": wake})
        desk.told[wake] = (frozenset(keys), 0.0)
        do: Any = self._nudge if decision.means == "nudge" else self._start
        # Now: a hook that asks from here on finds that a wake is under way, and leaves it to it.
        if decision.means == "nudge" and self._has_heard(desk, decision):
            do = self._spare
        desk.running = asyncio.create_task(self._wake(desk, wake, decision, do))

    def adopt(self, desk_of: Callable[[str], Desk]) -> None:
        """Take over what an earlier listener started and did not see end."""
        try:
            for row in self._ledger.unended():
                if row.pid and row.born and born(row.pid) == row.born:
                    desk = desk_of(row.agent)
                    desk.told[row.id] = (frozenset(row.keys), 0.0)
                    desk.running = asyncio.create_task(self._outlive(desk, row.id, row.pid))
                else:
                    self._ledger.ended(
                        row.id, at=datetime.now(UTC), outcome="stopped",
                        said="its listener was killed", interrupted=True,
                    )  # fmt: skip
                self._emit("adopted", row.agent, {"wake": row.id})
        except LedgerBroken as error:
            self.ledger_broke(error)

    async def _outlive(self, desk: Desk, wake: int, pid: int) -> None:
        await outlive(pid)
        # Its exit code was for a listener that was killed, maybe before it gave its notice.
        ended = Ended("stopped", "it ended after the listener that had started it was killed")
        desk.told[wake] = (desk.told[wake][0], time.monotonic())
        self._note_end(desk, wake, ended)
        self._behind = True
        desk.running = None
        desk.stirred.set()

    async def _wake(self, desk: Desk, wake: int, decision: Wake, do: Any) -> None:
        """Wake an agent by one of its means, and note how that ended."""
        ended = Ended("stopped", "the listener ended")
        try:
            ended = await do(desk, wake, decision)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # a waker's fault is a wake that failed
            ended = Ended("failed", f"the waker failed: {type(error).__name__}")
        finally:
            keys = desk.told[wake][0]
            within = READ_WITHIN_S if ended.outcome == "asked" else 0.0
            desk.told[wake] = (keys, time.monotonic() + within)
            self._note_end(desk, wake, ended)
            self._behind = True
            desk.running = None
            desk.stirred.set()
        await self.catch_up()

    async def catch_up(self) -> None:
        """Write the ends that only the ledger knows into the lives of their tasks."""
        async with self._catching_up:
            while self._behind:
                self._behind = False
                try:
                    for row in self._ledger.untold():
                        await self._tell_end(row)
                        self._ledger.told(row.id)
                        self._behind = True
                except AgentbusError:  # the bus is away; once it is there again
                    self._behind = True
                    return
                except LedgerBroken as error:
                    self.ledger_broke(error)

    async def _tell_end(self, row: Row) -> None:
        state = "woken" if row.outcome in _WOKEN else "wake-failed"
        moment = Moment(state=state, at=row.ended_at or row.at, by=row.agent, reason=row.said)
        for key in row.keys:
            kind, inbox, task_id = key.split(" ")
            if kind == "task":
                sent, _ = await read_sent(self._bus, "*", inbox, task_id)
                if sent:
                    await add_wake(self._bus, sent.owner, inbox, task_id, moment)

    def _note_end(self, desk: Desk, wake: int, ended: Ended) -> None:
        self._emit("ended", desk.agent, {"wake": wake, "outcome": ended.outcome})
        try:
            self._ledger.ended(
                wake, at=datetime.now(UTC), outcome=ended.outcome, said=ended.said,
                exit_code=ended.exit_code, output=ended.output, usd=ended.usd,
                interrupted=ended.outcome == "stopped",
            )  # fmt: skip
        except LedgerBroken as error:
            self.ledger_broke(error)
        self._emit("recorded", desk.agent, {"wake": wake})

    def _has_heard(self, desk: Desk, decision: Wake) -> bool:
        """Tell whether a live session was told by its hook: a notice would be the second word."""
        wanted = {one.session for one in decision.because if one.session}
        live = self._hub.of(desk.agent)
        asked = [one for one in live if one.session in wanted] or live
        return self._telling.spares(asked, {one.key for one in decision.because})

    async def _spare(self, *_: object) -> Ended:
        return Ended("asked", "a hook has told its session")

    async def _nudge(self, desk: Desk, _: int, decision: Wake) -> Ended:
        wanted = {one.session for one in decision.because if one.session}
        able = [one for one in self._hub.of(desk.agent) if one.can_nudge]
        ended = Ended("not_started", "its session had ended")
        able.sort(key=lambda one: one.session not in wanted)
        for member in able:
            results = tuple(one.task_id for one in decision.covers if one.kind == "result")
            if self._has_shown(member.session, results):
                return Ended("asked", "its session was shown it already")
            why = await self._hub.nudge(member, notices.text(desk.counts), results)
            if not why:
                self._telling.noticed(member, decision.covers)
            await self.tell(desk, decision.covers, "waking", f"a notice in a {member.host} session")
            ended = Ended("failed", why) if why else Ended("asked", "its session took the notice")
            if why in {"", HANGS}:  # one that hangs may show it yet; the next one might be a second
                break
        return ended

    async def _start(self, desk: Desk, wake: int, decision: Wake) -> Ended:
        rules = self.settings.rules[desk.agent]
        how = f"starts {rules.host}, profile {rules.profile}"
        telling = asyncio.create_task(self.tell(desk, decision.covers, "waking", how))

        def started(pid: int) -> None:
            self._emit("started", desk.agent, {"wake": wake, "pid": pid})
            self._ledger.started(wake, pid, born(pid))
            self._emit("known", desk.agent, {"wake": wake, "pid": pid})

        ended = await self._wakers[rules.host](
            Call(
                rules=rules,
                notice=notices.text(desk.counts),
                environ=self._environ(rules),
                started=started,
                host_session=self._ledger.host_session(desk.agent) if rules.resume else "",
            )
        )
        await telling
        return ended

    def _environ(self, rules: Rules) -> dict[str, str]:
        """Return the environment of what is started: the listener's own, and who it is."""
        environ = {**self.settings.environ, "AGENTBUS_AGENT": rules.agent}
        for name in _NOT_INHERITED:
            environ.pop(name, None)
        return environ

    async def tell(self, desk: Desk, things: Sequence[Waiting], state: str, why: str) -> None:
        """Write a step of a wake into the life of each task."""
        moment = Moment(state=state, at=datetime.now(UTC), by=desk.agent, reason=why)
        for one in things:
            if one.kind == "task":
                with suppress(AgentbusError):  # the ledger has it
                    await add_wake(self._bus, one.owner, one.inbox, one.task_id, moment)

    def ledger_broke(self, error: LedgerBroken) -> None:
        """Remember, and say once, that wakes cannot be recorded."""
        if str(error) != self.ledger_says:
            self.ledger_says = str(error)
            self._emit("ledger", "", {"error": str(error)})
