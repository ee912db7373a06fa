# SPDX-License-Identifier: Apache-2.0
"""Answers as text for a model or a person.

    >>> print(inbox_text(Inbox(waiting={}), "coder"))
    Inbox of coder: ok, nothing new. Waiting: none.

Whatever a peer wrote stands inside a frame, but for ids; how much of it, `layout` knows, and what
is left out has a line that says how to get it. `documents` has the same answers as data for a
program. It asks no bus and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from mcp_agentbus.core.framing import one_line
from mcp_agentbus.core.ids import ROLE_PREFIX, address_of
from mcp_agentbus.core.text import is_count, many, now
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.lookup import Life
from mcp_agentbus.handoff.reports.published import Published
from mcp_agentbus.store.asked.decisions import is_against
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.task import NOTE_MAX_CHARS, Moment, Record, Sent, Task
from mcp_agentbus.tools.answers import layout, words
from mcp_agentbus.tools.answers.layout import Block, Laid, Said, Way
from mcp_agentbus.tools.answers.readers import MODEL, SHELL, Reader

# Of those to whom something was sent as one; all of them are in the data.
_NAMES_MAX: Final = 20
# Of a task's steps, in characters, before its text; what our own writers keep has room.
_STEPS_CHARS: Final = 7_000


def published_text(published: Published, reader: Reader = MODEL) -> str:
    """Return what is stored now, in one line."""
    line = f"Task {published.task_id}: {published.state}."
    return f"{line} {reader.hint(published.note)}".rstrip()


def inbox_text(inbox: Inbox, me: str, *, full: bool = False, reader: Reader = MODEL) -> Laid:
    """Return an inbox; `full` shows long bodies as far as the answer has room.

    What an answer gave before has a line of its own, with the way to the whole.
    """
    before = inbox.results_given_at
    again = _told_as_one(record for record in inbox.results if record.task_id in before)
    results = _told_as_one(record for record in inbox.results if record.task_id not in before)
    blocks = [block for item in inbox.tasks for block in _task_blocks(item, reader)]
    blocks += [_given_result_block(told, before[told[0].task_id], reader) for told in again]
    blocks += [_results_block(told, reader, inbox.replied) for told in results]
    notes = [reader.hint(note) for note in inbox.notes]
    head = _head(inbox, me, reader)
    return layout.laid_out([head, *layout.noted(notes)], blocks, reader.whole("ID"), full=full)


def answers_text(answers: Inbox, unanswered: Sequence[Life], me: str) -> str:
    """Return the results of tasks that were sent together, and how those without one stand.

    Only commands wait for several tasks, so this is in the words of those who type them.
    """
    told = inbox_text(answers, me, full=True, reader=SHELL) if answers.results else ""
    lines = []
    for life in unanswered:
        held = f" by {life.holder}" if life.holder else ""
        held += f" by {life.record.agent}{words.LEFT}" if life.is_left else ""
        task_id, to = life.record.task_id, address_of(life.record.inbox)
        state = words.HERE if life.is_outgoing else f"{life.state}{held}"
        lines.append(f"{to}: timed out. Task {task_id} is {state}, without a result.")
    if unanswered:
        count = layout.fitting(map(len, lines), layout.ROOM - len(told) - layout.MORE_CHARS)
        if count < len(lines):
            more = len(lines) - count
            lines[count:] = [f"{more} more timed out without a result; --json names all of them."]
        lines.append(
            f"A result that comes later is kept: `agentbus inbox --agent {me}` shows it, and "
            f"`agentbus watch --task ID --agent {me}` waits for it."
        )
    return "\n".join(filter(None, [told, *lines]))


def _head(inbox: Inbox, me: str, reader: Reader) -> str:
    """Return the first line of what a reader is told of an inbox."""
    state = f"DEGRADED ({inbox.degraded})" if inbox.degraded else "ok"
    what = ", ".join(_shown(inbox)) or _nothing(inbox)
    besides = [*_beside_it(inbox, me), *_waiting(inbox, reader)]
    if inbox.next_cursor:
        besides.append(f"More: {reader.page(inbox.next_cursor)}.")
    return " ".join([f"Inbox of {me}: {state}, {what}.", *besides])


def _told_as_one(results: Iterable[Record]) -> list[list[Record]]:
    """Return the results, those together that are told as one."""
    together: dict[tuple[str, ...], list[Record]] = {}
    for record in results:
        together.setdefault(record.told_with, []).append(record)
    return list(together.values())


def _shown(inbox: Inbox) -> list[str]:
    """Return how much the answer shows of each kind, but for kinds of which there is nothing."""
    tasks = sum(item.given_at is None for item in inbox.tasks)
    results = [each for each in inbox.results if each.task_id not in inbox.results_given_at]
    answers = sum(len(item.answers) for item in inbox.tasks)
    decisions = sum(item.decision is not None for item in inbox.tasks)
    left = _left_to_shell(inbox)
    tasks_again = len(inbox.tasks) - left - tasks
    results_again = len(inbox.results) - len(results)
    claims = " (this look claims none)" if inbox.peeked else ""
    counts = [
        f"{many(tasks, 'task')}{claims}" if tasks else "",
        many(len(_told_as_one(results)), "result") if results else "",
        f"{many(answers, 'answer')} to a question" if answers else "",
        f"{many(decisions, 'decision')} of your user" if decisions else "",
        f"{many(tasks_again, 'task')} given before and still held" if tasks_again else "",
        f"{many(left, 'task')} left to this agent's shell" if left else "",
        f"{many(results_again, 'result')} given before" if results_again else "",
    ]
    return [count for count in counts if count]


def _nothing(inbox: Inbox) -> str:
    nothing = "nothing of this conversation" if inbox.thread_id else "nothing new"
    return f"timed out, {nothing}" if inbox.timed_out else nothing


def _left_to_shell(inbox: Inbox) -> int:
    """Return how many of the tasks are shown as a line though this session does not hold them."""
    return sum(bool(item.given_at and item.holder) for item in inbox.tasks)


def _beside_it(inbox: Inbox, me: str) -> Iterator[str]:
    """Tell of what is held, and of results, that the answer does not show."""
    left = _left_to_shell(inbox)
    is_any_own = len(inbox.tasks) > left
    hidden = inbox.held - sum(not item.holder for item in inbox.tasks)
    if not inbox.peeked and hidden > 0:
        yield f"{many(hidden, 'more task' if is_any_own else 'task')} held by this session."
    if inbox.more_results:
        yield "More results may be there: read again."
    if not inbox.results and inbox.results_elsewhere:
        yield f"{many(inbox.results_elsewhere, 'result')} for another session of {me}."
    elsewhere = inbox.held_elsewhere - left
    if not is_any_own and elsewhere > 0:
        yield f"{many(elsewhere, 'task')} held by other sessions."


def _waiting(inbox: Inbox, reader: Reader) -> Iterator[str]:
    """Tell of what waits, as far as that was looked at, and how its reader gets it."""
    if inbox.waiting is None or (inbox.timed_out and not inbox.waiting):
        return
    yield f"Waiting: {words.counts(inbox.waiting)}."
    if inbox.of_gone:
        yield (
            f"{inbox.of_gone} of them had a session that is gone, and will be offered within half "
            "a minute."
        )
        yield reader.hint("Call watch_inbox, which waits for that.")
    is_full = inbox.held and not any(item.new for item in inbox.tasks)
    if inbox.waiting and is_full and not (inbox.peeked or inbox.next_cursor):
        yield reader.hint("Call read_inbox with limit 1 for another.")


def _task_blocks(item: Item, reader: Reader) -> list[Block]:
    """Return a task, and what its worker asked and its sender answered besides."""
    task_id, way = item.task.id, _way(item.task.id, reader)
    blocks = [_task_block(item, reader)]
    if item.decision:
        facts = [item.decision.told(item.task.id), f"what {item.asked_by} had asked"]
        blocks.append(Block(words.line(facts), Said(item.question, item.asked_by), way))
    elif item.question and (item.new or item.answers):
        asked = f"Question of its worker, {item.asked_by}, about task {task_id}"
        blocks.append(Block(asked, Said(item.question, item.asked_by), way))
    for answer in item.answers:
        facts = [f"Answer of {item.task.sender} about task {task_id}", words.when(answer.at)]
        blocks.append(Block(words.line(facts), Said(answer.body, item.task.sender), way))
    return blocks


def _task_block(item: Item, reader: Reader) -> Block:
    """Return a task with its text, or what reminds a reader of one that it has."""
    task, is_word = item.task, item.task.expect == "nothing"
    what = "Word" if is_word else "Task"
    facts = [f"{what} {task.id} from {task.sender}", task.priority]
    if item.given_at:
        ago = words.ago(item.given_at)
        if item.holder:
            how = "shown in part" if is_word else "reported on"
            facts += [f"{item.state} by {item.holder}", f"{how} {ago}"]
        else:
            facts += [item.state, f"given to a call of this session {ago}"]
        facts += [words.IS_OVER] if is_word else []
        subject = Said(f"Subject: {task.subject}", task.sender)
        return Block(words.line(facts), subject, _way(task.id, reader), is_reminder=True)
    state = item.state if not item.new else "claimed now"
    facts.append(f"{state} by {item.holder}" if item.holder else state)
    if item.attempt > 1:
        facts.append(f"attempt {item.attempt}")
    if task.to.startswith(ROLE_PREFIX):
        facts.append(f"for {address_of(task.to)}")
    facts += words.of_word(goes_on=item.attempt > 0 and not item.new) if is_word else []
    facts.append(f"sent {words.when(task.created_at)}, expires {words.when(task.expires_at)}")
    return Block(words.line(facts), _of_task(task), _way(task.id, reader))


def _of_task(task: Task) -> Said:
    """Return all that a task's sender wrote."""
    about = {
        "Subject": task.subject,
        "Priority as written": task.priority_given,
        "Thread": task.thread_id if task.thread_id != task.id else "",
        "In reply to": task.in_reply_to,
        "Type": task.task_type if task.task_type != "default" else "",
        "Content type": task.content_type if task.content_type != "text" else "",
        "Result also to": task.reply_to,
    }
    return Said(f"{words.about(about)}\n\n{task.body}", task.sender)


