# SPDX-License-Identifier: Apache-2.0
"""What an installer does, as steps that can be told before they are taken.

    for step in claude_code.install(machine):
        print(step.what)     # all that --dry-run does
        step.do()

A step says exactly what it runs or writes. Each may be taken again without harm, and an installer
that is run twice leaves the same bytes as one that is run once.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers._parts import permanence

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import places, programs
from mcp_agentbus.core.text import colourless
from mcp_agentbus.errors import BadSetup

#: Hosts' own commands start node, and some of them the server that they are told of.
RUN_TIMEOUT_S: Final = 120
# What only says its version, in a second or a few, also where a machine is busy.
_VERSION_TIMEOUT_S: Final = 30
_REASON_MAX_CHARS: Final = 300
# What is set up starts this installation, and no other one of the same name.
_EMPTIED: Final = (
    "agentbus runs from {place}, which may be emptied at any time: hosts would find nothing there. "
    "Install it to stay, then run this again: uv tool install mcp-agentbus "
    "(or pipx install mcp-agentbus)"
)
_VERSION: Final = re.compile(r"\d+\.\d+(?:[\w.+-]*\w)?")


class SwitchedOff(BadSetup):
    """Its user has disabled agentbus in a host: a choice, and nothing is broken."""


@dataclass(frozen=True)
class Step:
    """One thing that is run or written."""

    #: One line, in the imperative: "write ~/.cursor/mcp.json: mcpServers.agentbus".
    what: str
    #: Does it; returns what is to be said besides, or nothing. Raises BadSetup with what to do.
    do: Callable[[], str]
    #: It only clears up: by what it takes away a host knows nothing of agentbus.
    clears: bool = False


@dataclass(frozen=True)
class Machine:
    """Where an installer works: a user's home, seen through an environment."""

    settings: Settings
    #: The `time.monotonic` at which all work here must be through: a host's command is ended then.
    ends_at: float = math.inf
    #: Hosts' programs that have said here that they run, and can do what is asked of them.
    known_to_run: set[str] = field(default_factory=set, compare=False)
    #: Those that could not say their version, and why: to ask them for more would only take time.
    known_to_fail: dict[str, str] = field(default_factory=dict, compare=False)

    #: What hosts have listed by these commands, and what their files held then.
    listed: dict[tuple[str, ...], tuple[object, list[dict[str, Any]]]] = field(
        default_factory=dict, compare=False
    )

    @property
    def left_s(self) -> float:
        """How many seconds a host's command may take from now on."""
        return min(RUN_TIMEOUT_S, max(0.0, self.ends_at - time.monotonic()))

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment; `HOME` and `PATH` of it, not of this process."""
        return self.settings.environ

    @property
    def home(self) -> Path:
        """The user's home folder."""
        return Path(places.user_home(self.environ))

    @property
    def agentbus(self) -> list[str]:
        """The command by which a host starts agentbus, from any folder.

        Hosts start it with what a project has exported, whose modules a script would take for its
        own.
        """
        return programs.ourselves()

    @property
    def program_file(self) -> str:
        """Where the script is that its user types; the Python that has agentbus without one."""
        script = Path(sys.executable).with_name("agentbus")
        is_there = script.is_file() and os.access(script, os.X_OK)
        return str(script) if is_there else sys.executable

    @property
    def warnings(self) -> list[str]:
        """What its user has to know before anything is set up that starts this agentbus."""
        place = permanence.emptied()
        return [_EMPTIED.format(place=place)] if place else []

    def program(self, name: str) -> str | None:
        """Return where a program is on PATH; None if it is not there."""
        return shutil.which(name, path=programs.path(self.environ))

    def needs(self, name: str, title: str, hint: str) -> str:
        """Return where a program is that nothing can be done without.

        Raises:
            BadSetup: it is not on PATH; `title` is its host's, `hint` says what to do.
        """
        if program := self.program(name):
            return program
        raise BadSetup(f"{title} is not on PATH.", hint=hint)

    def found(self, name: str, title: str) -> str | None:
        """Return a host's title, its version and where its program is; None if that is not here.

        Of one that does not run it says why instead of the version.
        """
        program = self.program(name)
        if program is None:
            return None
        try:
            version = _VERSION.search(self.run([program, "--version"], within_s=_VERSION_TIMEOUT_S))
        except BadSetup as error:
            self.known_to_fail[program] = error.message
            return f"{title}, {program} (does not run: {error.message})"
        return f"{title} {version[0] if version else '(unknown version)'}, {program}"

    def run(
        self,
        argv: Sequence[str],
        stdin: str = "",
        *,
        both: bool = False,
        within_s: float = RUN_TIMEOUT_S,
    ) -> str:
        """Run a host's own command; return what it printed; of its errors, too, if `both`.

        Raises:
            BadSetup: it is not there, did not end, or failed; the text holds its reason.
        """
        if fails := self.known_to_fail.get(argv[0]):
            raise BadSetup(fails)
        name = " ".join([Path(argv[0]).name, *argv[1:3]])
        limit_s = min(within_s, self.left_s)
        try:
            ended = programs.run(
                argv,
                timeout_s=limit_s,
                stdin=stdin,
                # Claude Code calls its maker at each start, for its own sake and not for this work.
                # OpenClaw calls nobody before its gateway starts.
                environ={**self.environ, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
                # Hosts take the folder in which they are started for a project, even the home.
                folder="/",
            )
        except subprocess.TimeoutExpired:
            raise BadSetup(f"`{name}` did not end in {round(limit_s, 1):g} s.") from None
        except OSError as error:
            raise BadSetup(f"`{name}` cannot run: {error.strerror}.") from None
        # Some colour this where FORCE_COLOR is exported, and Gemini its errors always.
        printed, errors = colourless(ended.stdout), colourless(ended.stderr)
        if ended.returncode:
            reason = _reason(Path(argv[0]).name, errors.strip() or printed)
            raise BadSetup(f"`{name}` failed: {reason[:_REASON_MAX_CHARS]}")
        return printed + errors if both else printed


def _reason(program: str, printed: str) -> str:
    """Return of all that a host's command printed what tells why it failed."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()] or ["no reason given"]
    # OpenClaw ends with a line about its help, whatever went wrong.
    for line in lines:
        if "Reason: " in line:
            return line
    # Codex ends with a backtrace, Copilot with what else there is, OpenClaw with how to get a Node.
    starts = re.compile(rf"error\b|{re.escape(program)}: ", re.IGNORECASE)
    first = next((place for place, line in enumerate(lines) if starts.match(line)), len(lines) - 1)
    return " ".join(lines[first:]).partition("Stack backtrace:")[0].strip()
