# SPDX-License-Identifier: Apache-2.0
"""The listener as a launchd agent of one user, on macOS.

    >>> install(settings)
    ['wrote /Users/me/Library/LaunchAgents/dev.agentbus.listen.plist', ...]

No root, no secret: the plist names programs and folders only.
"""

from __future__ import annotations

import contextlib
import os
import plistlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.parsers.expat import ExpatError

from mcp_agentbus.installers._parts import files, service
from mcp_agentbus.installers._parts.service import BY_HAND, Run, check_plain, checked, run_program

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import programs
from mcp_agentbus.core.files import read_whole
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.relay import starter
from mcp_agentbus.relay.starter import LABEL

NAME: Final = "launchd"
# launchd keeps none, and a file of ours would grow without an end.
LOG: Final = ""


def plist(
    python: Path,
    home: str | None,
    path: str | None = None,
    others: Mapping[str, str] | None = None,
) -> bytes:
    """Return the plist; `path` is the PATH on which the hosts' programs are found.

    Raises:
        BadSetup: a path, or another variable, has a control character in it.
    """
    given = {"AGENTBUS_HOME": home, **(others or {}), "PATH": path}
    environ = {name: value for name, value in given.items() if value}
    for value in (str(python), *environ.values()):
        check_plain(value)
    content: dict[str, Any] = {
        "Label": LABEL,
        "ProgramArguments": programs.ourselves("listen", "--replace", python=str(python)),
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
        BadSetup: launchd does not answer this user, or did not take the plist; then the plist of
            before is back.
    """
    _launchctl(run, "print", _domain())  # before anything is written
    file = plist_file(settings.environ)
    content = _wanted(settings)
    old = files.content(file)
    files.write(file, content)
    done = [f"wrote {file}"]
    loaded = _is_loaded(run)
    if loaded and old == content:
        return [*done, f"{LABEL} is loaded already"]
    try:
        if loaded:
            _launchctl(run, "bootout", f"{_domain()}/{LABEL}")
        _launchctl(run, "bootstrap", _domain(), str(file))
    except BadSetup:
        # Sessions start no listener where a plist is there, so none may stay that does not work.
        _undo(settings, run, old)
        raise
    return [*done, f"started {LABEL}, now and at each login", *service.left_out(settings)]


def is_current(settings: Settings) -> bool:
    """Tell whether the plist is what `install` would write now, but for what shells vary."""
    try:
        there = plistlib.loads(read_whole(plist_file(settings.environ)))
        wanted = plistlib.loads(_wanted(settings))
        for plist in (there, wanted):
            given = plist.get("EnvironmentVariables", {})
            plist["EnvironmentVariables"] = {
                name: value for name, value in given.items() if service.is_fixed(name)
            }
    except (OSError, ValueError, AttributeError, ExpatError):
        return False
    return bool(there == wanted)


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
    files.remove(file)
    return [*done, f"removed {file}"]


def plist_file(environ: Mapping[str, str]) -> Path:
    """Return where launchd looks for this user's plist."""
    return Path(starter.plist_file(environ))


def restart() -> list[str]:
    """Return the command that starts the agent anew."""
    return ["launchctl", "kickstart", "-k", f"{_domain()}/{LABEL}"]


def _wanted(settings: Settings) -> bytes:
    environ = service.environ(settings)
    home, path = (environ.pop(name, None) for name in ("AGENTBUS_HOME", "PATH"))
    return plist(Path(sys.executable), home, path, environ)


def _undo(settings: Settings, run: Run, old: bytes | None) -> None:
    """Put back the plist that was there before, if one was."""
    file = plist_file(settings.environ)
    if old is None:
        files.remove(file)
        return
    files.write(file, old)
    with contextlib.suppress(BadSetup):
        _launchctl(run, "bootstrap", _domain(), str(file))


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
