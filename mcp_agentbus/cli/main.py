# SPDX-License-Identifier: Apache-2.0
"""`agentbus`: takes what was typed to the one who does it, and tells of what was refused.

    >>> main(["send", "coder", "Count the tests", "All of them, please."])
    coder: stored as task 9d0c... coder is offline, last seen 2026-11-20 18:03:11Z.
    0

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no bus server, 4 timed out, 5 not known whether it
was done, 6 a task that was waited for was not completed, 7 done and standard output cannot be
written. It does no command itself, and imports what does one when that one is typed: --help and
wrong usage answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final

from mcp_agentbus.cli.arguments import WrongUsage
from mcp_agentbus.cli.carried import resumed
from mcp_agentbus.cli.output import complain, retold
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.core.feather import printer, typed
from mcp_agentbus.core.feather.printer import be_patient, flush, spell_out, to_nowhere, unwritable
from mcp_agentbus.errors import AgentbusError, BadInput, BadSetup, OutOfReach
from mcp_agentbus.relay.carried.command import COMMANDS as DONE_FIRST

if TYPE_CHECKING:
    from mcp_agentbus.relay.carried.command import Begun

#: Who does a command: a module of this package, and its function there, which takes the parsed
#: arguments and returns the exit code. What can be typed is declared in `parser`.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "status": ("cli.carried.overview", "run"),
    "why": ("cli.carried.overview", "run"),
    "policy": ("cli.carried.overview", "run"),
    "send": ("cli.tasks", "run"),
    "result": ("cli.tasks", "run"),
    "task": ("cli.tasks", "run"),
    "tasks": ("cli.tasks", "run"),
    "answer": ("cli.tasks", "run"),
    "approve": ("cli.rooms", "decide"),
    "deny": ("cli.rooms", "decide"),
    "tell": ("cli.tasks", "run"),
    "search": ("cli.tasks", "run"),
    "audit": ("cli.tasks", "run"),
    "export": ("cli.tasks", "run"),
    "inbox": ("cli.tasks", "run"),
    "watch": ("cli.tasks", "run"),
    "agents": ("cli.tasks", "run"),
    "parked": ("cli.tasks", "run"),
    "replay": ("cli.tasks", "run"),
    "server": ("cli.server", "run"),
    "join": ("cli.account.join", "run"),
    "leave": ("cli.account.join", "run_leave"),
    "serve": ("__main__", "serve"),
    "listen": ("cli.listen", "run"),
    "work": ("cli.rooms", "work"),
    "worker": ("cli.rooms", "worker"),
    "events": ("cli.rooms", "events"),
    "clear": ("cli.rooms", "clear"),
    "human": ("cli.rooms", "human"),
    "agent": ("cli.agent", "run"),
    "setup": ("cli.install", "run"),
    "install": ("cli.install", "run"),
    "uninstall": ("cli.install", "run"),
    "doctor": ("cli.rooms", "doctor"),
    "hook": ("__main__", "hook"),
    "completion": ("cli.completion", "run"),
    "demo": ("cli.rooms", "demo"),
}
# What changes nothing, by its action or an option where not all of it does; the first is help. What
# it was to mark as shown stays unmarked.
_READING: Final = frozenset({
    "", "agent list", "agent wakes", "agents", "audit", "completion", "doctor", "export",
    "inbox --peek", "listen --status", "parked", "policy", "search", "server status", "status",
    "task", "tasks", "watch --follow", "watch --notices", "why",
})  # fmt: skip
_UNPRINTED: Final = 7
_INTERRUPTED: Final = 130  # as a shell tells of SIGINT


def main(argv: Sequence[str] | None = None, *, begun: Begun | None = None) -> int:
    """Run one command, with what is `begun` of it, if anything; return its exit code."""
    if begun is None:
        spell_out()
        be_patient()
    if "_ARGCOMPLETE" in os.environ:
        from mcp_agentbus.cli import completion

        completion.complete(parser())
    words = typed.words(list(sys.argv[1:] if argv is None else argv))
    if typed.invites(words):
        from mcp_agentbus.cli.account.join import SEEN

        return complain(SEEN, as_json="--json" in words)
    args = _parsed(words)
    args.begun, args.last = begun, ("", None)
    module, function = COMMANDS[args.command]
    try:
        if begun:
            resumed.check(args, begun)
        code: int = getattr(import_module(f"mcp_agentbus.{module}"), function)(args)
        args.last = "", code
        flush()
    except AgentbusError as error:
        as_json = getattr(args, "json", False)
        return complain(_beside_listener(error, args), as_json=as_json, command=args.command)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        return _unusable(error, args)
    return code


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """Return what was typed, as it is read.

    Raises:
        WrongUsage: it cannot be; that was said, also to a program that has asked for data.
    """
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    elif words == ["version"]:
        words = ["--version"]
    only = words[0] if words and words[0] in COMMANDS else ""
    try:
        return parser(only=only).parse_args(words)
    except WrongUsage as wrong:
        options = words[: words.index("--")] if "--" in words else words
        if "--json" in options:
            message, _, line = wrong.message.partition(". Try: ")
            hint = f"Try: {line or 'agentbus --help'}"
            complain(BadInput(f"{message}.", hint=hint), as_json=True)
        raise
    except SystemExit:  # it has shown its help, or its version
        try:
            flush()
        except OSError as error:
            sys.exit(_unprinted(error, argparse.Namespace(command="", last=("", None))))
        raise


def _beside_listener(error: AgentbusError, args: argparse.Namespace) -> AgentbusError:
    """Return what a command has run into, as it is said where a listener runs."""
    if not isinstance(error, OutOfReach):
        return error
    # Imported late: few commands meet a sandbox.
    from mcp_agentbus.core import places
    from mcp_agentbus.listener.carried import outside

    with suppress(BadSetup):
        here = places.Place(places.runtime_folder(os.environ), os.environ)
        return outside.beside(error, here, args.command)
    return error


def _unusable(error: OSError, args: argparse.Namespace) -> int:
    """Say what the system has refused to a command; return the exit code."""
    if isinstance(error, BrokenPipeError) or error.filename == printer.STDOUT or unwritable():
        return _unprinted(error, args)
    # Imported late: few commands meet a folder that cannot be used.
    from mcp_agentbus.core.files import unusable

    return complain(unusable(error), as_json=getattr(args, "json", False))


def _unprinted(error: OSError, args: argparse.Namespace) -> int:
    """Say that what a command says cannot be read; return the exit code.

    One that was refused, or has waited in vain, has ended so, whoever reads it.
    """
    why = error.strerror or unwritable()
    to_nowhere(sys.stdout)
    said, code = args.last
    if code and (refusal := retold(said)):
        printer.complain(refusal)
        return int(code)
    # `agentbus agents | head`: the reader has gone, and so has anything to say.
    if isinstance(error, BrokenPipeError):
        return code or 0
    reads = _reads(args)
    is_done = args.command in DONE_FIRST and not (code or reads)
    done = "Done, but standard" if is_done else "Standard"
    hint = "`agentbus tasks` shows what was sent, `agentbus inbox` what came, "
    hint += "`agentbus status` the rest."
    if reads:
        hint = "Run it again where its output can be written."
    elif not code:
        hint = f"Do not repeat it: {hint}"
    complain(BadSetup(f"{done} output cannot be written: {why}.", hint=hint))
    return code or _UNPRINTED


def _reads(args: argparse.Namespace) -> bool:
    """Tell whether what was typed changes nothing, so that it may be run again."""
    options = [f"--{name}" for name, given in vars(args).items() if given is True]
    kinds = (f"{args.command} {each}" for each in (getattr(args, "action", ""), *options))
    return not (_READING.isdisjoint({args.command, *kinds}) or getattr(args, "fix", False))


if __name__ == "__main__":
    sys.exit(main())
