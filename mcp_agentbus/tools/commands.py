# SPDX-License-Identifier: Apache-2.0
"""The commands on the bus: they call the same functions as the five tools, and print.

    code = await start(Command(args, Naming(Asked(settings)), lambda line, _: print(line)))

What is printed for a person is the text that a model would read; `--json` prints the data, with
texts whole and as they were written. The listener carries out the same for whoever asks it. Nothing
is read from standard input, and nothing decided about a task.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from mcp_agentbus.archive import lives
from mcp_agentbus.archive.kept.sides import users
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Priority
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import (
    NOT_DONE,
    TIMED_OUT,
    AgentbusError,
    BusUnreachable,
    NoListener,
    Unconfirmed,
    UnknownTask,
)
from mcp_agentbus.handoff import agents, inbox, lookup, results, send
from mcp_agentbus.handoff.intake.answer import Inbox
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.reports import entrusted
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.views import task_ids, whose
from mcp_agentbus.store import streams
from mcp_agentbus.store.outbox.outbox import read_outbox
from mcp_agentbus.store.queries.clock import now_about
from mcp_agentbus.store.task import Receipt
from mcp_agentbus.tools import history
from mcp_agentbus.tools.answers import documents, past, render, words
from mcp_agentbus.tools.answers.parked import parked_text
from mcp_agentbus.tools.answers.readers import SHELL
from mcp_agentbus.tools.answers.receipts import receipts_text
from mcp_agentbus.tools.answers.roster import roster_text
from mcp_agentbus.tools.follow import Position, follow
from mcp_agentbus.tools.typed_command import Command

Work = Callable[[Command], Coroutine[Any, Any, int]]


async def start(call: Command) -> int:
    """Do the work of a command; return the exit code.

    Raises:
        AgentbusError: it was refused, or the bus was not there.
    """
    try:
        return await _COMMANDS[call.args.command](call)
    except UnknownTask as unknown:
        raise await _perhaps_here(call, unknown) from None


async def _perhaps_here(call: Command, unknown: UnknownTask) -> UnknownTask:
    """Return what is said of a task that the bus does not know: it may lie in the outbox.

    The listener alone has that open; without one it is looked whether the task lies there.
    """
    written = getattr(call.args, "task_id", None) or getattr(call.args, "task", None)
    if call.outbox or not written:
        return unknown
    with suppress(AgentbusError):
        for each in await read_outbox(call.settings, may_start=False):
            if each.task.id.startswith(written):
                hint = f"Only a listener shows it, and has it withdrawn. {NoListener.hint}"
                hint += f" Why it is here: `agentbus why {past.short(each.task.id)}`."
                return unknown.saying(f"That task is {words.HERE}. Nothing was done.", hint=hint)
    return unknown


async def _send(call: Command) -> int:
    """Send a task, and wait for its results if that was asked for."""
    if call.args.wait is not None:
        inbox.check_watch(call.args.wait)  # before anything is stored
    async with call.session() as session:
        receipts = await _sent(call, session)
        refused = int(any(receipt.state == "refused" for receipt in receipts))
        if call.args.wait is None:
            text = receipts_text(receipts, SHELL)
            return call.end(text, documents.of_receipts(receipts, SHELL), refused)
        return await _answers(call, session, receipts, refused)


async def _answers(
    call: Command, session: Session, receipts: Sequence[Receipt], refused: int
) -> int:
    """Wait for the results of what was stored; print them, and how the tasks without one stand.

    Where something was `refused` that is the exit code, however the others end.

    With `--json` that and the receipts are one document, also where waiting fails: what was stored
    before is told all the same.
    """
    as_json, data = call.args.json, documents.of_receipts(receipts, SHELL)
    text = receipts_text(receipts, SHELL)
    sent = [receipt.task_id for receipt in receipts if receipt.state != "refused"]
    if not sent:
        return call.end(text, {**data, **documents.of_answers(Inbox(), ())}, refused)
    if not as_json and not getattr(call.args, "receipts_shown", False):
        call.print(text, data, receipts_shown=True)
    began, answer = time.monotonic(), Inbox()
    try:
        if session.outbox is None or await session.outbox.handed_on(sent, call.args.wait):
            left_s = max(0.0, call.args.wait - (time.monotonic() - began))
            answer = await inbox.watch_inbox(session, timeout_s=left_s, task_id=sent)
        told = {record.task_id for record in answer.results}
        lives = [
            await lookup.task_life(session, task_id) for task_id in sent if task_id not in told
        ]
    except AgentbusError as failed:
        error = _in_vain(failed, session.me.id)
        error.exit_code = refused or error.exit_code
        if not as_json:
            raise error from None
        return call.end("", {**data, "error": SHELL.error(error)}, error.exit_code)
    text = render.answers_text(answer, lives, session.me.id)
    data |= documents.of_answers(answer, lives)
    code = refused or _code(answer) or (TIMED_OUT if lives else 0)
    return await call.print_results(session, text, data, code)


def _code(answer: Inbox) -> int:
    """Return the exit code of a wait for tasks that have an answer."""
    return NOT_DONE if any(record.state != "completed" for record in answer.results) else 0


def _in_vain(error: AgentbusError, me: str) -> AgentbusError:
    """Return the error of a wait for results: by then the tasks are stored, whatever it says."""
    if not isinstance(error, BusUnreachable | Unconfirmed):
        return error
    return BusUnreachable(
        "The bus server went away during the wait. What was stored is kept, and its results are.",
        hint=f"{BusUnreachable.hint} Then `agentbus inbox --agent {me}` shows results, and "
        f"`agentbus watch --task ID --agent {me}` waits for one.",
    )


async def _sent(call: Command, session: Session) -> tuple[Receipt, ...]:
    """Send the task; what is not known to be stored can be typed again."""
    args = call.args
    try:
        return await send.send_task(
            session,
            [address.strip() for address in args.to.split(",")],
            args.subject,
            args.body,
            priority=args.priority,
            task_type=args.task_type,
            thread_id=args.thread,
            in_reply_to=await task_ids.answered_id(session, args.in_reply_to),
            expires_in_s=args.expires_in,
            deliver_in_s=args.deliver_in,
            notify=args.notify,
            expect=args.expect,
            reply_to=args.reply_to,
            content_type=args.content_type,
            request_id=args.request_id,
        )
    except Unconfirmed as error:
        again = f"Run the same with --request-id {args.request_id}: it is stored once."
        raise Unconfirmed(error.message, again=again, mend=error.mend) from None


async def _whole(session: Session, task_id: str | None) -> str | None:
    return None if task_id is None else await task_ids.whole_id(session, task_id)


async def _watch(call: Command) -> int:
    """Wait for a task or a result, or follow the inbox without claiming anything."""
    if not call.args.follow:
        async with call.session() as session:
            task_id = await _whole(session, call.args.task)
            return await _wait(call, session, task_id, call.args.timeout, call.args.priority)
    async with call.bus() as bus:
        begins = await _begins(bus, call.args.since) if call.args.since else None
        agent = (await call.naming.look(bus)).me
        async for event in follow(bus, agent, begins, say=call.say):
            changed = {"since": str(event.position)} if event.position else {}
            call.print(event.text, event.data, **changed)
    return 0


async def _begins(bus: Bus, since: str) -> Position:
    """Return from where an inbox is followed: how long ago goes by the clock of the bus server."""
    current = now()
    with suppress(AgentbusError):  # then this machine's has to do
        current = await now_about(bus, current)
    return Position.read(since, current)


async def _wait(
    call: Command,
    session: Session,
    task_id: str | None,
    timeout_s: float,
    priority: Priority | None = None,
) -> int:
    answer = await inbox.watch_inbox(
        session, timeout_s=timeout_s, task_id=task_id, priority=priority
    )
    code = _code(answer) if task_id else 0
    if answer.timed_out:
        code = TIMED_OUT
    return await _print_inbox(call, session, answer, code, full=True)


async def _inbox(call: Command) -> int:
    """Claim waiting tasks and show them, with new results."""
    async with call.session() as session:
        answer = await inbox.read_inbox(
            session,
            limit=call.args.limit,
            peek=call.args.peek,
            thread_id=call.args.thread,
            cursor=call.args.cursor,
        )
        return await _print_inbox(call, session, answer, full=call.args.full)


async def _print_inbox(
    call: Command, session: Session, answer: Inbox, exit_code: int = 0, *, full: bool
) -> int:
    text = render.inbox_text(answer, session.me.id, full=full, reader=SHELL)
    if not call.args.json:
        session.claims.shown(answer.given, text.cut)
    data = documents.of_inbox(answer, texts=True, reader=SHELL)
    return await call.print_results(session, text, data, exit_code)


async def _result(call: Command) -> int:
    """Report on a task that the shell's session holds, or end it."""
    async with call.looking() as session:
        published = await results.publish_result(
            session,
            await task_ids.whole_id(session, call.args.task_id),
            call.args.status,
            summary=call.args.summary,
            body=call.args.body,
            artifacts=call.args.artifact,
            progress=call.args.progress,
        )
    text = render.published_text(published, SHELL)
    return call.end(text, documents.of_published(published, SHELL))


