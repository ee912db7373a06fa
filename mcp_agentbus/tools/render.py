# SPDX-License-Identifier: Apache-2.0
"""Answers as text for a model or a person.

    >>> print(inbox_text(Inbox(waiting={}), "coder"))
    Inbox of coder: ok, nothing new. Waiting: none.

Whatever a peer wrote stands inside a frame; what is cut says how much is missing and how to get it.
No answer is longer than the hosts let through (OpenClaw cuts at 32,000 characters). `documents` has
the same answers as data for a program. It asks no bus and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from mcp_agentbus.core.framing import Part, frame, one_line, part
from mcp_agentbus.core.ids import LANES, Priority, address_of
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.agents import Page
from mcp_agentbus.handoff.lookup import Life
from mcp_agentbus.handoff.parking import Parked
from mcp_agentbus.handoff.results import Published
from mcp_agentbus.handoff.turn import Inbox, Item
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.task import Receipt, Record, State, Task
from mcp_agentbus.tools.readers import MODEL, SHELL, Reader

#: In one answer of a tool, frames included.
ANSWER_MAX_CHARS: Final = 28_000
# Of each text where no more was asked for, and of each where there are many.
_CONCISE_CHARS: Final = 2_000
_LEAST_CHARS: Final = 60
# Of those to whom something was sent as one; all of them are in the data.
_NAMES_MAX: Final = 20
# In characters, what stands around a text: ids, times, a subject of full length, the way to the
# rest.
_FACTS_CHARS: Final = 500


def receipts_text(receipts: Sequence[Receipt], reader: Reader = MODEL) -> str:
    """Return one line per addressee."""
    return "\n".join(_receipt_line(receipt, reader) for receipt in receipts)


def _receipt_line(receipt: Receipt, reader: Reader) -> str:
    if receipt.state == "refused":
        return f"{receipt.to}: refused, nothing stored. {reader.hint(receipt.reason)}"
    seen = f", last seen {_when(receipt.last_seen)}" if receipt.last_seen else ""
    later = f" It is offered from {_when(receipt.deliver_at)}." if receipt.deliver_at else ""
    is_there = (
        f"Whether {receipt.to} is there is not known yet{seen}."
        if receipt.recipient == "not known"
        else f"{receipt.to} is {_state(receipt.recipient)}{seen}."
    )
    sentences = [
        f"{receipt.to}: stored as task {receipt.task_id}.{later} {is_there}",
        _wake_text(receipt),
        receipt.note,
    ]
    return " ".join(filter(None, sentences))


def _wake_text(receipt: Receipt) -> str:
    if receipt.wake == "not_requested":
        return ""
    why = f" ({receipt.reason})" if receipt.reason else ""
    return f"wake: {receipt.wake}{why}."


def published_text(published: Published) -> str:
    """Return what is stored now, in one line."""
    line = f"Task {published.task_id}: {published.state}."
    return f"{line} {published.note}".rstrip()


def roster_text(page: Page, reader: Reader = MODEL) -> str:
    """Return one line per agent."""
    if not page.agents:
        return page.note or ("No more agents." if page.total else "No agent matches.")
    lines = [
        _entry_line(agent.entry) + f" waiting: {_counts(agent.waiting)}"
        + (f" \u00b7 says: {one_line(agent.entry.description)}" if agent.entry.description else "")
        for agent in page.agents
    ]  # fmt: skip
    if page.next_cursor:
        lines.append(f"{page.total} agents in all; {reader.page(page.next_cursor)} gives the next.")
    return "\n".join([*lines, page.note] if page.note else lines)


def _entry_line(entry: Entry) -> str:
    seen = f", last seen {_when(entry.last_seen)}" if entry.last_seen else ""
    roles = f" roles: {', '.join(entry.roles)} \u00b7" if entry.roles else ""
    hosts = f" hosts: {', '.join(entry.hosts)} \u00b7" if entry.hosts else ""
    state = "not known yet (the bus server has just started)"
    state = state if entry.state == "not known" else entry.state
    return f"{entry.id}: {state}{seen} \u00b7{hosts}{roles}"


def parked_text(parked: Sequence[Parked]) -> str:
    """Return one line per parked task."""
    if not parked:
        return "Nothing is parked."
    return "\n".join(
        f"{task.number}: {task.task.id if task.task else 'unreadable'} from {task.sender} to "
        f"{address_of(task.inbox)}, parked {_when(task.parked_at)}: {one_line(task.reason)}"
        for task in parked
    )


def inbox_text(inbox: Inbox, me: str, *, full: bool = False, reader: Reader = MODEL) -> str:
    """Return an inbox; `full` shows long bodies as far as the answer has room.

    What an answer gave before has a line of its own, with the way to the whole.
    """
    lines = [_head(inbox, me, reader), *(f"Note: {reader.hint(note)}" for note in inbox.notes)]
    texts = ["" if item.given_at else item.task.body for item in inbox.tasks]
    before = inbox.results_given_at
    again = _told_as_one(record for record in inbox.results if record.task_id in before)
    results = _told_as_one(record for record in inbox.results if record.task_id not in before)
    texts += ["" for _ in again] + [records[0].body for records in results]
    wanted = ANSWER_MAX_CHARS if full else _CONCISE_CHARS * len(texts)
    room = _shares(texts, min(wanted, ANSWER_MAX_CHARS - _FACTS_CHARS * len(texts)))
    for item in inbox.tasks:
        shown = next(room)
        given = item.given_at and _given_lines(item.task, item.state, item.given_at, reader)
        lines += ["", *(given or _task_lines(item, shown, reader))]
    for first, *more in again:
        next(room)
        lines += ["", *_given_result_lines(first, len(more), before[first.task_id], reader)]
    for first, *more in results:
        shown = next(room)
        lines += [""]
        lines += _expired_lines([first, *more]) if more else _result_lines(first, shown, reader)
    return "\n".join(lines)


def answers_text(answers: Inbox, unanswered: Sequence[Life], me: str) -> str:
    """Return the results of tasks that were sent together, and how those without one stand.

    Only commands wait for several tasks, so this is in the words of those who type them.
    """
    lines = [inbox_text(answers, me, full=True, reader=SHELL)] if answers.results else []
    for life in unanswered:
        held = f" by {life.holder}" if life.holder else ""
        task_id, to = life.record.task_id, address_of(life.record.inbox)
        lines.append(f"{to}: timed out. Task {task_id} is {life.state}{held}, without a result.")
    if unanswered:
        lines.append(
            "A result that comes later is kept: `agentbus inbox` shows it, and "
            "`agentbus watch --task ID` waits for it."
        )
    return "\n".join(lines)


def _told_as_one(results: Iterable[Record]) -> list[list[Record]]:
    """Return the results, those together that are told as one."""
    together: dict[tuple[str, ...], list[Record]] = {}
    for record in results:
        together.setdefault(record.told_with, []).append(record)
    return list(together.values())


def _expired_lines(records: Sequence[Record]) -> list[str]:
    """Return what became of a task for many that nobody of these has read."""
    first = records[0]
    names = [address_of(record.inbox) for record in records[:_NAMES_MAX]]
    more = f" and {len(records) - len(names)} more" if len(records) > len(names) else ""
    facts = [
        f"Results of {len(records)} tasks that were sent as one: expired",
        one_line(first.reason),
        f"to {', '.join(names)}{more}",
        _when(first.updated_at),
    ]
    subject = f"Subject of the tasks: {first.subject}"
    return [" \u00b7 ".join(filter(None, facts)), frame(subject, said_by=_speaker(first))]


def _shares(texts: Sequence[str], room: int) -> Iterator[int]:
    """Yield how much of each text is shown: an equal share, and what shorter ones leave over."""
    each = max(_LEAST_CHARS, room // max(1, len(texts)))
    spare = room - sum(min(len(text), each) for text in texts)
    for text in texts:
        extra = min(max(0, len(text) - each), max(0, spare))
        spare -= extra
        yield each + extra


def _head(inbox: Inbox, me: str, reader: Reader) -> str:
    """Return the first line: what is shown, and what else there is."""
    tasks = sum(item.given_at is None for item in inbox.tasks)
    results = [each for each in inbox.results if each.task_id not in inbox.results_given_at]
    before = len(inbox.tasks) - tasks, len(inbox.results) - len(results)
    counts = [
        f"{_many(tasks, 'task')}{' (not claimed)' if inbox.peeked else ''}" if tasks else "",
        _many(len(_told_as_one(results)), "result") if results else "",
        f"{_many(before[0], 'task')} given before and still held" if before[0] else "",
        f"{_many(before[1], 'result')} given before" if before[1] else "",
    ]
    nothing = "nothing of this conversation" if inbox.thread_id else "nothing new"
    what = ", ".join(filter(None, counts)) or ("timed out, " * inbox.timed_out) + nothing
    state = f"DEGRADED ({inbox.degraded})" if inbox.degraded else "ok"
    head = f"Inbox of {me}: {state}, {what}."
    hidden = inbox.held - sum(1 for item in inbox.tasks if not item.holder)
    if not inbox.peeked and hidden > 0:
        more = "more task" if inbox.tasks else "task"
        head += f" {_many(hidden, more)} held by this session."
    if inbox.more_results:
        head += " More results may be there: read again."
    if not inbox.results and inbox.results_elsewhere:
        head += f" {_many(inbox.results_elsewhere, 'result')} for another session of {me}."
    if not inbox.tasks and inbox.held_elsewhere:
        head += f" {_many(inbox.held_elsewhere, 'task')} held by other sessions."
    if inbox.waiting or (inbox.waiting is not None and not inbox.timed_out):
        head += f" Waiting: {_counts(inbox.waiting)}."
        if inbox.waiting and inbox.held and not (inbox.peeked or inbox.next_cursor):
            is_full = not any(item.new for item in inbox.tasks)
            head += reader.hint(" Call read_inbox with limit 1 for another.") if is_full else ""
    if inbox.next_cursor:
        head += f" More: {reader.page(inbox.next_cursor)}."
    return head


def _task_lines(item: Item, room: int, reader: Reader) -> list[str]:
    """Return a task's facts, then at most `room` characters of its text in a frame."""
    task = item.task
    shown = part(task.body, 0, room)
    state = item.state if not item.new else "claimed now"
    facts = [
        f"Task {task.id} from {task.sender}",
        task.priority + (f" (sender wrote {one_line(task.priority_given, 40)!r})"
                         if task.priority_given else ""),
        f"{state} by {item.holder}" if item.holder else state,
    ]  # fmt: skip
    if item.attempt > 1:
        facts.append(f"attempt {item.attempt}")
    if task.to.startswith("role-"):
        facts.append(f"for {address_of(task.to)}")
    facts.append(f"sent {_when(task.created_at)}, expires {_when(task.expires_at)}")
    if task.thread_id != task.id:
        facts.append(f"thread {task.thread_id}")
    if task.in_reply_to:
        facts.append(f"in reply to {task.in_reply_to}")
    if task.task_type != "default":
        facts.append(f"type {task.task_type}")
    return [" \u00b7 ".join(facts), _framed(task, shown), *_rest(task.id, shown, reader)]


