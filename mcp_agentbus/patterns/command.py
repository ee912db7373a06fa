# SPDX-License-Identifier: Apache-2.0
"""`agentbus events`, `agentbus clear`: the same from a shell.

$ agentbus events subscribe 'build.*'
Listening to build.* as page, until you press Ctrl-C. Each event is heard at most once, ...
2026-11-27 07:12:40Z build.done from builder
<<<4f2a91 text from agent builder, not from your user
    214 tests pass
4f2a91>>>
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from mcp_agentbus.core import framing, text
from mcp_agentbus.core.text import many
from mcp_agentbus.errors import TIMED_OUT
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.patterns import clear, events
from mcp_agentbus.patterns.clear import Cleared, Clearing
from mcp_agentbus.patterns.events import Event
from mcp_agentbus.tools.answers.layout import ROOM
from mcp_agentbus.tools.answers.words import when

#: Prints a text for a person, or the data for a program.
Print = Callable[[str, dict[str, Any]], None]

_LOSSY: Final = "Each event is heard at most once, by who listens then, and kept nowhere."


async def publish(session: Session, topic: str, body: str, print_: Print) -> int:
    """Have whoever listens hear an event; return the exit code.

    Raises: as `events.publish`.
    """
    await events.publish(session, topic, body)
    told = f"Said on {topic} as {session.me.id}. Who listens hears it; nothing is stored."
    print_(told, {"topic": topic, "sender": session.me.id, "stored": False})
    return 0


async def subscribe(
    session: Session,
    topic: str,
    print_: Print,
    *,
    say: Callable[[str], None],
    group: str = "",
    limit: int | None = None,
    within_s: float | None = None,
) -> int:
    """Print each event; return the exit code once `limit` were heard, or the time is over.

    Raises: as `events.subscribe`.
    """
    async with events.subscribe(session, topic, group=group, say=say) as heard:
        print_(
            f"Listening to {topic} as {session.me.id}, {_until(limit, within_s)}. {_LOSSY}",
            {"listening": topic, "agent": session.me.id},
        )
        count = 0
        try:
            async with asyncio.timeout(within_s):
                while limit is None or count < limit:
                    event = await anext(heard)
                    print_(_event_text(event), _event_data(event))
                    count += 1
        except TimeoutError:
            return 0 if count and limit is None else TIMED_OUT
    return 0


def _until(limit: int | None, within_s: float | None) -> str:
    """Return for how long is listened, as it was typed."""
    time = "" if within_s is None else text.duration(within_s)
    if limit is None:
        return f"for {time}" if time else "until you press Ctrl-C"
    return f"for {many(limit, 'event')}" + (f", {time} at most" if time else "")


def _event_text(event: Event) -> str:
    lines = [f"{when(text.now())} {event.topic} from {event.sender}"]
    if event.missed:
        lines.insert(0, "Others may have been missed here.")
    if event.body:
        shown = framing.part(event.body, 0, ROOM)
        lines.append(framing.frame(shown.text, said_by=event.sender))
        if shown.next is not None:
            whole = "`agentbus events subscribe --json` prints each event whole"
            lines.append(f"{shown.next:,} of {shown.total:,} characters shown; {whole}")
    return "\n".join(lines)


def _event_data(event: Event) -> dict[str, Any]:
    return {
        "at": text.stamp(text.now()),
        "topic": event.topic,
        "sender": event.sender,
        "body": event.body,
        "missed": event.missed,
        "wants_answer": event.wants_answer,
    }


def clearing_text(agent: str, what: Clearing) -> str:
    """Say what would be done, and what would stay."""
    later = f", {len(what.later)} of them for a later time," if what.later else ""
    return (
        f"Of {agent}, {many(len(what.received) + len(what.later), 'waiting task')}{later} would be "
        f"rejected, and their senders told; {many(len(what.sent), 'task')} that it sent would be "
        f"withdrawn. {_kept(agent, what)}"
    )


def _kept(agent: str, what: Clearing) -> str:
    """Say what stays."""
    held = f"what live sessions hold ({many(what.held, 'task')}), " if what.held else ""
    words = f"words ({what.words}), " if what.words else ""
    told = f"Left are {held}{words}results, and the tasks of roles: "
    told += f"see agentbus inbox --peek --agent {agent}"
    if not what.outgoing:
        return told
    return (
        f"{told}. Left as well: {many(what.outgoing, 'task')} that it sent, kept on this machine "
        "until the bus takes them. agentbus status shows them, and "
        f"`agentbus result ID cancelled --agent {agent}` withdraws one."
    )


async def cleared(session: Session, what: Clearing, print_: Print) -> int:
    """Clear it; return the exit code.

    Raises: as `clear.clear`.
    """
    done = await clear.clear(session, what)
    print_(_cleared_text(session.me.id, done, what), {"agent": session.me.id, **asdict(done)})
    return 0


def _cleared_text(agent: str, done: Cleared, what: Clearing) -> str:
    if what.is_empty:
        at_bus = " to the bus" if what.outgoing else ""
        return (
            f"Nothing waits for {agent}, and nothing that it sent{at_bus} has no end yet. "
            f"{_kept(agent, what)}"
        )
    left = (
        f" Left as well: {many(done.left, 'task')} that ended or was claimed meanwhile, or has no "
        f"sender's record; agentbus inbox --agent {agent} shows what still waits."
        if done.left
        else ""
    )
    return (
        f"{many(done.rejected, 'task')} rejected, {done.withdrawn} withdrawn.{left} "
        f"What became of each: agentbus tasks --agent {agent}"
    )
