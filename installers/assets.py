# SPDX-License-Identifier: Apache-2.0
"""The files for hosts that came along: the plugin and the skill.

    >>> plugin_folder()
    PosixPath('/home/me/.venv/lib/python3.13/site-packages/mcp_agentbus/plugin')

In a checkout the plugin is the repository's root; a wheel carries a copy of the files that belong
to it. Hosts read them where they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mcp_agentbus.core import programs
from mcp_agentbus.errors import BadSetup

_MANIFEST: Final = Path(".claude-plugin/plugin.json")
_SKILL: Final = Path("skills/using-agentbus")


def plugin_folder() -> Path:
    """Return the folder that hosts take as a plugin, and as a marketplace with that one plugin.

    Raises:
        BadSetup: this installation has none.
    """
    package = Path(__file__).resolve().parents[1]  # or, in a checkout, the root
    for folder in (package / "plugin", package):
        if (folder / _MANIFEST).is_file():
            return folder
    raise BadSetup(
        "The plugin is missing from this installation.",
        hint=f"Install it anew: {programs.install_line('again')}",
    )


def skill_folder() -> Path:
    """Return the folder of the skill, `using-agentbus`, with its SKILL.md.

    Raises:
        BadSetup: this installation has none.
    """
    folder = plugin_folder() / _SKILL
    if (folder / "SKILL.md").is_file():
        return folder
    raise BadSetup(
        "The skill is missing from this installation.",
        hint=f"Install it anew: {programs.install_line('again')}",
    )
