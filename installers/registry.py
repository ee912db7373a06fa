# SPDX-License-Identifier: Apache-2.0
"""What connects each host, from the table of hosts: who has an installer is said there alone.

    >>> installer("cursor").found(machine)
    'Cursor, /usr/bin/cursor'

It connects nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from mcp_agentbus.installers.steps import Machine, Step

from mcp_agentbus.core import hosts


class Installer(Protocol):
    """What connects one host. Nothing is changed before a step is taken."""

    def found(self, machine: Machine) -> str | None:
        """Return one line about the host if it is here."""

    def install(self, machine: Machine, **options: Any) -> list[Step]:
        """Return the steps that connect it; one option, `agent`, says who its sessions are."""

    def uninstall(self, machine: Machine) -> list[Step]:
        """Return the steps that take out what is there of it; none if nothing is."""

    def gone(self, machine: Machine) -> str:
        """Return what of agentbus the host would start or read, and is not there; or nothing."""

    def renewal(self, machine: Machine) -> list[Step]:
        """Return the steps that connect it anew, in the way in which it was connected."""

    def verify(self, machine: Machine) -> str:
        """Have the host, or what it would run, list the tools; say so, or raise BadSetup."""


class PluginInstaller(Installer, Protocol):
    """What connects a host by the plugin, which can spare its user questions."""

    def allowed_tools(self, machine: Machine) -> Sequence[str] | None:
        """Return the tools that run without asking, as its user chose; None if they did not."""


def with_plugin(name: str) -> PluginInstaller:
    """Return what connects one of `hosts.WITH_PLUGIN`; its `install` takes `allow_tools`."""
    return cast("PluginInstaller", installer(name))


def installer(name: str) -> Installer:
    """Return what connects one of `hosts.CONNECTED`: its file, or an object in one."""
    file, _, thing = hosts.named(name).installer.partition(":")
    module = import_module(f"mcp_agentbus.installers.{file}")
    return cast("Installer", getattr(module, thing) if thing else module)
