# SPDX-License-Identifier: Apache-2.0
"""What an account may say on the bus and read of it: the one rule, which decides and does nothing.

    >>> decide(Request("laptop", "agentbus.coder.tasks.high.planner", headers, data), book)
    Say(subject='agentbus.coder.tasks.high.planner', ...)
    >>> decide(Request("laptop", "$JS.API.STREAM.DELETE.AGENTBUS_TASKS", {}, b""), book)
    Refusal(code='not-yours', ...)

Whatever it lets through it spells itself, from what it has read: nothing of what was asked is said
on the bus as it came but bodies and the `Agentbus-` headers of tasks. What is not in here is
refused.

An agent is an account's by its registration, which only the gate writes. Own is an agent of the
account's; one that nobody has registered may be asked about as if it were, and is claimed by who
registers it first. An own inbox is that of an own agent, or of a role that the account was granted.
"""

from __future__ import annotations

from mcp_agentbus.gate import api, speech
from mcp_agentbus.gate.book import Book
from mcp_agentbus.gate.verdict import Request, Verdict
from mcp_agentbus.store import subjects
from mcp_agentbus.store.subjects import AGENTS, PRESENCE, RESULTS


def decide(asked: Request, book: Book) -> Verdict:
    """Return what is to be done about what an account asks."""
    if asked.subject.startswith(api.API):
        return api.decide(asked, book)
    if asked.subject.startswith(api.ACK):
        return api.settle(asked, book)
    return speech.decide(asked, book)


def may_read(account: str, stream: str, subject: str, book: Book, by: str = "") -> bool:
    """Tell whether an account may read what is stored on a subject, as far as is known `by` whom.

    A sign of life of a name that nobody has registered is for who says so alone, and so is one that
    was said before another registered it.
    """
    whose, kind, rest = subjects.parts(subject)
    if stream == AGENTS:
        return True
    if stream == PRESENCE:  # what no account has said the server's owner has
        return by == account or (book.is_there(whose) and by in ("", book.owner(whose)))
    if len(rest) < 2:
        return False
    if stream == RESULTS:
        return book.is_own(account, whose) or book.is_own_inbox(account, rest[0])
    is_task = kind in {"tasks", "sched", "due", "dead"}
    return is_task and (book.is_own_inbox(account, whose) or book.is_own(account, rest[1]))
