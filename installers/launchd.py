# SPDX-License-Identifier: Apache-2.0
"""The listener as a launchd agent of one user, on macOS.

    >>> install(settings)
    ['wrote /Users/me/Library/LaunchAgents/dev.agentbus.listen.plist', ...]

No root, no secret: the plist names programs and folders only.
"""

from __future__ import annotations

import os
import plistlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mcp_agentbus import places
from mcp_agentbus.config import Settings
from mcp_agentbus.errors import BadSetup

from .systemd import (
    BY_HAND,
    Run,
    check_plain,
    checked,
    run_program,
    user_home,
    write_whole,
)

LABEL: Final = "dev.agentbus.listen"


def plist(python: Path, home: str | None, path: str | None = None) -> bytes:
    """Return the plist; `path` is the PATH on which the hosts' programs are found.

    Raises:
        BadSetup: a path has a control character in it.
    """
    given = {"AGENTBUS_HOME": home, "PATH": path}
    environ = {name: value for name, value in given.items() if value}
    for text in (str(python), *environ.values()):
        check_plain(text)
    content: dict[str, Any] = {
        "Label": LABEL,
        "ProgramArguments": [str(python), "-P", "-m", "mcp_agentbus", "listen", "--replace"],
        "RunAtLoad": True,
        # Started again after a failure, not after an end by `agentbus`.
        "KeepAlive": {"SuccessfulExit": False},
        # Seconds between two starts; launchd's own value is 10.
        "ThrottleInterval": 10,
        # Seconds from SIGTERM to SIGKILL.
        "ExitTimeOut": 15,
        "Umask": 0o077,
    }
    if environ:
        content["EnvironmentVariables"] = environ
    return plistlib.dumps(content)


def install(settings: Settings, run: Run = run_program) -> list[str]:
    """Write the plist, start it now and at each login; return what was done.

    Raises:
        BadSetup: launchd does not answer this user, or did not take the plist.
    """
    _launchctl(run, "print", _domain())  # before anything is written
    file = plist_file(settings.environ)
    environ = settings.environ
    content = plist(Path(sys.executable), places.home(environ), environ.get("PATH"))
    same = file.exists() and file.read_bytes() == content
    write_whole(file, content)
    done = [f"wrote {file}"]
    loaded = _is_loaded(run)
    if loaded and same:
        return [*done, f"{LABEL} is loaded already"]
    if loaded:
        _launchctl(run, "bootout", f"{_domain()}/{LABEL}")
    _launchctl(run, "bootstrap", _domain(), str(file))
    return [*done, f"started {LABEL}, now and at each login"]


def uninstall(settings: Settings, run: Run = run_program) -> list[str]:
    """Stop the agent and leave nothing of it; return what was done.

    Raises:
        BadSetup: the plist cannot be removed.
    """
    file = plist_file(settings.environ)
    if not file.exists():
        return [f"{LABEL} is not installed"]
    done = []
    try:
        _launchctl(run, "bootout", f"{_domain()}/{LABEL}")
        done.append(f"stopped {LABEL}")
    except BadSetup as error:
        done.append(f"not stopped by launchd: {error.message}")
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise BadSetup(f"{file} cannot be removed: {error.strerror}.") from None
    return [*done, f"removed {file}"]


def keeps(environ: Mapping[str, str]) -> bool:
    """Tell whether the agent is installed for the home that this environment names."""
    try:
        found = plistlib.loads(plist_file(environ).read_bytes())
        given = found.get("EnvironmentVariables", {})
    except (OSError, ValueError, AttributeError, plistlib.InvalidFileException):
        return False
    return bool(given.get("AGENTBUS_HOME") == places.home(environ))


def plist_file(environ: Mapping[str, str]) -> Path:
    """Return where launchd looks for this user's plist."""
    return Path(user_home(environ), "Library", "LaunchAgents", f"{LABEL}.plist")


def _domain() -> str:
    return f"gui/{os.getuid()}"


def _is_loaded(run: Run) -> bool:
    try:
        _launchctl(run, "print", f"{_domain()}/{LABEL}")
    except BadSetup:
        return False
    return True


def _launchctl(run: Run, *words: str) -> None:
    checked(run, "launchctl", *words, hint=f"Run this command again. {BY_HAND}")
