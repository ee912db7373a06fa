# SPDX-License-Identifier: Apache-2.0
"""`agentbus work`, `agentbus worker run`: a worker in this process, until it is told to end.

    $ agentbus work --agent coder --jobs 2 -- claude -p
    {"at": "2026-11-27T04:00:01.120Z", "level": "info", "event": "started", "agent": "coder", ...}

At the first SIGTERM or SIGINT it takes no more and ends with what is at work; at the second, and
where its terminal goes, it gives that back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import identity
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import check_size
from mcp_agentbus.errors import NOT_DONE, BadInput, BadSetup, BusUnreachable, Unconfirmed
from mcp_agentbus.handoff import shells
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.store.task import BODY_MAX_BYTES, Task
from mcp_agentbus.work import log, worker_file
from mcp_agentbus.work.brief import check_place
from mcp_agentbus.work.guard import Guard
from mcp_agentbus.work.intake import Patience
from mcp_agentbus.work.program import TIME_LIMIT_S, Program
from mcp_agentbus.work.result import Result
from mcp_agentbus.work.worker import Done, Worker

#: What its sessions run in, for the roster.
HOST: Final = "worker"
# As a shell tells of SIGINT: not all was done that was begun.
_INTERRUPTED: Final = 130

#: Prints a text for a person, or the data for a program; see `cli.output.show`.
Show = Callable[..., None]


@dataclass(frozen=True)
class Plan:
    """What the user of a worker has asked for."""

    settings: Settings
    #: The program and its arguments.
    argv: tuple[str, ...]
    #: As --agent says; None: by environment and folder.
    agent: str | None = None
    instruction: str = ""
    jobs: int = 1
    time_limit_s: float = TIME_LIMIT_S
    #: As `Program.task_max_bytes`.
    task_max_bytes: int | None = None
    patience: Patience = field(default_factory=Patience)


def work(
    plan: Plan,
    show: Show,
    *,
    once: bool = False,
    install: str | None = None,
    uninstall: bool = False,
) -> int:
    """Do an agent's tasks as planned, or have that kept, or kept no more; return the exit code.

    Args:
        plan: what was asked for.
        show: prints what is said.
        once: do one task that waits, if any.
        install: what is to keep it, as `installers.worker` names that; empty: what this system has.
        uninstall: undo that.

    Raises:
        BadInput: there is no program, or a task could be run in its arguments, or the instruction
            is no text, or over 64 KiB.
        BadSetup: it is not there, or the settings make no sense.
        BusUnreachable, Unconfirmed, NotAllowed: with `once`, the bus cannot be read.
    """
    if uninstall:
        return _kept_no_more(_who(plan.settings, plan.agent), plan.settings, show)
    if not plan.argv:
        raise BadInput(
            "There is no program.", hint="Write it behind --: agentbus work -- PROGRAM ARGUMENTS"
        )
    check_place(plan.argv)
    check_size(plan.instruction, "instruction", BODY_MAX_BYTES)
    if install is not None:
        return _kept(plan, _as_typed(plan), install, show)
    log.write(logging.WARNING if once else logging.INFO)
    return run(plan, show, once=once)


def worker(config: str | None, show: Show, *, install: str | None, uninstall: bool) -> int:
    """Do the same as a file says, or as the first that is there; return the exit code.

    Raises:
        BadInput: as `work`.
        BadSetup: its file or the settings make no sense, or its program is not there.
        BusUnreachable: no bus was there for as long as its file says.
    """
    file = worker_file.read(config)
    plan = Plan(
        file.settings(os.environ),
        file.argv,
        file.agent,
        file.instruction,
        time_limit_s=file.time_limit_s,
        task_max_bytes=file.task_max_bytes,
        patience=Patience(file.try_s, file.tries),
    )
    if uninstall:
        return _kept_no_more(file.agent, plan.settings, show)
    check_place(plan.argv)  # what is kept already can be kept no more, whatever its file says
    if install is not None:
        log.check(file.log)  # else what is kept could but end at each start
        words = ("worker", "run", "--config", str(file.path.resolve()))
        return _kept(plan, words, install, show)
    log.write(file.level, file.log)
    return run(plan, show)


def run(plan: Plan, show: Show, *, once: bool = False) -> int:
    """Work until told to end, or `once`; return the exit code.

    Raises: as `work`.
    """
    _found(plan.argv[0])
    return asyncio.run(_work(plan, show, once=once))


def _found(program: str) -> str:
    """Return where a program is.

    Raises:
        BadSetup: it is not there.
    """
    found = shutil.which(program)
    if found is None:
        raise BadSetup(
            f"{program} is no program that can be run here.",
            hint="Give its path, or a name that is on PATH.",
        )
    return str(Path(found).absolute())


def _as_typed(plan: Plan) -> tuple[str, ...]:
    """Return what is to be typed behind `agentbus` for the same worker from anywhere."""
    me = _who(plan.settings, plan.agent)
    said = ("--instruction", plan.instruction) if plan.instruction else ()
    options = ("--jobs", str(plan.jobs), "--time-limit", f"{plan.time_limit_s:g}", *said)
    return ("work", "--agent", me, *options, "--", _found(plan.argv[0]), *plan.argv[1:])


def _kept(plan: Plan, words: tuple[str, ...], form: str, show: Show) -> int:
    """Have a worker kept by a service manager."""
    from mcp_agentbus.installers import worker as installer  # not for those who work
    from mcp_agentbus.installers.steps import Machine

    _found(plan.argv[0])
    me = _who(plan.settings, plan.agent)
    kept = installer.Kept(me, words, Path.cwd(), plan.time_limit_s)
    by: Any = form or None  # argparse has checked it
    lines = installer.install(kept, plan.settings, by)
    warnings, is_section = Machine(plan.settings).warnings, form == "supervisor"
    first = [f"; {line}" for line in warnings] if is_section else warnings
    data = {"done": lines} | ({"warnings": warnings} if warnings else {})
    show("\n".join([*first, *lines]), data, verbatim=is_section)
    return 0


def _kept_no_more(me: str, settings: Settings, show: Show) -> int:
    from mcp_agentbus.installers import worker as installer  # as above

    lines = installer.uninstall(me, settings)
    show("\n".join(lines), {"done": lines})
    return 0


def _asked(settings: Settings, agent: str | None) -> Asked:
    """Ask for a worker's name: in its folder another one than that of who types there."""
    environ = {**settings.environ, "AGENTBUS_HOST": HOST}
    return Asked(replace(settings, environ=environ), agent)


