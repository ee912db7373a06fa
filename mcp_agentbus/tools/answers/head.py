# SPDX-License-Identifier: Apache-2.0
"""The first line of an inbox: how it is, what the answer shows of it, and what else there is.

>>> head(Inbox(waiting={"low": 3}, held=2), "coder", MODEL)
'Inbox of coder: ok, nothing new. 2 tasks held by this session. Waiting: 3 low. Call ...'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mcp_agentbus.core.text import many
from mcp_agentbus.handoff.intake.answer import Inbox
from mcp_agentbus.store.task import Record
from mcp_agentbus.tools.answers import words
from mcp_agentbus.tools.answers.readers import Reader


def head(inbox: Inbox, me: str, reader: Reader) -> str:
    """Return the first line of what a reader is told of an inbox."""
    state = f"DEGRADED ({inbox.degraded})" if inbox.degraded else "ok"
    what = ", ".join(_shown(inbox)) or _nothing(inbox)
    besides = [*_beside_it(inbox, me), *_waiting(inbox, reader)]
    if inbox.next_cursor:
        besides.append(f"More: {reader.page(inbox.next_cursor)}.")
    return " ".join([f"Inbox of {me}: {state}, {what}.", *besides])


def told_as_one(results: Iterable[Record]) -> list[list[Record]]:
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
        many(len(told_as_one(results)), "result") if results else "",
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
