# SPDX-License-Identifier: Apache-2.0
"""What is parked, as text: a line for each, then why, as it is stored, in a frame.

>>> parked_text([])
'Nothing is parked.'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mcp_agentbus.core.framing import frame, one_line
from mcp_agentbus.core.ids import address_of, is_agent, is_inbox
from mcp_agentbus.handoff.parked.parking import Parked
from mcp_agentbus.tools.answers import layout, words

# For what an answer says of those for which it has no room.
_MORE_CHARS: Final = 300
# Of a line in a frame, what stands around it.
_INDENTED: Final = 5


def parked_text(parked: Sequence[Parked]) -> str:
    """Return one line per parked task, then the reasons as they are stored, in a frame."""
    if not parked:
        return "Nothing is parked."
    costs = (len(_parked_line(task)) + len(_why_line(task)) + _INDENTED for task in parked)
    count = layout.fitting(costs, layout.ROOM - _MORE_CHARS)
    lines = [_parked_line(task) for task in parked[:count]]
    if more := len(parked) - count:
        lines.append(f"{more} more are parked: `agentbus parked --json` has all of them.")
    why = frame("\n".join(map(_why_line, parked[:count])), said_by="")
    return "\n".join([*lines, "Why, as it is stored:", why])


def _why_line(task: Parked) -> str:
    return f"{task.number}: {one_line(task.reason, 300)}"


def _parked_line(task: Parked) -> str:
    what = task.task.id if task.task else "unreadable"
    sender = task.sender if is_agent(task.sender) else "nobody who can be one"
    to = address_of(task.inbox) if is_inbox(task.inbox) else "nobody"
    return f"{task.number}: {what} from {sender} to {to}, parked {words.when(task.parked_at)}"
