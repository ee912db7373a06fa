# SPDX-License-Identifier: Apache-2.0
"""Durable, honest hand-off between coding agents on NATS JetStream.

    from mcp_agentbus import Bus, Session, send_task

The names below are the public Python API; everything else may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcp_agentbus.version import __version__

if TYPE_CHECKING:
    from mcp_agentbus.bus import Bus
    from mcp_agentbus.config import Agent
    from mcp_agentbus.errors import AgentbusError
    from mcp_agentbus.inbox import read_inbox, watch_inbox
    from mcp_agentbus.life import task_life
    from mcp_agentbus.results import publish_result
    from mcp_agentbus.send import send_task
    from mcp_agentbus.session import Session

__all__ = [
    "Agent",
    "AgentbusError",
    "Bus",
    "Session",
    "__version__",
    "publish_result",
    "read_inbox",
    "send_task",
    "task_life",
    "watch_inbox",
]

_HOME = {
    "Agent": "config",
    "AgentbusError": "errors",
    "Bus": "bus",
    "Session": "session",
    "task_life": "life",
    "publish_result": "results",
    "read_inbox": "inbox",
    "send_task": "send",
    "watch_inbox": "inbox",
}


def __getattr__(name: str) -> Any:
    # Imported at first use: `agentbus --help` and hooks need none of it.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
