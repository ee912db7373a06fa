# SPDX-License-Identifier: Apache-2.0
"""Which of the five tools a host may call without asking its user each time, as they chose.

    >>> chosen("read_inbox, list_agents")
    ('read_inbox', 'list_agents')

The choice is a file of ours, one tool a line; the plugin's hook reads it, and no file of the user's
is touched. Without one a host asks for every call, as it does for any server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mcp_agentbus.installers._parts import files
from mcp_agentbus.installers._parts.probe import TOOLS
from mcp_agentbus.installers.steps import Step

from mcp_agentbus.core.files import read_whole
from mcp_agentbus.errors import BadInput

#: What is taken where nobody is asked: all that sends nothing of its own accord to anybody.
USUAL: Final = tuple(tool for tool in TOOLS if tool != "send_task")


def chosen(words: str) -> tuple[str, ...]:
    """Return the tools that `all`, `none` or a list with commas names, in the usual order.

    Raises:
        BadInput: one of them is no tool of ours.
    """
    names = {word.strip() for word in words.split(",") if word.strip()}
    if names == {"all"}:
        return TOOLS
    if names == {"none"}:
        return ()
    if not names or names - set(TOOLS):
        wrong = ", ".join(sorted(names - set(TOOLS)))
        raise BadInput(
            (f"No tool of agentbus: {wrong}. " if wrong else "No tool was named. ")
            + f"The tools are {', '.join(TOOLS)}.",
            hint="Name some of them with commas, or all, or none.",
        )
    return tuple(tool for tool in TOOLS if tool in names)


def read(file: Path) -> tuple[str, ...] | None:
    """Return what was chosen; None if nothing was yet.

    Raises:
        BadSetup: it cannot be read.
    """
    with files.told(file, "read"):
        try:
            lines = read_whole(file).decode(errors="replace").splitlines()
        except FileNotFoundError:
            return None
    return tuple(tool for tool in TOOLS if tool in lines)


def write(file: Path, tools: Sequence[str]) -> Step:
    """Return the step that writes a choice down."""

    def do() -> str:
        if read(file) == tuple(tools):
            return "it is there already"
        files.write(file, "".join(f"{tool}\n" for tool in tools).encode())
        return ""

    return Step(f"write {file}: {told(tools)}", do)


def told(tools: Sequence[str]) -> str:
    """Say of which tools a user is asked, in half a sentence."""
    asked = [tool for tool in TOOLS if tool not in tools]
    if not asked:
        return "none of its tools asks you first"
    if len(asked) == len(TOOLS):
        return "each of its tools asks you first"
    return f"{', '.join(asked)} {'asks' if len(asked) == 1 else 'ask'} you first, the others do not"