def _given_lines(task: Task, state: State, at: datetime, reader: Reader) -> list[str]:
    """Return what reminds a reader of a task that it holds."""
    facts = [
        f"Task {task.id} from {task.sender}",
        task.priority,
        state,
        f"given to a call of this session {_ago(at)}",
        _way_to(task.id, reader),
    ]
    return [" \u00b7 ".join(facts), frame(f"Subject: {task.subject}", said_by=task.sender)]


def _given_result_lines(record: Record, more: int, at: datetime, reader: Reader) -> list[str]:
    """Return what reminds a reader of a result, and those told with it, that may not be there."""
    besides = f" and {more} more that were sent as one" if more else ""
    to = address_of(record.inbox)
    facts = [
        f"Result of task {record.task_id} to {to}{besides}: {_stated(record)}",
        f"given {_ago(at)} to a call that may have been given up",
        _way_to(record.task_id, reader),
    ]
    subject = f"Subject of the task: {record.subject}"
    return [" \u00b7 ".join(facts), frame(subject, said_by=_speaker(record))]


def _way_to(task_id: str, reader: Reader) -> str:
    return f"the whole: {reader.whole(task_id)}"


def _ago(at: datetime) -> str:
    """Return how long ago something was, in minutes, or in hours from two on."""
    minutes = int((now() - at).total_seconds()) // 60
    if minutes < 1:
        return "just now"
    return f"{minutes} min ago" if minutes < 120 else f"{minutes // 60} h ago"


