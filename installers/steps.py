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
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_agentbus.config import Settings
from mcp_agentbus.errors import BadSetup

#: Hosts' own commands start node, and some of them the server that they are told of.
RUN_TIMEOUT_S: Final = 120


@dataclass(frozen=True)
class Step:
    """One thing that is run or written."""

    #: One line, in the imperative: "write ~/.cursor/mcp.json: mcpServers.agentbus".
    what: str
    #: Does it; returns what is to be said besides, or nothing. Raises BadSetup with what to do.
    do: Callable[[], str]


@dataclass(frozen=True)
class Machine:
    """Where an installer works: a user's home, seen through an environment."""

    settings: Settings
    #: The `time.monotonic` at which all work here must be through: a host's command is ended then.
    ends_at: float = math.inf

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
        return Path(self.environ.get("HOME") or Path.home())

    @property
    def agentbus(self) -> list[str]:
        """The command that starts agentbus, with absolute paths, from any folder."""
        script = Path(sys.executable).with_name("agentbus")
        if script.is_file() and os.access(script, os.X_OK):
            return [str(script)]
        return [sys.executable, "-P", "-m", "mcp_agentbus"]

    def program(self, name: str) -> str | None:
        """Return where a program is on PATH; None if it is not there."""
        return shutil.which(name, path=self.environ.get("PATH", ""))

    def run(self, argv: Sequence[str], stdin: str = "", *, both: bool = False) -> str:
        """Run a host's own command; return what it printed; of its errors, too, if `both`.

        Raises:
            BadSetup: it is not there, did not end, or failed; the text holds its reason.
        """
        name = " ".join([Path(argv[0]).name, *argv[1:3]])
        limit_s = self.left_s
        try:
            ended = subprocess.run(
                argv,
                input=stdin,
                # Claude Code calls its maker at each start, for its own sake and not for this work.
                # OpenClaw calls nobody before its gateway starts.
                env={**self.environ, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
                # Hosts take the folder in which they are started for a project, even the home.
                cwd="/",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BadSetup(f"`{name}` did not end in {round(limit_s, 1):g} s.") from None
        except OSError as error:
            raise BadSetup(f"`{name}` cannot run: {error.strerror}.") from None
        if ended.returncode:
            said = (ended.stderr or ended.stdout).strip().splitlines() or ["no reason given"]
            # OpenClaw ends with a line about its help, whatever went wrong.
            reason = next((line for line in said if "Reason: " in line), said[-1])
            raise BadSetup(f"`{name}` failed: {reason[:300]}")
        return ended.stdout + ended.stderr if both else ended.stdout
