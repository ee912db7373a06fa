# SPDX-License-Identifier: Apache-2.0
"""What a hook tells a session: the mail of its agent that this session was not told of yet.

    >>> await digest.mail({"op": "mail", "host": "cursor", "session": "1f0c", ...})
    {'text': '1 task waits in your agentbus inbox, it is high priority. Call read_inbox.'}

Numbers only, as in every notice. What a session was told is remembered in a file before it is told,
whatever becomes of the hook or of the listener then; `memory` says which channel tells what. A hook
claims no task, and makes its session wait for no longer than `WITHIN_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.config import identity
from mcp_agentbus.config.identity import Asked, Identity
from mcp_agentbus.config.settings import Settings, neighbour_settings
from mcp_agentbus.core import hosts, ids, notices
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.feather.ancestors import parent_of
from mcp_agentbus.core.ids import LANES, Agent
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.listener.members import Member
from mcp_agentbus.listener.memory import Memory, Told
from mcp_agentbus.listener.state import State
from mcp_agentbus.store import roster
from mcp_agentbus.tools.answers.readers import MODEL
from mcp_agentbus.wakes import answers, backlog, demand, policy
from mcp_agentbus.wakes.backlog import UnofferedLane
from mcp_agentbus.wakes.facts import Waiting
from mcp_agentbus.wakes.hosts.claude_session import current_session

#: A hook waits 0.3 s. What is not known by then is not told, and not remembered as told.
WITHIN_S: Final = 0.2


def text(new: Counts, *, first: bool) -> str:
    """Return what a session is told; empty if nothing is new."""
    if new == Counts():
        return ""
    notice = notices.text(new)
    return notice if first else f"New since the last notice: {notice}"


class _Asking(NamedTuple):
    """Whose hook it is."""

    me: Agent
    #: The process of that session that has joined, if it is known.
    member: Member | None
    told: Told
    #: The hook is one at the end of a turn: what wakes its agent, and results, alone put that off.
    urgent: bool
    #: A tool's answer has just told all that waits.
    answered: bool


class _Mail(NamedTuple):
    """What waits for a session."""

    things: Sequence[Waiting] = ()
    lanes: Sequence[UnofferedLane] = ()


class Digest:
    """Answers the hooks of all sessions of this machine, those that have not joined as well."""

    def __init__(self, state: State, memory: Memory) -> None:
        self._state, self._memory = state, memory
        #: The sessions that were told why they have another name than one would expect.
        self._remarked: set[str] = set()

    async def mail(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return `text` for the session's model, if there is any mail that it was not told of.

        With `person`, of high tasks, for who opens the session: a host may show that one a line.

        Args:
            request: `host`, `session` (the host's id), `folder` and `environ` of the hook;
                `urgent`: only what wakes its agent, and results; `looked`: a tool has just told
                the model all that waits.

        Raises:
            BadInput: the hook's process is on another bus.
            BadSetup: the configuration cannot be read.
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        host, session = request.get("host"), request.get("session")
        folder = request.get("folder")
        if not all(isinstance(field, str) for field in (host, session, folder)):
            return {}
        if not ids.is_inbox(str(host)) or not ids.is_label(str(session)):
            return {}
        theirs = neighbour_settings(self._state.settings, request.get("environ"))
        member = self._member(str(session))
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHIN_S):
                found = await self._identified(theirs, request, member)
                me = found.me
                asking = _Asking(
                    me,
                    member or self._only(me.id, str(host)),
                    self._memory.of(f"{host} {session}"),
                    urgent=request.get("urgent") is True,
                    answered=request.get("looked") is True,
                )
                mail = await self._look(asking)
                # From here on nothing is awaited: two hooks of a session may run at once.
                answer = self._answer(asking, mail)
                return self._with_remarks(answer, f"{host} {session}", found)
        return {}

    async def _identified(
        self, theirs: Settings, request: Mapping[str, Any], member: Member | None
    ) -> Identity:
        """Tell whose the hook is: its session's agent, whatever the folder would say by now."""
        found = await self._state.identified(
            self._state.naming(theirs, {"folder": request["folder"]})
        )
        if member is None or found.me.id == member.agent:
            return found
        return identity.find(Asked(theirs, member.agent, Path(request["folder"])))

    def _with_remarks(
        self, answer: dict[str, Any], conversation: str, found: Identity
    ) -> dict[str, Any]:
        """Add, once for each session, why it has not the name that one would expect."""
        is_probe = conversation.partition(" ")[2].startswith(ids.PROBE)
        if not found.remarks or is_probe or conversation in self._remarked:
            return answer
        self._remarked.add(conversation)
        told = filter(None, (answer.get("text"), *map(MODEL.hint, found.remarks)))
        return {**answer, "text": " ".join(told)}

    def _answer(self, asking: _Asking, mail: _Mail) -> dict[str, Any]:
        first = asking.told == Told()
        desk = self._state.desks.get(asking.me.id)
        news = asking.told.for_hook(
            mail.things,
            mail.lanes,
            under_way=desk.unread if desk else (),
            urgent=asking.urgent,
            answered=asking.answered,
        )
        if news.new != Counts():
            self._memory.save()
        line = "" if news.is_known else text(news.new, first=first)
        said = {"text": line, "person": notices.to_person(news.new)} if line else {}
        return {name: words for name, words in said.items() if words}

    def _member(self, session: str) -> Member | None:
        """Return the process that is of a host's session, which may have a new id since it came."""
        members = self._state.members.sessions
        for member in members:
            if member.host_session == session:
                return member
        for member in members:
            host = parent_of(member.pid) if hosts.named(member.host).notes_sessions else 0
            if host and current_session(host, self._state.settings.environ) == session:
                member.host_session = session
                return member
        return None

    def _only(self, agent: str, host: str) -> Member | None:
        """Return an agent's session in a host that tells its servers no id, if it is the only."""
        here = self._state.members.sessions_of(agent)
        member = here[0] if len(here) == 1 else None
        return member if member and member.host == host and not member.host_session else None

    async def _look(self, asking: _Asking) -> _Mail:
        """Return what waits for this session."""
        bus, me = self._state.bus, self._state.granted(asking.me)
        if not await bus.reconnected(0):
            return _Mail()
        try:
            stored = await backlog.stored(bus, me.inboxes)
        except ApiError as error:
            if error.code == NO_SUCH_STREAM:
                return _Mail()
            raise
        desk, wake_on = self._state.desks.get(me.id), self._state.wake_on(me.id)
        rest = [] if asking.urgent else [lane for lane in LANES if lane not in wake_on]
        looked, (told, others) = await both(
            demand.look_for_waking(bus, me.id, me.inboxes, wake_on=wake_on),
            both(
                answers.to_holders(bus, desk.asking if desk else ()),
                backlog.unseen(bus, me, stored, asking.told.seen, rest),
            ),
        )
        looked = await demand.judged(bus, me, looked)
        taken = [thing for thing in looked.things if thing.accepted]
        if asking.urgent:
            taken = await self._that_wake(me.id, taken)
        return _Mail(await self._for_session(asking, (*taken, *told)), others)

    async def _that_wake(self, agent: str, things: Sequence[Waiting]) -> list[Waiting]:
        """Leave out the tasks of those who may not wake an agent: to go on costs as a wake does."""
        await self._state.tell_own_apart(things)
        rules, trusted = self._state.settings.rules.get(agent), self._state.trusted()
        return [thing for thing in things if policy.may_wake(thing, rules, trusted)]

    async def _for_session(
        self, asking: _Asking, things: tuple[Waiting, ...]
    ) -> tuple[Waiting, ...]:
        """Leave out the results and answers that another session is shown, or that this one was."""
        member, state = asking.member, self._state
        # Of one conversation there may be more servers than one here.
        here = [other for other in state.members.all if member and _are_one(other, member)]
        mine = {"", *(process.session for process in here)}
        foreign = any(thing.session not in mine for thing in things)
        live = (
            await roster.live_sessions(state.bus, asking.me.id, killed=False)
            if foreign
            else frozenset()
        )
        about = {thing.shown_as for thing in things if thing.kind != "task"}
        shown = await together(*(state.shown(session, about) for session in mine))
        shown_here = frozenset[str]().union(*shown)
        return tuple(
            thing
            for thing in things
            if thing.session in mine or thing.session not in live
            if thing.kind == "task" or thing.shown_as not in shown_here
        )


def _are_one(process: Member, member: Member) -> bool:
    """Tell whether two processes are of one session of their host."""
    if process is member:
        return True
    return bool(member.host_session) and process.host_session == member.host_session