def _who(settings: Settings, agent: str | None) -> str:
    """Return whose tasks a worker does, as far as it can be told without the roster."""
    return identity.find(_asked(settings, agent)).me.id


async def _work(plan: Plan, show: Show, *, once: bool) -> int:
    async with Bus(plan.settings) as bus:
        me = await _named(bus, plan, patience=Patience(0, 0) if once else plan.patience)
        with closing(Guard()) as guard:
            with suppress(OSError):  # the first program tries it again, and says so
                guard.start()
            program = _program(plan, me, guard)
            async with Worker(
                bus, me, jobs=plan.jobs, time_limit_s=None, patience=plan.patience
            ) as worker:
                told = _told_to_end(worker)

                async def handler(task: Task) -> Result:
                    return await program(worker.item(task))

                done = None
                if once:
                    done = await worker.run_once(handler)
                    show(*_said(me.id, done))
                else:
                    await worker.run(handler)
    if told.released:
        return _INTERRUPTED
    return NOT_DONE if done and done.state != "completed" else 0


async def _named(bus: Bus, plan: Plan, patience: Patience) -> Agent:
    """Return whose tasks are done, once the bus says that it may be; take the folder's name."""
    naming = Naming(_asked(plan.settings, plan.agent), shells.agents(plan.settings))
    tries = 0
    while True:
        try:
            found = await naming.take(bus)
        except (BusUnreachable, Unconfirmed) as error:
            tries += 1
            if patience.is_over(tries):
                raise
            if tries == 1:
                log.note("away", logging.WARNING, why=error.message, hint=error.hint)
            await asyncio.sleep(patience.try_s)
        else:
            return found.me


def _program(plan: Plan, me: Agent, guard: Guard) -> Program:
    # What it starts of agentbus is the same agent on the same bus, not of a host around the worker.
    environ = {"AGENTBUS_AGENT": me.id, "AGENTBUS_HOST": HOST, "AGENTBUS_WORKER": me.id}
    if plan.settings.url:
        environ["AGENTBUS_URL"] = plan.settings.url
    return Program(
        plan.argv,
        me.id,
        plan.settings.state_dir / "outputs",
        plan.instruction,
        plan.time_limit_s,
        plan.task_max_bytes,
        environ,
        guard,
    )


@dataclass
class _Told:
    """What signals have told a worker."""

    to_end: bool = False
    #: What was at work was given back.
    released: bool = False


def _told_to_end(worker: Worker) -> _Told:
    """Have signals end a worker: softly by the first, at once by the second."""
    told, loop = _Told(), asyncio.get_running_loop()

    def end(*, at_once: bool = False) -> None:
        if told.to_end or at_once:
            told.released = True
            worker.stop()
        else:
            told.to_end = True
            worker.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        loop.add_signal_handler(signal.SIGHUP, lambda: end(at_once=True))
    return told


def _said(me: str, done: Done | None) -> tuple[str, dict[str, Any]]:
    """Return what is printed of one task, and the same as data."""
    if done is None:
        return f"No task waits for {me}.", {"agent": me, "task_id": None}
    data = {"agent": me, "task_id": done.task_id, "from": done.sender, "state": done.state}
    ends = {
        "over": "is over: its sender withdrew it, or another session has it.",
        "released": "was given back unfinished.",
    }
    said = ends.get(done.state, f"{done.state}.")
    return f"Task {done.task_id} from {done.sender}: {said}", data
