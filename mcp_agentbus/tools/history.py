# SPDX-License-Identifier: Apache-2.0
"""The commands that look back: `tasks`, `search`, `audit` and `export`.

They claim nothing, mark nothing as seen and register nobody. What they tell is as new as the bus,
so without one they are refused; of a list then what lies in the outbox is shown, if there is any.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from mcp_agentbus.archive import audit
from mcp_agentbus.archive.audit import Span, TaskStep
from mcp_agentbus.archive.file import Archive
from mcp_agentbus.archive.follow import news
from mcp_agentbus.archive.history import History, Wanted, look, outgoing_of, up_to_date
from mcp_agentbus.archive.kept.place import only_here
from mcp_agentbus.archive.kept.sides import Sides, users
from mcp_agentbus.archive.past import as_held
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.core.feather.printer import EXIT_CODE
from mcp_agentbus.core.framing import spelled
from mcp_agentbus.core.ids import Agent, agent_id, inbox_of
from mcp_agentbus.core.text import check_text, moment, now
from mcp_agentbus.errors import BadInput, BusUnreachable
from mcp_agentbus.store import roster, streams
from mcp_agentbus.tools.answers import past
from mcp_agentbus.tools.answers.readers import SHELL
from mcp_agentbus.tools.typed_command import Command

_EVERYBODY: Final = "your agents"


async def tasks(call: Command) -> int:
    """Show what an agent sent and received, or all of this user's agents, as `search` always does.

    A person who has not said to be an agent asks for those of all of theirs.
    """
    args, of_all = call.args, call.args.all or call.naming.asked.is_unnamed
    wanted = Wanted(
        view=args.view,
        words=" ".join(args.words),
        other=inbox_of(args.other) if args.other else "",
        state=args.state or "",
        thread_id=args.thread or "",
        since=_time(args.since, now()),
        limit=args.limit,
        cursor=args.cursor,
    )
    code = 0
    async with call.bus() as bus:
        me = (await call.naming.look(bus)).me
        sides = Sides() if of_all else Sides((me.id,), me.inboxes)
        here = outgoing_of(call.outbox, wanted, sides)
        try:
            await streams.ensure_streams(bus)
            async with up_to_date(bus, users(call.settings, me)) as current:
                since = _time(args.since, current.archive.now())
                there = replace(wanted, since=since)
                # Among all the words of years: others go on meanwhile.
                page = await in_thread(look, current, there, sides, call.settings.state_dir)
                here = await in_thread(only_here, current.archive, here)
            page = replace(page, tasks=await as_held(bus, page.tasks))
        except BusUnreachable as away:
            if not here:
                raise
            page, code = History((), notes=(_only_here(away),)), away.exit_code
        page = page.behind(here, wanted.limit)
    title = past.TITLES[args.view].format(who=_EVERYBODY if of_all else me.id)
    title += f' with "{wanted.words}" in it' if wanted.words else ""
    none = past.unlike(wanted.cursor, wanted.other, wanted.state, wanted.thread_id, wanted.since)
    text = past.history_text(page, title, SHELL, none=none)
    return call.end(text, past.of_history(page), code)


def _only_here(away: BusUnreachable) -> str:
    return f"This is only what lies on this machine, as the bus is out of reach. {away.cause}"


async def audited(call: Command) -> int:
    """Print the steps of tasks, a line each, the latest last."""
    args = call.args
    async with _trail(call, past.step_line) as trail:
        span = trail.span(args.after)
        hidden, shown = 0, span
        # Of what comes while it is followed all is printed, also by whoever goes on with that.
        if not trail.is_resumed:
            hidden, shown = await in_thread(
                audit.hidden, trail.archive, trail.sides, span, args.limit
            )
        if hidden and not args.json:
            call.out(f"({hidden:,} earlier steps: --limit N shows more of them.)", _from(shown))
        if not (await trail.print(shown) or args.json or trail.is_resumed):
            call.out("No step of a task is known in this time.", trail.done(span))
        if args.follow:
            await trail.follow()
    return 0


async def export(call: Command) -> int:
    """Print the steps of tasks with all their texts, as entries of a diary or as data."""
    args = call.args
    if args.cursor:
        check_text(args.cursor, "cursor")
        if args.since and args.until is None:
            raise BadInput(
                "--cursor and --since do not go together: what is older would never be printed.",
                hint="Leave --since out: a new name begins with all, and goes on behind that.",
            )
    async with _trail(call, past.step_markdown) as trail:
        is_named = args.cursor and not trail.is_resumed
        span = trail.span(trail.cursor() if is_named else args.after)
        await trail.print(span)
        await trail.go_on_from(trail.step)
        if args.follow:
            await trail.follow()
    return 0


@dataclass
class _Trail:
    """The steps of tasks, printed as they are or become known.

    What another process would go on from comes with each text that is printed, by these arguments:
    from `after`, up to `until`, all that comes `behind` the step that was printed last.
    """

    call: Command
    bus: Bus
    archive: Archive
    line: Callable[[TaskStep], str]
    #: Whose tasks.
    sides: Sides
    #: Whose records are read.
    agents: Collection[str]
    #: Up to this step all were printed.
    step: int = 0

    @property
    def is_resumed(self) -> bool:
        """Whether another process has printed some of it."""
        return self.call.args.until is not None

    def span(self, after: int) -> Span:
        """Return what is to be printed at once; from now on only later steps are new."""
        args = self.call.args
        self.step = args.until if self.is_resumed else audit.last(self.archive)
        at, n = args.behind or Span.behind
        since = _time(args.since, self.archive.now())
        return Span(after, self.step, since, behind=(at, n))

    def note(self, notes: Iterable[str]) -> None:
        """Say what its reader should know of it, each once, and not among a program's data."""
        noted = list(self.call.args.noted)
        tell = self.call.aside if self.call.args.json else self.call.out
        for note in notes:
            if tell and note not in noted:
                noted.append(note)
                tell(f"Note: {SHELL.hint(note)}", {"noted": tuple(noted)})

    async def print(self, span: Span) -> bool:
        """Print the steps of a span in the order of time; return whether there was one."""
        before = None
        async for page in audit.pages(self.archive, self.sides, span):
            if before and self.call.reached:  # else all of it would lie here if nobody reads it
                await self.call.reached()
            for entry in page:
                if before:
                    self.call.out(self._shown(before), {**_from(span), "behind": before.place})
                before = entry
        if before:
            self.call.out(self._shown(before), self.done(span))
        return before is not None

    def done(self, span: Span) -> dict[str, object]:
        """Return what goes with the last text of a span: what comes later is not of that time."""
        args = self.call.args
        rest = Span(span.until or 0, span.until)
        if args.follow or args.cursor:
            return _from(rest)
        return {EXIT_CODE: 0}

    def _shown(self, entry: TaskStep) -> str:
        if not self.call.args.json:
            return self.line(entry)
        return spelled(past.of_step(entry, texts=self.line is past.step_markdown))

    async def follow(self) -> None:
        """Print each step as it becomes known, until it is cancelled."""
        async for span in news(self.bus, self.archive, self.agents, self.step, self.call.say):
            self.step = span.until or 0
            await self.print(span)
            await self.go_on_from(self.step)

    @property
    def _name(self) -> str:
        """Whose cursor it is: what is printed of one agent says nothing of the others' steps."""
        args = self.call.args
        name = args.cursor or ""
        return f"{name}\n{args.agent}" if name and args.agent else name

    def cursor(self) -> int:
        """Return the step from which an export of this name, and of this agent, goes on.

        Raises:
            BadInput: there is no file that would keep it.
        """
        if self.archive.path is None:
            named = self.call.args.cursor
            raise BadInput(
                f"Without an archive nobody knows how far the export {named!r} was.",
                hint="Leave --cursor out; or mend the archive, or have one: enabled = true under "
                "[archive] in config.toml.",
            )
        rows = self.archive.rows("SELECT step FROM cursors WHERE name = ?", self._name)
        return int(rows[0]["step"]) if rows else 0

    async def go_on_from(self, step: int) -> None:
        """Have the next export of this name begin behind a step, once what it is told was read."""
        if self._name:
            if self.call.reached:
                await self.call.reached()
            self.archive.note_cursor(self._name, step)


