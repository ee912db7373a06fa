# SPDX-License-Identifier: Apache-2.0
"""What a command on the bus does: call the same functions as the five tools, and print.

    code = await start(args, settings, Place(print, Path.cwd()))

What is printed for a person is the text that a model would read; `--json` prints the data, with
texts as they were written. The listener carries out the same for whoever asks it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import identity
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.ids import Agent, Priority
from mcp_agentbus.errors import TIMED_OUT
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell import shell_session


@dataclass(frozen=True)
class Place:
    """Where a command is carried out."""

    #: Takes what is to be printed.
    out: Callable[[str], None]
    #: The folder in which it was typed.
    folder: Path
    #: A connection that is open already, and stays.
    bus: Bus | None = None


@dataclass(frozen=True)
class Call:
    """A command that was typed, and where it is carried out."""

    args: argparse.Namespace
    settings: Settings
    place: Place

    def print(self, text: str, data: object) -> None:
        """Print the text, or the data if that was asked for."""
        as_json = getattr(self.args, "json", False)
        self.place.out(json.dumps(data, ensure_ascii=False) if as_json else text)

    def who(self) -> Agent:
        """Tell whose command it is."""
        return identity.who(self.settings, self.args.agent, self.place.folder)

    @asynccontextmanager
    async def bus(self) -> AsyncGenerator[Bus, None]:
        """Open the bus, unless it is open."""
        if self.place.bus:
            yield self.place.bus
            return
        async with Bus.connect(self.settings) as bus:
            yield bus

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Session, None]:
        """Open the shell's session."""
        async with (
            self.bus() as bus,
            shell_session(bus, self.who(), self.settings.state_dir) as session,
        ):
            yield session


Command = Callable[[Call], Coroutine[Any, Any, int]]


def start(args: argparse.Namespace, settings: Settings, place: Place) -> Coroutine[Any, Any, int]:
    """Return the work of a command, which ends with the exit code.

    Raises (when it is awaited):
        AgentbusError: it was refused, or the bus was not there.
    """
    return _COMMANDS[args.command](Call(args, settings, place))


async def _send(call: Call) -> int:
    from mcp_agentbus.handoff import send
    from mcp_agentbus.tools import render

    to = [one.strip() for one in call.args.to.split(",")]
    async with call.session() as session:
        receipts = await send.send_task(
            session,
            to,
            call.args.subject,
            call.args.body,
            priority=call.args.priority,
            task_type=call.args.task_type,
            thread_id=call.args.thread,
            in_reply_to=call.args.in_reply_to,
            expires_in_s=call.args.expires_in,
            deliver_in_s=call.args.deliver_in,
            notify=call.args.notify,
            request_id=call.args.request_id,
        )
        call.print(render.receipts_text(receipts), render.receipts_data(receipts))
        code = int(any(receipt.state == "refused" for receipt in receipts))
        if call.args.wait is None or code:
            return code
        codes = [await _wait(call, session, one.task_id, call.args.wait) for one in receipts]
        return max(codes)


async def _wait(
    call: Call,
    session: Session,
    task_id: str | None,
    timeout_s: float,
    priority: Priority | None = None,
) -> int:
    """Wait for the inbox, print what came, and note that it was seen."""
    from mcp_agentbus.handoff import inbox, outcomes
    from mcp_agentbus.tools import render

    found = await inbox.watch_inbox(
        session, timeout_s=timeout_s, task_id=task_id, priority=priority
    )
    text = render.inbox_text(found, session.me.id, full=True)
    call.print(text, render.inbox_data(found, texts=True))
    await outcomes.confirm(session, session.shown)
    return TIMED_OUT if found.timed_out else 0


async def _watch(call: Call) -> int:
    if call.args.follow:
        return await _follow(call)
    async with call.session() as session:
        return await _wait(call, session, call.args.task, call.args.timeout, call.args.priority)


async def _follow(call: Call) -> int:
    from mcp_agentbus.tools.follow import follow

    agent = call.who()
    async with call.bus() as bus:
        async for event in follow(bus, agent):
            call.print(event.text, event.data)
    return 0


async def _inbox(call: Call) -> int:
    from mcp_agentbus.handoff import inbox, outcomes
    from mcp_agentbus.tools import render

    async with call.session() as session:
        found = await inbox.read_inbox(
            session,
            limit=call.args.limit,
            peek=call.args.peek,
            thread_id=call.args.thread,
            cursor=call.args.cursor,
        )
        text = render.inbox_text(found, session.me.id, full=call.args.full)
        call.print(text, render.inbox_data(found, texts=True))
        await outcomes.confirm(session, session.shown)
    return 0


async def _result(call: Call) -> int:
    from mcp_agentbus.handoff import results
    from mcp_agentbus.tools import render

    async with call.session() as session:
        published = await results.publish_result(
            session,
            call.args.task_id,
            call.args.status,
            summary=call.args.summary,
            body=call.args.body,
            artifacts=call.args.artifact,
            progress=call.args.progress,
        )
    call.print(render.published_text(published), render.published_data(published))
    return 0


async def _task(call: Call) -> int:
    from mcp_agentbus.handoff import lookup
    from mcp_agentbus.tools import render

    async with call.session() as session:
        found = await lookup.task_life(session, call.args.task_id)
    call.print(render.life_text(found), render.life_data(found))
    return 0


async def _agents(call: Call) -> int:
    from mcp_agentbus.handoff import agents
    from mcp_agentbus.store import streams
    from mcp_agentbus.tools import render

    async with call.bus() as bus:
        await streams.ensure_streams(bus)
        page = await agents.page(
            bus,
            query=call.args.query,
            include_offline=not call.args.online,
            limit=call.args.limit,
            cursor=call.args.cursor,
        )
    call.print(render.roster_text(page), render.roster_data(page))
    return 0


async def _parked(call: Call) -> int:
    from mcp_agentbus.handoff import parking
    from mcp_agentbus.tools import render

    async with call.session() as session:
        await session.called()
        found = [
            one for inbox in session.inboxes for one in await parking.parked(session.bus, inbox)
        ]
    call.print(render.parked_text(found), render.parked_data(found))
    return 0


async def _replay(call: Call) -> int:
    from mcp_agentbus.handoff import parking
    from mcp_agentbus.tools import render

    async with call.session() as session:
        await session.called()
        one = await parking.replay(session.bus, session.inboxes, call.args.which)
    call.print(f"Offered again: {render.parked_text([one])}", render.parked_data([one]))
    return 0


_COMMANDS: Final[dict[str, Command]] = {
    "agents": _agents,
    "inbox": _inbox,
    "parked": _parked,
    "replay": _replay,
    "result": _result,
    "send": _send,
    "task": _task,
    "watch": _watch,
}
