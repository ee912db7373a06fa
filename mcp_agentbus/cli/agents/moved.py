# SPDX-License-Identifier: Apache-2.0
"""What went to an agent's new name, as `agentbus agent rename` tells its user.

    >>> print(moved_text("coder", "shop", Moved(tasks=2, results=1), has_account=False))
    coder is shop from now on.
    Moved: 2 waiting tasks, 1 result.

Whatever stays under the old name is told with the command that has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_agentbus.core.text import many

if TYPE_CHECKING:  # it loads the bus
    from mcp_agentbus.tools.rename import Moved


def moved_text(old: str, new: str, moved: Moved, *, has_account: bool) -> str:
    """Return what a rename has done, a line for each thing."""
    is_now = f"{old} is {new} from now on."
    if moved.again:
        is_now = f"{old} is {new} already: this moves what has come back since."
    lines = [
        is_now,
        f"Moved: {many(moved.tasks, 'waiting task')}, {many(moved.results, 'result')}.",
    ]
    if moved.file:
        lines.append(f'Write agent = "{new}" into {moved.file}, which names {old}.')
    if moved.sessions:
        lines.append(f"Until you start them again, open sessions are {old}: {moved.sessions}.")
    if moved.held:
        lines.append(
            f"Held by a session of {old}, so they stay with it: {many(moved.held, 'task')}. "
            f"What is given back waits under {old} until you run the same again."
        )
    if moved.parked:
        lines.append(
            f"Set aside under {old}: {many(moved.parked, 'task')}. To have one: agentbus replay "
            f"TASK --agent {old}, then the same again. To see them: agentbus parked --agent {old}"
        )
    if moved.unseen:
        lines.append(
            f"Not seen yet, and on a bus with accounts they stay {old}'s: "
            f"{many(moved.unseen, 'result')}. To see them: agentbus inbox --agent {old}"
        )
    if moved.awaited:
        having = f"inbox --agent {old}" if has_account else f"agent rename {old} {new}"
        lines.append(
            f"Without an end yet is what {old} has sent: {many(moved.awaited, 'task')}. "
            f"To have the results once they are there: agentbus {having}"
        )
    return "\n".join(lines)
