# SPDX-License-Identifier: Apache-2.0
"""What sessions of an agent have reported on and left to its shell's session, which goes on.

    >>> note(session, claim.record)  # "needs_input", by a server that is started for one call
    >>> (await with_answers(another, call, inbox)).tasks[0].answers[0].body
    'main'

No process of a shell's session is there to be told of a reply. So whoever of the agent reads on
this machine is shown these tasks as lines, and what was said to their questions until that has
arrived. None of it is claimed: it stays with the shell's session. A file a task is the sign that
there is one. In it stands which replies an answer has given: whoever goes on from them may be
another process than was given them. Words of which sessions have shown the beginning are left so,
too.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.replies import untaken
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.files import forget_older
from mcp_agentbus.errors import AgentbusError, Refused
from mcp_agentbus.handoff.call import Answered, Call, Given
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.reports import questions, signs
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shells import session_id
from mcp_agentbus.store.asked.replies import Replies, to_question
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.clock import now_about
from mcp_agentbus.store.records import read_record, read_sent
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import EXPIRES_MAX_S, HELD, Record, Task

# Of so many a read tells.
_TOLD_MAX: Final = 20
_MORE: Final = (
    "Up to {} more may be left to this agent's shell, reported on longer ago: "
    "read_inbox(view='open') names all that are open."
)


def note(session: Session, record: Record) -> None:
    """Note that a session has left a task to its agent's shell."""
    signs.note(session.bus.settings.state_dir, session.me.id, record)


def _mark(session: Session, record: Record, mark: str) -> None:
    """Note by their mark which replies an answer has given."""
    signs.mark(session.bus.settings.state_dir, session.me.id, record, mark)


def note_given(session: Session, call: Call) -> None:
    """Note which replies the answer to a call gives, for whoever goes on from them."""
    for task_id, told in session.entrusted.answers.items():
        claim = session.entrusted.get(task_id)
        if claim and told.given and told.given.call is call:
            _mark(session, claim.record, told.mark)


async def looked_up(session: Session, record: Record, task: Task | None) -> None:
    """Note that its reader is shown a task's life, where replies stand, perhaps further behind."""
    is_held = record.task_id in session.claims
    shell = session_id(session.me.id, session.bus.settings.state_dir)
    if not is_held and (record.session != shell or record.inbox not in session.inboxes):
        return
    claims = session.claims if is_held else session.entrusted
    with suppress(AgentbusError):  # then it is given again
        replies = await to_question(session.bus, record, task)
        told = claims.answers.get(record.task_id)
        is_known = told is not None and told.is_given and told.mark == replies.mark
        if replies and not is_known:
            claims.answers[record.task_id] = Answered(replies.mark, _doubtful(session))
            if not is_held:
                _mark(session, record, replies.mark)


async def read_on(session: Session, record: Record, call: Call) -> None:
    """Note that the answer to a call shows the end of a word, which is over once that arrived."""
    if record.expect == "answer":
        return
    claims = session.claims
    if record.task_id not in claims:
        shell = session_id(session.me.id, session.bus.settings.state_dir)
        if record.session != shell or record.inbox not in session.inboxes:
            return
        claims = session.entrusted
        with suppress(AgentbusError):  # then it goes on to be there
            await _look(session, (record.owner, record.inbox, record.task_id))
    claims.read_whole(record.task_id, call)


async def replied(session: Session, claim: Claim) -> tuple[Replies, Given | None]:
    """Return what was said to a task's question, and that its reader was given all of that.

    Raises: as `questions.with_answers`.
    """
    is_held = claim.task.id in session.claims
    claims = session.claims if is_held else session.entrusted
    replies, given = await questions.replied(session.bus, claims, claim)
    if replies and not (is_held or given):
        about = session.bus.settings.state_dir, session.me.id, claim.record, replies.mark
        given = _doubtful(session) if signs.has_mark(*about) else None
    return replies, given


def unread(session: Session, claim: Claim, replies: Replies) -> Refused:
    """Return the error of a step past replies that no answer has given its worker.

    Of what the shell has, the next reading shows them; and should it not, nobody is refused twice.
    """
    if claim.task.id not in session.claims:
        note(session, claim.record)
        session.entrusted.answers[claim.task.id] = Answered(replies.mark, _doubtful(session))
    return questions.unread(claim.task.id)


