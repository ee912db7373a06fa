# SPDX-License-Identifier: Apache-2.0
"""What goes on: who is at what, what needs a person, what waits and why, what ended last.

    >>> (await look(settings)).agents[0]
    AgentAtWork(id='coder', state='live session', held=(Past(...),), ...)

Made of what is known at one moment; it decides what is told, `screen` how.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from mcp_agentbus.archive import board
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.past import Past
from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import locks, text
from mcp_agentbus.core.children.descriptors import mend
from mcp_agentbus.core.ids import LANES, ROLE_PREFIX, Priority, address_of, is_agent
from mcp_agentbus.core.notices import FOR_A_PERSON, why_held
from mcp_agentbus.errors import NoListener
from mcp_agentbus.listener import status
from mcp_agentbus.overview.by_lane import Rests, resting
from mcp_agentbus.overview.case import Outgoing
from mcp_agentbus.overview.known import Known, known
from mcp_agentbus.overview.listener import Listener
from mcp_agentbus.overview.todo import todo_for
from mcp_agentbus.overview.why import Why, why
from mcp_agentbus.store.registered.presence import AWAY, PresenceState
from mcp_agentbus.store.task import DELIVER_MAX_S, EXPIRES_MAX_S
from mcp_agentbus.tools.answers.past import short
from mcp_agentbus.version import __version__
from mcp_agentbus.wakes.ledger import LedgerBroken
from mcp_agentbus.wakes.today import WakesToday, wakes_today

# No screen shows more; of the rest it is said how many there are.
_WAITS_MAX: Final = 30
_ENDED_MAX: Final = 10
_NEEDS_MAX: Final = 30
# Of those that nothing starts.
_NAMES_MAX: Final = 3
# A task is over by then, whatever became of it.
_OPEN_FOR: Final = timedelta(seconds=EXPIRES_MAX_S + DELIVER_MAX_S)
_WELL: Final = {"completed", "cancelled"}
# What is typed to a question; `agentbus deny` says no.
_ANSWERS: Final[Mapping[str, str]] = {
    "needs_approval": "agentbus approve {}", "needs_input": "agentbus answer {} TEXT",
}  # fmt: skip


@dataclass(frozen=True)
class AgentAtWork:
    """An agent, and what it is at."""

    id: str
    state: PresenceState
    last_seen: datetime | None = None
    #: What its sessions hold, the last first but for what waits for an answer, and since when.
    held: tuple[tuple[Past, datetime], ...] = ()
    #: By priority; a priority without any is left out.
    waiting: Mapping[Priority, int] = field(default_factory=dict)
    is_waking: bool = False  #: A wake is under way.
    asks: int = 0  #: How many of those that it holds wait for an answer.
    refused: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  #: `Listener.refused`.


@dataclass(frozen=True)
class Need:
    """Something that goes on only when a person does something."""

    kind: Literal["asks", "parked", "held", "broken"]
    #: The task or the agent, as it is typed; empty of the listener itself.
    about: str
    what: str
    todo: str
    task: Past | None = None
    since: datetime | None = None
    command: str = ""  #: What is typed first, where there is room for no more.

    def order(self) -> int:
        """Return what sorts it: what is broken, then what is urgent, then the rest."""
        if self.kind == "broken":
            return -1
        return LANES.index(self.task.priority if self.task else "normal")


@dataclass(frozen=True)
class Waits:
    """Tasks that wait in one lane of an inbox, for the same reason."""

    inbox: str
    priority: Priority
    count: int
    #: None where it is not known which one that is.
    oldest: Past | None
    why: Why


@dataclass(frozen=True)
class Ended:
    """A task that is over."""

    task: Past
    at: datetime
    why: Why


@dataclass(frozen=True)
class Situation:
    """What goes on."""

    now: datetime
    #: Where the server is; empty if it was not reached, then `away_says` why.
    server: str
    away_says: str
    #: It was not reached, and is not known to be stopped either.
    is_out_of_reach: bool = field(default=False, kw_only=True)
    listener: Listener
    agents: tuple[AgentAtWork, ...] = ()
    needs: tuple[Need, ...] = ()
    more_needs: int = 0  #: How many are not among `needs`.
    waits: tuple[Waits, ...] = ()
    waiting: int = 0  #: Tasks that wait, also in lanes that are not among `waits`.
    #: Tasks on the bus of which the archive does not know yet, if it does not know all.
    unread: int = 0
    ended: tuple[Ended, ...] = ()
    more_ended: bool = False  #: Whether there are others than `ended`.
    wakes: WakesToday | None = None
    extent: Extent = field(default_factory=Extent)
    notes: tuple[str, ...] = ()
    #: The archive cannot be read, as `notes` say: what is not told may have been all the same.
    is_unread: bool = False
    outgoing: Outgoing = field(default_factory=Outgoing)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever sent, as far as is known."""
        held = [agent for agent in self.agents if agent.held]
        return not (self.waits or self.ended or self.outgoing.waits or held)


