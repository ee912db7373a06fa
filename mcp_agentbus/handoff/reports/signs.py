# SPDX-License-Identifier: Apache-2.0
"""The signs of tasks that sessions of an agent have left to its shell's session: a file a task.

>>> note(settings.state_dir, "coder", claim.record)
>>> noted_at(folder_of(settings.state_dir, "coder"))
{('planner', 'coder', '9d0c...'): 1795948200.0}

In a folder of this user's own. Without a sign nothing is asked of the bus; in it may stand which
replies an answer has given.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mcp_agentbus.core import ids
from mcp_agentbus.core.files import forget_older, own_folder, read_whole, write_whole
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store.task import EXPIRES_MAX_S, Record


def note(state_dir: Path, agent: str, record: Record) -> None:
    """Note that a session of an agent has left a task to its shell."""
    if sign := _sign(state_dir, agent, record):
        with suppress(OSError, AgentbusError):  # then it is shown to whoever asks for it by its id
            own_folder(sign.parent)
            forget_older(sign.parent, "*", EXPIRES_MAX_S, record.updated_at.timestamp())
            sign.touch(mode=0o600)


def mark(state_dir: Path, agent: str, record: Record, replies: str) -> None:
    """Note by their mark which replies an answer has given."""
    if sign := _sign(state_dir, agent, record):
        with suppress(OSError, AgentbusError):  # then they are given again before it is gone on
            own_folder(sign.parent)
            write_whole(sign, replies.encode(), durable=False)


def has_mark(state_dir: Path, agent: str, record: Record, replies: str) -> bool:
    """Tell whether it is noted that an answer has given these replies."""
    if sign := _sign(state_dir, agent, record):
        with suppress(OSError):
            return read_whole(sign) == replies.encode()
    return False


def noted_at(folder: Path) -> dict[tuple[str, ...], float]:
    """Return of what there are signs, and when each was noted last.

    Raises:
        OSError: there are none.
    """
    times: dict[tuple[str, ...], float] = {}
    for sign in folder.iterdir():
        place = tuple(sign.name.split("."))
        if _is_place(place):  # a file manager, or a network's drive, has files of its own anywhere
            with suppress(OSError):  # another session takes it away just now
                times[place] = sign.stat().st_mtime
    return times


def folder_of(state_dir: Path, agent: str) -> Path:
    """Return where the signs of an agent are."""
    return state_dir / "entrusted" / agent


def _is_place(place: tuple[str, ...]) -> bool:
    """Tell whether these can be a task's owner, inbox and id."""
    rules = ids.is_agent, ids.is_inbox, ids.is_task_id
    return len(place) == len(rules) and all(
        keeps(part) for keeps, part in zip(rules, place, strict=True)
    )


def _sign(state_dir: Path, agent: str, record: Record) -> Path | None:
    """Return where the sign of a task is; None: it has a name of which no path is made."""
    place = record.owner, record.inbox, record.task_id
    # Those who write plain NATS choose names, and never a path.
    return folder_of(state_dir, agent) / ".".join(place) if _is_place(place) else None
