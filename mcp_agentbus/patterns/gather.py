# SPDX-License-Identifier: Apache-2.0
"""Ask several agents the same, and wait until enough have answered, or the time is over.

    >>> gathered = await gather(session, ["a", "b", "c"], "Review", "...", quorum=2, within_s=600)
    >>> [record.agent for record in gathered.answers], gathered.enough
    (['a', 'c'], True)

What is asked are tasks, stored as any, with the time limit as their deadline. So nothing is lost
with the process that gathers: called again with the same `request_id` it goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

from mcp_agentbus.core import text
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.dispatch.draft import Options
from mcp_agentbus.handoff.inbox import WATCH_MAX_S, watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.queries.clock import now_about
from mcp_agentbus.store.task import EXPIRES_MAX_S, Receipt, Record


@dataclass(frozen=True)
class Missing:
    """One who was asked, and has not answered."""

    #: What is known of the task: also that it was refused, or its id, by which it may be cancelled.
    receipt: Receipt
    #: How it ended without an answer, such as failed, rejected or expired, or what its worker asks
    #: with `needs_input` or `needs_approval`; None: nothing is known yet.
    record: Record | None = None


@dataclass(frozen=True)
class Gathered:
    """What came of asking several agents."""

    #: What was completed in time, in the order in which they were asked.
    answers: tuple[Record, ...]
    #: What was completed after the deadline; it is seen by who gathers the same once more.
    late: tuple[Record, ...]
    missing: tuple[Missing, ...]
    #: So many answers were wanted.
    quorum: int

    @property
    def enough(self) -> bool:
        """Whether as many have answered in time as were wanted."""
        return len(self.answers) >= self.quorum


async def gather(
    session: Session,
    to: str | Sequence[str],
    subject: str,
    body: str,
    *,
    quorum: int | None = None,
    within_s: int = 600,
    **options: Unpack[Options],
) -> Gathered:
    """Send a task to several agents, and return what they have answered.

    It returns once there are `quorum` answers, once so many cannot come any more, or when the time
    is over. An answer is a task that was completed: who fails or rejects it has not answered,
    and who asks something cannot before that is answered: do so by `publish_result`, and gather the
    same again.

    Who has not answered by then still may, until the deadline: such a result comes by
    `read_inbox`, as any does.

    Args:
        session: the sender's session.
        to: as `send_task`, up to 50 addressees.
        subject: as `send_task`.
        body: as `send_task`.
        quorum: so many answers are enough; None: one of each.
        within_s: 1 s to 7 days; the tasks' deadline.
        options: as `send_task`, but for `expires_in_s` and `expect`.

    Raises:
        BadInput: a value breaks its rule, or there are fewer addressees than the quorum.
        Others: as `send_task` and `watch_inbox`; what was stored is kept, see `request_id`.
    """
    if "expires_in_s" in options:
        raise BadInput("gather has expires_in_s as within_s.", hint="Give within_s alone.")
    if options.get("expect", "answer") != "answer":
        raise BadInput("gather waits for answers.", hint="For a word to several use send_task.")
    if quorum is not None:
        hint = "Use 1 or more, or None for all."
        text.check_number(quorum, "quorum", 1, math.inf, hint=hint, kind=int)
    count = len(set(text.check_texts(to, "addressee")))
    if quorum and to != "all" and quorum > count:
        raise BadInput(
            f"{quorum} answers are wanted of {count} addressees.", hint="Ask more, or want fewer."
        )
    hint = f"Use 1 to {EXPIRES_MAX_S} seconds (7 days)."
    text.check_number(within_s, "within_s", 1, EXPIRES_MAX_S, hint=hint)
    options["expires_in_s"] = within_s
    receipts = await send_task(session, to, subject, body, **options)
    return await _answers(session, receipts, len(receipts) if quorum is None else quorum)


async def _answers(session: Session, receipts: Sequence[Receipt], quorum: int) -> Gathered:
    """Wait for what becomes of these tasks."""
    stored = [receipt.task_id for receipt in receipts if receipt.state != "refused"]
    until = max(receipt.expires_at for receipt in receipts)
    known: dict[str, Record] = {}
    while True:
        gathered = _sorted(receipts, known, quorum)
        silent = [task_id for task_id in stored if task_id not in known]
        if gathered.enough or len(gathered.answers) + len(silent) < quorum:
            return gathered
        left_s = (until - await now_about(session.bus, until)).total_seconds()
        is_over = left_s <= 0
        news = await watch_inbox(
            session,
            task_id=stored if is_over else silent,
            enough=1,
            timeout_s=0 if is_over else min(left_s, WATCH_MAX_S),
        )
        known |= {record.task_id: record for record in news.results}
        if is_over:
            return _sorted(receipts, known, quorum)


def _sorted(receipts: Sequence[Receipt], known: Mapping[str, Record], quorum: int) -> Gathered:
    """Return who has answered, and who has not."""
    answers: list[Record] = []
    missing: list[Missing] = []
    for receipt in receipts:
        record = known.get(receipt.task_id)
        if record and record.state == "completed":
            answers.append(record)
        else:
            missing.append(Missing(receipt, record))
    return Gathered(
        answers=tuple(answer for answer in answers if not answer.late),
        late=tuple(answer for answer in answers if answer.late),
        missing=tuple(missing),
        quorum=quorum,
    )
