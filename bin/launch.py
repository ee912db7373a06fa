# SPDX-License-Identifier: Apache-2.0
"""Start the agentbus that belongs to this plugin, or the one that is installed.

    bin/agentbus serve      # as `agentbus serve`; the arguments are passed on as they are

A plugin is a folder of text; the program comes by pip. Tried in this order: what
`agentbus install claude-code` noted, what this folder was installed with, PATH, a `.venv` beside
it. This process becomes that program. With none of them it says so and ends with 1. No name is
looked up in a registry: whoever owns it there would get all that a session's environment holds.
"""
# Any Python 3.9 or later starts it, next to no package; pathlib would take a third of its time.
# ruff: noqa: INP001, PTH111, PTH112, PTH113, PTH117, PTH118, PTH119, PTH120, PTH123, S606

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

TREE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
NOTE = "program"
NOTE_MAX_BYTES = 16 * 1024  # three paths
# Nothing of the folder that a session is in (-P), nor of what is exported there (-E).
APART = ["-E", "-P"]
NONE = (
    "agentbus: the plugin is here, its program is not{gone}. "
    "Install it: uv tool install mcp-agentbus (or pipx install mcp-agentbus). "
    "Then tell the plugin where it is: agentbus setup"
)


def main() -> NoReturn:
    """Become the first program that is there, or what says that there is none."""
    noted, home = note()
    if home:
        # What is exported where the host was started is newer than what was noted at the install.
        os.environ.setdefault("AGENTBUS_HOME", home)
    for argv in candidates(noted):
        try:
            os.execv(argv[0], argv + sys.argv[1:])
        except OSError:  # its interpreter has gone, or it is for another machine
            continue
    why = NONE.format(gone=f": {noted} is gone" if noted else "")
    said = "".join(
        letter if letter.isprintable() and letter not in '"\\' else "?" for letter in why
    )
    refuse = os.path.join(TREE, "bin", "refuse.sh")
    os.execv("/bin/sh", ["/bin/sh", refuse, said, *sys.argv[1:2]])


def note() -> tuple[str, str]:
    """Return the program and the bus folder that were noted at the install; "" for what was not."""
    data = os.environ.get("CLAUDE_PLUGIN_DATA")
    if not data:  # monitors and the shell of a session are not told of it
        config = os.environ.get("CLAUDE_CONFIG_DIR") or os.path.expanduser("~/.claude")
        data = os.path.join(config, "plugins", "data", "agentbus-agentbus")
    try:
        # A pipe in the place of the file must not hold up the start.
        opened = os.open(os.path.join(data, NOTE), os.O_RDONLY | os.O_NONBLOCK)
        try:
            lines = os.read(opened, NOTE_MAX_BYTES).decode(errors="surrogateescape").split("\n")
        finally:
            os.close(opened)
    except OSError:
        return "", ""
    program, home = (line if os.path.isabs(line) else "" for line in (*lines, "")[:2])
    return program, home


def candidates(noted: str) -> Iterator[list[str]]:
    """Yield what could be started, the best first."""
    if noted:
        yield from found(noted)
    package = os.path.dirname(TREE)
    if os.path.basename(package) == "mcp_agentbus":  # this is mcp_agentbus/plugin of a wheel
        # PREFIX/lib/python3.x/site-packages/mcp_agentbus
        prefix = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(package))))
        yield from found(os.path.join(prefix, "bin", "agentbus"))
    yield from on_path("agentbus")
    yield from found(os.path.join(TREE, ".venv", "bin", "agentbus"))


def on_path(name: str) -> Iterator[list[str]]:
    """Yield the programs of that name on PATH; a project's folder cannot put one there."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if os.path.isabs(folder):
            yield from found(os.path.join(folder, name))


def found(file: str) -> Iterator[list[str]]:
    """Yield what starts a program, if it is there and is not what it must not be."""
    if not (os.path.isfile(file) and os.access(file, os.X_OK)):
        return
    name = os.path.basename(file)
    if name.startswith("python"):
        yield [file, *APART, "-m", "mcp_agentbus"]
        return
    # PyPI has another `agentbus`, and what is started gets all that a session's environment holds.
    # The commands that pip, pipx and uv write, and wrappers of them, name our package.
    head = beginning(file)
    if head.startswith(b"#!") and b"mcp_agentbus" in head.replace(b"-", b"_"):
        python = os.fsdecode(head[2:].split(b"\n", 1)[0].strip())
        if os.path.isabs(python) and os.path.basename(python).startswith("python"):
            yield [python, *APART, file]
        else:
            yield [file]


def beginning(file: str) -> bytes:
    """Return with what a command begins; nothing of a launcher like this, and if it is unreadable.

    Hosts put the folder `bin` of a plugin on PATH: two would start each other.
    """
    home = os.path.dirname(os.path.dirname(os.path.realpath(file)))
    if os.path.isdir(os.path.join(home, ".claude-plugin")):
        return b""
    try:
        with open(file, "rb") as text:
            return text.read(4096)
    except OSError:
        return b""


if __name__ == "__main__":
    main()