def _of_request(sent: Sent) -> Said:
    """Return what is kept of a task's text once the task itself is gone."""
    about = {
        "Subject": sent.subject,
        "Thread": sent.thread_id if sent.thread_id != sent.task_id else "",
        "In reply to": sent.in_reply_to,
        "Type": sent.task_type if sent.task_type != "default" else "",
    }
    return Said(f"{words.about(about)}\n\n{sent.body}", sent.owner)


def _given_result_block(told: Sequence[Record], at: datetime, reader: Reader) -> Block:
    """Return what reminds a reader of a result, and those told with it, that may not be there."""
    first, *more = told
    besides = f" and {len(more)} more that were sent as one" if more else ""
    facts = [
        f"Result of task {first.task_id} to {address_of(first.inbox)}{besides}: {first.state}",
        f"given {words.ago(at)} to a call that may have been given up",
    ]
    said = Said(f"Subject of the task: {first.subject}", _speaker(first))
    return Block(words.line(facts), said, _way(first.task_id, reader), is_reminder=True)


def _results_block(
    told: Sequence[Record], reader: Reader, replied: Mapping[str, Question]
) -> Block:
    """Return a result, or what became of a task for many that nobody of these has read."""
    first, *more = told
    facts = [f"Result of task {first.task_id} to {address_of(first.inbox)}: {first.state}"]
    if more:
        names = [address_of(record.inbox) for record in told[:_NAMES_MAX]]
        others = f" and {len(told) - len(names)} more" if len(told) > len(names) else ""
        facts = [
            f"Results of {len(told)} tasks that were sent as one: {first.state}",
            f"to {', '.join(names)}{others}",
        ]
    if first.asked_by:
        facts.append(f"task of {first.asked_by}, who had its result sent here too")
    if first.unasked:
        facts.append(f"UNASKED: {first.owner} is not known to have sent this task")
    facts += [words.AGAINST] if is_against(first.state, first.reason) else []
    facts += ["late"] if first.late else []
    if question := replied.get(first.task_id):
        facts += words.asked(question, first.state, ())
    else:
        facts += reader.answers(first.task_id, first.state, first.asked_by)
    by = "" if more else f"by {first.agent or first.inbox}, "
    facts.append(f"{by}{words.when(first.updated_at)}")
    return Block(words.line(facts), _of_record(first), _way(first.task_id, reader))