async def look(settings: Settings, open_bus: Bus | None = None) -> Situation:
    """Find out what goes on; see `known`."""
    async with known(settings, open_bus) as here:
        wakes, broken = await asyncio.to_thread(_wakes_today, settings)
        held = [task for task in here.held if here.holder_lives(task) is not False]
        waits = resting(here)
        shown = tuple(_explained(here, some) for some in waits[:_WAITS_MAX])
        needs = (
            *_unwoken(here, waits), *_asked(here), *_parked(here), *_held_back(here),
            *_broken(here), *broken,
        )  # fmt: skip
        ended = _ended(here)
        return Situation(
            now=here.now,
            server=await asyncio.to_thread(_server, here),
            away_says=here.away_says,
            is_out_of_reach=here.bus is None and await asyncio.to_thread(_may_run, settings),
            listener=here.listener,
            agents=_agents(here, held, waits),
            needs=tuple(sorted(needs, key=Need.order))[:_NEEDS_MAX],
            more_needs=max(0, len(needs) - _NEEDS_MAX),
            waits=shown,
            waiting=sum(some.count for some in waits),
            unread=_unread(here, waits, held),
            # What went wrong is not to be looked for among what did not.
            ended=tuple(sorted(ended[:_ENDED_MAX], key=lambda each: each.task.state in _WELL)),
            more_ended=len(ended) > _ENDED_MAX,
            wakes=wakes,
            extent=here.current.extent,
            notes=(*here.current.notes, *_removed(here)),
            is_unread=here.current.is_unread,
            outgoing=here.outgoing,
        )


def _server(here: Known) -> str:
    if here.bus is None:
        return ""
    if here.settings.url:
        return here.settings.url
    server = embedded.find(here.settings)
    return server.url if server else ""


def _removed(here: Known) -> tuple[str, ...]:
    """Return what is said of tasks that were removed and may be open yet."""
    removed = here.current.extent.to_be_told(here.now - _OPEN_FOR, is_open=True).removed
    return tuple(each.says for each in removed)


def _may_run(settings: Settings) -> bool:
    """Tell whether a server that was not reached may run: a shared one, or one that hangs."""
    if settings.url is not None:
        return True
    with suppress(OSError):
        return locks.is_held(Files(settings.data_dir).lock)
    return False


def _unread(here: Known, waits: Iterable[Rests], held: Sequence[Past]) -> int:
    if here.bus is None or here.current.extent.is_whole:
        return 0
    told = sum(some.count for some in waits if not some.is_early) + len(held)
    return max(0, sum(here.bus.stored.values()) - told)


def _explained(here: Known, some: Rests) -> Waits:
    reason = why(here.case(some.oldest)) if some.oldest else Why("", "", "")
    return Waits(some.inbox, some.priority, some.count, some.oldest, reason)


