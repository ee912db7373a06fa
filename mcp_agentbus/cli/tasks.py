# SPDX-License-Identifier: Apache-2.0
"""The commands that only speak to the bus, `send` to `replay`: done by the listener, or here.

    $ agentbus send coder "Count the tests" --body-file task.md
    coder: stored as task 9d0c... coder is offline, last seen 2026-11-20 18:03:11Z.

A listener has loaded what they take, so it is asked first; without one the same is done in this
process. What they do is in `tools.commands`; nothing of it is imported before it is needed here.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mcp_agentbus.cli.output import say, tell
from mcp_agentbus.errors import BadInput
from mcp_agentbus.relay import command

if TYPE_CHECKING:
    from mcp_agentbus.tools.call import Call

_WITH_BODY: Final = frozenset({"send", "tell", "answer", "result"})
# Bytes, or characters of a file; no body may have as many, and a device has no end.
_READ_MAX: Final = 1 << 20
# In seconds; after that whoever has not meant to pipe anything is told what is waited for.
_PATIENCE_S: Final = 5.0


def run(args: argparse.Namespace) -> int:
    """Do what was typed; return the exit code.

    Raises:
        AgentbusError: it was refused, or the bus was not there.
    """
    if args.command == "send" and args.no_body and not args.body_file:
        args.body = args.body or ""
    elif args.command in _WITH_BODY:
        optional = args.command in {"tell", "result"}
        args.body = body(getattr(args, "body", None), args.body_file, optional=optional)
    if args.command in {"send", "tell"}:
        _check(args)
    if getattr(args, "notices", False):
        from mcp_agentbus.cli import monitor

        return monitor.run(args)
    if args.command == "watch" and args.since and not args.follow:
        raise BadInput("--since is of `watch --follow`.", hint="Add --follow.")
    began = time.monotonic()
    code = command.run(args, _out(args))
    if code is not None:
        return code
    # A listener that has ended may have waited for a while.
    for limit in ("timeout", "wait"):
        if (given_s := getattr(args, limit, None)) is not None:
            setattr(args, limit, max(0.0, given_s - (time.monotonic() - began)))
    return _here(args)


def _here(args: argparse.Namespace) -> int:
    """Do it in this process."""
    import asyncio

    from mcp_agentbus.tools import commands

    return asyncio.run(commands.start(call(args, _out(args))))


def call(args: argparse.Namespace, print_: Callable[[str], None]) -> Call:
    """Return what was typed, as it is done in this process.

    Raises:
        BadSetup: this user's configuration cannot be read.
    """
    from mcp_agentbus.config.identity import Asked
    from mcp_agentbus.config.settings import load_settings
    from mcp_agentbus.handoff.beside import shells
    from mcp_agentbus.store.naming import Naming
    from mcp_agentbus.tools.call import Call

    def out(line: str, _: object) -> None:
        print_(line)

    settings = load_settings()
    given = getattr(args, "agent", None)
    asked = Asked(settings, given, is_persons=command.is_persons(args))
    naming = Naming(asked, shells.agents(settings))
    return Call(args, naming, out)


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


def _out(args: argparse.Namespace) -> Callable[[str], None]:
    """Return what prints; data, and what is followed line by line, stay as they are."""
    return say if args.json or getattr(args, "follow", False) else tell


def body(given: str | None, file: str | None, *, optional: bool) -> str:
    """Return what is to be sent: the argument, the text of a file, or what is piped in.

    A file named `-` is standard input. Without any it is empty where it is `optional`: then what
    is piped in may be a loop's, or a program's own, and stays there unless it was asked for.

    Raises:
        BadInput: there is none, there are two, it is not UTF-8, or is far too large.
    """
    if given is not None and file is not None:
        raise BadInput("The body is given twice.", hint="Give it as an argument or in a file.")
    if given is not None:
        return given
    try:
        if file not in {None, "-"}:
            # A pipe is waited for: `--body-file <(git diff)`.
            with open(str(file), encoding="utf-8") as opened:  # noqa: PTH123  # no pathlib here
                return _not_endless(opened.read(_READ_MAX))
        if file == "-" or not (optional or sys.stdin is None or sys.stdin.isatty()):
            return _not_endless(_piped(is_asked_for=file == "-"))
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BadInput("The body is not UTF-8 text.", hint="Send a file's path instead.") from None
    if optional:
        if _is_piped_in():
            left = "agentbus: what is piped in was left there. To send it, add `--body-file -`."
            print(left, file=sys.stderr)
        return ""
    raise BadInput(
        "There is no body.", hint="Give it as an argument, with --body-file or on stdin."
    )


def _is_piped_in() -> bool:
    """Tell whether a text lies on standard input at this moment."""
    import fcntl
    import termios

    if sys.stdin is None or sys.stdin.isatty():
        return False
    try:
        return any(fcntl.ioctl(sys.stdin, termios.FIONREAD, bytes(4)))
    except (OSError, ValueError):  # nothing that can hold one, such as /dev/null
        return False


def _piped(*, is_asked_for: bool) -> str:
    """Return the text on standard input; where none comes, say that it is waited for.

    Raises:
        BadInput: it is closed; or it is a socket on which nothing comes. A shell's pipe is none,
            but some hosts give one to all that they start, and never end it.
    """
    import select
    import stat

    if sys.stdin is None:
        raise BadInput("Standard input is closed.", hint="Give the body as an argument.")
    if not (sys.stdin.isatty() or select.select([sys.stdin], [], [], _PATIENCE_S)[0]):
        if stat.S_ISSOCK(os.fstat(sys.stdin.fileno()).st_mode) and not is_asked_for:
            raise BadInput(
                "Standard input is open, and no text came from there. Nothing was sent.",
                hint="Add `< /dev/null` if none is to come, or `--body-file -` to wait for it.",
            )
        print(
            "agentbus: waiting for the text on standard input, which is open. If none is to come, "
            "press Ctrl-C and add `< /dev/null`.",
            file=sys.stderr,
        )
    return sys.stdin.buffer.read(_READ_MAX).decode("utf-8")


def _not_endless(body: str) -> str:
    if len(body) == _READ_MAX:
        raise BadInput(
            f"The body is larger than {_READ_MAX >> 10:,} KiB.",
            hint="Put it into a file, and send the file's path.",
        )
    return body
