# SPDX-License-Identifier: Apache-2.0
"""The listener as a systemd service of one user.

    >>> install(settings)
    ['wrote /home/me/.config/systemd/user/agentbus-listen.service', ...]

No root, no secret: the unit names programs and folders only.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mcp_agentbus.installers._parts import files, service
from mcp_agentbus.installers._parts.service import BY_HAND, Run, check_plain, checked, run_program

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import programs
from mcp_agentbus.core.files import read_whole
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.relay import starter
from mcp_agentbus.relay.starter import UNIT

NAME: Final = "systemd"
LOG: Final = f"journalctl --user -u {UNIT}"
# The program alone, as it is `quoted` or was written by a person.
_PROGRAM: Final = re.compile(r'^ExecStart=(?:"((?:[^"\\]|\\.)*)"|(/\S*))', re.MULTILINE)
LINGER: Final = "to keep it running while you are logged out: loginctl enable-linger"

# What is not here, and why: MemoryDenyWriteExecute ends the JIT of node. RestrictNamespaces ends
# the sandboxes of hosts. Protect*, Private* and CapabilityBoundingSet (ProtectClock sets it, too)
# need rights that a user's systemd has not, and agents work anywhere in their user's folders.
_UNIT_TEXT: Final = """\
[Unit]
Description=agentbus listener: wakes this user's agents
# Ten failed starts in two minutes end it; a start takes about a second.
StartLimitIntervalSec=120
StartLimitBurst=10

[Service]
Type=notify
ExecStart={command}
{environ}WatchdogSec=60
Restart=on-failure
RestartSec=2
TimeoutStopSec=15
# What runs is ended by the listener itself, or taken over by the next one.
KillMode=process
# An agent that runs out of memory does not end the listener.
OOMPolicy=continue
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes

