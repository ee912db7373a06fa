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
    done = keep(LABEL, _wanted(settings), settings.environ, run)
    return [*done, *service.left_out(settings)]


def keep(
    label: str, content: bytes, environ: Mapping[str, str], run: Run, by_hand: str = BY_HAND
) -> list[str]:
    """Have launchd keep an agent; return what was done.

    Args:
        label: the agent's.
        content: what its plist holds.
        environ: whose.
        run: runs launchctl.
        by_hand: what to do without launchd.

    Raises: as `install`.
    """
    _launchctl(run, "print", _domain(), by_hand=by_hand)  # before anything is written
    file = plist_file(environ, label)
    old = files.content(file)
    files.write(file, content)
    done = [f"wrote {file}"]
    loaded = _is_loaded(label, run)
    if loaded and old == content:
        return [*done, f"{label} is loaded already"]
    try:
        if loaded:
            _launchctl(run, "bootout", f"{_domain()}/{label}", by_hand=by_hand)
        _launchctl(run, "bootstrap", _domain(), str(file), by_hand=by_hand)
    except BadSetup:
        # Sessions start no listener where a plist is there, so none may stay that does not work.
        _undo(file, run, old)
        raise
    return [*done, f"started {label}, now and at each login"]


def plan(settings: Settings, run: Run = run_program) -> list[str]:
    """Return what `install` would do.

    Raises:
        BadSetup: as `install`, before anything is written.
    """
    _launchctl(run, "print", _domain(), by_hand=BY_HAND)
    file = plist_file(settings.environ)
    return [f"write {file}", f"run launchctl bootstrap {_domain()} {file}"]


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


def program(settings: Settings) -> str:
    """Return what the plist starts, if that is a path; empty if it is not known."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, ExpatError):
        path = str(plistlib.loads(read_whole(plist_file(settings.environ)))["ProgramArguments"][0])
        return path if path.startswith("/") else ""
    return ""


def uninstall(settings: Settings, run: Run = run_program) -> list[str]:
    """Stop the agent and leave nothing of it; return what was done.

    Raises:
        BadSetup: the plist cannot be removed.
    """
    return drop(LABEL, settings.environ, run)


def drop(label: str, environ: Mapping[str, str], run: Run) -> list[str]:
    """Have launchd keep an agent no more, and leave nothing of it; return what was done.

    Raises: as `uninstall`.
    """
    file = plist_file(environ, label)
    if not file.exists():
        return [f"{label} is not installed"]
    done = []
    try:
        _launchctl(run, "bootout", f"{_domain()}/{label}")
        done.append(f"stopped {label}")
    except BadSetup as error:
        done.append(f"not stopped by launchd: {error.message}")
    files.remove(file)
    return [*done, f"removed {file}"]


def plist_file(environ: Mapping[str, str], label: str = LABEL) -> Path:
    """Return where launchd looks for a plist of this user's."""
    return Path(starter.plist_file(environ)).with_name(f"{label}.plist")


def restart() -> list[str]:
    """Return the command that starts the agent anew."""
    return ["launchctl", "kickstart", "-k", f"{_domain()}/{LABEL}"]


def _wanted(settings: Settings) -> bytes:
    environ = service.environ(settings)
    home, path = (environ.pop(name, None) for name in ("AGENTBUS_HOME", "PATH"))
    return plist(Path(sys.executable), home, path, environ)


def _undo(file: Path, run: Run, old: bytes | None) -> None:
    """Put back the plist that was there before, if one was."""
    if old is None:
        files.remove(file)
        return
    files.write(file, old)
    with contextlib.suppress(BadSetup):
        _launchctl(run, "bootstrap", _domain(), str(file))


def _domain() -> str:
    return f"gui/{os.getuid()}"


def _is_loaded(label: str, run: Run) -> bool:
    try:
        _launchctl(run, "print", f"{_domain()}/{label}")
    except BadSetup:
        return False
    return True


def _launchctl(run: Run, *words: str, by_hand: str = BY_HAND) -> None:
    checked(run, "launchctl", *words, hint=f"Run this command again. {by_hand}")
