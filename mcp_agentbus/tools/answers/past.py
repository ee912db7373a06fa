# SPDX-License-Identifier: Apache-2.0
"""Tasks of before, as a list and step by step: as text, and as data for a program.

    >>> print(history_text(page, "sent by planner"))
    2 tasks sent by planner, the latest first.
    9d0c2f1a · completed by coder 2 h ago · planner to coder · sent 3 h ago

Ids, states, names and times stand outside of a frame; subjects, summaries and what was looked for
stand inside of one. It asks no bus and changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final, get_args

from mcp_agentbus.archive.audit import TaskStep
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.history import History
from mcp_agentbus.archive.kept.place import cursor_of
from mcp_agentbus.archive.past import Past
from mcp_agentbus.core.framing import frame, one_line
from mcp_agentbus.core.ids import address_of, is_inbox
from mcp_agentbus.core.text import many, now, stamp
from mcp_agentbus.store.asked.decisions import is_against
from mcp_agentbus.store.task import ENDS, HELD, State
from mcp_agentbus.tools.answers import layout, words
from mcp_agentbus.tools.answers.readers import MODEL, Reader

#: What a page says that it shows, by the view.
TITLES: Final = {
    "all": "of {who}",
    "sent": "sent by {who}",
    "received": "received by {who}",
    "open": "of {who} still open",
}
# Of each text in a list.
_SUBJECT_CHARS: Final = 120
_SAID_CHARS: Final = 160
# For what an answer says of those for which it has no room.
_MORE_CHARS: Final = 400
# Of a task in a list, beside what was written: 120 tokens of 3.5 characters, so that a page of 20
# costs a model no more than 2,400. Two line breaks, an indent and what parts two texts are in it.
_ROW_CHARS: Final = 420
_AROUND: Final = 9
# So much of each name is shown: all of it, or as much as such a row has room for.
_NAME_CHARS: Final = (63, 40, 28, 12)
# Of an id that is long, where the whole stands already.
_LABEL_CHARS: Final = 20
# What the ids made here look like; so much of one names its task.
_OWN_ID: Final = re.compile(r"[0-9a-f]{32}")
_SHORT_CHARS: Final = 8
# A step of another may have any word.
_STATES: Final = frozenset(get_args(State)) | {
    "answered", "waking", "woken", "wake-failed", "wake-held", "decided", "approved",
    "denied",
}  # fmt: skip
# As `words.LEFT`, where a row has to be short.
_LEFT: Final = ", offered again"
# What is typed about a task that waits for a word, by what is asked.
_COMMANDS: Final = {
    "needs_input": "to answer: agentbus answer {0}",
    "needs_approval": "to decide: agentbus approve {0}, or deny",
}


def unlike(cursor: str | None, *narrowed: object) -> str:
    """Return what is said of the tasks of an empty page that was narrowed, or is the last one."""
    if cursor:
        return " comes after that"
    return " is like that" if any(narrowed) else ""


def history_text(page: History, whose: str, reader: Reader = MODEL, *, none: str = "") -> str:
    """Return a page of tasks, two lines each.

    Args:
        page: the tasks.
        whose: which they are, such as `sent by planner`.
        reader: who reads it.
        none: what is said where there is none, of `unlike`.
    """
    notes = [*page.notes, *extent_notes(page.extent)]
    if not page.tasks:
        return "\n".join(
            [f"No task {whose}{none}.", *layout.noted([reader.hint(x) for x in notes])]
        )
    costs = (len(row(past)) + len(said_line(past)) + _AROUND for past in page.tasks)
    count = layout.fitting(costs, layout.ROOM - _MORE_CHARS)
    listed = page.tasks[:count]
    cursor = page.next_cursor if count == len(page.tasks) else cursor_of(listed[-1])
    head = f"{many(len(listed), 'task')} {whose}, the latest first."
    head += f" More: {reader.page(cursor)}." if cursor else ""
    facts = [head, *layout.noted([reader.hint(note) for note in notes]), *map(row, listed)]
    about = ["What they are about:", frame("\n".join(map(said_line, listed)), said_by="")]
    parts = [*about, *facts] if reader.scrolls else [*facts, *about]
    return "\n".join([*parts, f"One of them whole: {reader.whole('ID')}"])


def extent_notes(extent: Extent) -> list[str]:
    """Return what is said of how far back was looked; nothing where that was all."""
    removed = [each.says for each in extent.removed]
    if extent.is_whole:
        return removed
    since = f" since {words.when(extent.since)}" if extent.since else ""
    return [
        f"Looked at so far is what was stored{since}; the next look goes further back.",
        *removed,
    ]


def short(task_id: str) -> str:
    """Return what names a task in a list: the beginning of an id that was made here."""
    return task_id[:_SHORT_CHARS] if _OWN_ID.fullmatch(task_id) else task_id


def row(past: Past) -> str:
    """Return the same as `fact_line` for a list: where it would be long, its names are shortened.

    With what stands in front of the task's texts it has `_ROW_CHARS` at most.
    """
    room = _ROW_CHARS - _AROUND - len(f"{_label(past.task_id)}: ")
    lines = (_facts(past, name_chars) for name_chars in _NAME_CHARS)
    return next((line for line in lines if len(line) <= room), _facts(past, _NAME_CHARS[-1]))


def fact_line(past: Past) -> str:
    """Return what is known of a task, but for what was written."""
    return _facts(past, _NAME_CHARS[0])


def _facts(past: Past, name_chars: int) -> str:
    is_whole = name_chars == _NAME_CHARS[0]

    def name(agent: str) -> str:
        return _shortened(agent, name_chars)

    by = f" by {name(past.agent)}" if past.agent and past.state in HELD | ENDS - {"expired"} else ""
    # A deadline passes although nobody writes it down.
    at = past.expires_at if past.state == "expired" and past.expires_at else past.updated_at
    since = f" {words.ago(at)}" if past.state != "stored" else ""
    is_elsewhere = past.is_elsewhere and past.state not in ENDS
    since += _LEFT if past.is_left and not is_elsewhere else ""
    facts = [
        short(past.task_id),
        words.HERE if past.is_outgoing else f"{past.state}{by}{since}",
        f"{name(past.sender)} to {name(address_of(past.inbox))}",
        *([past.priority] if past.priority != "normal" else []),
        f"sent {words.ago(past.created_at)}",
    ]
    if past.question:
        task_id = short(past.task_id)
        # A long one stands on this line already.
        typed = task_id if is_whole or len(task_id) <= _LABEL_CHARS else "ID"
        how = _COMMANDS[past.question.state].format(typed)
        if past.asked_by and past.question.state == "needs_input":
            how = f"{name(past.asked_by)} answers that"
        question = replace(past.question, by=name(past.question.by))
        facts += words.asked(question, past.state, [how])
    facts += [words.ELSEWHERE] if is_elsewhere else []
    facts += [words.AGAINST] if is_against(past.state, past.reason) else []
    facts += ["late"] if past.late else []
    facts += ["wants no answer"] if past.expect == "nothing" else []
    if past.deliver_at and past.deliver_at > now():
        facts.append(f"for {words.when(past.deliver_at)}")
    if past.asked_by:
        facts.append(f"its result sent to {name(past.owner)} as well, as its worker says")
    elif not past.is_asked:
        facts.append("UNASKED")
    return words.line(facts)


def said_line(past: Past) -> str:
    """Return what was written of a task, on one line."""
    said = past.snippet if past.snippet not in {"", past.subject} else past.summary
    more = f" | {one_line(said, _SAID_CHARS)}" if said else ""
    return f"{_label(past.task_id)}: {one_line(past.subject, _SUBJECT_CHARS)}{more}"


def _label(task_id: str) -> str:
    """Return by what a task's text is found beside its row."""
    return _shortened(short(task_id), _LABEL_CHARS)


