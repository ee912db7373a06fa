# SPDX-License-Identifier: Apache-2.0
"""The wakers of all hosts, from the table of hosts: who has one is said there, and only there.

    >>> missing_program(rules, {"PATH": "/usr/bin"})
    ('cursor-agent', 'agent')

It wakes nobody itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Final

from mcp_agentbus.config import inherited
from mcp_agentbus.config.rules import Rules
from mcp_agentbus.core import hosts
from mcp_agentbus.wakes.hosts.protocol import Waker, on_path

_FILES: Final[Mapping[str, ModuleType]] = MappingProxyType(
    {
        host.name: import_module(f"mcp_agentbus.wakes.hosts.{host.waker}")
        for host in hosts.HOSTS
        if host.waker
    }
)
#: One for each of `hosts.WOKEN`.
WAKERS: Final[Mapping[str, Waker]] = MappingProxyType(
    {name: file.wake for name, file in _FILES.items()}
)


def environ(rules: Rules, around: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of what is started for an agent, by the one of its listener.

    Its host is said: a listener may have been started in another one, an ancestor of both.
    """
    ours = {"AGENTBUS_AGENT": rules.agent, "AGENTBUS_HOST": rules.host}
    return {**inherited.of(rules, around), **ours}


def clean_up(agent: str, environ: Mapping[str, str]) -> None:
    """Remove what a run of an agent has left that no listener saw end, whatever its host was.

    Raises:
        OSError: it cannot be removed.
        BadSetup: there is no home.
    """
    for file in _FILES.values():
        if host_clean_up := getattr(file, "clean_up", None):
            host_clean_up(agent, environ)


def missing_program(rules: Rules, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the programs any one of which would start an agent, if its wake finds none of them.

    Empty if one is there, and where its host runs already and is only asked.
    """
    programs = tuple(getattr(_FILES[rules.host], "PROGRAMS", rules.command[:1]))
    return () if on_path(programs, inherited.of(rules, environ)) else programs


def starts(rules: Rules) -> bool:
    """Tell whether a wake starts something in the agent's folder, and not only asks who runs."""
    return hasattr(_FILES[rules.host], "PROGRAMS") or bool(rules.command)


def not_there(programs: Sequence[str], path: str = "PATH", rules: Rules | None = None) -> str:
    """Say that none of these programs is there: one with a folder is looked for in that alone.

    For an agent that only answers what its folder has is not there either.
    """
    named = " or ".join(programs)
    if any(map(os.path.dirname, programs)):
        return f"{named} is not there, or is no program that can be run"
    if rules and rules.profile == "answer":
        path += f" outside of its folder {rules.folder}, whose programs are not run"
    return f"{named} is not on {path}"
