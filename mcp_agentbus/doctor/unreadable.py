# SPDX-License-Identifier: Apache-2.0
"""Which stored messages nobody reads, or can read as what their subjects say; what is left of each.

    >>> await checks(settings)
    [Check(name='messages', state='warning', said='2 of 1,204 messages in AGENTBUS_RESULTS ...')]

Every reader skips them, so nothing else tells of them. They are named by their numbers, and by
whose they are where that is an id: what anybody writes into a subject may be a sentence. Looking
never starts a server.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Found
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids
from mcp_agentbus.core.text import many
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.doctor.shared import account
from mcp_agentbus.doctor.stored.mends import asks
from mcp_agentbus.installers.steps import Step
from mcp_agentbus.store import records, subjects
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.signs import decode_sign
from mcp_agentbus.store.registered.profile import Profile, decode_profile
from mcp_agentbus.store.streams import STREAMS
from mcp_agentbus.store.task import Repeating, Undecodable

# So many messages of a stream are looked at, the newest, and for so long in all: each may have
# 1 MiB, and doctor gives a check 10 s.
_NEWEST_MAX: Final = 2_000
_LOOK_S: Final = 6.0
_PAGE: Final = 50
_NAMES_MAX: Final = 3

# What becomes of those that `--fix` leaves where they are.
_LEFT: Final = {
    subjects.TASKS: "Whoever reads that inbox next parks them.",
    subjects.RESULTS: "They count as not written, and go after 30 days.",
    subjects.DEAD: "`agentbus parked` of that agent lists them; they go after 30 days.",
    subjects.AGENTS: "Their agents count as registered, and write them anew when they next call.",
    subjects.PRESENCE: "They go within 15 s.",
}


@dataclass(frozen=True)
class _Looked:
    """What was found in a stream."""

    stream: str
    #: Messages in it, and how many of them were looked at.
    there: int
    seen: int
    #: Those that cannot be read, and of these those that are nobody's to read or to replace.
    bad: Sequence[Found]
    useless: Sequence[Found]
    #: Tasks in a lane that is none.
    astray: Sequence[Found]


async def checks(settings: Settings) -> list[Check]:
    """Count what cannot be read in each stream; empty where no server runs, or nobody has called.

    Raises:
        AgentbusError: that cannot be found out.
    """
    if settings.account:
        return [Check("messages", "ok", account.NOT_HERE)]
    until = time.monotonic() + _LOOK_S
    async with Bus(settings) as bus:
        if not await bus.reconnected(0):
            return []
        try:
            looked = [await _look(bus, stream, until) for stream in STREAMS]
        except ApiError as error:
            if error.code == NO_SUCH_STREAM:  # nobody has called yet
                return []
            raise
        found = [_check(bus.settings, each) for each in looked if each.bad]
        found += [_astray(each) for each in looked if each.astray]
        return found or [_all_well(looked)]


async def _look(bus: Bus, stream: str, until: float) -> _Looked:
    """Look at a stream's newest messages, until then."""
    state = (await bus.api(f"STREAM.INFO.{stream}"))["state"]
    there = int(state["messages"])
    start = 1 if there <= _NEWEST_MAX else int(state["last_seq"]) - _NEWEST_MAX + 1
    seen, bad, astray = 0, list[Found](), list[Found]()
    async with aclosing(bus.stored(stream, ">", start=start, page=_PAGE)) as pages:
        async for page in pages:
            seen += len(page)
            astray += [message for message in page if _is_astray(stream, message)]
            bad += [
                message
                for message in page
                if not (_is_readable(stream, message) or _is_astray(stream, message))
            ]
            if time.monotonic() > until or seen >= _NEWEST_MAX:
                break
    useless = [message for message in bad if _is_useless(stream, message)]
    return _Looked(stream, max(there, seen), seen, bad, useless, astray)


def _is_astray(stream: str, message: Found) -> bool:
    """Tell whether a task with an inbox stands in a lane that no reader asks for."""
    whose, _, rest = subjects.parts(message.subject)
    is_lane = rest[:1] in {(lane,) for lane in ids.LANES}
    return stream == subjects.TASKS and ids.is_inbox(whose) and not is_lane


def _is_readable(stream: str, message: Found) -> bool:
    try:
        _decode(stream, message)
    except Repeating:  # the check of schedules tells of it
        return True
    except ValueError:  # of the store's, or of pydantic's
        return False
    return True


