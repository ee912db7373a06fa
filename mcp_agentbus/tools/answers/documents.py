# SPDX-License-Identifier: Apache-2.0
"""Answers as data for a program: what `--json` prints, and what hosts get besides a text.

    >>> of_published(Published("9d0c...", "completed"))
    {'task_id': '9d0c...', 'state': 'completed'}

All of it can be written as JSON. Texts of peers are in it whole and as they were written, without a
frame: it is for programs. What a model is shown as data, receipts and what was published, has none,
and is no longer than an answer may be; nor has what hosts keep to themselves. `render` has the same
answers as text. It asks no bus and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mcp_agentbus.core.ids import address_of
from mcp_agentbus.core.text import stamp
from mcp_agentbus.handoff.agents import Page
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.lookup import Life
from mcp_agentbus.handoff.parked.parking import Parked
from mcp_agentbus.handoff.reports.published import Published
from mcp_agentbus.store.task import Moment, Receipt, Record, Task
from mcp_agentbus.tools.answers import layout, words
from mcp_agentbus.tools.answers.readers import MODEL, Reader


def of_receipts(receipts: Sequence[Receipt], reader: Reader = MODEL) -> dict[str, Any]:
    """Return the receipts, one per addressee, without what does not apply."""
    return {"receipts": [_receipt(receipt, reader) for receipt in receipts]}


def of_receipts_within(receipts: Sequence[Receipt]) -> dict[str, Any]:
    """Return the same for a model: of very many those that were refused first, and a note."""
    data = [_receipt(receipt, MODEL) for receipt in layout.worst_first(receipts)]
    count = layout.fitting((len(json.dumps(each)) + 1 for each in data), layout.ROOM - 500)
    if count == len(receipts):
        return of_receipts(receipts)
    return {"receipts": data[:count], "more": MODEL.hint(layout.more_receipts(receipts, count))}


def _receipt(receipt: Receipt, reader: Reader) -> dict[str, Any]:
    data = _dumped(receipt, exclude_none=True, exclude={"notify", "expect"})
    note = {"note": receipt.note} if receipt.note else {}
    return data | {"reason": reader.hint(receipt.reason)} | note


def _dumped(made: Receipt | Moment, **which: Any) -> dict[str, Any]:
    """Return what was made as data, its times like those of all answers: in UTC, to the ms."""
    times = {name: at for name, at in made if isinstance(at, datetime)}
    written = made.model_dump(mode="json", **which)
    return {key: stamp(times[key]) if key in times else each for key, each in written.items()}


def of_published(published: Published, reader: Reader = MODEL) -> dict[str, Any]:
    """Return what is stored now; `unchanged`, `late` and a note only where there is need."""
    data: dict[str, Any] = {"task_id": published.task_id, "state": published.state}
    if published.unchanged:
        data["unchanged"] = True
    if published.late:
        data["late"] = True
    if published.note:
        data["note"] = reader.hint(published.note)
    return data


def of_roster(page: Page, *, texts: bool) -> dict[str, Any]:
    """Return a page of the roster, with what agents say of themselves or without.

    Of an agent, and of a role, what is empty is left out.
    """
    agents = [
        {
            "id": agent.entry.id,
            "state": agent.entry.state,
            "last_seen": stamp(agent.entry.last_seen) if agent.entry.last_seen else None,
            "hosts": list(agent.entry.hosts),
            "roles": list(agent.entry.roles),
            "account": agent.entry.account,
            "description": agent.entry.description if texts else "",
            "waiting": agent.waiting,
        }
        for agent in page.agents
    ]
    filled = [{key: value for key, value in agent.items() if value} for agent in agents]
    roles = [
        {"role": role} | ({"waiting": counts} if counts else {})
        for role, counts in page.roles.items()
    ]
    more = {
        "roles": roles, "next_cursor": page.next_cursor, "away": page.away, "note": page.note,
    }  # fmt: skip
    return {"agents": filled, "total": page.total} | {
        key: each for key, each in more.items() if each
    }


def of_parked(parked: Sequence[Parked]) -> dict[str, Any]:
    """Return parked tasks; `task` is None for one that cannot be read."""
    return {
        "parked": [
            {
                "number": task.number,
                "to": task.inbox,
                "from": task.sender,
                "reason": task.reason,
                "parked_at": stamp(task.parked_at),
                "size": task.size,
                "task": of_task(task.task) if task.task else None,
            }
            for task in parked
        ]
    }


def of_inbox(inbox: Inbox, *, texts: bool, reader: Reader = MODEL) -> dict[str, Any]:
    """Return an inbox, with the texts that peers wrote or with ids and states alone.

    `waiting` is None where it was not looked at, as by who waits for certain tasks.
    """
    tasks = [
        {**(of_task(item.task) if texts else _task_ids(item.task)), "state": item.state,
         **(_asked(item) if texts else {}),
         "attempt": item.attempt, "new": item.new, "holder": item.holder,
         "given_at": stamp(item.given_at) if item.given_at else None}
        for item in inbox.tasks
    ]  # fmt: skip
    given_at = inbox.results_given_at
    results = [
        {**(of_record(record) if texts else _record_ids(record)),
         "given_at": stamp(given_at[record.task_id]) if record.task_id in given_at else None}
        for record in inbox.results
    ]  # fmt: skip
    return {
        "inbox": f"degraded: {inbox.degraded}" if inbox.degraded else "ok",
        "tasks": tasks,
        "results": results,
        "waiting": inbox.waiting,
        "held": inbox.held,
        "held_elsewhere": inbox.held_elsewhere,
        "waiting_of_gone": inbox.of_gone,
        "results_elsewhere": inbox.results_elsewhere,
        "notes": [reader.hint(note) for note in inbox.notes],
        "next_cursor": inbox.next_cursor,
        "timed_out": inbox.timed_out,
    }


def _asked(item: Item) -> dict[str, Any]:
    """Return what a task's worker asked, its sender answered and its own user decided."""
    if not item.question:
        return {}
    answers = [{"at": stamp(answer.at), "body": answer.body} for answer in item.answers]
    decision = item.decision and {
        "approved": item.decision.approved,
        "note": item.decision.note,
        "at": stamp(item.decision.at),
    }
    return {"question": item.question, "answers": answers, "decision": decision}


