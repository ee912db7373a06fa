# SPDX-License-Identifier: Apache-2.0
"""What Claude Code's settings keep out of the plugin: its user's, and those of an organization.

    >>> policy.check_hooks(machine)
    SwitchedOff: ... its hooks are off by disableAllHooks in /home/me/.claude/settings.json ...

Of hooks they are read, as none of its commands tells. What an organization sends over the network,
or puts into a registry, is in no file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers._parts.claude import plugins
from mcp_agentbus.installers._parts.entry import SERVER
from mcp_agentbus.installers.steps import Machine, SwitchedOff

from mcp_agentbus.core.files import HOSTS_MAX_BYTES, read_whole
from mcp_agentbus.core.places import working_folder
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup

#: Where an organization puts its settings, by `sys.platform`.
MANAGED: Final = {
    "darwin": Path("/Library/Application Support/ClaudeCode"),
    "linux": Path("/etc/claude-code"),
}
#: How Claude Code says that it does not start a server which the plugin has.
UNKNOWN: Final = "No MCP server named"
NOT_LET_IN: Final = (
    "Claude Code has the plugin and not its server: ask whoever manages it here to have "
    f"allowedMcpServers and deniedMcpServers let `{SERVER}` in."
)
_BY_POLICY: Final = (
    "Ask whoever manages Claude Code here to let it in; or connect its server alone: "
    "agentbus install claude-code --no-plugin"
)
_ALL_OFF: Final = "disableAllHooks"
_ONLY_MANAGED: Final = "allowManagedHooksOnly"


@contextmanager
def let_in() -> Iterator[None]:
    """Say what to do where an organization does not let the plugin in."""
    try:
        yield
    except BadSetup as error:
        by_policy = "policy" in error.message
        raise BadSetup(error.message, hint=_BY_POLICY if by_policy else error.hint) from None


def check_hooks(machine: Machine) -> None:
    """See that nothing keeps the plugin's hooks from running.

    Raises:
        SwitchedOff: something does.
    """
    if setting := _hooks_off(machine):
        raise SwitchedOff(
            f"its tools work, and its hooks are off by {setting}: no session is told by itself "
            "what waits, and it asks before each call",
            hint="To have them, take that out of the file, or ask whoever has written it.",
        )


def _hooks_off(machine: Machine) -> str:
    """Return which setting keeps the plugin's hooks from running, and where; nothing if none."""
    managed = {file: _read(file) for file in _managed()}
    forced = any(_is_on(said) for said in managed.values())
    for file, said in managed.items():
        if said.get(_ONLY_MANAGED) is True and not forced:
            return f"{_ONLY_MANAGED} in {file}"
    # The first that says anything decides.
    for file, said in {**managed, **{file: _read(file) for file in _users(machine)}}.items():
        if isinstance(off := said.get(_ALL_OFF), bool):
            return f"{_ALL_OFF} in {file}" if off else ""
    return ""


def _managed() -> Iterator[Path]:
    """Yield an organization's files, those that count most first."""
    if folder := MANAGED.get(sys.platform):
        yield from sorted((folder / "managed-settings.d").glob("*.json"), reverse=True)
        yield folder / "managed-settings.json"


def _users(machine: Machine) -> Iterator[Path]:
    """Yield the files of this folder and of its user, those that count most first."""
    with suppress(BadSetup):  # a working folder that is gone has no settings
        here = Path(working_folder(machine.environ), ".claude")
        yield from (here / "settings.local.json", here / "settings.json")
    yield Path(
        machine.environ.get("CLAUDE_CONFIG_DIR") or machine.home / ".claude", "settings.json"
    )


def _is_on(said: dict[str, Any]) -> bool:
    """Tell whether an organization has the plugin itself: then its hooks are its own."""
    enabled = said.get("enabledPlugins")
    return isinstance(enabled, dict) and enabled.get(plugins.PLUGIN) is True


def _read(file: Path) -> dict[str, Any]:
    """Return what a file says; nothing of one that Claude Code cannot read either."""
    try:
        said = from_json(read_whole(file, HOSTS_MAX_BYTES))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
