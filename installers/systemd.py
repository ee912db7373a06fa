# SPDX-License-Identifier: Apache-2.0
"""The listener as a systemd service of one user.

    >>> install(settings)
    ['wrote /home/me/.config/systemd/user/agentbus-listen.service', ...]

No root, no secret: the unit names programs and folders only.
"""

from __future__ import annotations

import contextlib
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
    environ = "".join(f"Environment={_quoted(word)}\n" for word in words)
    python_, *words = programs.ourselves("listen", "--replace", python=str(python))
    command = " ".join([_quoted(python_), *words])
    return _UNIT_TEXT.format(command=command, environ=environ)


def install(settings: Settings, run: Run = run_program) -> list[str]:
    """Write the unit, start it now and at each login; return what was done.

    Raises:
        BadSetup: systemd does not answer this user, or the listener did not start; then all is as
            it was before.
    """
    _systemctl(run, "show-environment")  # before anything is written
    file = unit_file(settings.environ)
    content = _wanted(settings)
    old = files.content(file)
    files.write(file, content)
    done = [f"wrote {file}"]
    try:
        _systemctl(run, "daemon-reload")
        _systemctl(run, "enable", "--now", UNIT)
        done.append(f"started {UNIT}, now and at each login")
        if old not in {None, content}:
            _systemctl(run, "restart", UNIT)
            done.append(f"restarted {UNIT}, as it has changed")
    except BadSetup:
        # Sessions start no listener where a unit is there, so none may stay that does not work.
        _undo(settings, run, old)
        raise
    done += service.left_out(settings)
    done.append("to keep it running while you are logged out: loginctl enable-linger")
    return done


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


def uninstall(settings: Settings, run: Run = run_program) -> list[str]:
    """Stop the service and leave nothing of it; return what was done.

    Raises:
        BadSetup: a file cannot be removed.
    """
    file = unit_file(settings.environ)
    link = file.parent / "default.target.wants" / UNIT
    if not file.exists() and not link.is_symlink():
        return [f"{UNIT} is not installed"]
    done = []
    try:
        _systemctl(run, "disable", "--now", UNIT)
        done.append(f"stopped {UNIT}")
    except BadSetup as error:
        done.append(f"not stopped by systemd: {error.message}")
    for path in (link, file):
        files.remove(path)
    with contextlib.suppress(OSError):  # other services have links there
        link.parent.rmdir()
    done.append(f"removed {file}")
    with contextlib.suppress(BadSetup):  # without systemd there is nothing to tell it
        _systemctl(run, "daemon-reload")
    return done


def unit_file(environ: Mapping[str, str]) -> Path:
    """Return where systemd looks for this user's unit."""
    return Path(starter.unit_file(environ))


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


def _undo(settings: Settings, run: Run, old: bytes | None) -> None:
    """Put back the unit that was there before, if one was."""
    if old is None:
        uninstall(settings, run)
        return
    files.write(unit_file(settings.environ), old)
    with contextlib.suppress(BadSetup):
        _systemctl(run, "daemon-reload")
        _systemctl(run, "restart", UNIT)


def _systemctl(run: Run, *words: str) -> None:
    hint = BY_HAND
    if words[0] in {"enable", "restart"}:
        hint = f"See `{LOG}`. {BY_HAND}"
    checked(run, "systemctl", "--user", *words, hint=hint)


def _quoted(text: str) -> str:
    """Quote one word by systemd's rules: C escapes, and %% for %."""
    check_plain(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
