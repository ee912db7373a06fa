# SPDX-License-Identifier: Apache-2.0
"""The sessions that live on this machine, and what the process of one can be asked to do.

    members = Members()
    member = members.enter(request, pid, writer)         # until members.leave(member)
    members.of("coder"), members.sessions_of("coder")    # (member, its monitor), (member,)
    await members.nudge(member, "1 task waits ...")      # "", or why it was not shown

A session is there for as long as its connection is: one that was killed is gone at once, whatever
it left behind. A window of a host may have two processes here, that of its session and a monitor,
which shows notices in that one's place: they count as one session. What becomes of an agent whose
session comes or goes is the `loop`'s.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_agentbus.config.tables import ROLES_MAX
from mcp_agentbus.core import ids, processes
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput
from mcp_agentbus.relay import local_socket
from mcp_agentbus.version import __version__
from mcp_agentbus.wakes.facts import Reached

#: A session that takes longer to pass a notice on counts as one that cannot.
NUDGE_TIMEOUT_S: Final = 5.0
# A session says itself for how many seconds it may still be a probe; it is 2 (`relay.member`).
_YOUNG_MAX_S: Final = 3600.0
# A host starts a session's server and its monitor at once; each joins once it has lived for 2 s.
_MONITOR_COMES_S: Final = 5.0
# One that serves itself says at once what it has shown: a hook waits for that, for 0.2 s in all.
_SHOWN_TIMEOUT_S: Final = 0.1
#: Why such a notice was not shown, as far as is known.
HANGS: Final = "its session did not take the notice"
# More sessions than one user opens; stops a program that opens them in a loop.
_MEMBERS_MAX: Final = 500
# As PEP 440 spells them.
_VERSION: Final = re.compile(r"[0-9A-Za-z.!+-]{1,64}")
# Of what a session says about a notice that it did not show.
_WHY_MAX_CHARS: Final = 200


@dataclass(eq=False)
class Member:
    """A live session of this machine, or a monitor."""

    agent: str
    host: str
    session: str
    #: Of its process, as the kernel knows it.
    pid: int
    #: Of agentbus, as its process was started; empty if it has told none.
    version: str
    #: Whether its own process can put a notice before its model.
    can_nudge: bool
    #: The host's own id of the conversation; empty if it has told none.
    host_session: str
    writer: asyncio.StreamWriter
    is_monitor: bool = False
    #: Whether its host starts one beside it.
    has_monitor: bool = False
    #: Whether it takes tasks without being told, as a worker.
    reads_by_itself: bool = False
    #: The shared inboxes that it reads besides its agent's own.
    roles: tuple[str, ...] = ()
    #: `host_session` as it joined; that one may change, as by `/clear`.
    started_in: str = ""
    #: Monotonic, as `called_at`, which is when a tool was last called in it; 0 if none was.
    joined_at: float = field(default_factory=time.monotonic)
    called_at: float = 0.0
    #: What it is to answer yet, by the number of the question.
    answers: dict[int, asyncio.Future[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def me(self) -> Agent:
        """Who it is."""
        return Agent(self.agent, self.host)

    @property
    def about(self) -> dict[str, Any]:
        """What a log says of it."""
        return {"pid": self.pid, "can_nudge": self.can_nudge}

    @property
    def conversation(self) -> str:
        """How its hooks name it, `HOST ID`; empty if its host has told no id."""
        return f"{self.host} {self.host_session}" if self.host_session else ""

    def say(self, message: Mapping[str, Any]) -> None:
        """Send its process a line."""
        self.writer.write(local_socket.line(message))


class Members:
    """The live sessions."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        #: By number: an agent's session that is not let in yet, and until when; monotonic.
        self._arriving: dict[int, tuple[str, float]] = {}
        self._numbers = itertools.count(1)

    @property
    def all(self) -> tuple[Member, ...]:
        """All that have joined, the one that was used last first."""
        return tuple(
            sorted(
                self._members.values(),
                key=lambda member: (member.called_at, member.joined_at),
                reverse=True,
            )
        )

    def of(self, agent: str) -> tuple[Member, ...]:
        """An agent's live sessions and their monitors, the one that was used last first."""
        return tuple(member for member in self.all if self.session_of(member).agent == agent)

    @property
    def sessions(self) -> tuple[Member, ...]:
        """The live sessions, the one that was used last first; a monitor alone counts as one."""
        return tuple(member for member in self.all if self.session_of(member) is member)

    def sessions_of(self, agent: str) -> tuple[Member, ...]:
        """Those of an agent."""
        return tuple(member for member in self.sessions if member.agent == agent)

    def other_versions_of(self, agent: str) -> tuple[str, ...]:
        """The other versions of agentbus that they are of; an empty one is not known."""
        versions = {each.version for each in self.sessions_of(agent)}
        return tuple(sorted(versions - {__version__}))

    def reached(self, agent: str) -> Reached:
        """Return whether an agent has live sessions, and how one comes to know of a task."""
        here = self.of(agent)
        if any(member.can_nudge for member in here):
            return "can_be_told"
        if any(member.reads_by_itself for member in here):
            return "reads_by_itself"
        return "cannot_be_told" if here else "none"

    def roles_of(self, agent: str) -> tuple[str, ...]:
        """The roles that one of them reads."""
        return tuple(sorted({role for each in self.sessions_of(agent) for role in each.roles}))

    def session_of(self, member: Member) -> Member:
        """Return the session in whose window a monitor runs; itself if it is none, or has none."""
        if not member.is_monitor or not member.started_in:
            return member
        window = (member.host, member.started_in)
        there = [
            other
            for other in self._members.values()
            if not other.is_monitor and (other.host, other.started_in) == window
        ]
        if len(there) > 1:  # one conversation in two windows, or two servers in one
            above = processes.above(member.pid)
            there.sort(key=lambda other: (_apart(above, other.pid), other.agent != member.agent))
        return there[0] if there else member

    def monitor_comes_s(self, agent: str) -> float:
        """Return for how long a monitor of one of its sessions may be about to join; 0: none is."""
        accompanied = {self.session_of(member) for member in self.all if member.is_monitor}
        since = time.monotonic() - _MONITOR_COMES_S
        alone = (member for member in self.sessions_of(agent) if member not in accompanied)
        left = (member.joined_at - since for member in alone if member.has_monitor)
        return max(0.0, *left, 0.0)

    def get(self, session: str) -> Member | None:
        """Return a session, if it is there."""
        return self._members.get(session)

    def enter(self, request: Mapping[str, Any], pid: int, writer: asyncio.StreamWriter) -> Member:
        """Let a session in that has asked for it, and tell it so.

        Raises:
            BadInput: it does not say who it is, or too many are here.
        """
        member = _member(request, pid, writer)
        if len(self._members) >= _MEMBERS_MAX:
            raise BadInput("Too many sessions are open.")
        self._members[member.session] = member
        member.say({"joined": member.session, "agent": member.agent})
        return member

    async def arrival(
        self, request: Mapping[str, Any], reader: asyncio.StreamReader
    ) -> bytes | None:
        """Wait until a new session has lived for long enough, or says something, or has ended.

        Until then no other process knows of it; but no host is started beside it. Returns the line
        that it has said, nothing if it has ended, and None if it only lives.
        """
        young_s = request.get("young_s")
        if not isinstance(young_s, int | float) or not 0 < young_s <= _YOUNG_MAX_S:
            return None
        number = next(self._numbers)
        self._arriving[number] = str(request.get("agent", "")), time.monotonic() + young_s
        try:
            async with asyncio.timeout(young_s):
                return await reader.readline()
        except TimeoutError:
            return None
        finally:
            del self._arriving[number]

    def arrived_by(self, agent: str) -> float:
        """Return when the last of an agent's sessions that arrive is let in, monotonic; or 0."""
        return max((until for of, until in self._arriving.values() if of == agent), default=0.0)

    def leave(self, member: Member) -> bool:
        """Forget a session whose connection has ended; tell whether no other has its place."""
        is_gone = self._members.get(member.session) is member
        if is_gone:
            del self._members[member.session]
        for answer in member.answers.values():
            if not answer.done():
                answer.set_result({"why": "its session has ended"})
        return is_gone

    def close(self) -> None:
        """End all connections; the sessions go on without a listener."""
        for member in self._members.values():
            member.writer.close()

    async def nudge(self, member: Member, text: str) -> str:
        """Have a session's own process show a notice; return "" or why it was not shown."""
        try:
            answer = await self._ask(member, {"op": "nudge", "text": text}, NUDGE_TIMEOUT_S)
        except OSError:
            return HANGS
        return "" if answer.get("shown") is True else str(answer.get("why", ""))[:_WHY_MAX_CHARS]

    async def shown(self, member: Member, results: Collection[str]) -> frozenset[str]:
        """Return those of these tasks whose results a session that serves itself has shown.

        One that does not say so at once counts as one that has shown none.
        """
        try:
            question = {"op": "shown", "results": sorted(results)}
            answer = await self._ask(member, question, _SHOWN_TIMEOUT_S)
        except OSError:
            return frozenset()
        shown = answer.get("results")
        return frozenset(results).intersection(shown if isinstance(shown, list) else ())

    async def _ask(
        self, member: Member, question: Mapping[str, Any], within_s: float
    ) -> Mapping[str, Any]:
        number = next(self._numbers)
        member.answers[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within_s):
                member.say({**question, "n": number})
                await member.writer.drain()
                return await member.answers[number]
        finally:
            del member.answers[number]

    def answered(self, member: Member, answer: Mapping[str, Any]) -> None:
        """Pass a session's answer on to whoever waits for it; late ones are dropped."""
        waiting = member.answers.get(answer.get("n", 0))
        if waiting and not waiting.done():
            waiting.set_result(answer)


