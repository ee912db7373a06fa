# SPDX-License-Identifier: Apache-2.0
"""Hosts that need no more than one entry: as JSON to be pasted, or by their own one-line command.

    >>> entry(machine)
    {'command': '/usr/bin/agentbus', 'args': ['serve']}

It writes no file of a host: Codex, Copilot and Gemini write their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mcp_agentbus.installers import _probe
from mcp_agentbus.installers.steps import Machine, Step

from mcp_agentbus import places
from mcp_agentbus.errors import BadSetup

#: The server's name in every host.
SERVER: Final = "agentbus"
_VERSION: Final = re.compile(r"\d+\.\d+[\w.+-]*\w")


def entry(machine: Machine) -> dict[str, Any]:
    """Return the server's entry as MCP hosts want it: `command`, `args`, and `env` if need be."""
    command: list[str] = machine.agentbus
    home = places.home(machine.environ)
    return {
        "command": command[0],
        "args": [*command[1:], "serve"],
        **({"env": {"AGENTBUS_HOME": home}} if home else {}),
    }


def printed(machine: Machine) -> str:
    """Return the text of `agentbus install --print`: the JSON for any other MCP host."""
    return json.dumps({"mcpServers": {SERVER: entry(machine)}}, indent=2, ensure_ascii=False)


@dataclass(frozen=True)
class Host:
    """A host that registers servers by commands of its own."""

    #: As typed: `agentbus install NAME`.
    name: str
    title: str
    program: str
    #: From the command that is to be registered, and variables as KEY=VALUE, to the arguments.
    add: Callable[[list[str], list[str]], list[str]]
    remove: tuple[str, ...]
    #: Shows the entry; fails without one, if `asks` is set.
    show: tuple[str, ...]
    #: Adding what is there and removing what is not are errors, so that it has to be asked first.
    asks: bool = False

    def found(self, machine: Machine) -> str | None:
        """Return one line about the host if it is there."""
        program = machine.program(self.program)
        if program is None:
            return None
        try:
            version = _VERSION.search(machine.run([program, "--version"]))
        except BadSetup as error:
            return f"{self.title}, {program} ({error.message})"
        return f"{self.title} {version[0] if version else '(unknown version)'}, {program}"

    def install(self, machine: Machine) -> list[Step]:
        """Return the step that registers the server."""
        found = entry(machine)
        variables = [f"{name}={value}" for name, value in found.get("env", {}).items()]
        words = self.add([found["command"], *found["args"]], variables)

        def do() -> str:
            program = self._there(machine)
            if self.asks and self._shown(machine) is not None:
                machine.run([program, *self.remove])
            machine.run([program, *words])
            return ""

        return [Step(f"run {' '.join([self.program, *words])}", do)]

    def uninstall(self, machine: Machine) -> list[Step]:
        """Return the step that takes the server out."""

        def do() -> str:
            program = self._there(machine)
            if self.asks and self._shown(machine) is None:
                return f"{self.title} has no server {SERVER}"
            machine.run([program, *self.remove])
            return ""

        return [Step(f"run {' '.join([self.program, *self.remove])}", do)]

    def verify(self, machine: Machine) -> str:
        """Ask the host for the entry, and the entry's server for its tools.

        Raises:
            BadSetup: the host has no such entry, another one, or its server does not answer.
        """
        self._there(machine)
        found = entry(machine)
        shown = self._shown(machine) or ""
        if SERVER not in shown or found["command"] not in shown:
            raise BadSetup(
                f"`{' '.join([self.program, *self.show])}` does not show {found['command']}.",
                hint=f"Run `agentbus install {self.name}`.",
            )
        environ = {**machine.environ, **found.get("env", {})}
        answers: str = _probe.check([found["command"], *found["args"]], environ)
        return f"{self.title} has the server {SERVER}; {answers}"

    def _shown(self, machine: Machine) -> str | None:
        try:
            shown: str = machine.run([self._there(machine), *self.show])
        except BadSetup:
            return None
        return shown

    def _there(self, machine: Machine) -> str:
        program: str | None = machine.program(self.program)
        if program is None:
            hint = f"Install {self.title}, or put it on PATH, then run the command again."
            raise BadSetup(f"There is no `{self.program}` on PATH.", hint=hint)
        return program


def hosts() -> list[Host]:
    """Return the hosts that are known to have such commands."""
    return [
        # Seen with Codex 0.169: it replaces what is there, and removes what is not, without a word.
        Host("codex", "Codex", "codex", _after_dashes, ("mcp", "remove", SERVER), _GET),
        # Seen with 1.0.102: both are errors there.
        Host(
            "copilot",
            "Copilot CLI",
            "copilot",
            _after_dashes,
            ("mcp", "remove", SERVER),
            _GET,
            asks=True,
        ),
        # Seen with 0.61: as Codex; without `-s user` it writes into the working directory, and it
        # takes no `--` before the command. It keeps servers off in folders that are not trusted.
        Host(
            "gemini",
            "Gemini CLI",
            "gemini",
            _in_user_scope,
            ("mcp", "remove", "-s", "user", SERVER),
            ("mcp", "list"),
        ),
    ]


_GET: Final = ("mcp", "get", SERVER)


def _after_dashes(command: list[str], variables: list[str]) -> list[str]:
    pairs = [word for variable in variables for word in ("--env", variable)]
    return ["mcp", "add", SERVER, *pairs, "--", *command]


def _in_user_scope(command: list[str], variables: list[str]) -> list[str]:
    pairs = [word for variable in variables for word in ("-e", variable)]
    return ["mcp", "add", "-s", "user", *pairs, SERVER, *command]