async def with_answers(
    session: Session, by: Call | None, inbox: Inbox, *, lines: bool = False
) -> Inbox:
    """Return an answer of the inbox with what was said to questions about tasks, as `questions`.

    About those that the session holds and those that were left to its agent's shell, which it may
    name in `lines` besides.

    Raises: as `questions.with_answers`.
    """
    inbox = await questions.with_answers(session.bus, session.claims, by, inbox)
    if session.leased or session.only:
        return inbox
    claims, more = await _looked_at(session)
    if lines and more:
        inbox = replace(inbox, notes=(*inbox.notes, _MORE.format(more)))
    if not claims:
        return inbox
    held = claims.values() if lines else ()
    named = [Item(each.task, each.record.state, each.record.attempts) for each in held]
    told = await questions.with_answers(session.bus, claims, by, Inbox(tasks=tuple(named)))
    left = (_as_left(item, claims[item.task.id].record) for item in told.tasks)
    return replace(inbox, tasks=(*left, *inbox.tasks))


async def _looked_at(session: Session) -> tuple[Claims, int]:
    """Return what was left to the shell, as the records say by now, and how many signs more are."""
    claims = session.entrusted
    try:
        places = await _places(session)
    except OSError:
        return claims, 0
    held = await together(*(_look(session, place) for place in places[:_TOLD_MAX]))
    kept = {claim.task.id for claim in held if claim}
    for task_id in [each for each in claims if each not in kept]:
        claims.let_go(task_id)
    return claims, max(0, len(places) - _TOLD_MAX)


async def _places(session: Session) -> list[tuple[str, ...]]:
    """Return of what there are signs, the newest first: another bus of before may have left some.

    Raises:
        OSError: there are none.
        BusUnreachable, Unconfirmed, NotAllowed: as `now_about`.
    """
    folder = _folder(session)
    noted_at = signs.noted_at(folder)
    over = min(noted_at.values(), default=time.time()) + EXPIRES_MAX_S
    if over < time.time():
        come = await now_about(session.bus, datetime.fromtimestamp(over, UTC))
        forget_older(folder, "*", EXPIRES_MAX_S, come.timestamp())
        noted_at = signs.noted_at(folder)
    return sorted(noted_at, key=lambda place: (-noted_at[place], place))


async def _look(session: Session, place: tuple[str, ...]) -> Claim | None:
    """Return a task's claim if it is the shell's still; else take its sign away."""
    owner, inbox, task_id = place
    record, revision = await read_record(session.bus, owner, inbox, task_id)
    if record is None:  # it may be on another bus of the same user
        return None
    claims = session.entrusted
    shell = session_id(session.me.id, session.bus.settings.state_dir)
    if record.session != shell or record.state not in HELD:
        with suppress(OSError):
            (_folder(session) / ".".join(place)).unlink()
        return None
    claim = claims.get(task_id)
    if claims.given(task_id) is None:  # nor has its end arrived, where an answer had that
        claims.cut.add(task_id)
    if claim and claim.revision == revision:
        return claim
    if claim:
        return claims.hold(claim.written(record, revision))
    sent, _ = await read_sent(session.bus, *place)
    stored = await read_back.find(session.bus, record, sent.seq if sent else 0)
    if stored is None:
        return None
    # Who has it in hand at the server is not asked: a server for each call would ask each time.
    task, message = stored
    return claims.hold(Claim(task, untaken(TASKS, message), record, revision, found=True))


def _as_left(item: Item, record: Record) -> Item:
    """Return a task as one that was reported on, and that another session holds."""
    return replace(item, given_at=record.updated_at, holder=f"{record.agent}/{record.session}")


def _doubtful(session: Session) -> Given:
    """Return that something was given, which may not have arrived."""
    return Given(text.now(), session.calls.given_up())


def _folder(session: Session) -> Path:
    return signs.folder_of(session.bus.settings.state_dir, session.me.id)