def roles_of(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the roles that a session says that it reads; what is none is left out."""
    roles = said.get("roles")
    given = roles if isinstance(roles, list | tuple) else ()
    return tuple(dict.fromkeys(filter(ids.is_role, given)))[:ROLES_MAX]


def _version(said: Mapping[str, Any]) -> str:
    """Return of which version a session says that it is; what is none is left out."""
    version = said.get("version")
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else ""


def _apart(above: Sequence[int], pid: int) -> int:
    """Return how many steps up the nearest process is that another one descends from, too."""
    steps = (above.index(other) for other in processes.above(pid) if other in above)
    return min(steps, default=len(above))


def _member(request: Mapping[str, Any], pid: int, writer: asyncio.StreamWriter) -> Member:
    session, host = str(request.get("session", "")), str(request.get("host", ""))
    host_session = str(request.get("host_session", ""))
    if not ids.is_label(session) or not ids.is_inbox(host):
        raise BadInput("A session joins with its id and its host.")
    conversation = host_session if ids.is_label(host_session) else ""
    return Member(
        agent=ids.agent_id(str(request.get("agent", ""))),
        host=host,
        session=session,
        pid=pid,
        version=_version(request),
        can_nudge=request.get("can_nudge") is True,
        host_session=conversation,
        writer=writer,
        is_monitor=request.get("is_monitor") is True,
        has_monitor=request.get("has_monitor") is True,
        reads_by_itself=request.get("reads_by_itself") is True,
        roles=roles_of(request),
        started_in=conversation,
    )
