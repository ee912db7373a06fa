# SPDX-License-Identifier: Apache-2.0
"""One wake, carried out: started or nudged, noted in the ledger, told in the life of its tasks.

    runner.begin(desk, decision)       # returns at once; `desk.running` is the wake
    runner.note_reads(desk, waiting)   # at each look: did the agent read what it was told of?

In this order, so that a listener killed at any point wakes an agent at most once more: the ledger
knows of the wake before anything is started, of the process before that is told anything, of its
end before anybody else does. A process that outlives its listener is taken over by the next one,
and what the last one could not write into the lives of its tasks is written then.

Whether an agent is woken is not decided here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mcp_agentbus.core import notices, processes
from mcp_agentbus.core.aio import in_background, in_thread, part, together
from mcp_agentbus.core.notices import Counts, Reason
from mcp_agentbus.core.processes import Process
from mcp_agentbus.errors import AgentbusError, Refused, StoreFull, TooLarge
from mcp_agentbus.listener.desk import Desk, Notified
from mcp_agentbus.listener.members import HANGS, Member
from mcp_agentbus.listener.memory import KEYS_MAX, Memory
from mcp_agentbus.listener.state import State
from mcp_agentbus.listener.woken import abandoned, survivor
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.steps import question_of
from mcp_agentbus.wakes import lives
from mcp_agentbus.wakes.facts import Waiting, Wake
from mcp_agentbus.wakes.hosts import registry
from mcp_agentbus.wakes.hosts.protocol import Ended, WakeOrder, Waker
from mcp_agentbus.wakes.ledger import LedgerBroken, Row
from mcp_agentbus.wakes.policy import usd_unsaid

#: A host that took a notice has so long to read the inbox; until then no other wake follows.
READ_WITHIN_S: Final = 60.0
# In seconds: an end that was refused for so long is refused for good.
_REFUSED_FOR_S: Final = 3600.0
# How a wake ended that its listener has ended.
_STOPPED: Final = "the listener ended"


class Runner:
    """Carries out what `policy` decided, one wake of an agent at a time."""

    def __init__(self, state: State, memory: Memory, wakers: Mapping[str, Waker]) -> None:
        self._state, self._memory = state, memory
        #: How an agent without a session is started, by its host in the rules.
        self._wakers = wakers
        #: Whether the ledger may know of ends that the lives of tasks do not know.
        self._behind = True
        self._catching_up = asyncio.Lock()
        #: Since when the bus refuses the end of a wake, by its number.
        self._refused: dict[int, float] = {}

    @property
    def _folder(self) -> Path:
        return self._state.settings.state_dir

    def begin(self, desk: Desk, decision: Wake) -> None:
        """Note a wake in the ledger, then have it carried out.

        Raises:
            LedgerBroken: it cannot be noted; nothing was started.
            Refused: the listener is ending.
        """
        self._state.check_stays()
        self._state.emit("decided", desk.agent, {"means": decision.means})
        keys = frozenset(thing.key for thing in decision.covers)
        wake = self._state.ledger.note(
            desk.agent,
            decision.means,
            keys=keys,
            senders={thing.sender for thing in decision.because},
            at=datetime.now(UTC),
            live_only=all(thing.live_only for thing in decision.because),
        )
        self._state.emit("noted", desk.agent, {"wake": wake})
        desk.notified[wake] = Notified(keys)
        for key in keys:  # what holds it after this wake is a step of its own
            desk.written.pop(key, None)
        # Now: a hook that asks from here on finds that a wake is under way, and leaves it to it.
        heard = decision.means == "nudge" and self._has_heard(desk, decision)
        desk.running = in_background(
            self._wake(desk, wake, decision, heard=heard), f"wake {wake} of {desk.agent}"
        )

    def left_running(self) -> list[Row]:
        """Return the wakes of an earlier listener that run still; note the end of its others.

        Of agents that have none, what such a listener's runs have left is removed.
        """
        running: list[Row] = []
        try:
            unended = self._state.ledger.unended()
            agents = {*self._state.settings.rules, *(row.agent for row in unended)}
            for row in unended:
                if survivor.runs(row):
                    running.append(row)
                    continue
                if survivor.is_anothers(row, self._state.settings):
                    continue
                self._state.ledger.ended(
                    row.id, at=datetime.now(UTC), outcome="stopped",
                    said="its listener was killed", interrupted=True,
                )  # fmt: skip
                self._state.emit("adopted", row.agent, {"wake": row.id})
            for agent in agents:
                # One that was left alone at its listener's end has an end in the ledger.
                latest = self._state.ledger.latest(agent, 1)
                if not any(survivor.is_looked_after(row, self._state.settings) for row in latest):
                    self._clean_up(agent)
        except LedgerBroken as error:
            self._state.ledger_broke(error)
        return running

    def watch(self, desk: Desk, row: Row) -> None:
        """Wait for the end of a wake that an earlier listener has started."""
        desk.notified[row.id] = Notified(row.keys)
        desk.running = in_background(self._outlive(desk, row), f"wake {row.id} of {desk.agent}")
        self._state.emit("adopted", row.agent, {"wake": row.id})

    def note_reads(self, desk: Desk, waiting: Collection[str]) -> None:
        """Note which wakes led to a read: something they told of is not `waiting` any more.

        One that is under way is left out, and one that may yet be read.

        Raises:
            LedgerBroken: it cannot be noted.
        """
        now = time.monotonic()
        for wake, notified in list(desk.notified.items()):
            if notified.until is None:
                continue
            read = not notified.keys.issubset(waiting)
            if read or now >= notified.until:
                self._note_read(desk, wake, read=read)

    async def note_late_read(self, desk: Desk) -> None:
        """Note that something was read that the last wake told of, though not in time.

        Raises:
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        with suppress(LedgerBroken):  # then no wake follows anyway
            wake = self._state.ledger.left_unread(desk.agent)
            if not wake or wake.id in desk.notified:
                return
            if await lives.was_read_since(self._state.bus, wake):
                self._write_read(desk, wake.id, read=True)

    def _note_read(self, desk: Desk, wake: int, *, read: bool | None) -> None:
        del desk.notified[wake]
        if read is not None:
            self._write_read(desk, wake, read=read)

    def _write_read(self, desk: Desk, wake: int, *, read: bool) -> None:
        self._state.ledger.led_to_read(wake, read)
        self._state.emit("read" if read else "unread", desk.agent, {"wake": wake})

    async def _was_read(self, decision: Wake) -> bool | None:
        """Tell whether its worker has what was approved; None if that is not known.

        A look does not tell: it finds only what wakes the agent by its rules.
        """
        thing = decision.because[0]
        with suppress(AgentbusError):
            record, _ = await read_record(self._state.bus, thing.owner, thing.inbox, thing.task_id)
            return record is not None and question_of(record) is None
        return None

    async def catch_up(self) -> None:
        """Write the ends that only the ledger knows into the lives of their tasks."""
        async with self._catching_up:
            is_done = True
            while self._behind and is_done:
                self._behind = False
                is_done = await self._write_ends()
            self._behind |= not is_done

    async def _write_ends(self) -> bool:
        """Write each of them, the oldest first; tell whether none is left to be tried again."""
        last, is_done = 0, True
        try:
            while rows := self._state.ledger.ends_unwritten(last):
                for row in rows:
                    is_done &= await self._write_end(row)
                last = rows[-1].id
        except AgentbusError:  # the bus is away, or has no room; once it is there again
            return False
        except LedgerBroken as error:  # once it is mended
            self._state.ledger_broke(error)
            return False
        return is_done

    async def _write_end(self, row: Row) -> bool:
        """Write one of them; tell whether it is written, or will never be.

        What is refused must not keep the others from being written, nor be asked for ever.
        """
        try:
            await together(
                abandoned.give_back(self._state.bus, self._folder, row),
                lives.write_end(self._state.bus, row),
            )
        except StoreFull:
            raise
        except Refused as error:
            now = time.monotonic()
            since = self._refused.setdefault(row.id, now)
            if not isinstance(error, TooLarge) and now < since + _REFUSED_FOR_S:
                return False
        self._state.ledger.end_written(row.id)
        self._refused.pop(row.id, None)
        return True

    async def hold(self, desk: Desk, held: Sequence[tuple[Waiting, Reason]]) -> None:
        """Write into the lives of tasks that they wake nobody; have a person told who can help.

        A reason is written once: where two agents have one role each would else answer the step of
        the other with its own, for days.
        """
        tasks = [(thing, reason) for thing, reason in held if thing.kind == "task"]
        for thing, reason in tasks:
            self._state.teller.held(reason, desk.agent, thing)
        for why in {reason for _, reason in tasks}:
            of_it = [thing for thing, reason in tasks if reason == why]
            news = [thing for thing in of_it if desk.written.get(thing.key) != why]
            desk.written |= dict.fromkeys(await self._write(desk, news, "wake-held", why.why), why)

    async def _write(
        self, desk: Desk, things: Sequence[Waiting], state: str, why: str
    ) -> frozenset[str]:
        return await lives.write(self._state.bus, desk.agent, things, state, why)

    async def _wake(self, desk: Desk, wake: int, decision: Wake, *, heard: bool) -> None:
        """Wake an agent by one of its means, and note how that ended."""
        ended, read = Ended("stopped", _STOPPED), None
        try:
            match decision.means:
                case "nudge" if heard:
                    ended = Ended("asked", "a hook has told its session")
                case "nudge":
                    ended = await self._nudge(desk, decision)
                case "start":
                    ended = await self._start(desk, wake, decision)
                    read = await self._was_read(decision) if decision.alone else None
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # a waker's fault is a wake that failed
            ended = Ended("failed", f"the waker failed: {type(error).__name__}")
        finally:
            within_s = READ_WITHIN_S if ended.outcome == "asked" else 0.0
            self._end(desk, wake, ended, read_within_s=within_s)
            if decision.alone:
                with suppress(LedgerBroken):  # its end has told that
                    self._note_read(desk, wake, read=read)
        await self.catch_up()

    async def _outlive(self, desk: Desk, row: Row) -> None:
        rules = self._state.settings.rules.get(row.agent)
        try:
            ended = await survivor.end_of(row, rules)
        except asyncio.CancelledError:
            if not survivor.is_left(rules):  # else the next listener looks after it
                self._clean_up(desk.agent)
                self._end(desk, row.id, Ended("stopped", _STOPPED), read_within_s=0.0)
            raise
        self._clean_up(desk.agent)
        ended = await abandoned.give_back_soon(
            self._state.bus, self._folder, row.agent, survivor.process_of(row), ended
        )
        self._end(desk, row.id, ended, read_within_s=0.0)

    def _clean_up(self, agent: str) -> None:
        with suppress(OSError, AgentbusError):  # the next run, or listener, replaces or removes it
            registry.clean_up(agent, self._state.settings.environ)

    def _end(self, desk: Desk, wake: int, ended: Ended, *, read_within_s: float) -> None:
        """Note how a wake has ended, and have its agent looked at: was anything read?"""
        desk.notified[wake] = replace(desk.notified[wake], until=time.monotonic() + read_within_s)
        self._note_end(desk, wake, ended)
        self._behind = True
        desk.running = None
        desk.changed.set()

    def _note_end(self, desk: Desk, wake: int, ended: Ended) -> None:
        self._state.emit("ended", desk.agent, {"wake": wake, "outcome": ended.outcome})
        try:
            self._state.ledger.ended(
                wake, at=ended.at or datetime.now(UTC), outcome=ended.outcome, said=ended.said,
                exit_code=ended.exit_code, output=ended.output, usd=ended.usd,
                interrupted=ended.outcome == "stopped",
            )  # fmt: skip
        except LedgerBroken as error:
            self._state.ledger_broke(error)
        self._state.emit("recorded", desk.agent, {"wake": wake})

    def _has_heard(self, desk: Desk, decision: Wake) -> bool:
        """Tell whether its hook has told a live session all of that: the wake counts as given."""
        wanted = {thing.session for thing in decision.because if thing.session}
        live = self._state.members.sessions_of(desk.agent)
        for_them = [member for member in live if member.session in wanted] or live
        conversations = {member.conversation for member in for_them} - {""}
        keys = {thing.key for thing in decision.because}
        return self._memory.counts_for_wake(sorted(conversations), keys)

    async def _nudge(self, desk: Desk, decision: Wake) -> Ended:
        """Have one live session show a notice; the one that a result is for before the others."""
        wanted = {thing.session for thing in decision.because if thing.session}
        told = {thing.shown_as for thing in decision.covers if thing.kind != "task"}
        # What is told as well when something else is new is no reason to be silent.
        told = told if len(told) == len(decision.covers) else set()
        ended = Ended("not_started", "its session had ended")
        for session, member in self._ways(desk.agent, wanted):
            if told and await self._state.shown(session.session, told) == told:
                return Ended("asked", "its session was shown it already")
            why = await self._state.members.nudge(member, notices.text(desk.counts))
            if not why and session.conversation:
                self._memory.of(session.conversation).by_notice(decision.covers[:KEYS_MAX])
                self._memory.save()
            step = f"a notice in a {member.host} session"
            await self._write(desk, decision.covers, "waking", step)
            ended = Ended("failed", why) if why else Ended("asked", "its session took the notice")
            if why in {"", HANGS}:  # one that hangs may show it yet; the next one might be a second
                break
        return ended

    def _ways(self, agent: str, wanted: Collection[str]) -> list[tuple[Member, Member]]:
        """Return its sessions, those that are wanted first, each with who shows it a notice."""
        members, ways = self._state.members, list[tuple[Member, Member]]()
        sessions = members.sessions_of(agent)
        for session in sorted(sessions, key=lambda one: one.session not in wanted):
            window = [one for one in members.of(agent) if members.session_of(one) is session]
            # What its own process shows looks as if its user had typed it.
            window.sort(key=lambda one: not one.is_monitor)
            ways += [(session, one) for one in window if one.can_nudge]
        return ways

    async def _counts(self, desk: Desk) -> Counts:
        """Return how much waits by now: what was decided on is a part of it."""
        with suppress(AgentbusError, TimeoutError):
            looked = await self._state.look(desk.agent)
            # Somebody may have read it meanwhile; then that is what it was started for.
            if looked.counts != Counts():
                desk.counts = looked.counts
        return desk.counts

    async def _start(self, desk: Desk, wake: int, decision: Wake) -> Ended:
        """Start the agent's host by the user's rules, and wait until it has ended."""
        rules = self._state.settings.rules[desk.agent]
        only = decision.because[0].task_id if decision.alone else ""
        if decision.alone:
            # A conversation that is gone on with would bring other tasks along.
            rules = replace(rules, profile=decision.alone, resume=False)
        environ = await in_thread(registry.environ, rules, self._state.settings.environ)
        alone = ", for this task alone" if only else ""
        step = f"starts {rules.host}, profile {rules.profile}{alone}"
        writing = part(self._write(desk, decision.covers, "waking", step))
        begun = list[Process]()

        def started(pid: int) -> None:
            self._state.emit("started", desk.agent, {"wake": wake, "pid": pid})
            begun.append(processes.known(pid))
            self._state.ledger.started(wake, pid, begun[0].mark, usd_unsaid(rules))
            self._state.emit("known", desk.agent, {"wake": wake, "pid": pid})

        async def notice() -> str:
            told = notices.approved(only) if only else notices.text(await self._counts(desk))
            return notices.with_instruction(told, rules.instruction)

        ended = await self._wakers[rules.host](
            WakeOrder(
                rules=rules,
                notice=notice,
                environ=environ,
                started=started,
                host_session=self._state.ledger.host_session(desk.agent) if rules.resume else "",
                only=only,
            )
        )
        await writing
        for process in begun:
            ended = await abandoned.give_back_soon(
                self._state.bus, self._folder, desk.agent, process, ended
            )
        return ended
