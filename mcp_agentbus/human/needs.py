# SPDX-License-Identifier: Apache-2.0
"""What needs a person, and the line that says so.

    >>> line([Need("needs_approval", "coder", "9d0c2f1e...", ...)])
    'coder needs an approval: agentbus approve 9d0c2f1e, or deny'

Pure. Fixed words, names of this user's own agents, and the beginnings of ids that this program has
made: not one byte of a line is chosen by a peer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from mcp_agentbus.config.sections.human import NEEDS
from mcp_agentbus.core import ids
from mcp_agentbus.core.notices import Reason
from mcp_agentbus.core.text import stamp
from mcp_agentbus.store.asked.decisions import is_against
from mcp_agentbus.store.steps import question_of
from mcp_agentbus.store.task import Record
from mcp_agentbus.wakes.facts import Waiting

# Among agents it is all of them.
_ALL: Final = "*"
# Enough for `agentbus task`, unless another begins the same, which then says so.
_SHOWN_CHARS: Final = 8


class _Words(NamedTuple):
    #: Of one thing, with what to type.
    one: str
    #: Of a number of them.
    single: str
    several: str


_WORDS: Final[Mapping[str, _Words]] = MappingProxyType(
    {
        "needs_approval": _Words(
            "{agent} needs an approval: agentbus approve {id}, or deny",
            "approval is needed",
            "approvals are needed",
        ),
        "needs_input": _Words(
            "{agent} needs an answer: {task}, then agentbus answer {id} TEXT",
            "answer is needed",
            "answers are needed",
        ),
        "parked": _Words(
            "a task for {agent} was set aside: {task}",
            "task was set aside",
            "tasks were set aside",
        ),
        "held": _Words(
            "a wake of {agent} is held: {task}",
            "wake is held",
            "wakes are held",
        ),
        "failed": _Words("{agent} could not do a task: {task}", "task failed", "tasks failed"),
        "denied": _Words(
            "{agent} completed a task after you had denied what it asked: {task}",
            "task was completed after a no of yours",
            "tasks were completed after a no of yours",
        ),
        "budget": _Words(
            "{agent} has had its wakes of today: agentbus agent wakes {agent}",
            "agent has had its wakes of today",
            "agents have had their wakes of today",
        ),
    }
)
assert tuple(_WORDS) == NEEDS  # noqa: S101  # each that can be asked for has its words


@dataclass(frozen=True)
class Need:
    """Something that needs a person."""

    #: One of `NEEDS`.
    kind: str
    #: An agent of this user, or a role's inbox that one reads; empty if it is another's.
    agent: str
    #: Empty where there is none, or its id was not made by this program.
    task_id: str
    #: Names it for as long as it is the same: it is told once.
    key: str
    #: Who sent the task: others may send theirs by the same id. Empty where that is not known.
    owner: str = ""


def of_record(record: Record, users: Collection[str], named: Collection[str]) -> Need | None:
    """Return what a task needs as it stands; None if that is nothing, or nobody's of `users`.

    Args:
        record: its worker's.
        users: the agents of this user and their roles by inboxes; `*` is everybody.
        named: those that may be named; anybody on the bus may call themselves anything.
    """
    kind = record.state_given or record.state
    if is_against(record.state, record.reason):
        kind = "denied"
    if kind not in {"needs_approval", "needs_input", "parked", "failed", "denied"}:
        return None
    # A failure is its sender's to deal with, and a no was its worker's user's; the others can be
    # of use to either end.
    whose = {"failed": {record.owner}, "denied": {record.agent}}
    ends = whose.get(kind, {record.owner, record.inbox, record.agent})
    if _ALL not in users and not any(end in users for end in ends):
        return None
    at_work = record.agent if kind != "parked" else record.inbox
    key = f"{kind} {record.inbox} {record.task_id} {stamp(record.updated_at)}"
    return Need(kind, _named(at_work, named), _shown(record.task_id), key, _sender(record))


def of_hold(reason: Reason, agent: str, task: Waiting, at: datetime) -> Need | None:
    """Return what a wake needs that is held; None if it passes by itself.

    An agent of this user has had its wakes once a day, however many tasks wait for it.
    """
    kind = reason.need
    if not kind:
        return None
    about = f"{at:%Y-%m-%d}" if kind == "budget" else f"{task.inbox} {task.task_id}"
    return Need(kind, agent, _shown(task.task_id), f"{kind} {agent} {about}", task.owner)


def stands(need: Need, record: Record) -> bool:
    """Tell whether what was needed is so still, as far as this record of a task tells.

    A question stands until its worker goes on, also while a next session has its task.
    """
    if need.owner not in {"", _sender(record)}:
        return True
    about = f"{record.inbox} {record.task_id}"
    if need.kind == "held":
        return record.state == "stored" or not need.key.endswith(f" {about}")
    begins = f"{need.kind} {about} "
    question = question_of(record)
    at = question.at if question else record.updated_at
    return need.key == f"{begins}{stamp(at)}" or not need.key.startswith(begins)


def line(needs: Sequence[Need], more: Mapping[str, int] = MappingProxyType({})) -> str:
    """Return what a person is told: of one thing what to type, of several their numbers.

    Args:
        needs: at least one of them, or of `more`.
        more: further ones, of which only the kind is known.
    """
    counts = Counter(need.kind for need in needs) + Counter(more)
    if counts.total() == 1 and needs:
        [need] = needs
        agent = ids.address_of(need.agent) if need.agent else "an agent"
        task = f"agentbus task {need.task_id}" if need.task_id else "agentbus tasks --all --open"
        if need.kind == "parked" and need.agent and not need.agent.startswith(ids.ROLE_PREFIX):
            task = f"agentbus parked --agent {need.agent}"
        sentence = _WORDS[need.kind].one
        if "{id}" in sentence and not (need.agent and need.task_id):
            sentence = f"{sentence.partition(':')[0]}: {{task}}"
        return sentence.format(agent=agent, task=task, id=need.task_id)
    parts = [
        f"{counts[kind]} {words.single if counts[kind] == 1 else words.several}"
        for kind, words in _WORDS.items()
        if counts[kind]
    ]
    return f"{', '.join(parts)}: agentbus status"


def _sender(record: Record) -> str:
    """Return who sent a task; of a copy of its record that is not who owns it."""
    return record.asked_by or record.owner


def _named(agent: str, named: Collection[str]) -> str:
    """Return a name only if it is this user's own."""
    return agent if agent in named and ids.is_inbox(agent) else ""


def _shown(task_id: str) -> str:
    """Return the beginning of an id, as commands take it; nothing of one that a peer has chosen."""
    return task_id[:_SHOWN_CHARS] if ids.is_own_task_id(task_id) else ""
