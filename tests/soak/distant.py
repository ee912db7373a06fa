# SPDX-License-Identifier: Apache-2.0
"""What is done to a shared server, and to the machines and links of its accounts: as `faults` does.

>>> await FAULTS["away"](world, planned)
'12 s'

What is done to the laptop lasts, and other faults come meanwhile.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors import World, until
from choices import Planned
from faults import a_fault, end_one, send_signal, stalling, stop_one
from machine import processes
from place import Place, environ
from sharing import LAPTOP, Failed
from voices import typed

_AWAY_S = (1.0, 20.0)
_LATE_S = (0.02, 0.6)
# A listener that is there tries every 5 s.
_BACK_WITHIN_S = 10.0
_GATES_WITHIN_S = 10.0


@asynccontextmanager
async def _on_the_link(world: World) -> AsyncIterator[None]:
    """Do something to the laptop's link, one at a time; then it is mended, and used again."""
    link = world.shared.link
    async with link.turn, stalling(world, f"@{LAPTOP}"):
        try:
            yield
        finally:
            link.mend()
        await until(lambda: link.is_used, _BACK_WITHIN_S)


async def _last(world: World, seconds: float) -> str:
    await until(world.calm.is_set, seconds)
    return f"{seconds:.0f} s"


def _from(least_and_most: tuple[float, float], planned: Planned) -> float:
    least, most = least_and_most
    return least + planned.which * (most - least)


@a_fault
async def away(world: World, planned: Planned) -> str:
    """Close and refuse the laptop's connections."""
    async with _on_the_link(world):
        world.shared.link.cut()
        return await _last(world, _from(_AWAY_S, planned))


@a_fault
async def slow(world: World, planned: Planned) -> str:
    """Pass on later all that the laptop says and hears."""
    async with _on_the_link(world):
        world.shared.link.late_s = _from(_LATE_S, planned)
        lasted = await _last(world, planned.lasts_s * 2)
        return f"{lasted}, {_from(_LATE_S, planned) * 1000:.0f} ms each way"


@a_fault
async def one_way(world: World, planned: Planned) -> str:
    """Have the laptop hear nothing, or not be heard."""
    way = "there" if planned.which < 0.5 else "back"
    async with _on_the_link(world):
        world.shared.link.silence(way)
        return f"{await _last(world, _from(_AWAY_S, planned))}, nothing {way}"


@a_fault
async def sleep(world: World, planned: Planned) -> str:
    """Have the laptop sleep: what runs there does nothing, and its connections are gone after it."""
    home = next(place.home for place in world.places if place.account == LAPTOP)
    async with _on_the_link(world):
        asleep = processes(home)
        for process in asleep:
            send_signal(process.pid, signal.SIGSTOP)
        world.shared.link.silence("there")
        world.shared.link.silence("back")
        lasted = await _last(world, planned.lasts_s)
        world.shared.link.cut()
        for process in asleep:
            send_signal(process.pid, signal.SIGCONT)
        return f"{lasted}, {len(asleep)} processes"


@a_fault
async def kill_outbox(world: World, planned: Planned) -> str:
    """Kill -9 an account's own server, which has what is to be handed on."""
    return await end_one(world, planned, "outbox", signal.SIGKILL)


@a_fault
async def kill_gate(world: World, planned: Planned) -> str:
    return await end_one(world, planned, "gate", signal.SIGKILL)


@a_fault
async def term_gate(world: World, planned: Planned) -> str:
    return await end_one(world, planned, "gate", signal.SIGTERM)


@a_fault
async def stop_gate(world: World, planned: Planned) -> str:
    return await stop_one(world, planned, "gate")


@a_fault
async def kill_gates(world: World, _: Planned) -> str:
    """Kill -9 all gates at once."""
    killed = [process.pid for process in processes(world.folder) if process.kind == "gate"]

    def others() -> bool:
        there = {process.pid for process in processes(world.folder) if process.kind == "gate"}
        return len(there - set(killed)) >= len(killed)

    async with stalling(world):
        for pid in killed:
            send_signal(pid, signal.SIGKILL)
        await until(others, _GATES_WITHIN_S)
    return f"pids {', '.join(map(str, killed))}"


@a_fault
async def another_account(world: World, _: Planned) -> str:
    """Let one more account in, and remove it again: the server reads its configuration anew."""
    bus, name = world.shared, f"nas{int(world.clock())}"
    environment = environ(world.folder / "accounts" / name, world.folder)
    place = Place(environment, world.place.logs, "nas", name)
    place.home.mkdir(mode=0o700)
    try:
        await bus.join(place)
        await typed(place, "listen", "--stop")
        await bus.types("server", "remove", name, "--give-back", "--yes", "--dir", str(bus.folder))
    except (Failed, TimeoutError) as error:
        world.trouble("no account", f"{name}: {error or 'no answer'}")
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(place.home)
    return name
