# SPDX-License-Identifier: Apache-2.0
"""Who only looks on while others work: hooks, a follower, a person at a shell; and who measures.

    >>> await asyncio.gather(hooks(world), follower(world), person(world), measure(world, samples))

None of them takes a task. What they see is no proof of anything but that they were answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from functools import partial
from pathlib import Path

from actors import World, reply_to
from faults import start_listener
from ledger import Call, Ended, Pulse, Said, Trouble
from machine import Sample, faulty_files, processes, sample
from persons import at_terminal
from place import Place
from voices import AGENTBUS, ANSWER_WITHIN_S, ENDS_WITHIN_S, ROOT, typed

_HOOK = ROOT / "hooks/agentbus_hook.py"
_EVENTS = ("SessionStart", "UserPromptSubmit", "PostToolBatch", "Stop")
_HOOK_EVERY_S = (2.0, 5.0)
_APPROVES_EVERY_S = (1.0, 3.0)
_APPROVES = 0.5
_LOOK_EVERY_S = (1.5, 4.0)
_MEASURE_EVERY_S = 2.0
_PULSE_EVERY_S = 2.5
_PULSE = (
    "import sys, time, asyncio; "
    "print((time.monotonic() - float(sys.argv[1])) / time.process_time())"
)
_LISTENS_AGAIN_S = (0.5, 4.0)
_LOOKS = (
    ("agents",), ("agents", "--online"), ("inbox", "--peek"), ("parked",), ("server", "status"),
    ("listen", "--status"),
)  # fmt: skip
# A shared server is not an account's to look at.
_SHARED_LOOKS = tuple(argv for argv in _LOOKS if argv != ("server", "status"))


async def user(world: World) -> None:
    """Approve at a terminal some of what agents ask their user."""
    chance, seen = world.choices.of("user"), 0
    while not world.calm.is_set():
        await asyncio.sleep(chance.uniform(*_APPROVES_EVERY_S))
        asked = [said for said in world.ledger.all(Said) if said.status == "needs_approval"]
        for said in asked[seen:]:
            if said.outcome != "refused" and chance.random() < _APPROVES:
                await _approve(world, world.place_of(said.session), said.task)
        seen = len(asked)


async def _approve(world: World, place: Place, task: str) -> None:
    began, token = world.clock(), reply_to(task, f"u{int(world.clock() * 1000)}")
    argv = ("approve", task, "--note", token)
    typed_ = partial(at_terminal, place.home, task[:6], *argv, **place.environ)
    typed = await asyncio.to_thread(typed_)
    if "Traceback" in typed.out:
        world.trouble("bug", f"agentbus approve: {typed.out[-400:]}", began)
    outcome = "refused" if typed.code else "stored"
    who = f"user{place.mark}"
    world.ledger.add(Said(world.clock(), task, began, "user", who, "approved", token, outcome))
    world.ledger.add(Call(world.clock(), began, "user", "approve", "stored"))


async def hooks(world: World) -> None:
    """Run a host's hooks, which must end well and silently whatever happens."""
    chance = world.choices.of("hooks")
    while not world.calm.is_set():
        event, began = chance.choice(_EVENTS), world.clock()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(_HOOK), "claude-code", event,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env={**world.place.environ, "AGENTBUS_AGENT": "ana"},
        )  # fmt: skip
        given = json.dumps({"session_id": "soak", "hook_event_name": event}).encode()
        outcome = "stored"
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                out, err = await process.communicate(given)
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
            outcome = "none"
        world.ledger.add(Call(world.clock(), began, "hook", "hook", outcome))
        if (process.returncode or err or (out and not json.loads(out))) and outcome != "none":
            world.trouble("hook", f"{event}: exit {process.returncode}, {err[-300:]!r}")
        await asyncio.sleep(chance.uniform(*_HOOK_EVERY_S))


async def follower(world: World) -> None:
    """Keep `agentbus watch --follow` running; each of its lines must be an event."""
    number = 0
    while not world.calm.is_set():
        number += 1
        with world.place.log(f"follow-{number}") as log:
            process = await asyncio.create_subprocess_exec(
                *AGENTBUS, "watch", "--follow", "--agent", "ana", "--json",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=log, env=world.place.environ,
            )  # fmt: skip
        reading = asyncio.create_task(_events(world, process))
        waiting = asyncio.create_task(world.calm.wait())
        await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not await _ended(process):
            world.trouble("no end", f"`watch --follow` (pid {process.pid}) was there after SIGTERM")
        await reading
        await asyncio.sleep(1)


