# SPDX-License-Identifier: Apache-2.0
"""`agentbus listen`: run, look at, end or keep this user's listener.

    $ agentbus listen --status
    listener runs: 0.1.0, pid 4711, since 2026-11-21 10:00

Looking and ending load no library: a person waits for them. What a listener does is `listener`'s.
"""

from __future__ import annotations

import argparse
import contextlib
import sys

from mcp_agentbus.cli.output import complain, show
from mcp_agentbus.config.settings import Settings, load_settings, settings_and_fault
from mcp_agentbus.core.feather.printer import say
from mcp_agentbus.core.text import many
from mcp_agentbus.errors import AgentbusError, BadSetup, NoListener
from mcp_agentbus.listener import status
from mcp_agentbus.relay import local_socket, seat


def run(args: argparse.Namespace) -> int:
    """Do what the arguments of `agentbus listen` say; return the exit code.

    A listener goes on by the settings of before where config.toml cannot be read any more, and so
    it is looked at, and ended, without them.

    Raises:
        NoListener: there is none to stop.
        BadSetup: config.toml cannot be read, and one is to run; this user's runtime folder or
            service manager cannot be used; another listener was to be ended or replaced, and is
            there still.
    """
    if args.status:
        return _status(args, *settings_and_fault())
    if args.stop:
        return _stop(args, *settings_and_fault())
    if args.uninstall:
        return _keep(args, settings_and_fault()[0])
    settings = load_settings()
    if args.install:
        return _keep(args, settings)
    return _listen(args, settings)


def _status(args: argparse.Namespace, settings: Settings, fault: BadSetup | None) -> int:
    try:
        answer = local_socket.ask(settings, {"op": "status"})
        if fault:  # which bus it is to be on is not known, and it may not have seen the file yet
            answer = {**answer, "config": fault.message}
            answer.pop("bus_at", None)
        standing = status.seen_from(settings, answer)
    except NoListener as error:
        state = status.absent(error)
        if not args.json:
            say(f"listener {state}")
        return complain(error, as_json=args.json, command=args.command, state=state)
    show(args, status.text(standing), standing)
    return 0


def _keep(args: argparse.Namespace, settings: Settings) -> int:
    """Have the service manager keep a listener, or keep none any more."""
    from mcp_agentbus.installers import service
    from mcp_agentbus.installers.steps import Machine

    manager = service.manager()
    warnings = Machine(settings).warnings if args.install else []
    for line in [] if args.json else warnings:  # at once, as it may fail
        say(line)
    lines = manager.install(settings) if args.install else manager.uninstall(settings)
    data = {"done": lines} | ({"warnings": warnings} if warnings else {})
    show(args, "\n".join(lines), data)
    return 0


def _stop(args: argparse.Namespace, settings: Settings, fault: BadSetup | None) -> int:
    from mcp_agentbus.listener import daemon

    daemon.stop(settings)
    waits, left = (None, _not_known(fault)) if fault else _left_here(settings)
    show(args, f"The listener has stopped.{left}", {"running": False, "outbox": waits})
    return 0


def _left_here(settings: Settings) -> tuple[int | None, str]:
    """Return how many tasks a listener that has ended leaves, None if not known; and as words."""
    import asyncio

    from mcp_agentbus.store.outbox.outbox import read_outbox

    try:
        waits = asyncio.run(read_outbox(settings, may_start=settings.keeps_outbox))
    except AgentbusError as error:  # it has stopped all the same
        return None, _not_known(error)
    ours = sum(each.is_ours for each in waits)
    left = ""
    if ours:
        left = f" {many(ours, 'task')} stored here, not yet at the bus: the next one hands that on."
    if others := len(waits) - ours:
        left += f" {many(others, 'task')} stored here for another bus: kept until that is set up."
    return len(waits), left


def _not_known(why: AgentbusError) -> str:
    return f" Whether tasks are stored here, not yet at the bus, is not known: {why}"


def _listen(args: argparse.Namespace, settings: Settings) -> int:
    import asyncio

    from mcp_agentbus.cli.carried.commands import Carried
    from mcp_agentbus.cli.parser import parser
    from mcp_agentbus.listener import daemon

    if args.replace:
        with contextlib.suppress(NoListener):
            daemon.stop(settings)
    with daemon.only_one(settings) as is_ours:
        if is_ours:
            return asyncio.run(
                daemon.listen(settings, Carried(parser), while_needed=args.while_needed)
            )
    if args.replace:
        raise BadSetup(
            "Another listener has started meanwhile.",
            hint="See `agentbus listen --status`; run this again to replace that one.",
        )
    there = seat.seated(settings)
    who = there.who if there else "a listener"
    says = f"{who[0].upper()}{who[1:]} runs already; see `agentbus listen --status`."
    if args.json:
        pid = there.process.pid if there and there.process else None
        show(args, says, {"running": True, "pid": pid, "says": says})
    else:
        print(says, file=sys.stderr)
    return 0