def _of_record(record: Record) -> Said:
    """Return all that was written of a task's outcome, or said with its last status."""
    before = " of before" if _has_gone_on(record) else ""
    about = {
        "Subject of the task": record.subject,
        "State as written": record.state_given,
        "Why": record.reason,
        "Thread": record.thread_id if record.thread_id != record.task_id else "",
        f"Summary{before}": record.summary,
    }
    lines = [words.about(about), *(f"Artifact: {artifact}" for artifact in record.artifacts)]
    lines += [f"Progress{before}: {record.progress:g} %"] if record.progress is not None else []
    lines += ["", record.body] if record.body else []
    return Said("\n".join(lines), _speaker(record))


def _has_gone_on(record: Record) -> bool:
    """Tell whether an open task has taken a step since its worker said what its record has."""
    if record.ended or not record.history:
        return False
    latest = record.history[-1]
    return latest.state in {"stored", "claimed"} or bool(record.summary and not latest.note)


def _way(task_id: str, reader: Reader) -> Way:
    return Way(task_id, reader.whole(task_id), partial(reader.rest, task_id))


def _speaker(record: Record) -> str:
    """Return who wrote a record's texts: a role leaves open which of its holders."""
    if record.state == "cancelled":
        return record.asked_by or record.owner
    return record.agent or record.inbox


