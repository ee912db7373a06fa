# SPDX-License-Identifier: Apache-2.0
"""What is done to a machine while its agents work: one function a fault, each undone at its end.

    >>> await FAULTS["kill_listener"](world, planned)
    'pid 4711'

Each returns what it was done to; an empty text if nobody was there. Whatever stalls sessions is
written down as such, since a session that stalls for long may lose its claims.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from actors import Actor, World, until
from choices import Errand, Planned
from ledger import Call, Fault, Said, Stalled
from machine import Process, processes
from place import Place
from voices import LISTEN, Shell, typed

_LOOK_AGAIN_S = 0.02
# How long nobody may need a server; then somebody has one started.
_SERVED_WITHIN_S = 20.0
# Somebody always types the next command before.
_TYPED_WITHIN_S = 5.0
# Somebody mostly gives a task back before.
_RELEASED_WITHIN_S = 6.0
_MIB = bytes(1 << 20)
#: A file that takes all the room that is left.
BALLAST = "ballast"
#: The agent that the faults themselves send by.
ACCOMPLICE = "eve"
FAULTS: dict[str, Callable[[World, Planned], Awaitable[str]]] = {}


def a_fault(do):
    """Have a function be a fault, by its name."""
    FAULTS[do.__name__] = do
    return do


async def carry_out(world: World, planned: Planned) -> None:
    """Carry a fault out, and write it down."""
    began = world.clock()
    target = await FAULTS[planned.kind](world, planned)
    world.ledger.add(Fault(began, planned.kind, target or "nobody", world.clock()))


def undo(world: World) -> None:
    """Let go on whatever was stopped; free the disk."""
    for process in processes(world.folder):
        send_signal(process.pid, signal.SIGCONT)
    (world.place.home / BALLAST).unlink(missing_ok=True)


def send_signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _one(world: World, planned: Planned, kind: str) -> Process | None:
    all_there = processes(world.folder)
    # A program that is just being started looks as who starts it does: its end would be no fault.
    lines = {(process.pid, process.argv) for process in all_there}
    there = [
        process
        for process in all_there
        if process.kind == kind and (process.parent, process.argv) not in lines
    ]
    return there[int(planned.which * len(there))] if there else None


def _actor(world: World, planned: Planned) -> Actor | None:
    there = [
        actor for actor in world.actors if actor.voice.alive and not isinstance(actor.voice, Shell)
    ]
    return there[int(planned.which * len(there))] if there else None


def _place(world: World, planned: Planned) -> Place:
    return world.places[int(planned.which * len(world.places))]


def _whose(world: World, process: Process) -> str:
    """Return whose sessions can do nothing without a process."""
    there = (place for place in world.places if process in processes(place.home))
    return next((place.mark for place in there), "") or "*"


@asynccontextmanager
async def stalling(world: World, session: str = "*") -> AsyncIterator[None]:
    began = world.clock()
    try:
        yield
    finally:
        world.ledger.add(Stalled(began, session, world.clock()))


async def _until_served(world: World, without: int) -> None:
    """Wait until another server than this process runs."""

    def served() -> bool:
        return any(
            process.kind == "server" and process.pid != without
            for process in processes(world.folder)
        )

    async with stalling(world):
        await until(served, _SERVED_WITHIN_S)


async def _stop_for(world: World, pid: int, planned: Planned, session: str) -> None:
    async with stalling(world, session):
        send_signal(pid, signal.SIGSTOP)
        await asyncio.sleep(planned.lasts_s)
        send_signal(pid, signal.SIGCONT)


async def _end_session(world: World, planned: Planned, number: signal.Signals) -> str:
    actor = _actor(world, planned)
    if actor is None:
        return ""
    actor.doom(number.name)
    send_signal(actor.voice.process.pid, number)
    return actor.voice.session


@a_fault
async def kill_session(world: World, planned: Planned) -> str:
    return await _end_session(world, planned, signal.SIGKILL)


@a_fault
async def term_session(world: World, planned: Planned) -> str:
    return await _end_session(world, planned, signal.SIGTERM)


@a_fault
async def stop_session(world: World, planned: Planned) -> str:
    actor = _actor(world, planned)
    if actor is None:
        return ""
    session = actor.voice.session
    await _stop_for(world, actor.voice.process.pid, planned, session)
    return session


async def end_one(world: World, planned: Planned, kind: str, number: signal.Signals) -> str:
    """Signal a process of that kind to end; of a server another is waited for."""
    process = _one(world, planned, kind)
    if process is None:
        return ""
    send_signal(process.pid, number)
    if kind == "server":
        await _until_served(world, without=process.pid)
    return f"pid {process.pid}"


async def stop_one(world: World, planned: Planned, kind: str) -> str:
    """Stop a process of that kind, and let it go on after a while."""
    process = _one(world, planned, kind)
    if process is None:
        return ""
    await _stop_for(world, process.pid, planned, _whose(world, process))
    return f"pid {process.pid}"


@a_fault
async def kill_listener(world: World, planned: Planned) -> str:
    return await end_one(world, planned, "listener", signal.SIGKILL)


@a_fault
async def term_listener(world: World, planned: Planned) -> str:
    return await end_one(world, planned, "listener", signal.SIGTERM)


@a_fault
async def stop_listener(world: World, planned: Planned) -> str:
    return await stop_one(world, planned, "listener")


@a_fault
async def kill_server(world: World, planned: Planned) -> str:
    return await end_one(world, planned, "server", signal.SIGKILL)


@a_fault
async def term_server(world: World, planned: Planned) -> str:
    return await end_one(world, planned, "server", signal.SIGTERM)


@a_fault
async def stop_server(world: World, planned: Planned) -> str:
    return await stop_one(world, planned, "server")


@a_fault
async def kill_woken(world: World, planned: Planned) -> str:
    return await end_one(world, planned, "woken", signal.SIGKILL)


@a_fault
async def term_woken(world: World, planned: Planned) -> str:
    return await end_one(world, planned, "woken", signal.SIGTERM)


@a_fault
async def stop_woken(world: World, planned: Planned) -> str:
    return await stop_one(world, planned, "woken")


@a_fault
async def kill_worker(world: World, planned: Planned) -> str:
    return await end_one(world, planned, "worker", signal.SIGKILL)


@a_fault
async def term_worker(world: World, planned: Planned) -> str:
    return await end_one(world, planned, "worker", signal.SIGTERM)


@a_fault
async def stop_worker(world: World, planned: Planned) -> str:
    return await stop_one(world, planned, "worker")


@a_fault
async def kill_command(world: World, planned: Planned) -> str:
    """Kill -9 a command that a shell has typed, a moment after it began."""

    def commands() -> list[asyncio.subprocess.Process]:
        return [process for place in world.places for process in place.commands]

    await until(commands, _TYPED_WITHIN_S, every_s=_LOOK_AGAIN_S)
    await asyncio.sleep(planned.which * 0.15)
    for process in commands():
        send_signal(process.pid, signal.SIGKILL)
        return f"pid {process.pid}"
    return ""


@a_fault
async def server_at_due(world: World, planned: Planned) -> str:
    """Kill -9 the server at the moment at which a schedule falls due."""
    accomplice = next(actor for actor in world.actors if actor.voice.agent == ACCOMPLICE)
    due = world.clock() + 2.0
    await accomplice.store(Errand("ana", "normal", None, 2, repeated=True, withdrawn_after=0))
    await asyncio.sleep(max(0.0, due - world.clock() + (planned.which - 0.3) * 0.3))
    return await kill_server(world, planned)


@a_fault
async def server_after_release(world: World, planned: Planned) -> str:
    """Kill -9 the server right after a worker was told that it has given a task back."""
    words = world.ledger.all(Said)
    before = len(words)

    def released() -> bool:
        return any(word.status == "released" for word in words[before:])

    await until(released, _RELEASED_WITHIN_S, every_s=_LOOK_AGAIN_S)
    return await kill_server(world, planned)


@a_fault
async def server_stop(world: World, planned: Planned) -> str:
    async with stalling(world):
        stopped = await typed_at(world, world.place, "server", "stop")
        await asyncio.sleep(planned.lasts_s)
        started = await typed_at(world, world.place, "server", "start")
    return f"{stopped} {started}"


@a_fault
async def listen_stop(world: World, planned: Planned) -> str:
    return await typed_at(world, _place(world, planned), "listen", "--stop")


@a_fault
async def listen_replace(world: World, planned: Planned) -> str:
    return (await start_listener(world, _place(world, planned), "--replace")).name


@a_fault
async def second_listener(world: World, planned: Planned) -> str:
    return (await start_listener(world, _place(world, planned))).name


@a_fault
async def remove_socket(world: World, planned: Planned) -> str:
    socket = _place(world, planned).home / "run/listener.sock"
    socket.unlink(missing_ok=True)
    return str(socket.relative_to(world.folder))


@a_fault
async def empty_runtime(world: World, planned: Planned) -> str:
    runtime = _place(world, planned).home / "run"
    shutil.rmtree(runtime, ignore_errors=True)
    return str(runtime.relative_to(world.folder))


@a_fault
async def full_disk(world: World, planned: Planned) -> str:
    """Take all the room that is left for a while."""
    ballast = world.place.home / BALLAST
    async with stalling(world):
        await asyncio.to_thread(_fill, ballast)
        await asyncio.sleep(planned.lasts_s)
        ballast.unlink()
        await asyncio.sleep(_LOOK_AGAIN_S)
    return f"{planned.lasts_s:.0f} s"


def _fill(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(_MIB)


async def typed_at(world: World, place: Place, *argv: str) -> str:
    """Type a command that is to end well; return the first line that it printed."""
    began = world.clock()
    try:
        code, out, err = await typed(place, *argv)
    except TimeoutError:
        who = f"faults{place.mark}"
        world.ledger.add(Call(world.clock(), began, who, " ".join(argv), "none"))
        return ""
    if code not in {0, 1, 3} or "Traceback" in err:
        told = f"agentbus {' '.join(argv)}: exit {code}, {err[-400:]}"
        world.trouble("bad end", told, began)
    said = (out + err).strip().partition("\n")[0]
    return f"{said} ({world.clock() - began:.1f} s)"


async def start_listener(world: World, place: Place, *options: str) -> Path:
    """Begin `agentbus listen` in the background; return its log."""
    name = f"listen-{world.clock():.1f}{''.join(options)}{place.mark}"
    with place.log(name) as file:
        process = await asyncio.create_subprocess_exec(
            *LISTEN, *options, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=file, env=place.environ,
        )  # fmt: skip
    place.background.append(process)  # what nobody refers to any more is killed
    return place.logs / f"{name}.err"
