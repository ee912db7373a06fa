# SPDX-License-Identifier: Apache-2.0
"""What the server of a run holds once all is done, as its bytes say.

>>> Lane("ana", "low", stored=2, pending=1, held=1)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ledger import ENDS, HELD


@dataclass(frozen=True)
class Record:
    """The record of a task's life, as its bytes say."""

    state: str
    summary: str
    #: Its states, oldest first.
    states: tuple[str, ...]
    #: The session whose task it is, and which revision of it its sender's side has seen of which.
    owner: str = ""
    seen: int = 0
    revision: int = 0


@dataclass(frozen=True)
class Archived:
    """A task as the archive has it."""

    state: str
    #: The states of all steps that it knows.
    states: frozenset[str]


@dataclass(frozen=True)
class Lane:
    """A lane of an inbox, by the server's own counts and by what lies there."""

    inbox: str
    lane: str
    stored: int
    pending: int
    held: int


@dataclass(frozen=True)
class Contents:
    """What the server holds once all is done; tasks by their ids."""

    records: dict[str, Record] = field(default_factory=dict)
    #: The token of each task of which its sender's record is there.
    sent: dict[str, str] = field(default_factory=dict)
    #: The lane in which an unfinished message of a task lies.
    waiting: dict[str, tuple[str, str]] = field(default_factory=dict)
    scheduled: frozenset[str] = frozenset()
    lanes: tuple[Lane, ...] = ()
    #: What `agentbus agents` says waits, by inbox.
    listed: dict[str, int] = field(default_factory=dict)
    #: What `agentbus export` says of each task; None: it was not asked.
    archived: dict[str, Archived] | None = None


def unarchived(contents: Contents) -> Iterator[tuple[str, str]]:
    """Return the tasks of which the archive does not know all that the server does, and what."""
    if contents.archived is None:
        return
    for task in contents.sent.keys() | contents.records.keys():
        known, record = contents.archived.get(task), contents.records.get(task)
        if known is None:
            yield task, "the archive does not know it"
        elif record and known.state != record.state:
            yield task, f"the archive says {known.state}, the record {record.state}"
        elif record and (missing := set(record.states) - known.states):
            yield task, f"the archive lacks its steps: {', '.join(sorted(missing))}"


def miscounted(contents: Contents) -> Iterator[str]:
    """Return what the server or `agentbus agents` counts otherwise than it is there."""
    for lane in contents.lanes:
        # A server that is killed as it takes a finished task out may keep it, and offers it to nobody.
        kept = sum(
            place == (lane.inbox, lane.lane) and has_ended(contents, task)
            for task, place in contents.waiting.items()
        )
        # And what it has taken out it may count as handed out, until it offers it again.
        if not lane.pending <= lane.stored <= lane.pending + lane.held + kept:
            told = f"{lane.inbox}/{lane.lane}: {lane.stored} stored, {lane.pending} pending"
            yield f"{told}, {lane.held} handed out"
    for inbox, count in contents.listed.items():
        free, held = _open(contents, inbox)
        # Of what is held it depends on whether its holder lives.
        if not free <= count <= free + held:
            yield f"{inbox}: {count} listed, {free} free, {held} held"


def _open(contents: Contents, inbox: str) -> tuple[int, int]:
    """Return how many tasks of an inbox wait for anybody, and how many are somebody's."""
    there = [task for task, (whose, _) in contents.waiting.items() if whose == inbox]
    tasks = [task for task in there if not has_ended(contents, task)]
    held = sum(task in contents.records and contents.records[task].state in HELD for task in tasks)
    return len(tasks) - held, held


def has_ended(contents: Contents, task: str) -> bool:
    """Tell whether a task's record says that it is over."""
    record = contents.records.get(task)
    return record is not None and record.state in ENDS
