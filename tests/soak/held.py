# SPDX-License-Identifier: Apache-2.0
"""What the server of a run holds once all is done, as its bytes say.

>>> Lane("ana", "low", stored=2, pending=1, held=1)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Record:
    """The record of a task's life, as its bytes say."""

    state: str
    summary: str
    #: Its states, oldest first.
    states: tuple[str, ...]


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
