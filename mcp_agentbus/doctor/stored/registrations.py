# SPDX-License-Identifier: Apache-2.0
"""Agents on the roster that nobody is any more: of folders that are gone, of self-tests that died.

    >>> await checks(settings)
    [Check(name='roster', state='warning', said='agents whose folders are gone: shop-claude')]

What waits for one keeps it there, and so do what it has sent and is kept here, a session, rules in
config.toml, and a folder that may lie on a disk which is away. A sign of life without a session
goes by itself, within 15 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import names
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids, text
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.doctor.stored.mends import FIX, asks, is_whole, named
from mcp_agentbus.errors import Refused
from mcp_agentbus.installers.steps import Step
from mcp_agentbus.store import roster
from mcp_agentbus.tools.forget import forget, is_wanted

# By then a self-test has long ended, and taken its agents off the bus.
_TESTS_FOR: Final = timedelta(hours=1)


async def checks(settings: Settings) -> list[Check]:
    """Name the agents that nobody is any more; empty where none is, or no server runs.

    Raises:
        AgentbusError: that cannot be found out.
    """
    async with Bus(settings) as bus:
        if not await is_whole(bus):
            return []
        registered = await roster.registered(bus)
        return [*await _of_folders(bus, registered), *await _of_tests(bus, registered)]


async def _of_folders(bus: Bus, registered: frozenset[str]) -> list[Check]:
    settings = bus.settings
    book = names.read(settings)
    vanished = {
        name: Path(holder.folder)
        for name, holder in book.names.items()
        if name in registered - settings.agents.keys()
        and holder.host != names.PERSON
        and holder.has_vanished()
        and await _is_ours(bus, name)
    }
    away = {name for name, folder in vanished.items() if not is_deleted(folder)}
    asked = {name: await is_wanted(bus, name) for name in sorted(vanished.keys() - away)}
    wanted = [name for name, waits in asked.items() if waits]
    stray = [name for name, waits in asked.items() if not waits]
    checks = _stray(bus, "agents whose folders are gone", stray)
    if wanted:
        said = f"agents whose folders are gone are still wanted: {named(wanted)}"
        fix = (
            "Give what waits to another agent: agentbus agent rename OLD NEW. What they have sent "
            "and is stored here goes first: agentbus status"
        )
        checks.append(Check("roster", "warning", said, fix))
    if away:
        said = (
            f"agents whose folders are not there now, maybe on a disk that is away: {named(away)}"
        )
        checks.append(Check("roster", "ok", f"{said}; to forget one: agentbus agent forget ID"))
    return checks


async def _is_ours(bus: Bus, agent: str) -> bool:
    """Tell whether an agent is this user's to forget: on a shared server it may be an account's."""
    profile = await roster.registration(bus, agent)
    return profile is not None and profile.account in {"", bus.settings.account or ""}


def is_deleted(folder: Path) -> bool:
    """Tell whether a folder that is not there was deleted, and is not on a disk that is away.

    A place where disks are put is empty, or gone, while they are away.
    """
    with suppress(OSError):
        return next(folder.parent.iterdir(), None) is not None
    return False


async def _of_tests(bus: Bus, registered: frozenset[str]) -> list[Check]:
    stray = []
    for name in sorted(each for each in registered if each.startswith(ids.PROBE)):
        profile = await roster.registration(bus, name)
        # Those of an account are its own for each test.
        if profile and not profile.account and text.now() - profile.registered_at > _TESTS_FOR:
            stray += [name] if not await roster.live_sessions(bus, name) else []
    return _stray(bus, "agents of self-tests that were killed", stray)


def _stray(bus: Bus, said: str, stray: Sequence[str]) -> list[Check]:
    if not stray:
        return []
    these = named(stray)
    mend = Step(f"forget the agents {these}", asks(bus.settings, partial(_forget, stray)))
    return [Check("roster", "warning", f"{said}: {these}", FIX, mend)]


async def _forget(stray: Sequence[str], bus: Bus) -> None:
    """Forget agents.

    Raises:
        Refused: some of them are not forgotten, and all others are.
        AgentbusError: as `forget`.
    """
    refused = dict[str, Refused]()
    for name in stray:
        try:
            await forget(bus, name)
        except Refused as error:
            refused[name] = error
    if refused:
        first = next(iter(refused.values()))
        raise Refused(f"{named(refused)}: {first.message}", hint=first.hint)
