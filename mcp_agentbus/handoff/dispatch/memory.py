# SPDX-License-Identifier: Apache-2.0
"""What the next task of a session goes on from, by all that is known of its agent on this machine.

>>> causes(session, [("coder", task_id)])
[(('planner',), 1)]

It is the deepest of what the session holds and had at hand lately, of what its agent's shells and
servers of one call did, and, in a shell, of what all sessions of the agent did: who types a command
may be any of them. A session that lives is not told what another one has: these are two windows,
with two people's or two models' work.

By that alone steady work would count up for ever where it comes back, and be refused. So a worker's
handler goes on from its own task alone, as it does nothing else, and in a session that lives each
held task has one task sent to each addressee that goes on from it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mcp_agentbus.core import text
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.dispatch.cause import AT_WORK, Ways, at_end
from mcp_agentbus.handoff.dispatch.noted import note_ended, note_over, of_sessions, ways_in
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shells import file_of
from mcp_agentbus.store.task import Task


def cause(session: Session) -> tuple[tuple[str, ...], int]:
    """Return the chain and hops that a task sent now continues, if it is for none held alone."""
    folder, me = session.bus.settings.state_dir, session.me
    known = [session.claims.cause()]
    if not session.leased:  # a shell's session has recalled it as it began
        known.append(_lately(file_of(folder, me.id)))
    elif me.id != me.worker:
        known.append(_lately(of_sessions(folder, me.id)))
    if me.worker:
        known.append(_at_work(_noted(of_sessions(folder, me.worker))))
    return max(known, key=lambda way: way[1])


def causes(
    session: Session, sent: Sequence[tuple[str, str]]
) -> Sequence[tuple[tuple[str, ...], int]]:
    """Return the chain and hops that each task continues which is sent now: by inbox and its id."""
    held = [claim.task for claim in session.claims.values()]
    if own := [task for task in held if task.id == AT_WORK.get()]:
        alone: list[Task | None] = [own[0] for _ in sent]
    elif session.leased:  # no command knows for what another one has sent
        alone = [None for _ in sent]
    else:
        alone = session.claims.alone(sent)
    rest = cause(session) if None in alone else ((), -1)
    return [(task.chain, task.hops) if task else rest for task in alone]


def _at_work(ways: Ways) -> tuple[tuple[str, ...], int]:
    """Return the chain and hops of what a worker is at, which a program does for it.

    What it did before is no concern of that program; of one that has outlived its task it is.
    """
    held, ways.held_before = ways.held_before, None
    return (held.chain, held.hops) if held and held.goes_on else ways.cause(held=())


def _lately(path: Path) -> tuple[tuple[str, ...], int]:
    """Return the chain and hops of what others have, or had, of whom something was heard lately.

    What they hold is among that, as of when they noted it: nobody tells if they hold it for longer.
    """
    ways = _noted(path)
    ways.held_before = None
    return ways.cause(held=())


def _noted(path: Path) -> Ways:
    with suppress(OSError, AgentbusError):  # a file that is not ours says nothing
        return ways_in(path)
    return Ways()


def remember(session: Session, task: Task) -> None:
    """Note by what way a task came of which a call reports that may be its session's only one."""
    session.claims.recall(task.chain, task.hops, text.now())
    if not session.leased and session.calls.made <= 1:
        note_ended(file_of(session.bus.settings.state_dir, session.me.id), at_end(task))


def gone(session: Session, claim: Claim) -> None:
    """Note that a shell of the agent holds a task no more, if it did: this session has ended it."""
    if claim.record.session != session.id:
        note_over(file_of(session.bus.settings.state_dir, session.me.id), claim.task)
