# SPDX-License-Identifier: Apache-2.0
"""The consumers by which agents take what is stored for them: changed by others, or lost.

    >>> await checks(settings)
    [Check(name='consumers', state='warning', said='consumers of agents that are there are ...')]

One that nobody has used for a day the server removes, and whoever reads next makes it anew: so only
that of a session which lives is missed. Others' on the work queue are told of by `strangers`;
elsewhere they take nothing from anybody, and stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES, ROLE_PREFIX
from mcp_agentbus.doctor.check import Check, State
from mcp_agentbus.doctor.shared import account
from mcp_agentbus.doctor.stored.mends import FIX, asks, is_whole, named
from mcp_agentbus.installers.steps import Step
from mcp_agentbus.store import roster
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.queries.consumers import Consumer
from mcp_agentbus.store.queries.counted import stored_subjects
from mcp_agentbus.store.subjects import RESULTS, TASKS


async def checks(settings: Settings) -> list[Check]:
    """Name the consumers that are changed or missing; empty where none is, or no server runs.

    Raises:
        AgentbusError: that cannot be found out.
    """
    if settings.account:
        return [Check("consumers", "ok", account.NOT_HERE)]
    async with Bus(settings) as bus:
        if not await is_whole(bus):
            return []
        everybody = await roster.everybody(bus)
        return [*await _changed(bus, everybody), *await _missing(bus, everybody)]


def _of(entry: roster.Entry) -> list[Consumer]:
    """Return the consumers of an agent, with those of its roles."""
    inboxes = (entry.id, *(ROLE_PREFIX + role for role in entry.roles))
    lanes = [consumers.lane(inbox, lane) for inbox in inboxes for lane in LANES]
    return [*lanes, consumers.results(entry.id), consumers.sent(entry.id)]


async def _changed(bus: Bus, everybody: Sequence[roster.Entry]) -> list[Check]:
    strange = {name for name, _ in await consumers.strange_consumers(bus, RESULTS)}
    ours = [each for entry in everybody for each in _of(entry) if each.stream == RESULTS]
    changed = [each for each in ours if each.name in strange]
    return _anew(bus, "wrong", "somebody has changed by what agents learn of results", changed)


async def _missing(bus: Bus, everybody: Sequence[roster.Entry]) -> list[Check]:
    there = {name for stream in (TASKS, RESULTS) for name in await _names(bus, stream)}
    absent = [
        each
        for entry in everybody
        if entry.state == "live session"
        for each in _of(entry)
        if each.name not in there
    ]
    stored = await together(*(stored_subjects(bus, each.stream, each.subject) for each in absent))
    missing = [each for each, held in zip(absent, stored, strict=True) if held]
    said = "agents have a session, and not by what it takes what is stored for them"
    return _anew(bus, "warning", said, missing)


async def _names(bus: Bus, stream: str) -> set[str]:
    """Return the names of all consumers of a stream, of which the server tells some at a time."""
    known: set[str] = set()
    offset = 0
    while True:
        answer = await bus.api(f"CONSUMER.NAMES.{stream}", {"offset": offset})
        page = answer.get("consumers") or []
        known.update(map(str, page))
        offset += len(page)
        if not page or offset >= int(answer.get("total", 0)):
            return known


def _anew(bus: Bus, state: State, said: str, missing: Sequence[Consumer]) -> list[Check]:
    if not missing:
        return []
    names = named(each.name for each in missing)
    what = f"make the consumers {names} anew"
    mend = Step(what, asks(bus.settings, partial(_make, list(dict.fromkeys(missing)))))
    fix = f"Their next call makes them anew. {FIX}"
    return [Check("consumers", state, f"{said}: {names}", fix, mend)]


async def _make(missing: Sequence[Consumer], bus: Bus) -> None:
    for each in missing:
        await consumers.ensure_consumer(bus, each)
