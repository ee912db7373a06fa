# SPDX-License-Identifier: Apache-2.0
"""The commands that only speak to the bus, `send` to `replay`: done by the listener, or here.

    $ agentbus send coder "Count the tests" --body-file task.md
    coder: stored as task 9d0c... coder is offline, last seen 2026-11-20 18:03:11Z.

A listener has loaded what they take, so it is asked first, before this is imported; without one the
same is done in this process. What they do is in `tools.commands`; nothing of it is imported before
it is needed here.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mcp_agentbus.cli.carried import resumed
from mcp_agentbus.cli.grammar.command import WATCH_S
from mcp_agentbus.core import hosts
from mcp_agentbus.core.feather.printer import EXIT_CODE, check_seen, complain, say, tell
from mcp_agentbus.errors import BadInput, UnknownTask
from mcp_agentbus.relay.carried import body
from mcp_agentbus.relay.carried.command import Begun

if TYPE_CHECKING:
    from mcp_agentbus.tools.typed_command import Command

_WITH_BODY: Final = frozenset({"send", "tell", "answer", "result"})
# Of these it may be left out.
_WITHOUT: Final = frozenset({"tell", "result"})


def run(args: argparse.Namespace) -> int:
    """Do what was typed; return the exit code.

    Raises:
        AgentbusError: it was refused, or the bus was not there.
    """
    begun = getattr(args, "begun", None) or Begun()
    if begun.body is not None:
        args.body = begun.body
    elif has_text(args):
        optional = args.command in _WITHOUT
        args.body = body.read(getattr(args, "body", None), args.body_file, optional=optional)
    check(args, begun.request_id)
    if getattr(args, "notices", False):
        from mcp_agentbus.cli import monitor

        return monitor.run(args)
    resumed.take(args, begun)
    try:
        return _here(args)
    except UnknownTask as error:
        raise resumed.explained(error, args, begun) from None


def has_text(args: argparse.Namespace) -> bool:
    """Tell whether a command takes a text, which may have to be read."""
    if args.command == "send" and args.no_body and not args.body_file:
        args.body = args.body or ""
        return False
    return args.command in _WITH_BODY


def asking(args: argparse.Namespace) -> str:
    """Return how the text of a command `has_text` is asked for; empty if it is there."""
    if not has_text(args) or getattr(args, "body", None) is not None:
        return ""
    return body.asking(args.body_file, optional=args.command in _WITHOUT)


def check(args: argparse.Namespace, request_id: str) -> None:
    """See that a command can be done; what is sent gets this id, if it has none.

    Raises:
        BadInput: it cannot.
    """
    if args.command in {"send", "tell"}:
        _check(args)
        args.request_id = args.request_id or request_id  # so that it may be repeated
    if args.command == "watch":
        _check_watch(args)


def _check_watch(args: argparse.Namespace) -> None:
    """See that each option is of what is watched for: who goes on for ever waits for no task.

    A wait for which no time was given gets its own.

    Raises:
        BadInput: one would be passed over.
    """
    if args.since and not (args.follow or args.notices):
        raise BadInput("--since is of `watch --follow`.", hint="Add --follow.")
    goes_on = "--follow" if args.follow else ""
    if args.notices:
        goes_on = "--notices"
    for name in ("follow", "since", "timeout", "task", "priority") if goes_on else ():
        given = getattr(args, name)
        if f"--{name}" == goes_on or (name == "since" and args.follow and not args.notices):
            continue
        if given is not None and given is not False:
            raise BadInput(
                f"`watch {goes_on}` goes on until it is ended, and takes no --{name}.",
                hint=f"Leave out one of the two, {goes_on} or --{name}.",
            )
    if not goes_on and args.timeout is None:
        args.timeout = WATCH_S


def _here(args: argparse.Namespace) -> int:
    """Do it in this process."""
    import asyncio

    from mcp_agentbus.tools import commands

    return asyncio.run(commands.start(call(args, say if is_verbatim(args) else tell)))


def call(args: argparse.Namespace, print_: Callable[[str], None]) -> Command:
    """Return what was typed, as it is done in this process.

    Raises:
        BadSetup: this user's configuration cannot be read.
    """
    from mcp_agentbus.config.identity import Asked
    from mcp_agentbus.config.settings import load_settings
    from mcp_agentbus.handoff import shells
    from mcp_agentbus.store.own_name import Naming
    from mcp_agentbus.tools.typed_command import Command

    def out(line: str, changed: Mapping[str, Any]) -> None:
        args.last = line, changed.get(EXIT_CODE)  # as of a listener, see `Begun`
        print_(line)

    async def reached() -> None:
        check_seen()

    settings = load_settings()
    given = getattr(args, "agent", None)
    # It is asked last, as it looks at every process above.
    is_persons = not given and not hosts.are_around(os.environ)
    asked = Asked(settings, given, is_persons=is_persons)
    naming = Naming(asked, shells.agents(settings))
    return Command(
        args, naming, out, pid=os.getpid(), aside=lambda line, _: complain(line), reached=reached
    )


def _check(args: argparse.Namespace) -> None:
    """See that a task has a body, or that none was asked for, and that a retry is what it seems.

    Raises:
        BadInput: it has none, as where standard input is empty; it has one after all; or the
            request id is empty, as of a variable that is not set.
    """
    if args.request_id == "":
        raise BadInput(
            "--request-id is empty, so the same command again would store a second task.",
            hint="Give a word, the same for each try, or leave the option out.",
        )
    if args.expect == "answer" and args.no_body == bool(args.body.strip()):
        raise BadInput(
            "There is a body beside --no-body." if args.no_body else "The body is empty.",
            hint="Say in it all that another agent needs to do it alone; with --no-body the "
            "subject says all of it.",
        )


def is_verbatim(args: argparse.Namespace) -> bool:
    """Tell whether what is printed stays as it is: data, and what is followed line by line."""
    return bool(args.json or getattr(args, "follow", False))
