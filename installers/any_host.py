# SPDX-License-Identifier: Apache-2.0
"""Hosts that need no more than one entry: as JSON to be pasted, or by their own one-line command.

    >>> [step.what for step in CODEX.install(machine)]
    ['run `codex mcp add agentbus -- /home/me/.venv/bin/python ... serve`']

It writes no file of a host: Codex, Copilot and Gemini write their own.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers._parts import entry, probe
from mcp_agentbus.installers._parts.entry import SERVER
from mcp_agentbus.installers.steps import Machine, Step, SwitchedOff

from mcp_agentbus.core import hosts
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup

# As Codex, Copilot and Gemini show an entry: its arguments with spaces between.
_COMMAND: Final = re.compile(r"^\s*(?:command:|Command:|\W*agentbus:) (.*)$", re.MULTILINE)
_ARGS: Final = re.compile(r"^\s*args: (.*)$", re.MULTILINE)  # Codex alone has a line for them
_LISTED: Final = re.compile(rf"^\W*{SERVER}: ")
_STATUS: Final = re.compile(r" \(\w+\) - .*$")  # of a server, behind its words in the list
# How Codex and Copilot show one that its user has disabled; Codex shows no more of it.
_OFF: Final = re.compile(rf"^{SERVER} \(disabled|^\s*Status: Disabled", re.MULTILINE)
# What Codex and Copilot say where there is none.
_NONE: Final = re.compile(rf"No MCP server named '{SERVER}'|Server \"{SERVER}\" not found")
# An argument that its user may have added; what else is shown behind `serve` is the host's word.
_ADDED: Final = re.compile(
    r"--(?:agent[ =][a-z0-9][a-z0-9_-]{0,62}|watch-max[ =][0-9a-z.]+|only[ =][0-9a-f]+)(?!\S)"
)
# Both show the names of variables and no value, Codex in one line, Copilot in a line each.
_VARIABLE: Final = re.compile(r"(?:^\s*env: |, )([A-Za-z_]\w*)=\*", re.MULTILINE)
_SET: Final = re.compile(r"^[ \t]+([A-Za-z_]\w*): +(.*)$", re.MULTILINE)
# What an entry has in any case, and how a host shows that there is nothing.
_ALWAYS: Final = frozenset(
    {"args", "command", "enabled", "env", "remove", "source", "status", "transport", "type"}
)
_UNSET: Final = frozenset({"-", "*"})


def printed(machine: Machine, agent: str | None = None) -> str:
    """Return the text of `agentbus install --print`: the JSON for any other MCP host."""
    server = entry.made(machine, agent=agent)
    return json.dumps({"mcpServers": {SERVER: server}}, indent=2, ensure_ascii=False)


@dataclass(frozen=True)
class Host:
    """A host that registers servers by commands of its own."""

    #: In the table of hosts, and as typed: `agentbus install NAME`.
    name: str
    program: str
    #: From the command that is to be registered, and variables as KEY=VALUE, to the arguments.
    add: Callable[[list[str], list[str]], list[str]]
    remove: tuple[str, ...]
    #: Shows the entry, and fails without one.
    show: tuple[str, ...]
    #: `show` shows all servers, a line each.
    lists: bool = False
    #: Adding what is there and removing what is not are errors, so that it has to be asked first.
    asks: bool = False
    #: Where in what `show` prints as JSON the entry stands with the values of its variables; empty
    #: if it prints none.
    at: str = ""
    #: How its user enables an entry again that they have disabled.
    enable: str = ""
    #: What a user may set in an entry that `show` does not show.
    unseen: str = ""

    @property
    def title(self) -> str:
        """Its name as its maker writes it."""
        return hosts.named(self.name).title

    def found(self, machine: Machine) -> str | None:
        """Return one line about the host if it is there."""
        return machine.found(self.program, self.title)

    def install(self, machine: Machine, *, agent: str | None = None) -> list[Step]:
        """Return the step that registers the server.

        Args:
            machine: where to work.
            agent: who the host's sessions are; else whom its entry names, else each folder tells.

        Raises:
            BadSetup: the host is not here or does not run, or an entry of that name starts
                something else.
        """
        shown = self._shown(machine)
        if shown and not _is_ours(machine, shown):
            undo = shlex.join([self.program, *self.remove])
            raise BadSetup(
                f"{self.title} has a server `{SERVER}` that does not start agentbus; "
                "it is left alone.",
                hint=f"`{undo}` removes it; then run the command again.",
            )
        started = _started(machine, shown)
        before: dict[str, Any] = {"args": ["serve", *_added(started)]}
        server = entry.made(machine, before, agent=agent, host=self.name)
        given = server["env"]
        if shown and started == [server["command"], *server["args"]]:
            before["env"] = self._variables(machine)
            if entry.made(machine, before, agent=agent, host=self.name)["env"] == before["env"]:
                # To add it again would write it anew, without what its user has set there.
                return [Step(f"keep the entry of {self.title}: it is there already", str)]
        variables = [f"{name}={value}" for name, value in given.items()]
        words = self.add([server["command"], *server["args"]], variables)

        def do() -> str:
            program = self._there(machine)
            there = _started(machine, self._shown(machine)) if self.asks else []
            if there:
                machine.run([program, *self.remove])
            try:
                machine.run([program, *words])
            except BadSetup:
                if there:
                    self._put_back(machine, self.add(there, variables))
                raise
            return ""

        lost = self._not_kept(shown, given) if shown else ""
        return [Step(f"run `{shlex.join([self.program, *words])}`{lost}", do)]

    def _variables(self, machine: Machine) -> dict[str, Any]:
        """Return the variables of our entry; as a first install sets them, if none are shown."""
        plain = {"AGENTBUS_HOST": self.name}
        env = self._whole(machine).get("env", plain)
        return env if isinstance(env, dict) else {}

    def _whole(self, machine: Machine) -> dict[str, Any]:
        """Return our entry with its values, as far as the host prints them; else nothing."""
        whole = self._printed(machine).get(self.at)
        return whole if isinstance(whole, dict) else {}

    def _printed(self, machine: Machine) -> dict[str, Any]:
        """Return all that the host prints of our entry as JSON; nothing if it prints none."""
        if not self.at:
            return {}
        try:
            printed = from_json(machine.run([self._there(machine), *self.show, "--json"]))
        except (BadSetup, ValueError):  # an older one prints none
            return {}
        return printed if isinstance(printed, dict) else {}

    def _not_kept(self, shown: str, given: Collection[str]) -> str:
        """Return what goes with an entry that is written anew: names, as values may be secret."""
        settings = [
            name
            for name, value in _SET.findall(shown)
            if name.lower() not in _ALWAYS and value.strip() not in _UNSET
        ]
        names = [name for name in (*_VARIABLE.findall(shown), *settings) if name not in given]
        if _OFF.search(shown):
            names.insert(0, "that it is disabled")
        lost = f"; not kept: {', '.join(names)}" if names else ""
        if not self.unseen:
            return lost
        also = "; nor is" if names else "; not kept is"
        return f"{lost}{also} what {self.title} does not show: {self.unseen}"

    def _put_back(self, machine: Machine, words: list[str]) -> None:
        """Add an entry again that was taken out for a newer one, which the host did not take.

        Raises:
            BadSetup: it does not take this one either.
        """
        try:
            machine.run([self._there(machine), *words])
        except BadSetup as error:
            again = shlex.join([self.program, *words])
            raise BadSetup(
                f"The server entry was taken out and no entry can be put in: {error.message}",
                hint=f"Run the command again; to have it as it was: `{again}`.",
            ) from None

    def uninstall(self, machine: Machine) -> list[Step]:
        """Return the step that takes the server out, if it is there.

        Raises:
            BadSetup: the host is not here or cannot tell: only it finds its entry.
        """
        if not _is_ours(machine, self._shown(machine)):
            return []

        def do() -> str:
            machine.run([self._there(machine), *self.remove])
            return ""

        return [Step(f"run `{shlex.join([self.program, *self.remove])}`", do)]

    def gone(self, machine: Machine) -> str:
        """Return the program that our entry starts, if it is not there any more; or nothing.

        Raises:
            BadSetup: as `uninstall`.
        """
        shown = self._shown(machine)
        before = _COMMAND.search(shown)
        if before is None or not _is_ours(machine, shown):
            return ""
        # Where the arguments stand behind it, a path may have spaces in it.
        words = before[1].split(" ")
        tries = [" ".join(words[: count + 1]) for count in range(len(words))]
        is_there = any(Path(each).is_file() for each in tries)
        return "" if is_there or not words[0].startswith("/") else words[0]

    def renewal(self, machine: Machine) -> list[Step]:
        """Return the steps that connect it anew, as `install`."""
        return self.install(machine)

    def verify(self, machine: Machine) -> str:
        """Ask the host for the entry, and the entry's server for its tools.

        Raises:
            SwitchedOff: its user has disabled the entry.
            BadSetup: the host has no such entry, another one, or its server does not answer.
        """
        server = entry.made(machine, host=self.name)
        shown = self._shown(machine)
        if _OFF.search(shown):
            raise SwitchedOff("Its entry is disabled.", hint=f"To enable it: {self.enable}")
        # An earlier agentbus wrote the script, which is this one, too.
        if not any(each in shown for each in (server["command"], machine.program_file)):
            raise BadSetup(
                f"`{' '.join([self.program, *self.show])}` does not show {server['command']}.",
                hint=f"Run `agentbus install {self.name}`.",
            )
        answers = probe.check(*probe.started(server, machine.environ), machine.left_s)
        return f"{self.title} has the server {SERVER}; {answers}"

    def _shown(self, machine: Machine) -> str:
        """Return what the host shows of the entry of our name; nothing if it says that it has none.

        Raises:
            BadSetup: the host is not here, or cannot tell.
        """
        program = self._there(machine)
        try:
            # Gemini shows its list where others tell errors.
            shown = machine.run([program, *self.show], both=True)
        except BadSetup as error:
            if _NONE.search(error.message):
                return ""
            told = shlex.join([self.program, *self.show])
            hint = f"See that `{told}` works, then run the command again."
            raise BadSetup(error.message, hint=hint) from None
        if self.lists:
            ours = (line for line in shown.splitlines() if _LISTED.match(line))
            shown = "".join(_STATUS.sub("", line) for line in ours)
        if _OFF.search(shown) and not _COMMAND.search(shown):
            shown += self._as_shown(machine)
        return shown

    def _as_shown(self, machine: Machine) -> str:
        """Return what the host would show of our entry if it were enabled: of values nothing."""
        printed = self._printed(machine)
        whole = printed.get(self.at)
        whole = whole if isinstance(whole, dict) else {}
        args, env = whole.get("args"), whole.get("env")
        words = " ".join(map(str, args if isinstance(args, list) else ()))
        lines = [f"  command: {whole.get('command', '')}", f"  args: {words}"]
        if env and isinstance(env, dict):
            lines.append(f"  env: {', '.join(f'{name}=*' for name in env)}")
        lines += [
            f"  {name}: set"
            for name, value in {**printed, **whole}.items()
            if value and name not in {self.at, "name", "disabled_reason"}
        ]
        return "\n".join(["", *lines, ""])

    def _there(self, machine: Machine) -> str:
        hint = f"Put `{self.program}` on PATH, then run the command again."
        return machine.needs(self.program, self.title, hint)


def _is_ours(machine: Machine, shown: str) -> bool:
    """Tell whether what a host shows starts an agentbus."""
    command, *args = _started(machine, shown) or [""]
    return entry.is_ours({"command": command, "args": args})


def _started(machine: Machine, shown: str) -> list[str]:
    """Return what the entry that a host shows starts, in words; nothing if it starts nothing.

    Of a path with spaces it cannot be told where it ends, unless it is the one of this agentbus, or
    of its script, as an earlier one wrote it.
    """
    before, behind = _COMMAND.search(shown), _ARGS.search(shown)
    if before is None:
        return []
    if behind:
        return [before[1], *behind[1].split()]
    for ours in ([*machine.agentbus, "serve"], [machine.program_file, "serve"]):
        if f"{before[1]} ".startswith(" ".join([*ours, ""])):
            return [*ours, *before[1].removeprefix(" ".join(ours)).split()]
    return before[1].split()


def _added(started: list[str]) -> list[str]:
    """Return the arguments that a user has added to an entry of ours."""
    behind = started[started.index("serve") + 1 :] if "serve" in started else []
    return [word for added in _ADDED.findall(" ".join(behind)) for word in added.split()]


def _after_dashes(command: list[str], variables: list[str]) -> list[str]:
    pairs = [word for variable in variables for word in ("--env", variable)]
    return ["mcp", "add", SERVER, *pairs, "--", *command]


def _in_user_scope(command: list[str], variables: list[str]) -> list[str]:
    pairs = [word for variable in variables for word in ("-e", variable)]
    return ["mcp", "add", "-s", "user", *pairs, SERVER, *command]


_GET: Final = ("mcp", "get", SERVER)
#: Seen with Codex 0.171: it replaces what is there, and removes what is not, without a word.
CODEX: Final = Host(
    "codex",
    "codex",
    _after_dashes,
    ("mcp", "remove", SERVER),
    _GET,
    at="transport",
    enable=f"take `enabled = false` out of [mcp_servers.{SERVER}] of ~/.codex/config.toml",
    unseen="approval modes of single tools",
)
#: Seen with 1.0.102: both are errors there.
COPILOT: Final = Host(
    "copilot",
    "copilot",
    _after_dashes,
    ("mcp", "remove", SERVER),
    _GET,
    asks=True,
    at=SERVER,
    enable=f"copilot mcp enable {SERVER}",
)
#: Seen with 0.61: as Codex; without `-s user` it writes into the working directory, and it takes no
#: `--` before the command. It keeps servers off in folders that are not trusted.
GEMINI: Final = Host(
    "gemini",
    "gemini",
    _in_user_scope,
    ("mcp", "remove", "-s", "user", SERVER),
    ("mcp", "list"),
    lists=True,
    unseen="timeout, trust, tools, variables",
)