def of_answers(answers: Inbox, unanswered: Sequence[Life]) -> dict[str, Any]:
    """Return the results of tasks that were sent together, and how those without one stand."""
    return {
        "results": [of_record(record) for record in answers.results],
        "unanswered": [
            {
                "task_id": life.record.task_id,
                "to": address_of(life.record.inbox),
                "state": _state_of(life),
                "agent": life.holder,
            }
            for life in unanswered
        ],
        "timed_out": bool(unanswered),
    }


def of_life(life: Life) -> dict[str, Any]:
    """Return a task's life: its record, its history, and the task itself while it is open."""
    record = life.record
    data = of_record(record)
    data["state"] = _state_of(life)
    data["left"] = life.is_left
    data["question"] = words.of_question(life.question)
    data["history"] = [_dumped(moment) for moment in life.history]
    if life.sent:
        data["expires_at"] = stamp(life.sent.expires_at)
        data["deliver_at"] = stamp(life.sent.deliver_at) if life.sent.deliver_at else None
        answers = life.sent.answers
        data["answers"] = [{"at": stamp(each.at), "body": each.body} for each in answers]
        data["seen_at"] = stamp(life.sent.seen_at) if life.sent.seen_at else None
    if life.task:
        data["task"] = of_task(life.task)
    elif life.sent:
        data["request"] = {"body": life.sent.body, "characters": life.sent.body_chars}
    return data


def _state_of(life: Life) -> str:
    return "stored_here" if life.is_outgoing else life.state


def of_task(task: Task) -> dict[str, Any]:
    """Return a task with its text."""
    return {**_task_ids(task), "subject": task.subject, "body": task.body}


def of_record(record: Record) -> dict[str, Any]:
    """Return a record with its texts."""
    return {
        **_record_ids(record),
        "subject": record.subject,
        "reason": record.reason,
        "summary": record.summary,
        "body": record.body,
        "artifacts": list(record.artifacts),
        "progress": record.progress,
    }


def _task_ids(task: Task) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "from": task.sender,
        "to": task.to,
        "priority": task.priority,
        "task_type": task.task_type,
        "thread_id": task.thread_id,
        "in_reply_to": task.in_reply_to,
        "expect": task.expect,
        "content_type": task.content_type,
        "reply_to": task.reply_to,
        "created_at": stamp(task.created_at),
        "expires_at": stamp(task.expires_at),
        "hops": task.hops,
        "chain": list(task.chain),
    }


def _record_ids(record: Record) -> dict[str, Any]:
    return {
        "task_id": record.task_id,
        "owner": record.owner,
        "to": record.inbox,
        "state": record.state,
        "agent": record.agent,
        "session": record.session,
        "attempts": record.attempts,
        "thread_id": record.thread_id,
        "late": record.late,
        "expect": record.expect,
        "asked_by": record.asked_by,
        **({"unasked": True} if record.unasked else {}),
        "updated_at": stamp(record.updated_at),
    }