def _agents(here: Known, held: Iterable[Past], waits: Iterable[Rests]) -> tuple[AgentAtWork, ...]:
    """Return all agents, those that are at something first."""
    in_hand: dict[str, list[tuple[Past, datetime]]] = {}
    asks = {task for task in held if _is_asking(here, task)}
    for task in sorted(held, key=asks.__contains__):  # what it is at comes first
        in_hand.setdefault(task.agent, []).append((task, _since(here, task)))
    waiting: dict[str, dict[Priority, int]] = {}
    for some in waits:
        lanes = waiting.setdefault(some.inbox, {})
        lanes[some.priority] = lanes.get(some.priority, 0) + some.count
    entries = here.bus.entries if here.bus else {}
    known_ids = {*entries, *here.settings.agents, *in_hand, *waiting}
    agents = [
        AgentAtWork(
            id=name,
            state=entries[name].state if name in entries else "not known",
            last_seen=entries[name].last_seen if name in entries else None,
            held=tuple(in_hand.get(name, ())),
            asks=sum(task in asks for task, _ in in_hand.get(name, ())),
            waiting=waiting.get(name, {}),
            is_waking=bool((word := here.word_of(name)) and word.waking),
            refused=here.listener.refused(name),
        )
        for name in known_ids
        if is_agent(name)
    ]
    return tuple(sorted(agents, key=_order))


def _is_asking(here: Known, task: Past) -> bool:
    question = here.case(task).task.question
    return question is not None and question.is_open


def _since(here: Known, task: Past) -> datetime:
    return here.case(task).claimed_at or task.updated_at


def _order(agent: AgentAtWork) -> tuple[bool, bool, bool, float, str]:
    """Return what sorts agents: at work, open, waited for; then whom was seen last."""
    seen = agent.last_seen.timestamp() if agent.last_seen else 0.0
    is_open = agent.state == "live session"
    return not (agent.held or agent.is_waking), not is_open, not agent.waiting, -seen, agent.id


def _asked(here: Known) -> Iterable[Need]:
    """Tell of each open question, whether or not the session that asked it is still there."""
    for task in (*here.held, *here.asking):
        case = here.case(task)
        question = case.task.question
        if question and question.is_open:
            answer = why(case)
            what = f"{question.by} {answer.brief}"
            about = case.task, question.at, _ANSWERS[question.state].format(short(task.task_id))
            yield Need("asks", task.task_id, what, answer.todo, *about)


def _unwoken(here: Known, waits: Iterable[Rests]) -> Iterable[Need]:
    """Tell of what is to wake agents where no session is open, and nothing starts one: in one."""
    urgent = [some for some in waits if _is_unwoken(here, some)]
    tasks = [some.oldest for some in urgent if some.oldest]
    if not tasks:
        return
    first = min(tasks, key=lambda task: task.created_at)
    reason, todo = "no listener runs", NoListener.hint
    if here.listener.state != "stopped":
        names = list(dict.fromkeys(address_of(task.inbox) for task in (first, *tasks)))
        shown = names[:_NAMES_MAX]
        if len(names) > _NAMES_MAX:
            shown.append(f"{len(names) - _NAMES_MAX} more")
        *others, last = shown
        listed = f"{', '.join(others)} or {last}" if others else last
        reason = f"nothing starts {listed}"
        todo = why(here.case(first)).todo
    priorities = {some.priority for some in urgent}
    which = " or ".join(lane for lane in LANES if lane in priorities)
    count = sum(some.count for some in urgent) - 1
    what = f"and {count} more are {which} and wake" if count else f"is {which} and wakes"
    about = first, first.created_at, _typed_first(todo)
    yield Need("held", first.task_id, f"{what} nobody: {reason}", todo, *about)


