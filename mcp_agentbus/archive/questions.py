# SPDX-License-Identifier: Apache-2.0
"""What the workers of tasks ask, by the steps that the archive has.

>>> asked(archive, state_dir, {17: ("planner", "coder", "9d0c...")})
{17: Question(state='needs_input', by='coder', ...)}
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from mcp_agentbus.archive.file import Archive, listed
from mcp_agentbus.store.asked import question
from mcp_agentbus.store.asked.question import REPLIED, SAID, Question
from mcp_agentbus.store.task import ASKING, Moment

_ASKING: Final = listed(ASKING)
_LAST_SAID: Final = (
    "(SELECT steps.state FROM steps WHERE steps.task = tasks.n"  # noqa: S608
    f" AND steps.state IN ({listed(SAID)}) ORDER BY steps.at DESC, steps.n DESC LIMIT 1)"
)
#: The condition of a question that stands though whoever asked it holds its task no more.
LEFT_OPEN: Final = (
    f"(tasks.state IN ('stored', 'claimed') AND tasks.record_seq > 0 AND {_LAST_SAID} IN ({{}}))"
)
#: The same of whatever is asked.
ANY_LEFT_OPEN: Final = LEFT_OPEN.format(_ASKING)


def asked(
    archive: Archive, folder: Path, tasks: Mapping[int, tuple[str, str, str]]
) -> dict[int, Question]:
    """Return what is asked about which of these tasks, by their places in the archive.

    Args:
        archive: as it is.
        folder: of this user's state, where its decisions lie.
        tasks: owner, inbox and id of each.
    """
    marks = ", ".join("?" * len(tasks))
    rows = archive.rows(
        "SELECT task, at, state, by FROM steps"  # noqa: S608  # constants of this program
        f" WHERE task IN ({marks}) AND state IN ({listed(SAID | REPLIED)}) ORDER BY at, n",
        *tasks,
    )
    steps: dict[int, list[Moment]] = {}
    for row in rows:
        at = datetime.fromisoformat(row["at"])
        moment = Moment.model_construct(state=row["state"], at=at, by=row["by"])
        steps.setdefault(row["task"], []).append(moment)
    known = ((n, question.of_steps(some)) for n, some in steps.items())
    return {n: each.decided_here(folder, *tasks[n]) for n, each in known if each}
