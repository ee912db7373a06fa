# SPDX-License-Identifier: Apache-2.0
"""What is not one host's, and so stays where a host is taken out: all of them use it.

>>> stays(settings)
['Not of a host, and left as it is:', '  the bus server runs: agentbus server stop', ...]
"""

from __future__ import annotations

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.installers import service
from mcp_agentbus.relay import seat, starter


def stays(settings: Settings) -> list[str]:
    """Return what is there still, a line each with the command that ends it; none if nothing is."""
    lines = []
    if starter.keeps(settings.environ):
        by = service.manager().NAME
        lines.append(f"  {by} keeps a listener: agentbus listen --uninstall")
    elif there := seat.seated(settings):
        lines.append(f"  {there.who} runs: agentbus listen --stop")
    try:
        runs = not settings.url and embedded.find(settings) is not None
    except AgentbusError:  # it runs, and is of no use
        runs = True
    if runs:
        lines.append("  the bus server runs: agentbus server stop")
    folders = {settings.data_dir, settings.state_dir, settings.config_file.parent}
    lines += [f"  what was stored: {folder}" for folder in sorted(folders) if folder.exists()]
    return ["Not of a host, and left as it is:", *lines] if lines else []