def _framed(task: Task, shown: Part, start: int = 0) -> str:
    """Return a part of a task's text in its sender's frame; the first part has the subject."""
    body = shown.text if start else f"Subject: {task.subject}\n\n{shown.text}"
    return frame(body, said_by=task.sender)


def _result_lines(record: Record, room: int, reader: Reader, start: int = 0) -> list[str]:
    """Return a result's facts, then what its writer wrote, of the text at most `room` characters.

    `start` is the character at which the text begins: behind it, only the subject comes again.
    """
    shown = part(record.body, start, room)
    facts = [f"Result of task {record.task_id} to {address_of(record.inbox)}: {_stated(record)}"]
    if record.unasked:
        facts.append(f"UNASKED: {record.owner} is not known to have sent this task")
    if record.late:
        facts.append("late")
    if record.reason:
        facts.append(one_line(record.reason))
    facts.append(f"by {record.agent or record.inbox}, {_when(record.updated_at)}")
    if record.thread_id and record.thread_id != record.task_id:
        facts.append(f"thread {record.thread_id}")
    peers = [f"Subject of the task: {record.subject}"] if record.subject else []
    if not start:
        peers += [f"Summary: {record.summary}"] if record.summary else []
        peers += [f"Artifact: {artifact}" for artifact in record.artifacts]
        peers += [f"Progress: {record.progress:g} %"] if record.progress is not None else []
    if shown.text:
        peers += ["", shown.text]
    lines = [" \u00b7 ".join(facts), frame("\n".join(peers), said_by=_speaker(record))]
    return lines + _rest(record.task_id, shown, reader)