async def _answer(call: Command) -> int:
    """Answer a worker's question; a person does so for whichever agent of theirs sent the task."""
    if call.naming.asked.is_unnamed:
        async with call.session() as session:
            call.args.task_id = await task_ids.whole_id(session, call.args.task_id)
            sender = await whose.sender_of(session.bus, call.args.task_id)
        mine = users(call.settings)
        if sender and ("*" in mine or sender in mine):
            call = call.by(sender)
    return await _result(call)


async def _task(call: Command) -> int:
    """Show a task's life."""
    # A person who has not said to be an agent asks for the tasks of all of theirs.
    others = users(call.settings) if call.naming.asked.is_unnamed else ()
    start = render.start_of(call.args.cursor)
    async with call.looking() as session:
        life = await lives.task_life(session, call.args.task_id, others)
        text = render.life_text(life, start, SHELL)
        if call.args.json or not text.cut:
            await entrusted.read_on(session, life.record, session.calls.begin())
        return await call.print_results(session, text, documents.of_life(life))


async def _agents(call: Command) -> int:
    """Show who is registered, and who is there; without a session: asking registers nobody."""
    async with call.bus() as bus:
        await streams.ensure_streams(bus)
        page = await agents.page(
            bus,
            query=call.args.query,
            include_offline=not call.args.online,
            limit=call.args.limit,
            cursor=call.args.cursor,
        )
    return call.end(roster_text(page, SHELL), documents.of_roster(page, texts=True))


