# SPDX-License-Identifier: Apache-2.0
"""Whether what an account would say in another's place is a copy that this one is to get.

    >>> await may_copy(bus, wanted, book, left_out)
    True

A task's sender may name an agent that gets the result as well. Its worker's side writes the copy;
where that cannot, or the sender itself has ended the task, the sender's side does. So it says what
stands in the sender's own place, and nothing else in the name of a worker who is not its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found, Message
from mcp_agentbus.gate.book import Book
from mcp_agentbus.gate.verdict import H_ACCOUNT, Copied, field_of
from mcp_agentbus.shared.accounts import leader
from mcp_agentbus.store import subjects
from mcp_agentbus.store.records import record_in
from mcp_agentbus.store.subjects import H_TASK, RESULTS, TASKS
from mcp_agentbus.store.task import Record

# By these a sender's side ends a task of its own: withdrawn, overdue, refused as it was handed on.
_OF_SENDER: Final = frozenset({"cancelled", "expired", "rejected"})
# What a copy has from its sender, who may spell it otherwise than the worker's record.
_SENDERS_WORDS: Final = (
    "owner", "asked_by", "reply_to", "owner_session", "subject", "thread_id", "priority",
    "priority_given", "notify", "notify_given", "expect", "updated_at",
)  # fmt: skip
# Stored tasks that are read at a time, of 512 KiB at most.
_PAGE: Final = 20


async def may_copy(bus: Bus, wanted: Copied, book: Book, left_out: Callable[[int], None]) -> bool:
    """Tell whether a copy may be written.

    Args:
        bus: as who may read all.
        wanted: the copy.
        book: whose an agent is.
        left_out: is told how large each task is that was read to find out.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.api`.
    """
    places = (wanted.sent, wanted.own, wanted.say.subject, wanted.original)
    sent, own, stands, original = [await leader.last(bus, RESULTS, place) for place in places]
    # A task's id is known to whoever is asked to help with it: of one that its owner has sent
    # itself this would be the result, and of another's copy another's.
    if own or sent is None or field_of(sent.data, "reply_to") != wanted.reply_to:
        return False
    if stands and field_of(stands.data, "asked_by") != wanted.sender:
        return False
    if original is None or not _says(original, wanted, book):
        return False
    return not await _is_sent(bus, wanted, left_out)


def _says(original: Found, wanted: Copied, book: Book) -> bool:
    """Tell whether that is said in the sender's place, by who may say it there."""
    said = record_in(original)
    copy = record_in(Message(wanted.say.subject, wanted.say.data))
    if said is None or copy is None:
        return False
    same = {name: getattr(said, name) for name in _SENDERS_WORDS}
    return copy.model_copy(update=same) == said and _may_say(original, said, wanted, book)


def _may_say(original: Found, said: Record, wanted: Copied, book: Book) -> bool:
    # What no account has said the server's owner has.
    by = original.headers.get(H_ACCOUNT, "")
    if not by or book.is_own_inbox(by, said.inbox):
        return True
    return said.agent == wanted.sender and said.state in _OF_SENDER


async def _is_sent(bus: Bus, wanted: Copied, left_out: Callable[[int], None]) -> bool:
    """Tell whether who is to get the copy has sent a task of that id, and yet to keep that."""
    owner, _, (inbox, task_id) = subjects.parts(wanted.own)
    waiting = bus.stored(TASKS, subjects.task_subject(inbox, "*", owner), page=_PAGE)
    async with aclosing(waiting) as pages:
        async for page in pages:
            for each in page:
                left_out(len(each.data))
                if each.headers.get(H_TASK) == task_id:
                    return True
    return False
