# SPDX-License-Identifier: Apache-2.0
"""What the modules for systemd and launchd share: what they write, how their programs are run.

>>> checked(run_program, "systemctl", "--user", "daemon-reload", hint=BY_HAND)
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from mcp_agentbus.config.settings import Settings, neighbour_environ
from mcp_agentbus.core import programs
from mcp_agentbus.errors import BadSetup

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]

#: What to do without a service manager.
BY_HAND: Final = "Run `agentbus listen` by hand in a terminal, and keep that open."
# Seconds; systemd itself waits 90 for a service that says when it is ready.
_RUN_S: Final = 120


def run_program(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program of the service manager, as `core.programs` does."""
    return programs.run(argv, timeout_s=_RUN_S)


def checked(run: Run, *argv: str, hint: str) -> None:
    """Run a program that must end well.

    Raises:
        BadSetup: it is not there, did not end, or failed.
    """
    name = " ".join(argv[:3])
    try:
        ended = run(argv)
    except subprocess.TimeoutExpired:
        raise BadSetup(f"`{name}` did not end in {_RUN_S} s.", hint=hint) from None
    except OSError as error:
        raise BadSetup(f"`{name}` cannot run: {error.strerror}.", hint=hint) from None
    if ended.returncode:
        reason = (ended.stderr or ended.stdout or f"exit code {ended.returncode}").strip()
        raise BadSetup(f"`{name}` failed: {reason.splitlines()[0]}", hint=hint)


def environ(settings: Settings) -> dict[str, str]:
    """Return what the service's listener must know to find the folders and the bus of here.

    PATH is there for the programs of the hosts.
    """
    path = settings.environ.get("PATH")
    return neighbour_environ(settings) | ({"PATH": path} if path else {})


def check_plain(text: str) -> None:
    """See that a path can stand in a service's file.

    Raises:
        BadSetup: it has a control character in it.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise BadSetup(f"{text!r} has a control character in it.", hint=BY_HAND)