def _shortened(name: str, most: int) -> str:
    """Return a name in so many characters; it keeps both ends, as one of two may tell it."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}\u2026{name[-end:]}"


def of_history(page: History) -> dict[str, Any]:
    """Return a page of tasks as data, without the texts of requests and results."""
    return {
        "tasks": [
            {**of_past(past), "question": words.of_question(past.question)} for past in page.tasks
        ],
        "next_cursor": page.next_cursor,
        "whole": page.extent.is_whole,
        "since": stamp(page.extent.since) if page.extent.since else None,
        "removed": {each.why: stamp(each.until) for each in page.extent.removed},
        "notes": list(page.notes),
    }


def ids_of(past: Past) -> dict[str, Any]:
    """Return a task as data, without what anybody wrote."""
    return {
        "task_id": past.task_id,
        "from": past.sender,
        "to": address_of(past.inbox),
        "state": "stored_here" if past.is_outgoing else past.state,
        "agent": past.agent,
        "left": past.is_left,
    }


def of_past(past: Past) -> dict[str, Any]:
    """Return a task as data, with what a list shows of its texts."""
    return {
        **_bare(past),
        "subject": past.subject,
        "summary": past.summary,
        "reason": past.reason,
        "artifacts": list(past.artifacts),
    }


def _bare(past: Past) -> dict[str, Any]:
    """Return the same without its texts: ids, words of a list, numbers and times."""
    data: dict[str, Any] = {
        **ids_of(past),
        "priority": past.priority,
        "task_type": past.task_type,
        "thread_id": past.thread_id,
        "in_reply_to": past.in_reply_to,
        "expect": past.expect,
        "asked_by": past.asked_by,
        "attempts": past.attempts,
        "late": past.late,
        "asked": past.is_asked,
        "progress": past.progress,
    }
    for name in ("created_at", "updated_at", "expires_at", "deliver_at", "seen_at"):
        at = getattr(past, name)
        data[name] = stamp(at) if at else None
    return data


def step_line(entry: TaskStep) -> str:
    """Return one step: when, what, which task, by whom; a reason may be a sentence of anybody's."""
    state = entry.state if entry.state in _STATES else "a state that is not known here"
    by = entry.by if is_inbox(entry.by) else "nobody who can be one"
    task = entry.task
    return (
        f"{words.when(entry.at)}  {state:<14}  {short(task.task_id)}  "
        f"{task.sender} to {address_of(task.inbox)}, by {by}"
    )


