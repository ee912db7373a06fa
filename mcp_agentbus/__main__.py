# SPDX-License-Identifier: Apache-2.0
"""`agentbus`, and `python -m mcp_agentbus`: sessions, hooks and tasks at once, others by `cli`.

    $ agentbus serve --agent coder

What hosts start as they start a session or take a turn, and what models type, must cost little, so
it is told by its usual words, before anything that could parse others is imported.
"""

# No `annotations` of __future__: even that a project may have.
import os
import sys

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    import argparse

# Noted before anything takes time: a host may end meanwhile, and who has lost its parent gets
# another one.
_PARENT = os.getppid()


def main() -> int:
    """Do what the command line says; return the exit code."""
    from mcp_agentbus.core import programs

    programs.forget_project()  # before anything is imported that a project may have, too
    match sys.argv[1:]:
        # What hosts start. Parsing it would load a third of what a relayed session weighs.
        case ["serve", *rest] if not {"-h", "--help"} & {*rest}:
            return _serve(rest)
        # What hosts start at each turn.
        case ["hook", *rest]:
            return _hook(rest)
    try:
        return _typed(sys.argv[1:])
    except KeyboardInterrupt:  # before any command was begun, or while the listener does it
        return 130


def serve(args: "argparse.Namespace") -> int:
    """Serve a session that was asked for by other words than these; return the exit code.

    Raises:
        BadSetup: as `session.run`.
    """
    from mcp_agentbus.relay import session
    from mcp_agentbus.relay.options import Serving

    return session.run(Serving(args.agent, args.watch_max, args.only), _PARENT)


def hook(args: "argparse.Namespace") -> int:
    """Answer a host's hook; return 0."""
    return _hook([args.host, args.event])


def _typed(argv: list[str]) -> int:
    """Do a command: by the listener, if that does such a one, else in this process."""
    from mcp_agentbus.core.feather import typed
    from mcp_agentbus.relay.carried import command

    words = typed.words(argv)
    begun = None
    is_theirs = words and words[0] in command.COMMANDS and "_ARGCOMPLETE" not in os.environ
    if is_theirs and not typed.invites(words):
        from mcp_agentbus.core.feather import printer
        from mcp_agentbus.relay import late

        printer.spell_out()
        printer.be_patient()
        done = command.run(words)
        if isinstance(done, int):
            # Taking all down again that Python has loaded would take a tenth of the time.
            os._exit(done)
        begun = done
        late.load(*late.COMMANDS)  # it may have waited for days until its listener ended
    from mcp_agentbus.cli.main import main

    return main(begun=begun)


def _hook(argv: list[str]) -> int:
    from mcp_agentbus.relay import hook

    return hook.run(argv)


def _serve(argv: list[str]) -> int:
    import os

    from mcp_agentbus.errors import AgentbusError
    from mcp_agentbus.relay import options, session

    try:
        return session.run(options.read(argv, os.environ), _PARENT)
    except AgentbusError as error:
        from mcp_agentbus.cli.output import complain

        return complain(error)
    except OSError as error:
        from mcp_agentbus.cli.output import complain
        from mcp_agentbus.core.files import unusable

        return complain(unusable(error))


if __name__ == "__main__":
    sys.exit(main())
