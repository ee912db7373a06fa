# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` says of a data folder that was moved: what is left of where it was.

    >>> linked(settings)
    Check(name='files', state='wrong', said='/home/me/.local/share/agentbus is a symlink ...', ...)

Looking ends no server.
"""

from __future__ import annotations

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.own import strays
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.doctor.check import Check


def linked(settings: Settings) -> Check | None:
    """See that this user's own server can be started in its folder: through no link it is."""
    if settings.url or not settings.data_dir.is_symlink():
        return None
    return Check(
        "files",
        "wrong",
        f"{settings.data_dir} is a symlink, and no server is started there.",
        "Run `agentbus server stop`, and put the folder itself there.",
    )


def beside(settings: Settings, server: embedded.Server | None) -> list[Check]:
    """See that no other server goes on whose folder was where that of this one is."""
    others = strays.beside(Files(settings.data_dir), server.pid) if server else []
    return [
        Check(
            "server",
            "wrong",
            f"another server of yours ({each.where}) goes on, whose folder somebody has moved or "
            "removed: nothing goes to it any more",
            "Run `agentbus server stop`, then `agentbus server start`: the first ends both.",
        )
        for each in others
    ]
