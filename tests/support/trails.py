# SPDX-License-Identifier: Apache-2.0
"""Whoever types commands that look back, over an archive that is played.

    shell = trails.Shell(home, archive)
    shell.note(trails.sent(1))
    await shell.typed("audit")
    shell.texts

Its parts are put into `tools.history` by the fixture `shell` of `parts/tools`.
"""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from local_server import settings_at

from mcp_agentbus.archive.audit import Span
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Reached
from mcp_agentbus.archive.history import Current
from mcp_agentbus.archive.kept.sides import Sides
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.store.task import Moment
from mcp_agentbus.tools import commands
from mcp_agentbus.tools.typed_command import Command

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FIRST = NOON.isoformat()
PLANNER = Agent("planner", roles=("lead",))
MINE = Sides((PLANNER.id,), PLANNER.inboxes)


def at(number):
    return NOON + timedelta(minutes=number)


def sent(number, owner="planner", inbox="coder"):
    """Return a task that was stored then."""
    values = {"subject": f"Task {number}", "created_at": at(number), "request": "All of it."}
    moments = (Moment(state="stored", at=at(number), by=owner),)
    return Change(
        owner, inbox, f"t{number:05d}", at(number), number, "sent_seq", values, moments
    )  # fmt: skip


class Shell:
    """Whoever types commands, an archive that is played, and what both say."""

    def __init__(self, home, archive):
        self.settings = settings_at(home)
        self.bus = SimpleNamespace(settings=self.settings)
        self.archive = archive
        self.given, self.is_persons = "planner", False
        #: What the archive says of itself, and whether there is a bus.
        self.extent, self.notes, self.away = Extent(), (), None
        #: What is said beside data.
        self.said_aside = []
        #: What lies in the outbox; and what was looked for in it, on which sides.
        self.here, self.looked_for = (), []
        #: What became known later, and behind which step news were asked for.
        self.later, self.news_of = [], []
        #: In the order of time: what was printed and with what, and what else was done.
        self.done = []

    def print(self, text, changed):
        self.done.append((text, changed))

    async def reached(self):
        self.done.append("reached")

    async def ensured(self, _):
        self.done.append("streams")
        if self.away:
            raise self.away

    def outgoing(self, _, wanted, sides):
        self.looked_for.append((wanted, sides))
        return self.here

    async def held(self, _, tasks):
        return tuple(replace(task, is_left=True) for task in tasks)

    @asynccontextmanager
    async def up_to_date(self, bus, agents):
        yield Current(self.archive, self.extent, self.notes)

    async def news(self, bus, archive, agents, after, _):
        self.news_of.append(after)
        for change in self.later:
            self.note(change)
            yield Span(after, change.seq)
            after = change.seq

    def note(self, *changes):
        self.archive.note(changes, Reached("agentbus.*.*.*.*", 1, 2), of="made")

    async def typed(self, line, **changed):
        """Type it, as one that goes on with these arguments; return the exit code."""
        asked = Asked(self.settings, self.given, is_persons=self.is_persons)
        args = parser().parse_args(line.split())
        vars(args).update(changed)
        self.done.clear()
        call = Command(
            args, Naming(asked), self.print, self.bus, self.reached,
            aside=lambda text, _: self.said_aside.append(text),
        )  # fmt: skip
        return await commands.start(call)

    @property
    def texts(self):
        return [each[0] for each in self.done if isinstance(each, tuple)]