[Install]
WantedBy=default.target
"""


def unit(
    python: Path,
    home: str | None,
    path: str | None = None,
    others: Mapping[str, str] | None = None,
) -> str:
    """Return the text of the unit; `path` is the PATH on which the hosts' programs are found.

    Raises:
        BadSetup: a path, or another variable, has a control character in it.
    """
    given = {"AGENTBUS_HOME": home, **(others or {}), "PATH": path}
    words = [f"{name}={value}" for name, value in given.items() if value]
    environ = "".join(f"Environment={quoted(word)}\n" for word in words)
    python_, *words = programs.ourselves("listen", "--replace", python=str(python))
    command = " ".join([quoted(python_), *words])
    return _UNIT_TEXT.format(command=command, environ=environ)


def install(settings: Settings, run: Run = run_program) -> list[str]:
    """Write the unit, start it now and at each login; return what was done.

    Raises:
        BadSetup: systemd does not answer this user, or the listener did not start; then all is as
            it was before.
    """
    done = keep(UNIT, _wanted(settings), settings.environ, run)
    return [*done, *service.left_out(settings), LINGER]


def keep(
    name: str, content: bytes, environ: Mapping[str, str], run: Run, by_hand: str = BY_HAND
) -> list[str]:
    """Have systemd keep a unit; return what was done.

    Args:
        name: the unit's.
        content: what its file holds.
        environ: whose.
        run: runs systemctl.
        by_hand: what to do without systemd.

    Raises: as `install`.
    """
    _systemctl(run, name, by_hand, "show-environment")  # before anything is written
    file = unit_file(environ, name)
    old = files.content(file)
    files.write(file, content)
    done = [f"wrote {file}"]
    try:
        _systemctl(run, name, by_hand, "daemon-reload")
        _systemctl(run, name, by_hand, "enable", "--now", name)
        done.append(f"started {name}, now and at each login")
        if old not in {None, content}:
            _systemctl(run, name, by_hand, "restart", name)
            done.append(f"restarted {name}, as it has changed")
    except BadSetup:
        # Sessions start no listener where a unit is there, so none may stay that does not work.
        _undo(name, environ, run, old)
        raise
    return done


def plan(settings: Settings, run: Run = run_program) -> list[str]:
    """Return what `install` would do.

    Raises:
        BadSetup: as `install`, before anything is written.
    """
    _systemctl(run, UNIT, BY_HAND, "show-environment")
    file = unit_file(settings.environ)
    return [f"write {file}", f"run systemctl --user enable --now {UNIT}"]


def is_current(settings: Settings) -> bool:
    """Tell whether the unit is what `install` would write now, but for what shells vary."""

    def rest(content: bytes) -> list[bytes]:
        return [
            line for line in content.splitlines() if not _varies(line.decode("utf-8", "replace"))
        ]

    try:
        return rest(read_whole(unit_file(settings.environ))) == rest(_wanted(settings))
    except OSError:
        return False


def program(settings: Settings) -> str:
    """Return what the unit starts, if that is a path; empty if it is not known."""
    with contextlib.suppress(OSError, ValueError):
        if found := _PROGRAM.search(read_whole(unit_file(settings.environ)).decode()):
            path = re.sub(r"\\(.)", r"\1", found[1] or found[2])
            # What else begins with % only systemd knows.
            if path.startswith("/") and "%" not in path.replace("%%", ""):
                return path.replace("%%", "%")
    return ""


def uninstall(settings: Settings, run: Run = run_program) -> list[str]:
    """Stop the service and leave nothing of it; return what was done.

    Raises:
        BadSetup: a file cannot be removed.
    """
    return drop(UNIT, settings.environ, run)


def drop(name: str, environ: Mapping[str, str], run: Run) -> list[str]:
    """Have systemd keep a unit no more, and leave nothing of it; return what was done.

    Raises: as `uninstall`.
    """
    file = unit_file(environ, name)
    link = file.parent / "default.target.wants" / name
    if not file.exists() and not link.is_symlink():
        return [f"{name} is not installed"]
    done = []
    try:
        _systemctl(run, name, BY_HAND, "disable", "--now", name)
        done.append(f"stopped {name}")
    except BadSetup as error:
        done.append(f"not stopped by systemd: {error.message}")
    for path in (link, file):
        files.remove(path)
    with contextlib.suppress(OSError):  # other services have links there
        link.parent.rmdir()
    done.append(f"removed {file}")
    with contextlib.suppress(BadSetup):  # without systemd there is nothing to tell it
        _systemctl(run, name, BY_HAND, "daemon-reload")
    return done


def unit_file(environ: Mapping[str, str], name: str = UNIT) -> Path:
    """Return where systemd looks for a unit of this user's."""
    return Path(starter.unit_file(environ)).with_name(name)


def restart() -> list[str]:
    """Return the command that starts the service anew."""
    return ["systemctl", "--user", "restart", UNIT]


def _wanted(settings: Settings) -> bytes:
    environ = service.environ(settings)
    home, path = (environ.pop(name, None) for name in ("AGENTBUS_HOME", "PATH"))
    return unit(Path(sys.executable), home, path, environ).encode()


def _varies(line: str) -> bool:
    _, begins, variable = line.partition('Environment="')
    return bool(begins) and not service.is_fixed(variable)


def _undo(name: str, environ: Mapping[str, str], run: Run, old: bytes | None) -> None:
    """Put back the unit that was there before, if one was."""
    if old is None:
        drop(name, environ, run)
        return
    files.write(unit_file(environ, name), old)
    with contextlib.suppress(BadSetup):
        _systemctl(run, name, BY_HAND, "daemon-reload")
        _systemctl(run, name, BY_HAND, "restart", name)


def _systemctl(run: Run, name: str, by_hand: str, *words: str) -> None:
    hint = by_hand
    if words[0] in {"enable", "restart"}:
        hint = f"See `journalctl --user -u {name}`. {by_hand}"
    checked(run, "systemctl", "--user", *words, hint=hint)


def command(program: str, *words: str) -> str:
    """Quote what a unit starts; a $ would begin a variable, but in the program's own place.

    Raises: as `quoted`.
    """
    return " ".join([quoted(program), *(quoted(word).replace("$", "$$") for word in words)])


def quoted(text: str) -> str:
    """Quote one word by systemd's rules: C escapes, and %% for %.

    Raises:
        BadSetup: it has a control character in it.
    """
    check_plain(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
