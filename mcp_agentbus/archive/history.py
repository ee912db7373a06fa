# SPDX-License-Identifier: Apache-2.0
"""The tasks that an agent sent or received, open and over, the latest first.

    >>> (await history(session, view="sent", words="tests")).tasks
    (Past(task_id='9d0c...', owner='planner', inbox='coder', state='completed', ...),)

It claims nothing and marks nothing as seen. What it tells is as new as the bus: the archive catches
up first. Where nothing is archived the latest records of the bus are read, and it says how far.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, Unpack, get_args

from mcp_agentbus.archive.catch_up import Extent, catch_up
from mcp_agentbus.archive.file import Archive, iso
from mcp_agentbus.archive.kept.place import PageStart, cursor_of, only_here, place_of
from mcp_agentbus.archive.kept.sides import Sides, users
from mcp_agentbus.archive.kept.sought import Way, ways_to
from mcp_agentbus.archive.past import ONCE, Past, as_held, outgoing, past_of
from mcp_agentbus.archive.questions import LEFT_OPEN, asked
from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.errors import AgentbusError, ArchiveBroken, BadInput
from mcp_agentbus.handoff.dispatch.outgoing import telling_too
from mcp_agentbus.handoff.intake import refusals
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.outbox.outbox import Outbox
from mcp_agentbus.store.queries.clock import now_about
from mcp_agentbus.store.task import ASKING, HELD, OPEN
from mcp_agentbus.store.upkeep import unkept

#: Whose turn a task was or is: this agent's who sent it, or who received it; or both, not over yet.
View = Literal["all", "sent", "received", "open"]
VIEWS: Final[tuple[View, ...]] = get_args(View)
LIMIT_MAX: Final = 100
# Seconds of a call in which older records are read into the archive; the next call goes on.
_OLDER_S: Final = 1.0


@dataclass(frozen=True)
class History:
    """A page of tasks."""

    tasks: tuple[Past, ...]
    #: Give it to the next call for what comes after; None if this is all.
    next_cursor: str | None = None
    #: How far back was looked.
    extent: Extent = field(default_factory=Extent)
    #: What else its reader should know, in this program's words.
    notes: tuple[str, ...] = ()

    def behind(self, here: Sequence[Past], limit: int) -> History:
        """Return the page of as many tasks at most that begins with these of the outbox."""
        tasks = (*here, *self.tasks)
        more = self.next_cursor if len(tasks) <= limit else cursor_of(tasks[limit - 1])
        return replace(self, tasks=tasks[:limit], next_cursor=more)


@dataclass(frozen=True)
class Wanted:
    """Which tasks are looked for, as `Search` says; nothing means any."""

    view: View = "all"
    words: str = ""
    other: str = ""
    state: str = ""
    thread_id: str = ""
    since: datetime | None = None
    limit: int = 20
    cursor: str | None = None

    def __post_init__(self) -> None:
        for name in ("view", "words", "other", "state", "thread_id"):
            text.check_text(getattr(self, name), name)
        if self.cursor is not None:
            text.check_text(self.cursor, "cursor")
        if self.since is not None:
            text.check_time(self.since, "since")
        hint = f"Give a number from 1 to {LIMIT_MAX}."
        text.check_number(self.limit, "limit", 1, LIMIT_MAX, hint=hint, kind=int)


class Search(TypedDict, total=False):
    """Which tasks are looked for; nothing means any."""

    #: `sent`, `received`, `open`: what still is; `all`, the default.
    view: View
    #: Words that all stand in its subject, its text or its result.
    words: str
    #: The agent, or a role's inbox, at the other end.
    other: str
    #: A state; `open`: any that is no end.
    state: str
    thread_id: str
    #: Those of which something became known since then.
    since: datetime | None
    #: At most this many, 100 at most; 20 are the default.
    limit: int
    #: `next_cursor` of the page before.
    cursor: str | None


@one_call
@telling_too
async def history(session: Session, **wanted: Unpack[Search]) -> History:
    """Return what this agent sent and received, the latest first.

    Args:
        session: whose tasks.
        wanted: see `Search`.

    Raises:
        BadInput: there is no such keyword, view or cursor, or the limit is out of its range.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    text.check_keywords(wanted, Search, "history")
    await session.called()
    sides = Sides((session.me.id,), tuple(session.inboxes))
    await session.outcomes.sent_records.look()
    await unkept.settled(session.bus, sides.inboxes)
    async with up_to_date(session.bus, users(session.bus.settings, session.me)) as current:
        # Among all the words of years: others go on meanwhile.
        page = await in_thread(
            look, current, Wanted(**wanted), sides, session.bus.settings.state_dir
        )
        held = await as_held(session.bus, page.tasks)
        kept_here = outgoing_of(session.outbox, Wanted(**wanted), sides)
        here = await in_thread(only_here, current.archive, kept_here)
    shown = [
        past.without_texts()
        if await refusals.is_hidden(session.bus, session.refreshed(), past)
        else past
        for past in held
    ]
    return replace(page, tasks=tuple(shown)).behind(here, Wanted(**wanted).limit)


