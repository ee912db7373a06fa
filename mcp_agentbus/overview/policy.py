# SPDX-License-Identifier: Apache-2.0
"""What would become of a task of one agent to another now: known, taken, woken for, limited.

    >>> async with known(settings) as here:
    ...     explain(here, "planner", "coder").agents[0].accepted
    True

It decides nothing by itself: what it tells is asked of those who decide. Ids and this program's
own sentences, nothing that a peer wrote.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Final

from mcp_agentbus.core import text
from mcp_agentbus.core.ids import (
    LANES,
    ROLE_PREFIX,
    Priority,
    accepts,
    address_of,
    agent_id,
    inbox_of,
)
from mcp_agentbus.core.notices import takes
from mcp_agentbus.handoff.dispatch.rate import SENT_A_MINUTE
from mcp_agentbus.handoff.views.own_agents import known_here
from mcp_agentbus.overview.known import Known
from mcp_agentbus.overview.why import why
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.task import Task
from mcp_agentbus.tools.answers.words import clock, whether_there
from mcp_agentbus.wakes.facts import Facts, Hold, Waiting
from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken
from mcp_agentbus.wakes.policy import decide

# Of a role: whoever is on the bus may say that thousands hold it.
_READERS_MAX: Final = 20


@dataclass(frozen=True)
class LanePolicy:
    """What a task of one priority does."""

    priority: Priority
    #: Whether it wakes its agent now; None: not known.
    wakes: bool | None
    sentence: str
    #: What a person can do about it; empty for nothing.
    todo: str = ""
    #: Until when a wake is held at least, by the clock; empty if that is not a matter of time.
    until: str = ""


@dataclass(frozen=True)
class Candidate:
    """One agent that may have the task."""

    id: str
    state: str
    accepted: bool
    #: Whose tasks it takes, and who says so.
    rule: str
    #: Its wake profile by config.toml here; empty if it has none here.
    profile: str = ""
    lanes: tuple[LanePolicy, ...] = ()


@dataclass(frozen=True)
class Explained:
    """An answer."""

    sender: str
    to: str
    #: Who may have it; none if nobody of that name is known.
    agents: tuple[Candidate, ...]
    #: What is to be known besides, a sentence each.
    notes: tuple[str, ...] = ()

    @property
    def data(self) -> dict[str, Any]:
        """The same for a program."""
        agents = [asdict(each) for each in self.agents]
        rate = {"mcp_tasks_a_minute": SENT_A_MINUTE}
        notes = list(self.notes)
        return {"from": self.sender, "to": self.to, "agents": agents, "limit": rate, "notes": notes}

    @property
    def text(self) -> str:
        """The same for a person."""
        lines = [f"A task of {self.sender} to {self.to}, sent now:", *self.notes]
        for each in self.agents:
            lines.append(f"{whether_there(each.id, each.state)}. {each.rule}.")
            if each.profile:
                lines.append(f"  wake profile {each.profile}, by config.toml here")
            for lane in each.lanes:
                until = f" (until {lane.until})" if lane.until else ""
                lines.append(f"  {lane.priority}: {lane.sentence}{until}")
                lines += [f"    {lane.todo}"] if lane.todo else []
        lines.append(
            f"MCP sessions of {self.sender} send {SENT_A_MINUTE} tasks a minute at most; commands, "
            "workers and Python as much as there is room for."
        )
        return "\n".join(lines)


def explain(here: Known, sender: str, to: str) -> Explained:
    """Return what would become of a task now.

    Raises:
        BadInput: one of both is no agent, nor `to` a role.
    """
    inbox = inbox_of(to)
    if here.bus is None:
        return Explained(agent_id(sender), to, (), (f"The bus is away: {here.away_says}",))
    entries = here.bus.entries
    is_role, role = inbox.startswith(ROLE_PREFIX), inbox.removeprefix(ROLE_PREFIX)
    readers = [each for each in entries.values() if each.id == inbox]
    if is_role:
        readers = [each for each in entries.values() if role in each.roles]
    notes = []
    if not readers:
        who = f"no registered agent holds {to}" if is_role else f"no agent {to} is registered"
        notes.append(f"It is refused: {who}. `agentbus agents` shows who is known.")
    if agent_id(sender) not in entries:
        first = "the first call of a tool in a session of it, or from `agentbus agent add`, on"
        notes.append(f"{sender} is not registered yet: it is from {first}.")
    elif not any(_accepted(here, each, sender) for each in readers) and readers:
        notes.append("It is refused, and nothing is stored.")
    if (more := len(readers) - _READERS_MAX) > 0:
        notes.append(f"Not shown: {more} more that hold that role.")
    file = here.settings.ledger_file
    with closing(Ledger(file)) as ledger:
        asked = _Asked(here, sender, inbox, ledger if file.exists() else None)
        told = tuple(_reader(asked, each) for each in readers[:_READERS_MAX])
    return Explained(sender, to, told, tuple(notes))


@dataclass(frozen=True)
class _Asked:
    """What is asked, and what is known about it."""

    here: Known
    sender: str
    inbox: str
    #: None if nobody was ever woken: to read one would make it.
    ledger: Ledger | None


def _accept_from(here: Known, entry: Entry) -> tuple[str, ...]:
    """Return whose tasks an agent takes: by config.toml, as it claims, or else by its own word."""
    mine = here.settings.agents.get(entry.id) if here.is_here(entry.id) else None
    return mine.accept_from if mine else entry.accept_from


def _accepted(here: Known, entry: Entry, sender: str) -> bool:
    known = here.bus.entries.get(sender) if here.bus else None
    roles = known.roles if known else ()
    return accepts(entry.id, _accept_from(here, entry), sender, roles)


def _reader(asked: _Asked, entry: Entry) -> Candidate:
    here = asked.here
    accepted = _accepted(here, entry, asked.sender)
    rules = here.settings.rules.get(entry.id)
    by = "accept_from in config.toml here" if entry.id in here.settings.agents else "its word"
    rule = f"{takes(entry.id, _accept_from(here, entry))}, by {by}"
    lanes = [_lane(asked, entry, lane) for lane in LANES] if accepted else []
    state = "in a live session" if entry.state == "live session" else entry.state
    return Candidate(entry.id, state, accepted, rule, rules.profile if rules else "", tuple(lanes))


def _lane(asked: _Asked, entry: Entry, lane: Priority) -> LanePolicy:
    """Return what a task of that priority does, in the words of `why`."""
    here, sender = asked.here, asked.sender
    held = entry.held_for(sender, lane)
    if held == "" and lane in here.wake_on(entry.id):
        return LanePolicy(lane, wakes=True, sentence="its listener wakes it")
    task = Task(
        id="0" * 32, sender=sender, to=entry.id, subject="", body="", priority=lane,
        thread_id="", created_at=here.now, expires_at=here.now + timedelta(days=1),
    )  # fmt: skip
    # What its listener says is of what waits there now, which this is not.
    case = replace(here.case(here.unlisted(task)), word=None)
    answer = why(case)
    until = _until(asked, entry.id, lane)
    return LanePolicy(lane, wakes=False, sentence=answer.sentence, todo=answer.todo, until=until)


def _until(asked: _Asked, agent: str, lane: Priority) -> str:
    """Return until when a wake would be held, by the rules here; empty if that is not known."""
    settings, ledger, sender = asked.here.settings, asked.ledger, asked.sender
    rules = settings.rules.get(agent)
    if rules is None or lane not in rules.wake_on:
        return ""
    with suppress(LedgerBroken):
        now = text.now().astimezone()  # as its listener has it, who has written those times
        trusted = None
        if settings.url is not None:
            trusted = frozenset({*known_here(settings), *(ledger.remembered() if ledger else ())})
        thing = Waiting.of_task("", sender, address_of(asked.inbox), lane)
        past = ledger.past(agent, now) if ledger else ()
        decision = decide(Facts(now, rules, (thing,), past=past, trusted=trusted))
        if isinstance(decision, Hold) and decision.until:
            return clock(decision.until, now)
    return ""
