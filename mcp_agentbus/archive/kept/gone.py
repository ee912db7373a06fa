# SPDX-License-Identifier: Apache-2.0
"""Have the archive forget what agentbus itself has taken off the bus, as it stands elsewhere there.

    >>> await forget_tasks(settings, [("planner", "coder", "9d0c...")])

Whoever reads the records of the bus is told of what was stored, and of nothing that was taken away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mcp_agentbus.archive.file import Archive
from mcp_agentbus.config.settings import Keeps, Settings
from mcp_agentbus.errors import ArchiveBroken


async def forget_tasks(settings: Settings, tasks: Sequence[tuple[str, str, str]]) -> None:
    """Remove tasks from this user's archive, as far as it can be written: owner, inbox and id."""
    path = settings.archive_file
    if tasks and path and path.exists():
        with suppress(ArchiveBroken):  # of which whoever keeps it, or reads it, tells
            await asyncio.to_thread(_forget, path, settings.archive, tasks)


def _forget(path: Path, keeps: Keeps, tasks: Sequence[tuple[str, str, str]]) -> None:
    with Archive(path, keeps) as archive:
        archive.forget(tasks)
