# SPDX-License-Identifier: Apache-2.0
"""The id that is meant by what somebody wrote: a task's id is long, and its beginning does.

>>> await whole_id(session, "9d0c2f")
'9d0c2f61e8...'
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import together
from mcp_agentbus.errors import AgentbusError, UnknownTask
from mcp_agentbus.handoff.dispatch.outgoing import kept_here
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.views.own_agents import of_this_user
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries.counted import stored_subjects
from mcp_agentbus.store.subjects import RESULTS

# What the ids made here are written in; those of other producers are taken as they come.
_HEX: Final = re.compile(r"[0-9a-f]+")


async def whole_id(session: Session, written: str) -> str:
    """Return the id of the one task that begins with what was written.

    It is looked for among the tasks that this agent sent or received, and if none of them begins
    so among those of this user's other agents: what it is used for then says whose it is. What is
    no beginning of any comes back as it is, and is said to be unknown there.

    Args:
        session: whose tasks are meant first.
        written: an id, or at least its first 6 characters.

    Raises:
        BadInput: several begin with it; the message names them.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    return await _meant(session, written) or written


async def answered_id(session: Session, written: str | None) -> str | None:
    """Return the id of the task that a new one answers, as `whole_id`; None if it answers none.

    An id of another producer's is taken as it is: this user's agents need not have seen the task.

    Raises:
        UnknownTask: it is written as the beginning of an id of ours, and is that of none.
        BadInput, BusUnreachable, Unconfirmed, NotAllowed: as `whole_id`.
    """
    if written is None:
        return None
    whole = await _meant(session, written)
    if whole is None and _HEX.fullmatch(written):
        raise UnknownTask(
            f"No task's id begins with {written}, so nothing can answer it. Nothing was sent.",
            hint="Copy its id from read_inbox, or leave in_reply_to out.",
        )
    return whole or written


async def _meant(session: Session, written: str) -> str | None:
    """Return the id that is meant; None if nothing here begins with what was written."""
    if not ids.may_be_short(written):
        return written
    if kept := await kept_here(session, written):
        return kept.task.id
    if held := ids.whole_task_id(written, session.claims):
        return held
    await session.called()
    own = [(session.me.id, "*"), *(("*", inbox) for inbox in session.inboxes)]
    await session.outcomes.sent_records.settled()
    known = await _known(session.bus, own)
    if not any(task_id.startswith(written) for task_id in known) and (
        await session.outcomes.sent_records.look()
    ):
        known = await _known(session.bus, own)
    if not any(task_id.startswith(written) for task_id in known):
        with suppress(AgentbusError):  # then nobody knows
            users = of_this_user(session.bus.settings)
            sides = {side for agent in users for side in ((agent, "*"), ("*", agent))}
            known = await _known(session.bus, sides)
    return ids.whole_task_id(written, known)


async def _known(bus: Bus, sides: Iterable[tuple[str, str]]) -> set[str]:
    """Return the ids of the tasks between these, each an owner and an inbox; `*` is any."""
    wanted = [
        subject(owner, inbox, "*")
        for owner, inbox in sides
        for subject in (subjects.record_subject, subjects.sent_subject)
    ]
    stored = await together(*(stored_subjects(bus, RESULTS, each) for each in wanted))
    return {subject.rpartition(".")[2] for some in stored for subject in some}
