# SPDX-License-Identifier: Apache-2.0
"""What goes on, and why a task is not done, as data for a program; texts as they were written."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mcp_agentbus.archive.past import Past
from mcp_agentbus.core.framing import frame, one_line
from mcp_agentbus.core.ids import address_of
from mcp_agentbus.core.text import stamp
from mcp_agentbus.overview.case import Case
from mcp_agentbus.overview.situation import Situation
from mcp_agentbus.overview.why import Why
from mcp_agentbus.tools.answers import words
from mcp_agentbus.tools.answers.past import fact_line, ids_of


def of_situation(now: Situation) -> dict[str, Any]:
    """Return what goes on."""
    answer = now.listener.answer
    return {
        "at": stamp(now.now),
        "server": {"url": now.server or None, "away": now.away_says},
        "listener": {
            "state": now.listener.state,
            "says": now.listener.says,
            "since": answer.get("since"),
            "pid": answer.get("pid"),
        },
        "agents": [
            {
                "id": agent.id,
                "state": agent.state,
                "last_seen": _stamp(agent.last_seen),
                "waking": agent.is_waking,
                "holds": [{**_task(task), "since": stamp(since)} for task, since in agent.held],
                "waiting": dict(agent.waiting),
                **{key: dict(counts) for key, counts in agent.refused.items()},
            }
            for agent in now.agents
        ],
        "needs": [
            {
                "kind": need.kind,
                "about": need.about,
                "what": need.what,
                "todo": need.todo,
                "since": _stamp(need.since),
                "task": _task(need.task) if need.task else None,
            }
            for need in now.needs
        ],
        "needing": len(now.needs) + now.more_needs,
        "waiting": now.waiting,
        "unread": now.unread,
        "waits": [
            {
                "to": address_of(some.inbox),
                "priority": some.priority,
                "count": some.count,
                "oldest": _task(some.oldest) if some.oldest else None,
                **of_why(some.why),
            }
            for some in now.waits
        ],
        "over": [{**_task(each.task), "at": stamp(each.at)} for each in now.ended],
        "outbox": {
            "waiting": len(now.outgoing.waits),
            "since": stamp(now.outgoing.waits[0].since) if now.outgoing.waits else None,
            "says": "; ".join(now.outgoing.all_says),
        },
        "wakes_today": vars(now.wakes) if now.wakes else None,
        "whole": now.extent.is_whole,
        "notes": list(now.notes),
    }


def of_why(answer: Why) -> dict[str, str]:
    """Return why a task is not done."""
    return {"why": answer.sentence, "todo": answer.todo}


def of_case(case: Case, answer: Why) -> dict[str, Any]:
    """Return which task it is, and why it is not done."""
    asked = words.of_question(case.task.question)
    return {**_task(case.task), "question": asked, **of_why(answer)}


def why_text(case: Case, answer: Why) -> str:
    """Return the same for a person; what the task is about stands in a frame."""
    lines = (fact_line(case.task), answer.sentence, answer.todo)
    task, said = case.task, [one_line(case.task.subject)]
    if task.question and task.question.is_open:
        said += [f"Asked: {one_line(each)}" for each in (task.summary, task.result) if each]
    by = task.owner if len(said) == 1 else ""
    return "\n".join([*filter(None, lines), frame("\n".join(said), said_by=by)])


def _task(task: Past) -> dict[str, Any]:
    return {**ids_of(task), "priority": task.priority, "subject": task.subject}


def _stamp(at: datetime | None) -> str | None:
    return stamp(at) if at else None
