# SPDX-License-Identifier: Apache-2.0
"""What is not one host's, and so stays where a host is taken out: all of them use it.

>>> stays(settings)
['Not of a host, and left as it is:', '  the bus server runs: agentbus server stop', ...]
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.installers import service, worker
from mcp_agentbus.relay import seat, starter


@dataclass(frozen=True)
class Left:
    """Something that is there still."""

    what: str
    #: The command that ends it; empty if none does.
    ends_by: str = ""


def stays(settings: Settings) -> list[str]:
    """Return what is there still, a line each with the command that ends it; none if nothing is."""
    said = [": ".join(filter(None, astuple(each))) for each in _left(settings)]
    return ["Not of a host, and left as it is:", *(f"  {each}" for each in said)] if said else []


def stays_as_data(settings: Settings) -> list[dict[str, str]]:
    """Return the same for a program."""
    return [asdict(each) for each in _left(settings)]


def _left(settings: Settings) -> list[Left]:
    left = []
    if starter.keeps(settings.environ):
        by = service.manager().NAME
        left.append(Left(f"{by} keeps a listener", "agentbus listen --uninstall"))
    elif there := seat.seated(settings):
        left.append(Left(f"{there.who} runs", "agentbus listen --stop"))
    left += [
        Left(
            f"{service.manager().NAME} keeps a worker of {agent}",
            f"agentbus work --uninstall --agent {agent}",
        )
        for agent in worker.kept_here(settings.environ)
    ]
    try:
        runs = not settings.url and embedded.find(settings) is not None
    except AgentbusError:  # it runs, and is of no use
        runs = True
    if runs:
        left.append(Left("the bus server runs", "agentbus server stop"))
    folders = {settings.data_dir, settings.state_dir, settings.config_file.parent}
    stored = (Left(f"what was stored: {folder}") for folder in sorted(folders) if folder.exists())
    return [*left, *stored]
