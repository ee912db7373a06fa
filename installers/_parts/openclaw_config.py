# SPDX-License-Identifier: Apache-2.0
"""Where OpenClaw keeps its things, and what its openclaw.json says.

    >>> section(machine, "hooks")
    {'enabled': True, 'token': '...'}

It writes nothing itself: OpenClaw changes its file by its own commands. What only OpenClaw can read
whole, with comments in it or parts in other files, it is asked for.
"""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers._parts import files
from mcp_agentbus.installers._parts.entry import SERVER
from mcp_agentbus.installers.steps import Machine

from mcp_agentbus.core import hosts
from mcp_agentbus.core.files import HOSTS_MAX_BYTES, read_whole
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup

NAME: Final = "openclaw"
TITLE: Final = hosts.named(NAME).title
#: The profile of those who have named none.
DEFAULT_PROFILE: Final = "default"
#: What OpenClaw shows in the place of a secret.
HIDDEN: Final = "__OPENCLAW_REDACTED__"
#: The command that changes openclaw.json.
PATCH: Final = ("config", "patch", "--stdin")
_INCLUDE: Final = "$include"
# How OpenClaw says that nothing is there.
_UNSET: Final = "valid but unset"
_NEEDS: Final = (
    "Put `openclaw` on PATH (npm install -g openclaw) with a Node.js that it takes: 24.16 or newer."
)


def profile(machine: Machine) -> str:
    """Return the name of the profile, each of which is an OpenClaw of its own."""
    given = machine.environ.get("OPENCLAW_PROFILE", "").strip()
    return DEFAULT_PROFILE if given.lower() in {"", DEFAULT_PROFILE} else given


def _words(machine: Machine, *words: str) -> list[str]:
    """Return what is typed after the program: its commands follow the option, not the variable."""
    name = profile(machine)
    return [*([] if name == DEFAULT_PROFILE else ["--profile", name]), *words]


def typed(machine: Machine, *words: str) -> str:
    """Return a command of this OpenClaw as its user types it."""
    return shlex.join([NAME, *_words(machine, *words)])


def run(machine: Machine, *words: str, stdin: str = "") -> str:
    """Run a command of this OpenClaw; return what it printed.

    Raises:
        BadSetup: OpenClaw is not here, does not run, or refuses.
    """
    return machine.run([program(machine), *_words(machine, *words)], stdin=stdin)


def state_folder(machine: Machine) -> Path:
    """Return the folder in which OpenClaw keeps its skills and its state."""
    if given := machine.environ.get("OPENCLAW_STATE_DIR"):
        return _expanded(machine, given)
    home = machine.environ.get("OPENCLAW_HOME")
    name = profile(machine)
    name = ".openclaw" if name == DEFAULT_PROFILE else f".openclaw-{name}"
    return (_expanded(machine, home) if home else machine.home) / name


def config_file(machine: Machine) -> Path:
    """Return where this OpenClaw's openclaw.json is, or would be."""
    given = machine.environ.get("OPENCLAW_CONFIG_PATH")
    return _expanded(machine, given) if given else state_folder(machine) / "openclaw.json"


def _expanded(machine: Machine, path: str) -> Path:
    return machine.home / path[2:] if path.startswith("~/") else Path(path)


def text(file: Path) -> str:
    """Return what a file holds; nothing if it is not there.

    Raises:
        BadSetup: it cannot be read.
    """
    with files.told(file, "read"), suppress(FileNotFoundError):
        return read_whole(file, HOSTS_MAX_BYTES).decode(errors="replace")
    return ""


def program(machine: Machine) -> str:
    """Return OpenClaw's program.

    Raises:
        BadSetup: it is not here, or does not run.
    """
    there = machine.needs(NAME, TITLE, _NEEDS)
    if there not in machine.known_to_run:  # it takes a third of a second, at each step
        try:
            machine.run([there, "--version"])
        except BadSetup as error:
            raise BadSetup(error.message, hint=_NEEDS) from None
        machine.known_to_run.add(there)
    return there


def plain(machine: Machine) -> dict[str, Any] | None:
    """Return all that openclaw.json says; nothing without one, None if only OpenClaw can tell.

    Raises:
        BadSetup: it cannot be read.
    """
    content = text(config_file(machine))
    if not content.strip():
        return {}
    try:
        document = from_json(content)
    except ValueError:  # mostly comments
        return None
    return document if isinstance(document, dict) and _INCLUDE not in content else None


def section(machine: Machine, name: str) -> dict[str, Any]:
    """Return a table of the configuration; OpenClaw puts HIDDEN for secrets if it is asked.

    Raises:
        BadSetup: the file cannot be read, or OpenClaw cannot tell.
    """
    document = plain(machine)
    if document is not None:
        return table(document, name)
    if not _may_hold(machine, name):
        return {}
    try:
        return asked(machine, "config", "get", name)
    except BadSetup as error:
        if _UNSET in error.message:
            return {}
        raise


def server(machine: Machine) -> dict[str, Any]:
    """Return the server's entry as it is now; empty if there is none.

    Raises:
        BadSetup: the file cannot be read, or OpenClaw cannot tell.
    """
    document = plain(machine)
    if document is not None:
        return table(document, "mcp", "servers", SERVER)
    if not _may_hold(machine, SERVER):
        return {}
    return table(asked(machine, "mcp", "list", "--json"), SERVER)


def asked(machine: Machine, *words: str) -> dict[str, Any]:
    """Return the object that a command of OpenClaw prints.

    Raises:
        BadSetup: OpenClaw is not here, does not run, or says something else.
    """
    printed = run(machine, *words)
    document = parsed(printed)
    if not document and printed.strip() != "{}":
        raise BadSetup(
            f"`{typed(machine, *words)}` did not print JSON.",
            hint=f"Run `{typed(machine, 'config', 'validate')}`.",
        )
    return document


def patch(machine: Machine, changes: dict[str, Any]) -> None:
    """Have OpenClaw change openclaw.json; None takes a key out.

    The text goes through standard input, which no process list shows.

    Raises:
        BadSetup: OpenClaw is not here, does not run, or refuses.
    """
    run(machine, *PATCH, stdin=json.dumps(changes))


def _may_hold(machine: Machine, name: str) -> bool:
    content = text(config_file(machine))
    return name in content or _INCLUDE in content


def parsed(printed: str) -> dict[str, Any]:
    """Return what OpenClaw has printed as JSON; empty if it is none."""
    try:
        document = from_json(printed)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the table under these keys; empty if there is none."""
    for key in keys:
        inner = document.get(key)
        document = inner if isinstance(inner, dict) else {}
    return document