def _decode(stream: str, message: Found) -> None:
    """Read a message as its subject says.

    Raises:
        ValueError: it is not that.
    """
    if stream == subjects.RESULTS:
        records.decode(message)
    elif stream == subjects.AGENTS:
        decode_profile(message)
        Profile.model_validate_json(message.data)
    elif stream == subjects.PRESENCE:
        decode_sign(message)
    elif subjects.parts(message.subject).kind == "sched":
        _decode_scheduled(message)
    else:
        read_back.decoded(message)


def _decode_scheduled(message: Found) -> None:
    inbox, _, (lane, sender, task_id) = subjects.parts(message.subject)
    subject = subjects.task_subject(inbox, lane, sender)
    task = read_back.decoded(replace(message, subject=subject))
    target = message.headers.get("Nats-Schedule-Target")
    due = subjects.due_subject(inbox, lane, sender)
    # What goes elsewhere, or under another id, its reader takes for a forgery.
    if subjects.H_SCHEDULE not in message.headers or (target, task.id) != (due, task_id):
        raise Undecodable("it is scheduled to go elsewhere than its subject says")


def _is_useless(stream: str, message: Found) -> bool:
    """Tell of what cannot be read whether it only takes room, or stands in somebody's way.

    A task with an inbox is parked, where its addressee sees it; a record may be of a newer version.
    """
    whose, _, rest = subjects.parts(message.subject)
    if stream == subjects.PRESENCE:
        return False
    if stream == subjects.AGENTS:
        return not ids.is_agent(whose)
    if stream == subjects.SCHEDULE or not ids.is_inbox(whose):
        return True
    return stream == subjects.RESULTS and not (ids.is_inbox(rest[0]) and ids.is_task_id(rest[1]))


def _check(settings: Settings, looked: _Looked) -> Check:
    stream, bad, useless = looked.stream, looked.bad, looked.useless
    said = (
        f"{len(bad):,} of {_extent(looked)} in {stream} cannot be read as what "
        f"{'their subjects say' if len(bad) > 1 else 'its subject says'}: {_names(bad)}"
    )
    left = _LEFT.get(stream, "") if len(useless) < len(bad) else ""
    if not useless:
        return Check("messages", "warning", said, left)
    count = many(len(useless), "message", grouped=True)
    what = f"remove {count} that nobody can read from {stream}"
    mend = Step(what, asks(settings, partial(_remove, stream, useless)))
    fix = f"Run `agentbus doctor --fix`: it removes {len(useless):,} that nobody can read. {left}"
    return Check("messages", "warning", said, fix.strip(), mend)


def _astray(looked: _Looked) -> Check:
    count, several = len(looked.astray), len(looked.astray) != 1
    said = (
        f"{count:,} task{'s stand' if several else ' stands'} in a lane that nobody reads here, "
        f"neither high, normal nor low: {_names(looked.astray)}"
    )
    fix = (
        f"{'They come' if several else 'It comes'} from another program, or from a later version: "
        "update agentbus here, or have that sent again. What nobody reads goes after 7 days."
    )
    return Check("messages", "warning", said, fix)


async def _remove(stream: str, messages: Sequence[Found], bus: Bus) -> None:
    for message in messages:
        # By number: a subject may hold a wildcard.
        await bus.api(f"STREAM.MSG.DELETE.{stream}", {"seq": message.seq})


def _all_well(looked: Sequence[_Looked]) -> Check:
    seen, there = sum(each.seen for each in looked), sum(each.there for each in looked)
    said = f"all {there:,} stored messages can be read"
    if seen < there:
        said = f"{seen:,} of {there:,} stored messages looked at, and all of these can be read"
    return Check("messages", "ok", said)


def _extent(looked: _Looked) -> str:
    """Say how many messages were looked at, and of how many."""
    seen, there = looked.seen, looked.there
    messages = many(seen, "message", grouped=True)
    return f"{messages} looked at (there are {there:,})" if seen < there else messages


def _names(messages: Sequence[Found]) -> str:
    more = f" and {len(messages) - _NAMES_MAX:,} more" if len(messages) > _NAMES_MAX else ""
    return ", ".join(map(_name, messages[:_NAMES_MAX])) + more


def _name(message: Found) -> str:
    whose = subjects.parts(message.subject).whose
    return f"no. {message.seq} of {whose if ids.is_inbox(whose) else 'an id that nobody can have'}"
