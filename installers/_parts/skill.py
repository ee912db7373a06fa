# SPDX-License-Identifier: Apache-2.0
"""The skill that says how to work with agentbus, copied among a host's own skills.

>>> copying(Path("/home/me/.cursor")).what
'copy the skill to /home/me/.cursor/skills/using-agentbus'
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mcp_agentbus.installers import assets
from mcp_agentbus.installers._parts import folder
from mcp_agentbus.installers.steps import Step

from mcp_agentbus.errors import BadSetup

SKILL: Final = "using-agentbus"


def place(host_folder: Path) -> Path:
    """Return where the skill is in a host's folder."""
    return host_folder / "skills" / SKILL


def copying(host_folder: Path, source: Path | None = None) -> Step:
    """Return the step that copies it into a host's folder; the one that came along by default."""
    target = place(host_folder)

    def do() -> str:
        changed = folder.copy(source or assets.skill_folder(), target)
        return "" if changed else "it is there already"

    return Step(f"copy the skill to {target}", do)


def removals(host_folder: Path) -> list[Step]:
    """Return the step that takes it out of a host's folder; none if it is not there."""
    target = place(host_folder)
    try:
        there = folder.is_there(target)
    except BadSetup:
        there = not target.is_symlink()  # a link is not ours
    remove = Step(f"remove {target}", lambda: "\n".join(folder.remove(target)))
    return [remove] if there else []
