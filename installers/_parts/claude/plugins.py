# SPDX-License-Identifier: Apache-2.0
"""What Claude Code has of the plugin: asked for by its own commands, and nothing changed.

    >>> plugins.plugin(machine, program)["enabled"]
    True

Another project may be called agentbus as well: of a marketplace of that name it is seen whether it
is ours.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers.steps import Machine

from mcp_agentbus.core.files import HOSTS_MAX_BYTES, read_whole
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup

MARKETPLACE: Final = "agentbus"
PLUGIN: Final = f"agentbus@{MARKETPLACE}"
#: In the plugin's folder of data; the scripts of the plugin know both names, too.
NOTE: Final = "program"
_DATA: Final = "agentbus-agentbus"
# What the folder of any marketplace has, and ours besides.
_MANIFEST: Final = Path(".claude-plugin/marketplace.json")
_OURS: Final = Path("skills/using-agentbus/SKILL.md")


def known(machine: Machine, program: str) -> bool:
    """Tell whether `claude plugin` is a command; to an older one it is a prompt for its model."""
    if program not in machine.known_to_run:  # its help takes a sixth of a second, at each step
        if not re.search(r"^ {2}plugin\b", machine.run([program, "--help"]), re.MULTILINE):
            return False
        machine.known_to_run.add(program)
    return True


def folder(machine: Machine) -> Path:
    """Return where Claude Code keeps what it knows of plugins."""
    config = Path(machine.environ.get("CLAUDE_CONFIG_DIR") or machine.home / ".claude")
    return config / "plugins"


def data(machine: Machine) -> Path:
    """Return the plugin's folder of data, which Claude Code removes together with it."""
    return folder(machine) / "data" / _DATA


def marketplace(machine: Machine, program: str) -> dict[str, Any]:
    """Return the marketplace of our name as Claude Code knows it; empty if it does not."""
    rows = _listed(machine, [program, "plugin", "marketplace", "list", "--json"])
    return next((row for row in rows if row.get("name") == MARKETPLACE), {})


def plugin(machine: Machine, program: str) -> dict[str, Any]:
    """Return our plugin as the user has it; empty if it is not installed for all folders."""
    return _ours(_installed(machine, program))


def others(machine: Machine, program: str) -> list[str]:
    """Return the plugins that came from a marketplace of our name which is somebody else's."""
    if not (rows := _foreign(_installed(machine, program))):
        return []
    return rows if _is_theirs(marketplace(machine, program), there=False) else []


def projects(machine: Machine, program: str) -> list[str]:
    """Return the settings of projects that name our plugin: no command of the user's takes it out.

    Claude Code takes the plugin away together with its marketplace, and leaves them.
    """
    rows = [row for row in _installed(machine, program) if row["id"] == PLUGIN]
    ends = {"project": "settings.json", "local": "settings.local.json"}
    return [
        str(Path(str(row["projectPath"]), ".claude", ends[row["scope"]]))
        for row in rows
        if row.get("scope") in ends and row.get("projectPath")
    ]


def removable(machine: Machine, program: str) -> tuple[bool, bool, list[Path]]:
    """Return what is ours to take out: the plugin, its marketplace, and what both leave behind."""
    before, rows = marketplace(machine, program), _installed(machine, program)
    foreign, noted = _foreign(rows), (data(machine) / NOTE).exists()
    there = not foreign and (bool(_ours(rows)) or noted)
    if before and _is_theirs(before, there=there):
        return False, False, [data(machine)] if noted else []
    copies = folder(machine) / "cache" / MARKETPLACE
    own = copies / PLUGIN.partition("@")[0] if foreign else copies
    return bool(_ours(rows)), bool(before) and not foreign, [own, data(machine)]


def _is_theirs(before: dict[str, Any], *, there: bool) -> bool:
    """Tell whether a marketplace of our name is somebody else's.

    A folder shows it. Of one that is gone it is told by whether anything of ours is `there`, and
    nothing else.
    """
    place = Path(str(before.get("path") or before.get("installLocation") or ""))
    return not (place / _OURS).is_file() if (place / _MANIFEST).is_file() else not there


def _ours(rows: list[dict[str, Any]]) -> dict[str, Any]:
    ours = (row for row in rows if row["id"] == PLUGIN)
    return next((row for row in ours if row.get("scope", "user") == "user"), {})


def _foreign(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows if row["id"] != PLUGIN]


def _installed(machine: Machine, program: str) -> list[dict[str, Any]]:
    """Return what was installed from a marketplace of our name."""
    rows = _listed(machine, [program, "plugin", "list", "--json"])
    return [row for row in rows if str(row.get("id")).endswith(f"@{MARKETPLACE}")]


def _listed(machine: Machine, argv: list[str]) -> list[dict[str, Any]]:
    """Return the list that Claude Code prints as JSON; the last one, if its files are as then."""
    now = [_bytes(file) for file in _kept_in(machine)]
    before, rows = machine.listed.get(tuple(argv), (None, []))
    if before != now:  # a list takes a fifth of a second
        rows = _asked(machine, argv)
        machine.listed[tuple(argv)] = now, rows
    return rows


def _kept_in(machine: Machine) -> list[Path]:
    """Return the files of which Claude Code makes its lists."""
    place = folder(machine)
    names = ("installed_plugins.json", "known_marketplaces.json")
    return [place.with_name("settings.json"), *(place / name for name in names)]


def _bytes(file: Path) -> object:
    try:
        return read_whole(file, HOSTS_MAX_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return object()  # like nothing else: who cannot see whether it is as before asks again


def _asked(machine: Machine, argv: list[str]) -> list[dict[str, Any]]:
    printed = machine.run(argv)
    try:
        rows = from_json(printed)
    except ValueError:
        rows = None
    if not isinstance(rows, list):
        name = " ".join(["claude", *argv[1:]])
        raise BadSetup(
            f"`{name}` did not print a list.", hint="Update Claude Code: `claude update`."
        )
    return [row for row in rows if isinstance(row, dict)]