def of_step(entry: TaskStep, *, texts: bool) -> dict[str, Any]:
    """Return one step as data, with the task's texts as they are known by now or without any.

    Why it was taken is a text as well: whoever can write the record may say anything there.
    """
    task = entry.task
    data = {"step": entry.n, "at": stamp(entry.at), "state": entry.state, "by": entry.by}
    if not texts:
        return {**data, "task": _bare(task)}
    whole = {"request": task.request, "characters": task.request_chars, "result": task.result}
    said = {"reason": entry.reason, "note": entry.note}
    return {**data, **said, "task": {**of_past(task), **whole}}


def step_markdown(entry: TaskStep) -> str:
    """Return one step as an entry of a diary: what was written stands in a frame.

    Nobody who has written it can end the frame or begin an entry of another's.
    """
    task = entry.task
    lines = [
        f"## {stamp(entry.at)} {entry.state if entry.state in _STATES else 'step'}",
        "",
        f"- task: {task.task_id}",
        f"- from: {task.sender}",
        f"- to: {address_of(task.inbox)}",
        f"- priority: {task.priority}",
        f"- by: {entry.by if is_inbox(entry.by) else 'nobody who can be one'}",
    ]
    if said := _said_with(entry):
        lines += ["", frame(said, said_by=entry.by if is_inbox(entry.by) else task.inbox)]
    return "\n".join([*lines, ""])


def _said_with(entry: TaskStep) -> str:
    """Return the texts that belong to a step."""
    task = entry.task
    if entry.state == "stored" and not entry.reason:
        about = [f"Subject: {task.subject}", f"Thread: {task.thread_id}"]
        about += [f"In reply to: {task.in_reply_to}"] if task.in_reply_to else []
        text = [task.request] if task.request else []
        if text and len(task.request) < task.request_chars:
            text.append(f"({len(task.request):,} of {task.request_chars:,} characters are kept)")
        return "\n".join([*about, "", *text]).rstrip()
    # An end that was not the last, as of a task that was sent again, has only what was said then.
    if entry.state in ENDS and entry.is_last:
        about = [f"Why: {task.reason}"] if task.reason else []
        about += [f"Summary: {task.summary}"] if task.summary else []
        about += [f"Artifact: {artifact}" for artifact in task.artifacts]
        return "\n".join([*about, *(["", task.result] if task.result else [])]).strip()
    return "\n".join(filter(None, (entry.reason, entry.note)))
