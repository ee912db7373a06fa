# SPDX-License-Identifier: Apache-2.0
"""The chaos run: real processes of every kind at work, and everything done to them that may happen.

    $ python tests/soak/soak.py --minutes 3 --seed 7
    $ python tests/soak/soak.py --shared

A crowd of sessions, shells and programs send, claim and end tasks on a bus of their own, while
processes are killed and stopped, the server, the listener and the disk go away and come back. When
the faults are over, all that was acknowledged must come true in the promised times. It prints a
table, and a story for each promise that was broken; then it ends with 1. The seed makes the same
choices again; how the machine takes them is its own. Linux only.

With `--shared` the bus is a shared server with gates, and the crowd are users of three accounts, of
which one is on a laptop that comes and goes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import clocks  # noqa: F401  # whose faults are among the others, too
import distant  # noqa: F401  # as those of this
import faults
import guard
import upgrades
from actors import Actor, World, until
from checker import check
from choices import FAULTS, LASTING, SHARED_FAULTS, Choices, Planned
from contents import contents
from crowd import configure, crowd, place_of, settled
from growth import grown, spinning
from held import Archived, Contents
from ledger import ENDS, Claimed, Ledger, Said, Sent
from machine import Sample, processes, tracebacks
from observers import follower, hooks, listeners, measure, measured, person, pulse, user, worker
from place import Place, environ
from rawclient import AdminRaw, Raw
from sharing import ACCOUNTS, LAPTOP, Failed, SharedBus
from table import stories, table
from voices import Shell, typed

# After the faults: a dead session's claims come back within 30 s, up to five times; deadlines and
# schedules of this run are at most 28 s ahead; a busy machine takes its share.
_SETTLES_WITHIN_S = 120.0
# Besides, for each task that is open then: a command that ends one takes so long on a busy machine,
# and a shell may be hundreds behind.
_EACH_S = 1.0
_SETTLES_AT_MOST_S = 900.0
# Nobody works any more: whoever still takes half a processor spins.
_IDLE_S = 2.0
_CLOSES_WITHIN_S = 20.0
# The crowd of the beginning loads the SDK all at once.
_BEGINS_WITHIN_S = 60.0
# Whatever was asked last, and the closing of all processes, may take so much longer.
_ENDS_WITHIN_S = 90.0
_DISK_MB = (96, 24)  # at least, and for each minute


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="of faults; it settles after it")
    parser.add_argument("--seed", type=int, default=None, help="makes the same choices again")
    parser.add_argument("--shared", action="store_true", help="three accounts of a shared server")
    parser.add_argument("--only", metavar="FAULT,...", help="faults of these kinds alone")
    parser.add_argument("--keep", action="store_true", help="leave its folder, with all logs")
    parser.add_argument("--plan", action="store_true", help="print the faults of the seed, and end")
    args = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # a child that was reaped twice is no news
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    again = f"python tests/soak/soak.py --minutes {args.minutes} --seed {seed}"
    again += f" --only {args.only}" * bool(args.only) + " --shared" * args.shared
    print(f"seed {seed}; again: {again}", flush=True)
    there = SHARED_FAULTS if args.shared else FAULTS
    kinds = args.only.split(",") if args.only else list(there)
    if unknown := set(kinds) - set(there):
        parser.error(f"no fault: {', '.join(unknown)}; there are {', '.join(there)}")
    plan = Choices(seed).faults(args.minutes * 60, kinds, of=there)
    if args.plan:
        print("\n".join(map(str, plan)))
        return 0
    folder = guard.RunFolder()
    try:
        return asyncio.run(_run(folder.path, seed, args.minutes, plan, is_shared=args.shared))
    finally:
        folder.end(keep=args.keep)
        if args.keep:
            print(f"kept: {folder.path}")


async def _run(
    folder: Path, seed: int, minutes: float, plan: list[Planned], *, is_shared: bool
) -> int:
    world, samples = _world(folder, seed, is_shared=is_shared), []
    held = Contents()
    try:
        within_s = _BEGINS_WITHIN_S + minutes * 60 + _SETTLES_AT_MOST_S + _ENDS_WITHIN_S
        async with asyncio.timeout(within_s):
            await _live(world, samples, minutes, plan)
            said = await _listed(world), await _archived(world)
            shared = world.shared
            server = AdminRaw(shared.folder) if shared else Raw(world.place.home / "data")
            held = await contents(server, *said)
            await _end(world)
    except Failed as error:
        print(f"it could not begin: {error}")
        return 2
    except TimeoutError:
        world.trouble("hang", f"the run itself did not end; these did not: {processes(folder)}")
    for log, told in tracebacks(world.place.logs):
        world.trouble("traceback", told, *world.begun(log))
    for told in grown(samples):
        world.trouble("grown", told)
    _add_woken(world)
    _add_toiled(world)
    # For who has its folder kept.
    (folder / "ledger.txt").write_text("\n".join(map(str, world.ledger.everything)) + "\n")
    broken = check(world.ledger, held)
    print(table(world.ledger, held, samples, broken))
    if broken:
        print(f"\n{stories(world.ledger, broken)}")
    return int(bool(broken))


async def _live(world: World, samples: list[Sample], minutes: float, plan: list[Planned]) -> None:
    """Work, settle, and be idle for a moment."""
    if not world.shared and not _mounted(world.place.home, minutes):
        plan = [planned for planned in plan if planned.kind != "full_disk"]
    for place in world.places:
        configure(world, place)
    if world.shared:
        await world.shared.begin()
        await asyncio.gather(*(_joined(world.shared, place) for place in world.places))
    world.actors += crowd(world)
    async with asyncio.TaskGroup() as group:
        group.create_task(measure(world, samples))
        for place in world.places:
            group.create_task(listeners(world, place))
        group.create_task(pulse(world))
        group.create_task(worker(world))
        await _work(world, minutes * 60, plan)
        await _settle(world)
    await _idle(world)


def _world(folder: Path, seed: int, *, is_shared: bool) -> World:
    logs = folder / "logs"
    places = settled(folder, logs) if is_shared else [Place(environ(folder / "home", folder), logs)]
    upgrades.install(folder)
    for each in (logs, folder / "work", *(place.home for place in places)):
        each.mkdir(mode=0o700, parents=True)
    began = time.monotonic()
    world = World(folder, places, Choices(seed), Ledger(), lambda: time.monotonic() - began)
    world.shared = SharedBus(folder, logs) if is_shared else None
    return world


async def _joined(bus: SharedBus, place: Place) -> None:
    link = bus.link if place.account == LAPTOP else None
    await bus.join(place, ACCOUNTS[place.account], link)
    # Its self-test has started one, in which models may send less than those of a run do.
    await typed(place, "listen", "--stop")


def _mounted(home: Path, minutes: float) -> bool:
    """Give the run a small disk of its own; the guard takes it off again."""
    least, more = _DISK_MB
    options = f"size={least + int(more * minutes)}m,mode=700"
    argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(home)]
    if os.geteuid() == 0 and not subprocess.run(argv, capture_output=True, check=False).returncode:
        return True
    print("no disk of its own can be mounted here: it is not filled")
    return False


async def _work(world: World, seconds: float, plan: list[Planned]) -> None:
    """Have everybody at work for so long, and things done to them."""
    # All at once, on a server that has never run: a crowd is a fault of its own.
    await asyncio.gather(*(actor.enter() for actor in world.actors))
    began = world.clock()
    async with asyncio.TaskGroup() as group:
        for actor in world.actors:
            group.create_task(actor.live())
        for look in (hooks, follower, user):
            group.create_task(look(world))
        for place in world.places:
            group.create_task(person(world, place))
        for planned in plan:
            await asyncio.sleep(max(0.0, began + planned.at - world.clock()))
            if world.clock() > began + seconds:
                break
            if planned.kind in LASTING:
                group.create_task(faults.carry_out(world, planned))
            else:
                await faults.carry_out(world, planned)
        await asyncio.sleep(max(0.0, began + seconds - world.clock()))
        faults.undo(world)
        world.calm.set()


async def _settle(world: World) -> None:
    """Give everybody the promised times to end what is open."""
    # What a woken process held when it was killed its agent's shell holds.
    world.actors.append(Actor(world, Shell("wanda", "wanda", place_of(world, "wanda")), ("wanda",)))
    async with asyncio.TaskGroup() as group:
        for actor in world.actors:
            group.create_task(actor.drain())
        within_s = _SETTLES_WITHIN_S + _EACH_S * len(world.ledger.open())
        await until(
            lambda: not world.ledger.open() and not any(actor.owes for actor in world.actors),
            min(within_s, _SETTLES_AT_MOST_S),
        )
        for actor in world.actors:
            for left in actor.owes:
                told = f"{actor.voice.session} could not {left}; last: {actor.complaint}"
                world.trouble("not served", told)
        unseen = world.ledger.open()
        senders = {sent.sender for sent in world.ledger.all(Sent) if sent.task in unseen}
        for actor in world.actors:
            if actor.voice.agent in senders:
                told = f"{actor.voice.session} looked last, and was told: {actor.looked[-400:]!r}"
                world.trouble("not shown", told)
        world.settled.set()


async def _idle(world: World) -> None:
    """Leave all processes alone for a moment, and see who works all the same."""
    before = measured(world)
    await asyncio.sleep(_IDLE_S)
    for told in spinning(before, measured(world)):
        world.trouble("spinning", told)


async def _listed(world: World) -> dict[str, int]:
    code, out, err = await typed(world.place, "agents", "--json")
    if code:
        world.trouble("bad end", f"agentbus agents: exit {code}, {err[-400:]}")
        return {}
    return {
        agent["id"]: sum(agent.get("waiting", {}).values()) for agent in json.loads(out)["agents"]
    }


async def _archived(world: World) -> dict[str, Archived]:
    """Return what the archives say; of two that know a task, what either does not know is not known."""
    known: dict[str, Archived] = {}
    for place in world.places:
        for task, archived in (await _archive(world, place)).items():
            other = known.get(task, archived)
            state = min(archived.state, other.state, key=ENDS.__contains__)
            known[task] = Archived(state, archived.states & other.states)
    return known


async def _archive(world: World, place: Place) -> dict[str, Archived]:
    code, out, err = await typed(place, "export", "--json")
    if code:
        world.trouble("bad end", f"agentbus export: exit {code}, {err[-400:]}")
    states, known = defaultdict(set), {}
    for step in map(json.loads, out.splitlines() if code == 0 else ()):
        task = step["task"]
        states[task["task_id"]].add(step["state"])
        known[task["task_id"]] = task["state"]
    return {task: Archived(state, frozenset(states[task])) for task, state in known.items()}


async def _end(world: World) -> None:
    """End everything as its user would; nothing may be left."""
    await asyncio.gather(*(actor.close() for actor in world.actors))
    ends = [("listen", "--stop")] if world.shared else [("listen", "--stop"), ("server", "stop")]
    for place, argv in product(world.places, ends):
        code, _, err = await typed(place, *argv)
        if code not in {0, 3}:
            world.trouble("bad end", f"agentbus {' '.join(argv)}: exit {code}, {err[-400:]}")
    for told in await world.shared.end() if world.shared else ():
        world.trouble("bad end", told)
    await until(lambda: not processes(world.folder), _CLOSES_WITHIN_S)
    for orphan in processes(world.folder):
        world.trouble("orphan", f"pid {orphan.pid}, {orphan.kind}: {orphan.argv[:200]}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan.pid, signal.SIGKILL)


def _add_toiled(world: World) -> None:
    """Add what the worker's programs have noted to the ledger."""
    notes = world.folder / "toiled.jsonl"
    offset = time.monotonic() - world.clock()
    for line in notes.read_text().splitlines() if notes.exists() else []:
        noted = json.loads(line)
        at, began = noted["at"] - offset, noted["began"] - offset
        who = "wes", noted["session"]
        if "status" in noted:
            said = (noted["status"], "", "unknown")
            world.ledger.add(Said(at, noted["task"], at, *who, *said))
        else:
            world.ledger.add(Claimed(at, noted["task"], began, *who, attempt=1, new=True))


def _add_woken(world: World) -> None:
    """Add what woken processes have noted to the ledger."""
    notes = world.folder / "woken.jsonl"
    offset = time.monotonic() - world.clock()
    for line in notes.read_text().splitlines() if notes.exists() else []:
        noted = json.loads(line)
        at, began = noted["at"] - offset, noted["began"] - offset
        who = "wanda", Shell("wanda", "wanda", place_of(world, "wanda")).session
        if "status" in noted:
            said = (noted["status"], noted["token"], noted["outcome"])
            world.ledger.add(Said(at, noted["task"], began, *who, *said))
        else:
            world.ledger.add(
                Claimed(at, noted["task"], began, *who, noted["attempt"], noted["new"])
            )


if __name__ == "__main__":
    sys.exit(main())
