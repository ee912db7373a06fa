# SPDX-License-Identifier: Apache-2.0
"""What the tab key offers: commands and options by argcomplete, agents and tasks by the listener.

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
_TASKS_MAX: Final = 100
# Of an id so much is offered where no more was typed, as lists show it.
_ID_CHARS: Final = 8
# Where nothing is offered bash has files instead, also for the id of a task. For what may be one
# argcomplete offers them, but of a program behind `--`. The bash of macOS has no compopt.
_NO_FILES: Final = """
_agentbus() {
    _python_argcomplete "$@"
    if [[ " ${COMP_WORDS[*]:0:COMP_CWORD} " != *" -- "* ]]; then
        compopt +o default +o bashdefault 2> /dev/null
    fi
}
complete -o nospace -o default -o bashdefault -F _agentbus agentbus
"""


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
    return f"{code}{_NO_FILES}" if shell == "bash" else code


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


def tasks(prefix: str = "", **_: Any) -> list[str]:
    """Return the latest tasks of this user by the beginnings of their ids, as the listener knows.

    None if there is no listener. What a peer has chosen as an id is not offered.
    """
    # Imported late: for the other words of a line nothing of it is needed.
    from mcp_agentbus.core.ids import is_own_task_id

    printed: list[str] = []
    with suppress(ValueError, LookupError, TypeError):
        command.run(
            ["tasks", "--all", "--limit", str(_TASKS_MAX), "--json"], {"say": printed.append}
        )
        ids = (str(task["task_id"]) for task in from_json(printed[0])["tasks"])
        return [each[: max(_ID_CHARS, len(prefix))] for each in ids if is_own_task_id(each)]
    return []
