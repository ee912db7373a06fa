# SPDX-License-Identifier: Apache-2.0
"""What the modules for systemd and launchd share: what they write, how their programs are run.

>>> checked(run_program, "systemctl", "--user", "daemon-reload", hint=BY_HAND)
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from mcp_agentbus.config import inherited
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
    """Return what the service's listener must have to be as one that is started here.

    That is what leads to the folders and the bus, and what the hosts need that it starts: PATH,
    proxies, ways of login. None is a secret; see `left_out`.
    """
    needed, _ = inherited.lasting(settings.rules.values(), settings.environ)
    return needed | neighbour_environ(settings)


def left_out(settings: Settings) -> list[str]:
    """Return a line each for what would be of use to the service, and cannot stand in its file."""
    _, secrets = inherited.lasting(settings.rules.values(), settings.environ)
    lines = []
    if secrets:
        hint = "log hosts in by their own files, such as env of ~/.claude/settings.json"
        lines.append(f"left out {', '.join(secrets)}, as no secret is written there: {hint}")
    _, odd = inherited.parted(settings.environ)
    if odd:
        shown = ", ".join(map(repr, odd))
        lines.append(f"left out of PATH {shown}, as what is no UTF-8 cannot stand there")
    return lines


def is_fixed(name: str) -> bool:
    """Tell whether a variable leads to folders and bus; the others vary from shell to shell."""
    return name.startswith(("AGENTBUS_", "XDG_", "SSL_CERT_"))


def check_plain(text: str, hint: str = BY_HAND) -> None:
    """See that a path can stand in a service's file.

    Raises:
        BadSetup: it has a control character in it, or is no UTF-8; with this hint.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise BadSetup(f"{text!r} has a control character in it.", hint=hint)
    if inherited.NO_UTF8.search(text):
        raise BadSetup(f"{text!r} is no UTF-8.", hint=hint)
