# SPDX-License-Identifier: Apache-2.0
"""`agentbus doctor`, `work`, `events` and others, as typed: each does what its room is for.

$ agentbus doctor
ok  server  nats-server 2.15.1 at nats://127.0.0.1:39327
"""

from __future__ import annotations

import argparse
import asyncio
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_agentbus.cli import tasks
from mcp_agentbus.cli.output import agreed, beforehand, show
from mcp_agentbus.config.settings import Settings, load_settings, settings_or_defaults
from mcp_agentbus.core.feather.printer import say, tell
from mcp_agentbus.errors import AgentbusError, NoListener
from mcp_agentbus.relay.carried import body

if TYPE_CHECKING:
    from mcp_agentbus.human.decide import Pending


def decide(args: argparse.Namespace) -> int:
    """Approve or deny what an agent asks, as its user confirms at the terminal; return the code.

    Raises:
        Refused: no person types, or the task asks for no approval.
        BadInput, UnknownTask: as `decide.find`, or it was not confirmed, or the note is too long.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    from mcp_agentbus.human import decide

    settings, approved = load_settings(), args.command == "approve"
    profile = args.wake if approved else None
    asked = decide.decide(
        settings, args.task_id, approved=approved, note=args.note, starts=bool(profile)
    )
    started, then = _start(settings, asked, profile) if profile else (False, "")
    said = decide.text(asked, approved=approved, then=then)
    if approved and not profile and decide.may_start(settings, asked):
        said += " With `--wake answer`, or work, the same starts it for this task alone."
    show(args, said, decide.data(asked, approved=approved, started=started))
    return int(bool(profile) and not started)


def _start(settings: Settings, asked: Pending, profile: str) -> tuple[bool, str]:
    """Have the listener start an agent for one task; return whether it does, and what to say."""
    from mcp_agentbus.core.ids import address_of
    from mcp_agentbus.core.notices import FOR_A_PERSON, WHY
    from mcp_agentbus.overview.todo import todo_for
    from mcp_agentbus.relay import local_socket

    task = asked.record
    place = {"owner": task.owner, "inbox": address_of(task.inbox), "task_id": task.task_id}
    kept = "The approval is kept; nothing was started"
    try:
        answer = local_socket.ask(settings, {"op": "approved", **place, "profile": profile})
    except AgentbusError as error:
        if isinstance(error, NoListener) and error.was_asked:
            kept = (
                f"The approval is kept; it is not known whether {asked.by} was started, which "
                f"`agentbus agent wakes {asked.by}` tells"
            )
        return False, f"{kept}: {error.message} {error.hint}"
    if answer["started"]:
        return (
            True,
            f"{asked.by} is started for this task alone: `agentbus agent wakes {asked.by}`.",
        )
    if answer["held"] == "deaf_session":
        return False, f"{kept}: a live session of {asked.by} is open, and is told at its next call."
    held = str(answer["held"])
    again = f"Run the same later, or open a session of {asked.by}."
    if held in FOR_A_PERSON:  # it would be held later, too
        again = f"{todo_for(held, asked.by)} Then run the same."
    return False, f"{kept}: {WHY.get(held, held)}. {again}"


def doctor(args: argparse.Namespace) -> int:
    """Look, mend or test; return 0 if nothing is wrong or unknown, else 1.

    Raises:
        BadInput: the options do not go together, or there is no such server.
        BadSetup: config.toml cannot be read, so a self-test would test another bus.
    """
    from mcp_agentbus.cli.servers import folder
    from mcp_agentbus.doctor import run as examination

    environ = folder.environ_of_owner(args.dir, os.environ) if args.dir else os.environ
    # Its settings can be had where the configuration is broken, which it is to tell.
    look = examination.run(
        settings_or_defaults(environ),
        say,
        as_json=args.json,
        fix=args.fix,
        dry_run=args.dry_run,
        self_test=args.self_test,
        wake=args.wake,
    )
    return asyncio.run(look)


def demo(args: argparse.Namespace) -> int:
    """Show a task's way; return the exit code.

    Raises:
        BadInput: there is no such folder.
        BadSetup: this user's configuration cannot be read, so that nothing after the demo would
            work.
    """
    from mcp_agentbus.demo import handoff

    load_settings()
    return asyncio.run(handoff.run(Path(args.folder), as_json=args.json, wake=args.wake))


def human(args: argparse.Namespace) -> int:
    """Show how a person is told, or tell one something; return 1 if that was not taken.

    Raises:
        BadSetup: config.toml cannot be read, or says no way to tell anybody.
    """
    from mcp_agentbus.human import outlook

    settings = load_settings()
    if args.test:
        tapped = asyncio.run(outlook.test(settings))
        show(args, outlook.test_text(tapped), tapped._asdict())
        return int(not tapped.is_told)
    data = outlook.data(settings)
    show(args, outlook.text(data), data)
    return 0


def work(args: argparse.Namespace) -> int:
    """Do an agent's tasks by a program; return the exit code.

    Raises:
        AgentbusError: it was refused, or with --once the bus was not there.
    """
    from mcp_agentbus.work import command

    plan = command.Plan(
        load_settings(), tuple(args.argv), args.agent, args.instruction, args.jobs, args.time_limit
    )
    return command.work(
        plan,
        partial(show, args),
        once=args.once,
        install=args.install,
        uninstall=args.uninstall,
    )


def worker(args: argparse.Namespace) -> int:
    """Do the same as a worker's file says; return the exit code.

    Raises:
        BadSetup: it makes no sense.
        BusUnreachable: no bus was there for as long as it says.
    """
    from mcp_agentbus.work import command

    return command.worker(
        args.config, partial(show, args), install=args.install, uninstall=args.uninstall
    )


def events(args: argparse.Namespace) -> int:
    """Say or hear events; return the exit code.

    Raises:
        BadInput: a topic, a group or a body breaks its rule.
        AgentbusError: the bus was not there, or this user may not.
    """
    return asyncio.run(_publish(args) if args.action == "publish" else _subscribe(args))


async def _publish(args: argparse.Namespace) -> int:
    from mcp_agentbus.patterns import command

    text = body.read(args.body, args.body_file, optional=True)
    call = tasks.call(args, say)
    async with call.session() as session:
        return await command.publish(session, args.topic, text, call.print)


async def _subscribe(args: argparse.Namespace) -> int:
    from mcp_agentbus.patterns import command

    call = tasks.call(args, say if args.json else tell)
    async with call.session() as session:
        return await command.subscribe(
            session,
            args.topic,
            call.print,
            say=call.say,
            group=args.group,
            limit=args.limit,
            within_s=args.timeout,
        )


def clear(args: argparse.Namespace) -> int:
    """Clear up after an agent, once that is agreed to; return the exit code.

    Raises:
        BadInput: nobody is there to be asked.
        AgentbusError: the bus was not there, or this user may not.
    """
    return asyncio.run(_clear(args))


async def _clear(args: argparse.Namespace) -> int:
    from mcp_agentbus.patterns import command
    from mcp_agentbus.patterns.clear import to_clear

    call = tasks.call(args, say if args.json else tell)
    async with call.session() as session:
        what = await to_clear(session)
        if what.is_empty:
            return await command.cleared(session, what, call.print)
        if not (args.yes or args.json):
            with beforehand():
                tell(command.clearing_text(session.me.id, what))
        if agreed(args, "Go on?"):
            return await command.cleared(session, what, call.print)
        say("Nothing was done.")
        return 0