def _speaker(record: Record) -> str:
    """Return who wrote a record's texts: a role leaves open which of its holders."""
    if record.state == "cancelled":
        return record.owner
    return record.agent or record.inbox


def _stated(record: Record) -> str:
    """Return a record's state, and what its writer called it if that is no state of ours."""
    given = f" (written as {one_line(record.state_given, 40)!r})" if record.state_given else ""
    return record.state + given


def _rest(task_id: str, shown: Part, reader: Reader) -> list[str]:
    """Return the line that says how much of a text was left out, if any, and how to get it."""
    if shown.next is None:
        return []
    so_far = f"{shown.next:,} of {shown.total:,} characters shown"
    return [f"{so_far}; the rest: {reader.rest(task_id, shown.next)}"]


def life_text(life: Life, start: int = 0, reader: Reader = MODEL) -> str:
    """Return a task's life; `start` is the character at which the text begins."""
    record, sent = life.record, life.sent
    who = f"sent by {record.owner} to {address_of(record.inbox)}"
    lines = [f"Task {record.task_id}: {life.state} \u00b7 {who} \u00b7 {record.priority}"]
    if sent:
        seen = f"seen {_when(sent.seen_at)}" if sent.seen_at else "not yet seen by its sender"
        lines.append(
            f"expires {_when(sent.expires_at)}" + (f" \u00b7 its result: {seen}" * record.ended)
        )
    lines += [
        _moment_line(moment.at, moment.state, moment.by, moment.reason) for moment in life.history
    ]
    if life.task and not record.ended:
        shown = part(life.task.body, start, ANSWER_MAX_CHARS)
        lines += ["", _framed(life.task, shown, start), *_rest(record.task_id, shown, reader)]
    elif record.body or record.summary or record.artifacts:
        lines += ["", *_result_lines(record, ANSWER_MAX_CHARS, reader, start)]
    return "\n".join(lines)


def start_of(cursor: str | None) -> int:
    """Return the character of a task's text at which a cursor leads on.

    Raises:
        BadInput: it is no cursor of a text.
    """
    if cursor is None:
        return 0
    if not cursor.isdecimal() or len(cursor) > 9:
        raise BadInput(
            "The cursor is not one of this task.", hint="Use the cursor of the answer before."
        )
    return int(cursor)


def _moment_line(at: datetime, state: str, by: str, reason: str) -> str:
    return f"  {_when(at)}  {one_line(state, 40):<14} {one_line(by, 80)}" + (
        f"  ({one_line(reason)})" if reason else ""
    )


def _when(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def _state(state: str) -> str:
    return "in a live session" if state == "live session" else state


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _counts(waiting: Mapping[Priority, int]) -> str:
    return ", ".join(f"{waiting[lane]} {lane}" for lane in LANES if waiting.get(lane)) or "none"
