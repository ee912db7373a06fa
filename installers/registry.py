# SPDX-License-Identifier: Apache-2.0
"""The hosts that agentbus can connect, and what connects each.

    >>> installer("cursor").found(machine)
    'Cursor, /usr/bin/cursor'

Imported for --help, so it imports nothing at its top that takes time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

if TYPE_CHECKING:
    from mcp_agentbus.installers.steps import Machine, Step

#: The hosts with an installer of their own, and its module; the others take one line of theirs.
_MODULES: Final = {"claude-code": "claude_code", "cursor": "cursor", "openclaw": "openclaw"}
HOSTS: Final = (*_MODULES, "codex", "copilot", "gemini")


class Installer(Protocol):
    """What connects one host. Nothing is changed before a step is taken."""

    def found(self, machine: Machine) -> str | None:
        """Return one line about the host if it is here."""

    def install(self, machine: Machine, **options: Any) -> list[Step]:
        """Return the steps that connect it; one option, `agent`, says who its sessions are."""

    def uninstall(self, machine: Machine) -> list[Step]:
        """Return the steps that take out what is there of it; none if nothing is."""

    def verify(self, machine: Machine) -> str:
        """Have the host, or what it would run, list the tools; say so, or raise BadSetup."""


def installer(name: str) -> Installer:
    """Return what connects a host of `HOSTS`."""
    if module := _MODULES.get(name):
        return cast("Installer", import_module(f"mcp_agentbus.installers.{module}"))
    any_host = import_module("mcp_agentbus.installers.any_host")
    return cast("Installer", next(one for one in any_host.hosts() if one.name == name))
