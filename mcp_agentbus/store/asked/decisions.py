# SPDX-License-Identifier: Apache-2.0
"""What a worker's own user has decided about what it asks: approved or denied, on this machine.

    >>> keep(state_dir, record, Decision(approved=True, note="only main", at=now()))
    >>> kept(state_dir, record).approved
    True

It is never on the bus, where whoever has the token could make one up: it lies in this user's own
folder, a 0600 file a task, and counts for the very question, of that time and with those words,
that its user has seen. Whoever changes a stored question has nothing approved.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from mcp_agentbus.core.files import (
    check_private,
    forget_older,
    own_folder,
    read_whole,
    write_whole,
)
from mcp_agentbus.core.framing import one_line
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.store.steps import asked_in, question_of
from mcp_agentbus.store.task import EXPIRES_MAX_S, Record, Task, utc

#: Of what a person says with it, in characters.
NOTE_MAX_CHARS: Final = 500
#: As a step of its task's life: of a decision, and of what its worker does after it.
STEPS: Final = {True: "approved", False: "denied"}
AFTER: Final = {
    True: "its user had approved what it asked",
    False: "its user had denied what it asked",
}
# What a file raises that is not as it is written here.
_UNREADABLE: Final = (OSError, ValueError, LookupError, TypeError, BadSetup)


@dataclass(frozen=True)
class Decision:
    """What a person has decided."""

    approved: bool
    #: What that person says with it; may be empty.
    note: str
    at: datetime
    #: By `text_of`, which text of the task that person was shown; empty in an earlier version's.
    task: str = ""

    @property
    def word(self) -> str:
        """What it is, so that nobody reads over a no."""
        return "APPROVED" if self.approved else "DENIED"

    def told(self, task_id: str) -> str:
        """Return it as its worker is told, in its user's words: in no frame."""
        note = f', with the words "{one_line(self.note, NOTE_MAX_CHARS)}"' if self.note else ""
        when = f"{self.at:%Y-%m-%d %H:%M:%SZ}"
        return f"Your user has {self.word} this about task {task_id}, {when}{note}"


def keep(folder: Path, record: Record, decision: Decision) -> None:
    """Write a decision about a record's question down, in the place of an earlier one.

    Raises:
        BadSetup, OSError: as `own_folder` and `write_whole`.
    """
    file = _file(folder, record)
    own_folder(file.parent)
    # Those that no task can need any more, whose workers never read them.
    asked = question_of(record)
    come = asked.at if asked else record.updated_at
    forget_older(file.parent, "*.json", EXPIRES_MAX_S, come.timestamp())
    kept_of_it = {
        "question": _question(record),
        "approved": decision.approved,
        "note": decision.note,
        "at": decision.at.isoformat(),
        "task": decision.task,
    }
    write_whole(file, json.dumps(kept_of_it).encode())


def kept(folder: Path, record: Record, task: Task | None = None) -> Decision | None:
    """Return what was decided about a record's question; None if nothing was.

    What others could have written, or nobody can read, is no decision. With the `task` as a session
    has it, neither is one about another text: its sender may put one in the place of the first.
    """
    question = _question(record)
    with suppress(*_UNREADABLE):
        about, decision = _read(_file(folder, record))
        is_of_it = task is None or decision.task in {"", text_of(task)}
        return decision if question and about == question and is_of_it else None
    return None


def is_about_another(folder: Path, record: Record, task: Task) -> bool:
    """Tell whether what was decided about a record's question is about another text of its task."""
    return kept(folder, record) is not None and kept(folder, record, task) is None


def text_of(task: Task) -> str:
    """Return what tells a task's text from any other."""
    return hashlib.sha256(f"{task.subject}\0{task.body}".encode()).hexdigest()


def given(folder: Path, owner: str, inbox: str, task_id: str) -> Decision | None:
    """Return what was decided about a task last, and was not read; None if nothing was.

    Whether that is about what is asked now, it does not tell: for those who only show it.
    """
    with suppress(*_UNREADABLE):
        return _read(_file_of(folder, owner, inbox, task_id))[1]
    return None


def _read(file: Path) -> tuple[str, Decision]:
    """Return a decision and which question it is about; raises what is in `_UNREADABLE`."""
    check_private(file)
    read = from_json(read_whole(file))
    at = utc(datetime.fromisoformat(read["at"]))
    return read["question"], Decision(
        read["approved"] is True, str(read["note"]), at, str(read.get("task", ""))
    )


def reason_after(record: Record, state: str, decision: Decision | None) -> str:
    """Return what a worker's step says of the decision before it; empty if there is none to say.

    Args:
        record: as it stands before that step.
        state: which is taken.
        decision: about what the record asks; None: nothing was decided, or it was read before.
    """
    said = (step.reason for step in reversed(record.history) if step.reason in AFTER.values())
    reason = AFTER[decision.approved] if decision else next(said, "")
    if state == "completed":
        return reason if reason == AFTER[False] else ""
    return reason if decision else ""


def is_against(state: str, reason: str) -> bool:
    """Tell of an ended task by its state and its reason whether its worker was told no before.

    It need not have done what it asked; but whoever said no is told.
    """
    return state == "completed" and reason == AFTER[False]


def forget(folder: Path, record: Record) -> None:
    """Remove the decision about a record's question, if there is one: its worker has gone on."""
    if kept(folder, record):
        with suppress(OSError):
            _file(folder, record).unlink()


def _question(record: Record) -> str:
    """Return what tells a record's question from any other."""
    moment = question_of(record)
    if moment is None:
        return ""
    words = f"{moment.at.isoformat()}\0{moment.by}\0{asked_in(record)}"
    return hashlib.sha256(words.encode()).hexdigest()


def _file(folder: Path, record: Record) -> Path:
    return _file_of(folder, record.owner, record.inbox, record.task_id)


def _file_of(folder: Path, *names_: str) -> Path:
    # Others choose names, and never a path.
    names = "\0".join(names_)
    return folder / "decisions" / f"{hashlib.sha256(names.encode()).hexdigest()}.json"