def outgoing_of(outbox: Outbox | None, wanted: Wanted, sides: Sides) -> tuple[Past, ...]:
    """Return what lies in the outbox of what is looked for, all of which comes first."""
    place = place_of(wanted.cursor) if wanted.cursor is not None else None
    if outbox is None or (place and not place.is_outgoing) or wanted.view == "received":
        return ()
    if wanted.words.strip() or wanted.state not in {"", "open", "stored"}:
        return ()
    tasks = [outgoing(each) for each in outbox.seen or () if not each.is_over]
    found = [
        task
        for task in reversed(tasks)
        if (not sides.owners or task.owner in sides.owners)
        and (not wanted.other or wanted.other in {task.owner, task.inbox})
        and (not wanted.thread_id or wanted.thread_id == task.thread_id)
        and (not wanted.since or wanted.since <= task.created_at)
    ]
    return tuple(place.rest_of(found) if place else found)


def look(current: Current, wanted: Wanted, sides: Sides, folder: Path) -> History:
    """Return a page of the tasks between these sides, as `history`; `folder`: as `asked`."""
    select = _Select(current.archive)
    _ask_for(select, wanted, sides)
    rows = select.put(wanted.limit + 1)
    is_all = len(rows) <= wanted.limit
    rows = rows[: wanted.limit]
    whose = {row["n"]: (row["owner"], row["inbox"], row["id"]) for row in rows}
    questions = asked(current.archive, folder, whose)
    here = current.archive.stream
    past = tuple(past_of(row, select.now, questions.get(row["n"]), here=here) for row in rows)
    told = current.extent.to_be_told(wanted.since, is_open="open" in {wanted.view, wanted.state})
    extent = told if is_all else replace(told, removed=())  # it would be among what comes after
    return History(past, None if is_all else cursor_of(past[-1]), extent, current.notes)


@dataclass(frozen=True)
class Current:
    """An archive that knows what the bus knows."""

    archive: Archive
    extent: Extent
    notes: tuple[str, ...] = ()
    #: What was kept on the disk cannot be read, as `notes` say: of what is not here nothing is
    #: known.
    is_unread: bool = False


@asynccontextmanager
async def up_to_date(
    bus: Bus, agents: Collection[str], *, older_s: float = _OLDER_S
) -> AsyncGenerator[Current]:
    """Open the archive, or where there is none one in memory, and have it catch up.

    Args:
        bus: where the records are.
        agents: as `catch_up`.
        older_s: seconds for records of before the archive was begun; the next call goes on.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    settings = bus.settings
    with ExitStack() as stack:
        archive = Archive(settings.archive_file, settings.archive)
        broken, notes = False, tuple[str, ...]()
        try:
            stack.enter_context(archive)
            extent = await catch_up(bus, archive, agents, within_s=older_s)
        except ArchiveBroken as error:
            if archive.path is None:
                raise
            broken, notes = True, (f"{error} This is what the bus itself keeps.",)
            archive = stack.enter_context(Archive(None, settings.archive))
            extent = await catch_up(bus, archive, agents, within_s=older_s)
        with suppress(AgentbusError):  # then this machine's clock has to do
            there = await now_about(bus, text.now())
            archive.ahead = there - text.now()  # behind the answer, which may be long on its way
        yield Current(archive, extent, notes, broken)


class _Select:
    """A SELECT, put together of conditions and their values."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self.now = archive, archive.now()
        #: How rows are looked for, the best first: one is found by any of them.
        self.ways = [Way()]
        self._conditions: list[str] = []
        self._values: list[Any] = []
        # Of which one is enough; each is asked by itself, since each has an index of its own.
        self._either: list[tuple[str, list[Any]]] = []

    def ask(self, condition: str, *values: Any) -> None:
        """Have only rows be found that meet a condition."""
        self._conditions.append(condition)
        self._values += values

    def ask_either(self, condition: str, *values: Any) -> None:
        """Have rows be found that meet this condition, or another one that is asked so."""
        self._either.append((condition, list(values)))

    def ask_behind(self, place: PageStart) -> None:
        """Have only rows be found that come behind the one at this place."""
        at = iso(place.created_at)
        rows = self._archive.rows("SELECT * FROM tasks WHERE created_at = ?", at)
        it = (row["n"] for row in rows if place.is_of(row["owner"], row["inbox"], row["id"]))
        # Behind one that is gone comes what is older.
        self.ask("(tasks.created_at, tasks.n) < (?, ?)", at, next(it, 0))

    def put(self, limit: int) -> list[sqlite3.Row]:
        """Return the rows, the latest first."""
        found: dict[int, sqlite3.Row] = {}
        for (condition, values), way in product(self._either or [("1", [])], self.ways):
            where = " AND ".join([condition, way.condition, *self._conditions])
            # All of it but the values is this module's own.
            rows = self._archive.rows(
                f"SELECT {way.columns} FROM {way.source} WHERE {where}"  # noqa: S608
                " ORDER BY tasks.created_at DESC, tasks.n DESC LIMIT ?",
                *values,
                *way.values,
                *self._values,
                limit,
            )
            found = {row["n"]: row for row in rows} | found
        latest = sorted(found.values(), key=lambda row: (row["created_at"], row["n"]), reverse=True)
        return latest[:limit]