@asynccontextmanager
async def _trail(call: Command, line: Callable[[TaskStep], str]) -> AsyncGenerator[_Trail]:
    """Open the archive as it is now; say so where it could not catch up, or knows not all."""
    async with call.bus() as bus:
        await streams.ensure_streams(bus)
        agents = users(call.settings)
        sides = await _sides(call, bus)
        async with up_to_date(bus, agents) as current:
            trail = _Trail(call, bus, current.archive, line, sides, agents)
            # Whoever goes on was told, and may have looked further back since.
            since = _time(call.args.since, current.archive.now())
            extent = current.extent.to_be_told(since)
            told = [] if trail.is_resumed else past.extent_notes(extent)
            trail.note((*current.notes, *told))
            yield trail


async def _sides(call: Command, bus: Bus) -> Sides:
    """Return whose tasks are asked for: all, or an agent's, with those of the roles it has."""
    if not call.args.agent:
        return Sides()
    agent = agent_id(call.args.agent)
    known = call.settings.agents.get(agent) or await roster.look(bus, agent)
    return Sides((agent,), Agent(agent, roles=known.roles if known else ()).inboxes)


def _from(span: Span) -> dict[str, object]:
    """Return by which arguments another process prints the steps of a span."""
    since = span.since and span.since.isoformat()
    return {"after": span.after, "until": span.until, "behind": span.behind, "since": since}


def _time(told: str | None, current: datetime) -> datetime | None:
    """Return since when, as was typed: how long ago that was goes by a clock of its own.

    What lies in the outbox is of this machine's, the archive knows how far the server's is ahead.
    """
    return moment(told, current) if told else None
