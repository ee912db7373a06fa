# SPDX-License-Identifier: Apache-2.0
"""Which agents had a shell's session here: by the files in which these remember what they hold.

>>> agents(settings)
frozenset({'planner'})
"""

from __future__ import annotations

from pathlib import Path

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.ids import SHELL_PREFIX


def file_of(folder: Path, agent: str) -> Path:
    """Return where an agent's shell session remembers what it holds."""
    return folder / f"{SHELL_PREFIX}{agent}.json"


def agents(settings: Settings) -> frozenset[str]:
    """Return the agents that had a shell's session here."""
    files = settings.state_dir.glob(file_of(Path(), "*").name)
    return frozenset(file.stem.removeprefix(SHELL_PREFIX) for file in files)
