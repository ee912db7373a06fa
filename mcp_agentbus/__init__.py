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

    from mcp_agentbus.archive.audit import TaskStep
    from mcp_agentbus.archive.catch_up import Extent
    from mcp_agentbus.archive.follow import follow
    from mcp_agentbus.archive.history import History, Search, history
    from mcp_agentbus.archive.kept.removed import Removed
    from mcp_agentbus.archive.lives import task_life
    from mcp_agentbus.archive.past import Past
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.core.ids import Agent
    from mcp_agentbus.core.notices import Holds
    from mcp_agentbus.errors import (
        AgentbusError,
        AlreadyEnded,
        ArchiveBroken,
        BadInput,
        BadSetup,
        BusUnreachable,
        Crowded,
        CutOff,
        GateAway,
        HopLimit,
        InboxFull,
        NameTaken,
        NoAnswer,
        NobodyListens,
        NotAccepted,
        NotAllowed,
        NotClaimed,
        NotYourTask,
        OutOfReach,
        Refused,
        SendLimit,
        StoreFull,
        TooLarge,
        Unconfirmed,
        UnknownAgent,
        UnknownTask,
        Untrusted,
    )
    from mcp_agentbus.handoff.agents import Listed, Page
    from mcp_agentbus.handoff.dispatch.draft import Options
    from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
    from mcp_agentbus.handoff.intake.answer import Inbox, Item
    from mcp_agentbus.handoff.lookup import Life
    from mcp_agentbus.handoff.reports.details import Details
    from mcp_agentbus.handoff.reports.published import Published
    from mcp_agentbus.handoff.results import publish_result
    from mcp_agentbus.handoff.send import send_task
    from mcp_agentbus.handoff.session import Session
    from mcp_agentbus.patterns.clear import Cleared, Clearing, clear, to_clear
    from mcp_agentbus.patterns.events import Event, Events, publish, reply, request, subscribe
    from mcp_agentbus.patterns.gather import Gathered, Missing, gather
    from mcp_agentbus.patterns.inbox import RosterEntry, count, list_agents, peek, register
    from mcp_agentbus.store.asked.decisions import Decision
    from mcp_agentbus.store.asked.question import Question
    from mcp_agentbus.store.task import (
        Answer,
        Moment,
        Receipt,
        Record,
        Sent,
        State,
        Status,
        Task,
    )
    from mcp_agentbus.work.job import Handler
    from mcp_agentbus.work.result import Result
    from mcp_agentbus.work.worker import Done, Worker

__all__ = [
    "Agent",
    "AgentbusError",
    "AlreadyEnded",
    "Answer",
    "ArchiveBroken",
    "BadInput",
    "BadSetup",
    "Bus",
    "BusUnreachable",
    "Cleared",
    "Clearing",
    "Crowded",
    "CutOff",
    "Decision",
    "Details",
    "Done",
    "Event",
    "Events",
    "Extent",
    "GateAway",
    "Gathered",
    "Handler",
    "History",
    "Holds",
    "HopLimit",
    "Inbox",
    "InboxFull",
    "Item",
    "Life",
    "Listed",
    "Missing",
    "Moment",
    "NameTaken",
    "NoAnswer",
    "NobodyListens",
    "NotAccepted",
    "NotAllowed",
    "NotClaimed",
    "NotYourTask",
    "Options",
    "OutOfReach",
    "Page",
    "Past",
    "Published",
    "Question",
    "Receipt",
    "Record",
    "Refused",
    "Removed",
    "Result",
    "RosterEntry",
    "Search",
    "SendLimit",
    "Sent",
    "Session",
    "State",
    "Status",
    "StoreFull",
    "Task",
    "TaskStep",
    "TooLarge",
    "Unconfirmed",
    "UnknownAgent",
    "UnknownTask",
    "Untrusted",
    "Worker",
    "__version__",
    "clear",
    "count",
    "follow",
    "gather",
    "history",
    "list_agents",
    "peek",
    "publish",
    "publish_result",
    "read_inbox",
    "register",
    "reply",
    "request",
    "send_task",
    "subscribe",
    "task_life",
    "to_clear",
    "watch_inbox",
]

# Where each stands; the others are errors.
_HOME = {
    "archive.audit": ("TaskStep",),
    "archive.catch_up": ("Extent",),
    "archive.follow": ("follow",),
    "archive.history": ("History", "Search", "history"),
    "archive.kept.removed": ("Removed",),
    "archive.lives": ("task_life",),
    "archive.past": ("Past",),
    "bus.client": ("Bus",),
    "core.ids": ("Agent",),
    "core.notices": ("Holds",),
    "handoff.agents": ("Listed", "Page"),
    "handoff.reports.details": ("Details",),
    "handoff.inbox": ("read_inbox", "watch_inbox"),
    "handoff.lookup": ("Life",),
    "handoff.reports.published": ("Published",),
    "handoff.results": ("publish_result",),
    "handoff.send": ("send_task",),
    "handoff.dispatch.draft": ("Options",),
    "handoff.session": ("Session",),
    "handoff.intake.answer": ("Inbox", "Item"),
    "patterns.clear": ("Cleared", "Clearing", "clear", "to_clear"),
    "patterns.events": ("Event", "Events", "publish", "reply", "request", "subscribe"),
    "patterns.gather": ("Gathered", "Missing", "gather"),
    "patterns.inbox": ("RosterEntry", "count", "list_agents", "peek", "register"),
    "store.asked.decisions": ("Decision",),
    "store.asked.question": ("Question",),
    "store.task": ("Answer", "Moment", "Receipt", "Record", "Sent", "State", "Status", "Task"),
    "work.job": ("Handler",),
    "work.result": ("Result",),
    "work.worker": ("Done", "Worker"),
}


def __getattr__(name: str) -> "Any":
    # Imported at first use: `agentbus --help` and hooks need none of it.
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOME.items() if name in names), "errors")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
