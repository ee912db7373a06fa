# SPDX-License-Identifier: Apache-2.0
"""The command line: what can be typed. What a command does is in `commands` and `keeping`.

    $ agentbus send coder "Count the tests" --body-file task.md
    coder: stored as task 9d0c... coder is offline, last seen 2026-11-20 18:03:11Z.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no bus server, 4 timed out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from mcp_agentbus.cli.parser import parser
from mcp_agentbus.errors import AgentbusError, BadInput
from mcp_agentbus.relay import command

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    top = parser()
    if "_ARGCOMPLETE" in os.environ:
        from mcp_agentbus.cli import completion

        completion.complete(top)
    args = top.parse_args(argv)
    try:
        return _run(args)
    except AgentbusError as error:
        return complain(error, as_json=getattr(args, "json", False))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # `agentbus agents | head`: the reader has gone, and so has anything to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(args: argparse.Namespace) -> int:
    if args.command == "serve":
        from mcp_agentbus.relay import session

        return session.run(args.agent)
    if args.command in {"send", "result"}:
        given = getattr(args, "body", None)
        args.body = _body(given, args.body_file, optional=args.command == "result")
    if getattr(args, "notices", False):
        from mcp_agentbus.cli import monitor

        return monitor.run(args)
    if args.command in command.COMMANDS:
        code = command.run(args, lambda text: print(text, flush=True))
        if code is not None:
            return code
    # Imported late, so that --help and wrong usage answer at once.
    from mcp_agentbus.cli import server

    return server.run(args)


def complain(error: AgentbusError, *, as_json: bool = False) -> int:
    """Print an error and what to do next; return the exit code."""
    if as_json:
        kind = type(error).__name__
        print(json.dumps({"error": {"kind": kind, "message": error.message, "hint": error.hint}}))
    else:
        print(f"agentbus: {error.message}\nHint: {error.hint}", file=sys.stderr)
    return error.exit_code


def _body(given: str | None, file: str | None, *, optional: bool = False) -> str:
    """Return the text from the argument, a file or standard input.

    Raises:
        BadInput: there is none, there are two, or it is not UTF-8.
    """
    if given is not None and file is not None:
        raise BadInput("The body is given twice.", hint="Give it as an argument or in a file.")
    if given is not None:
        return given
    try:
        if file not in {None, "-"}:
            with open(str(file), encoding="utf-8") as text:  # noqa: PTH123  # no pathlib here
                return text.read()
        if file == "-" or (not optional and not sys.stdin.isatty()):
            return sys.stdin.buffer.read().decode("utf-8")
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BadInput("The body is not UTF-8 text.", hint="Send a file's path instead.") from None
    if optional:
        return ""
    raise BadInput(
        "There is no body.", hint="Give it as an argument, with --body-file or on stdin."
    )


if __name__ == "__main__":
    sys.exit(main())
