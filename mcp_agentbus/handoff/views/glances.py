# SPDX-License-Identifier: Apache-2.0
"""A glance into the inboxes: a peek at the tasks that lie there, without claiming one.

    >>> (await peek(session, 5, thread_id=None, cursor=None)).seen
    (Seen(task=Task(subject='Count the tests', ...), record=None),)

It takes nothing from an inbox and writes nothing, so looking does not change who gets a task.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.intake import refusals
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.read_back import Seen, Unreadable
from mcp_agentbus.store.subjects import TASKS

# A thread is looked for among this many stored tasks at most; more is said, not searched.
_SEARCHED_MAX: Final = 1_000
_PAGE: Final = 100


@dataclass(frozen=True)
class Glance:
    """What a look into the inboxes brought."""

    seen: tuple[Seen, ...]
    #: What else its reader should know, in this program's words.
    notes: tuple[str, ...]
    #: Give it to the next look for what comes after; None if this is all.
    next_cursor: str | None


@dataclass
class _Search:
    """How far a look has come, and what it is after."""

    session: Session
    limit: int
    #: Only tasks of this conversation; None for all.
    thread_id: str | None
    #: The sequence to go on from, within the lane that is looked at.
    seq: int
    seen: list[Seen]
    notes: list[str]
    #: The sequence of the last that was seen.
    last: int = 0
    searched: int = 0
    #: Passed over: their senders' tasks this agent does not take.
    refused: int = 0

    @property
    def bus(self) -> Bus:
        return self.session.bus

    @property
    def stopped(self) -> bool:
        return len(self.seen) >= self.limit or self.searched >= _SEARCHED_MAX


async def peek(session: Session, limit: int, thread_id: str | None, cursor: str | None) -> Glance:
    """Return up to `limit` stored tasks from `cursor` on, high before normal before low.

    Raises:
        BadInput: the cursor is not one of a peek.
        BusUnreachable, NotAllowed: as `Bus.many`.
    """
    lanes = [subjects.task_subject(inbox, lane, "*") for lane in LANES for inbox in session.inboxes]
    place, seq = _position(cursor, len(lanes))
    # By one more than is shown it is known whether there are more, and where the next look begins.
    search = _Search(session, limit + 1, thread_id, seq, [], [])
    while place < len(lanes) and not search.stopped:
        is_through = await _search_lane(search, lanes[place])
        if len(search.seen) > limit:
            search.seen.pop()
            search.seq = search.last
            break
        if is_through:
            place, search.seq = place + 1, 1
    more = place < len(lanes)
    if more and len(search.seen) < limit:
        search.notes.append(f"{_SEARCHED_MAX} stored tasks were searched; go on with the cursor.")
    if search.refused:
        search.notes.append(
            f"Not shown: {search.refused} of senders whose tasks {session.me.id} does not take. "
            "Whoever reads the inbox next ends them as rejected."
        )
    next_cursor = f"peek-{place}-{search.seq}" if more else None
    return Glance(tuple(search.seen), tuple(search.notes), next_cursor)


async def _search_lane(search: _Search, lane: str) -> bool:
    """Look through a lane from where the search stands; tell whether its end was reached."""
    page = _PAGE if search.thread_id else search.limit - len(search.seen)
    async with aclosing(search.bus.stored(TASKS, lane, start=search.seq, page=page)) as pages:
        async for messages in pages:
            if messages and search.stopped:
                return False
            search.searched += len(messages)
            seen = await together(*(read_back.look_at(search.bus, message) for message in messages))
            for message, task in zip(messages, seen, strict=True):
                if len(search.seen) == search.limit:
                    return False
                search.seq = message.seq + 1
                if isinstance(task, Unreadable):
                    search.notes.append(
                        f"A stored message cannot be read: {task.reason}. The next reader parks it."
                    )
                elif task and search.thread_id in {None, task.task.thread_id}:
                    me = search.session.refreshed()
                    if await refusals.refusal(search.bus, me, task.task.sender, task.task.to):
                        search.refused += 1
                    else:
                        search.seen.append(task)
                        search.last = message.seq
            if len(messages) == page and search.stopped:
                return False
    return True


def _position(cursor: str | None, lanes: int) -> tuple[int, int]:
    """Return the lane and the sequence that a cursor names."""
    if cursor is None:
        return 0, 1
    kind, _, rest = text.check_text(cursor, "cursor").partition("-")
    place, _, seq = rest.partition("-")
    if kind != "peek" or not (text.is_count(place, 4) and text.is_count(seq, 22)):
        raise BadInput(
            "The cursor is not one of a peek.", hint="Use the cursor of the answer before."
        )
    return min(int(place), lanes), int(seq)