def _is_unwoken(here: Known, some: Rests) -> bool:
    if here.bus is None or here.listener.state in {"silent", "foreign"}:
        return False
    entry = here.entry(some.inbox)
    wakes = some.priority in here.wake_on(some.inbox)
    if not wakes or some.is_word or some.is_early or some.oldest is None:
        return False
    if not here.is_here(some.inbox) or entry is None or entry.state not in AWAY:
        return False
    # A listener that looks after it says itself why it is held.
    return here.listener.state == "stopped" or not here.word(some.inbox)


def _typed_first(todo: str) -> str:
    """Return the command with which it begins, if it does."""
    return todo.split("`")[1] if todo.startswith(("`", "Run `")) else ""


def _parked(here: Known) -> Iterable[Need]:
    parked = dict(here.bus.parked if here.bus else board.parked(here.current.archive))
    if nobodys := parked.pop("", 0):
        what = f"{text.many(nobodys, 'task')} set aside for nobody who can be one"
        yield Need("parked", "", what, "`agentbus doctor --fix` removes what nobody can read.")
    for inbox, count in sorted(parked.items()):
        agent = "ID" if inbox.startswith(ROLE_PREFIX) else inbox
        command, what = f"agentbus parked --agent {agent}", f"{text.many(count, 'task')} set aside"
        todo = f"`{command}` says why; `agentbus replay` offers one again."
        yield Need("parked", address_of(inbox), what, todo, command=command)


def _held_back(here: Known) -> Iterable[Need]:
    for said in here.listener.answer.get("agents", ()):
        if said["reason"] in FOR_A_PERSON:
            agent, reason = said["agent"], said["reason"]
            lacks = said.get("not_started") or ""
            todo = todo_for(reason, agent, host=said.get("host") or "", is_begun=not lacks)
            what = f"wake held: {why_held(reason, lacks)}"
            yield Need("held", agent, what, todo, command=_typed_first(todo))


def _broken(here: Known) -> Iterable[Need]:
    """Tell of what does not work at the listener."""
    answer = here.listener.answer
    if here.listener.state == "silent":
        yield Need("broken", "", "the listener does not answer", here.listener.says)
        return
    if not answer:
        return
    doctor = "`agentbus doctor` says how to mend it."
    if answer["version"] != __version__:
        what = f"the listener is of version {answer['version']}, this is {__version__}"
        yield Need("broken", "", what, "`agentbus listen --replace`.")
    if elsewhere := answer["elsewhere"]:
        yield Need("broken", "", f"the listener is another one: {elsewhere}", status.ELSEWHERE)
    if here.bus and answer["away_since"]:
        what = "the listener does not reach the bus, and wakes nobody"
        yield Need("broken", "", what, doctor)
    for part, what in (
        ("ledger", "the listener holds every wake"),
        ("config", "the listener goes on with the rules of before"),
    ):
        if answer[part] != "ok":
            yield Need("broken", "", f"{what}: {answer[part]}", doctor)
    for failure in answer.get("failures", ()):
        yield Need("broken", "", f"the listener failed inside: {failure}", mend(failure))


def _ended(here: Known) -> list[Ended]:
    """Return what is over, the latest first: one more than is shown, if there are so many."""
    archive, count = here.current.archive, _ENDED_MAX + 1
    overdue = board.overdue(archive, here.now, count)
    over = [_over(here, task) for task in (*overdue, *board.ended(archive, count))]
    return sorted(over, key=lambda each: each.at, reverse=True)[:count]


def _over(here: Known, task: Past) -> Ended:
    case = here.case(task)
    at = task.expires_at if task.state == "expired" else case.ended_at
    return Ended(task, at or task.updated_at, why(case))


def _wakes_today(settings: Settings) -> tuple[WakesToday | None, tuple[Need, ...]]:
    """Return what wakes cost today, as this machine has it, and what is wrong with their record."""
    try:
        return wakes_today(settings), ()
    except LedgerBroken as error:
        return None, (Need("broken", "", str(error), error.hint),)
