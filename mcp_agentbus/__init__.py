# SPDX-License-Identifier: Apache-2.0
"""Durable, honest hand-off between coding agents on NATS JetStream.

    from mcp_agentbus import Bus, Session, send_task

The names below are the public Python API; everything else may change.
"""

# Loaded before a project is off the path, see `__main__`: nothing that it may have, too.
from mcp_agentbus.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mcp_agentbus.archive.history import history
    from mcp_agentbus.archive.lives import task_life
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.core.ids import Agent
    from mcp_agentbus.errors import AgentbusError
    from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
    from mcp_agentbus.handoff.results import publish_result
    from mcp_agentbus.handoff.send import send_task
    from mcp_agentbus.handoff.session import Session
    from mcp_agentbus.store.task import Task
    from mcp_agentbus.work.result import Result
    from mcp_agentbus.work.worker import Worker

__all__ = [
    "Agent",
    "AgentbusError",
    "Bus",
    "Result",
    "Session",
    "Task",
    "Worker",
    "__version__",
    "history",
    "publish_result",
    "read_inbox",
    "send_task",
    "task_life",
    "watch_inbox",
]

_HOME = {
    "Agent": "core.ids",
    "AgentbusError": "errors",
    "Bus": "bus.client",
    "Result": "work.result",
    "Session": "handoff.session",
    "Task": "store.task",
    "Worker": "work.worker",
    "history": "archive.history",
    "task_life": "archive.lives",
    "publish_result": "handoff.results",
    "read_inbox": "handoff.inbox",
    "send_task": "handoff.send",
    "watch_inbox": "handoff.inbox",
}


def __getattr__(name: str) -> "Any":
    # Imported at first use: `agentbus --help` and hooks need none of it.
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
