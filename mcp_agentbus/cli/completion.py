# SPDX-License-Identifier: Apache-2.0
"""What the tab key offers: commands and options by argcomplete, agents by the listener.

$ source <(agentbus completion bash)
$ agentbus send co<TAB>
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import Any, Final

from mcp_agentbus.cli.output import show
from mcp_agentbus.core.text import from_json
from mcp_agentbus.relay.carried import command

#: The shells for which there is a script, and where a line goes that is to stay.
SHELLS: Final = {
    "bash": "source <(agentbus completion bash)   # in ~/.bashrc",
    "zsh": "source <(agentbus completion zsh)   # in ~/.zshrc, after compinit",
    "fish": "agentbus completion fish | source   # in ~/.config/fish/config.fish",
}
_AGENTS_MAX: Final = 200


def run(args: argparse.Namespace) -> int:
    """Print what a shell has to read, and where a line goes that has it do so; return 0."""
    code = script(args.shell)
    said = f"# {SHELLS[args.shell]}\n{code}"
    show(args, said, {"shell": args.shell, "script": code}, verbatim=True)
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and end the process, if it is a shell that asks."""
    import argcomplete

    argcomplete.autocomplete(parser, always_complete_options=False)


def script(shell: str) -> str:
    """Return what a shell has to read once."""
    from argcomplete.shell_integration import shellcode

    code: str = shellcode(["agentbus"], shell=shell)
    return code


def agents(action: argparse.Action | None = None, **_: Any) -> list[str]:
    """Return the agents that the listener knows of, and to send to their roles as well.

    None if there is no listener.
    """
    printed: list[str] = []
    with suppress(ValueError, LookupError, TypeError):
        command.run(["agents", "--limit", str(_AGENTS_MAX), "--json"], {"say": printed.append})
        listed = from_json(printed[0])
        roles = listed.get("roles", []) if action and action.dest == "to" else []
        known = [str(agent["id"]) for agent in listed["agents"]]
        return [*known, *(f"role:{each['role']}" for each in roles)]
    return []