def _ask_for(select: _Select, wanted: Wanted, sides: Sides) -> None:
    """Put what is wanted into conditions."""
    _ask_for_view(select, wanted.view, sides)
    # At a zero byte a query of the index would end; in what is searched there is none.
    if words := wanted.words.replace("\0", " ").split():
        select.ways = list(ways_to(words))
    if wanted.other:
        select.ask("? IN (tasks.owner, tasks.inbox, tasks.agent)", wanted.other)
    if wanted.thread_id:
        select.ask("tasks.thread_id = ?", wanted.thread_id)
    if wanted.since:
        # A clock that is behind may have it end before it was sent.
        since = iso(wanted.since)
        select.ask("(tasks.updated_at >= ? OR tasks.created_at >= ?)", since, since)
    if wanted.state:
        condition, values = _in_state(wanted.state, select.now)
        select.ask(condition, *values)
    place = place_of(wanted.cursor) if wanted.cursor is not None else None
    if place and not place.is_outgoing:
        select.ask_behind(place)


def _ask_for_view(select: _Select, view: View, sides: Sides) -> None:
    """Have only such tasks be found as a view has."""
    if view not in VIEWS:
        raise BadInput(f"{view!r} is no view.", hint=f"Use one of {', '.join(VIEWS)}.")
    # Of what nobody is known to have asked for an agent has sent nothing, whoever says so.
    sent = f"tasks.owner IN ({_marks(sides.owners)}) AND tasks.sent_seq > 0"
    received = f"tasks.inbox IN ({_marks(sides.inboxes)}) AND {ONCE}"
    by_them = f"tasks.agent IN ({_marks(sides.owners)})"
    if not sides.owners:
        sent, received, by_them = "tasks.asked_by = ''", ONCE, "1"
    if view in {"all", "sent"}:
        select.ask_either(sent, *sides.owners)
    if view in {"all", "received"}:
        select.ask_either(received, *sides.inboxes)
        # Results of others' tasks that those had sent here as well.
        if sides.owners:
            copies = f"tasks.owner IN ({_marks(sides.owners)}) AND tasks.asked_by != ''"
            select.ask_either(copies, *sides.owners)
    if view == "open":
        still, values = _in_state("open", select.now)
        select.ask_either(f"{sent} AND {still}", *sides.owners, *values)
        held = f"{received} AND tasks.state IN ({_marks(HELD)}) AND {by_them}"
        select.ask_either(held, *sides.inboxes, *sorted(HELD), *sides.owners)


def _in_state(state: str, at: datetime) -> tuple[str, list[str]]:
    """Return the condition of being in a state at this time, and its values.

    A deadline that has passed counts before anybody has written it down.
    """
    is_open, states, now = f"tasks.state IN ({_marks(OPEN)})", sorted(OPEN), iso(at)
    if state == "expired":
        passed = f"({is_open} AND tasks.expires_at <= ?)"
        return f"(tasks.state = 'expired' OR {passed})", [*states, now]
    wanted = states if state == "open" else [state]
    is_wanted = f"tasks.state IN ({_marks(wanted)})"
    if state in ASKING:
        is_wanted, wanted = f"({is_wanted} OR {LEFT_OPEN.format('?')})", [state, state]
    if state not in {*states, "open"}:
        return is_wanted, wanted
    return f"({is_wanted} AND coalesce(tasks.expires_at > ?, 1))", [*wanted, now]


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))


def of_id(archive: Archive, sides: Sides, task_id: str, *, is_short: bool) -> tuple[Past, ...]:
    """Return the tasks of these sides that have this id, or whose ids begin so, the latest."""
    select = _Select(archive)
    if sides.owners:
        select.ask_either(f"tasks.owner IN ({_marks(sides.owners)})", *sides.owners)
        select.ask_either(f"tasks.inbox IN ({_marks(sides.inboxes)}) AND {ONCE}", *sides.inboxes)
    else:
        select.ask(ONCE)
    if is_short:  # what begins so has an id up to the one that ends with the last character of all
        select.ask("tasks.id BETWEEN ? AND ?", task_id, f"{task_id}\U0010ffff")
    else:
        select.ask("tasks.id = ?", task_id)
    return tuple(past_of(row, select.now, here=archive.stream) for row in select.put(LIMIT_MAX))