async def _ended(process: asyncio.subprocess.Process) -> bool:
    """End a process; tell whether it took that from SIGTERM."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    return True


async def _events(world: World, process: asyncio.subprocess.Process) -> None:
    while line := await process.stdout.readline():
        try:
            json.loads(line)
        except ValueError:
            world.trouble("follow", f"no event: {line[:200]!r}")


async def person(world: World, place: Place) -> None:
    """Type commands that only look."""
    chance = world.choices.of(f"person{place.mark}")
    while not world.calm.is_set():
        argv, began = chance.choice(_SHARED_LOOKS if world.shared else _LOOKS), world.clock()
        outcome = "stored"
        as_reader = ("--agent", place.reader) if argv[0] in {"inbox", "parked"} else ()
        try:
            code, out, err = await typed(place, *argv, *as_reader, "--json")
            if code not in {0, 1, 3}:
                outcome = "unknown"
            if code == 0:
                json.loads(out)
            if "Traceback" in err or code in {2, 130}:
                told = f"agentbus {' '.join(argv)}: exit {code}, {err[-400:]}"
                world.trouble("bad end", told, began)
        except TimeoutError:
            outcome = "none"
        who = f"person{place.mark}"
        world.ledger.add(Call(world.clock(), began, who, " ".join(argv[:2]), outcome))
        await asyncio.sleep(chance.uniform(*_LOOK_EVERY_S))


async def worker(world: World) -> None:
    """Keep a worker running, which must end well when it is told to."""
    number = 0
    toiling = Path(__file__).with_name("toiling.py")
    while not world.settled.is_set():
        number += 1
        session = f"work-{number}{world.place.mark}"
        with world.place.log(session) as log:
            process = await asyncio.create_subprocess_exec(
                *AGENTBUS, "work", "--agent", "wes", "--jobs", "2", "--", sys.executable, "-S",
                str(toiling), str(world.folder / "toiled.jsonl"), str(world.choices.seed),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=log,
                env={**world.place.environ, "SOAK_SESSION": session},
            )  # fmt: skip
        running = asyncio.create_task(process.wait())
        settled = asyncio.create_task(world.settled.wait())
        await asyncio.wait({running, settled}, return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        if not running.done() and not await _ended(process):
            world.trouble("no end", f"`work` (pid {process.pid}) was there after SIGTERM")
        world.ledger.add(Ended(world.clock(), session, f"exit {await running}"))


async def pulse(world: World) -> None:
    """Measure how slow the machine is, by a process that only wants a processor."""
    while not world.settled.is_set():
        began, start = world.clock(), time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            "-c",
            _PULSE,
            str(start),
            stdout=asyncio.subprocess.PIPE,
            env={},
        )
        told, _ = await process.communicate()
        world.ledger.add(Pulse(world.clock(), began, float(told)))
        await asyncio.sleep(_PULSE_EVERY_S)


async def listeners(world: World, place: Place) -> None:
    """Begin a listener where none runs, as a person or a service manager would."""
    chance = world.choices.of(f"listeners{place.mark}")
    while not world.settled.is_set():
        if not any(process.kind == "listener" for process in processes(place.home)):
            await asyncio.sleep(chance.uniform(*_LISTENS_AGAIN_S))
            if not world.settled.is_set():
                await start_listener(world, place)
        await asyncio.sleep(0.5)


def measured(world: World) -> list[Sample]:
    """Return what each process takes now."""
    now = [sample(process, world.clock()) for process in processes(world.folder)]
    return [taken for taken in now if taken]


async def measure(world: World, samples: list[Sample]) -> None:
    """Note what each process takes, and look at the files, until all is done."""
    told: set[str] = set()
    while not world.settled.is_set():
        samples += measured(world)
        for complaint in (each for place in world.places for each in faulty_files(place.home)):
            if complaint not in told:
                told.add(complaint)
                world.ledger.add(Trouble(world.clock(), "file", complaint))
        await asyncio.sleep(_MEASURE_EVERY_S)