def life_text(life: Life, start: int = 0, reader: Reader = MODEL) -> Laid:
    """Return a task's life; `start` is the character at which its texts begin.

    Behind the characters of its texts those of its steps are counted, which stand before them.
    """
    record, sent = life.record, life.sent
    who = f"sent by {record.asked_by or record.owner} to {address_of(record.inbox)}"
    left = f" by {record.agent}{words.LEFT}" if life.is_left else ""
    state = words.HERE if life.is_outgoing else life.state
    facts = [f"Task {record.task_id}: {state}{left}", who, record.priority]
    facts += [words.WANTS_NOTHING] if record.expect == "nothing" else []
    facts += [words.AGAINST] if is_against(life.state, record.reason) else []
    question = life.question
    about = record.task_id, question.state if question else "", record.asked_by
    facts += words.asked(question, life.state, reader.answers(*about))
    lines = [words.line(facts)]
    if times := _times(life):
        lines.append(words.line(times))
    said = [_of_task(life.task)] if life.task and not record.ended else []
    has_request = bool(said)
    words_of_worker = record.body or record.summary or record.artifacts or record.progress
    if words_of_worker or record.ended or not (said or (sent and sent.body)):
        said.append(_of_record(record))
    said += [
        Said(f"Answer, {words.when(answer.at)}:\n{answer.body}", record.owner)
        for answer in (sent.answers if sent else ())
    ]
    if sent and sent.body and not has_request:
        # Behind the result, of whose text a cursor counts the characters.
        said.append(_of_request(sent))
        if sent.body_chars > len(sent.body):
            size = f"{len(sent.body):,} of {sent.body_chars:,} characters"
            why = "The task itself is gone" if record.ended else "Its addressee has the whole"
            lines.append(f"{why}: kept here of its text are {size}.")
    length, way = sum(len(each.text) for each in said), _way(record.task_id, reader)
    steps = Said("\n".join(map(_step_line, life.history)), "")
    if not start or start >= length:
        room, at = (layout.ROOM - 500, start - length) if start else (_STEPS_CHARS, 0)
        lines += ["Steps:", *layout.sequence([steps], way, room, start=at, offset=length)[0]]
    is_all = False
    if start < length:
        room = layout.ROOM - sum(len(line) + 1 for line in lines) - layout.MORE_CHARS
        shown, is_all = layout.sequence(said, way, room, start=start)
        lines += ["", *shown]
    return Laid.of(lines, [] if is_all else [record.task_id])


def _times(life: Life) -> list[str]:
    """Return from when a task is offered, when it expires, and whether its result was seen."""
    sent, times = life.sent, []
    if sent is None:
        return []
    if life.state == "stored" and sent.deliver_at and sent.deliver_at > now():
        times.append(f"offered from {words.when(sent.deliver_at)}")
    if life.record.expect == "answer":
        times.append(f"expires {words.when(sent.expires_at)}")
    if life.record.expect == "answer" and life.record.ended:
        seen = f"seen {words.when(sent.seen_at)}" if sent.seen_at else "not yet seen by its sender"
        times.append(f"its result: {seen}")
    return times


def start_of(cursor: str | None) -> int:
    """Return the character of a task's text at which a cursor leads on.

    Raises:
        BadInput: it is no cursor of a text.
    """
    if cursor is None:
        return 0
    if not is_count(cursor, 9):
        raise BadInput(
            "The cursor is not one of this task.", hint="Use the cursor of the answer before."
        )
    return int(cursor)


def _step_line(step: Moment) -> str:
    why = f"  ({step.reason})" if step.reason else ""
    note = f"\n    {one_line(step.note, NOTE_MAX_CHARS)}" if step.note else ""
    return f"{words.when(step.at)}  {step.state:<14} {step.by}{why}{note}"