async def _parked(call: Command) -> int:
    """Show what was set aside in an agent's inboxes."""
    async with call.looking() as session:
        await session.called()
        parked = [
            task
            for inbox in _inboxes(call, session)
            for task in await parking.parked(session.bus, inbox)
        ]
    parked = parking.floods_last(parked)
    return call.end(parked_text(parked), documents.of_parked(parked))


def _inboxes(call: Command, session: Session) -> Sequence[str]:
    """Return whose parked tasks are meant: a person who is not said to be an agent has all."""
    is_everybody = call.naming.asked.is_unnamed
    return sorted(users(call.settings, session.me)) if is_everybody else session.inboxes


async def _replay(call: Command) -> int:
    """Offer a parked task again."""
    async with call.looking() as session:
        await session.called()
        task = await replay.replay(session.bus, _inboxes(call, session), call.args.which)
    return call.end(f"Offered again: {parked_text([task])}", documents.of_parked([task]))


#: By their names as typed; `relay.carried.command` has the same, and need not load these.
_COMMANDS: Final[dict[str, Work]] = {
    "agents": _agents,
    "answer": _answer,
    "audit": history.audited,
    "export": history.export,
    "inbox": _inbox,
    "parked": _parked,
    "replay": _replay,
    "result": _result,
    "search": history.tasks,
    "send": _send,
    "task": _task,
    "tasks": history.tasks,
    "tell": _send,
    "watch": _watch,
}
