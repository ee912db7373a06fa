# SPDX-License-Identifier: Apache-2.0
"""The listener as a systemd service of one user.

    >>> install(settings)
    ['wrote /home/me/.config/systemd/user/agentbus-listen.service', ...]

No root, no secret: the unit names programs and folders only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mcp_agentbus import places
from mcp_agentbus.config import Settings
from mcp_agentbus.errors import BadSetup

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]

UNIT: Final = "agentbus-listen.service"
# Seconds; systemd itself waits 90 for a service that says when it is ready.
_RUN_S: Final = 120
BY_HAND: Final = "Run `agentbus listen` by hand in a terminal, and keep that open."

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
ExecStart={python} -P -m mcp_agentbus listen --replace
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


def run_program(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without a terminal and within a time limit."""
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_RUN_S,
        check=False,
    )


def unit(python: Path, home: str | None, path: str | None = None) -> str:
    """Return the text of the unit; `path` is the PATH on which the hosts' programs are found.

    Raises:
        BadSetup: a path has a control character in it.
    """
    environ = _home_line(home)
    if path:
        environ += f"Environment={_quoted(f'PATH={path}')}\n"
    return _UNIT_TEXT.format(python=_quoted(str(python)), environ=environ)


def install(settings: Settings, run: Run = run_program) -> list[str]:
    """Write the unit, start it now and at each login; return what was done.

    Raises:
        BadSetup: systemd does not answer this user, or the listener did not start.
    """
    _systemctl(run, "show-environment")  # before anything is written
    file = unit_file(settings.environ)
    text = unit(Path(sys.executable), places.home(settings.environ), settings.environ.get("PATH"))
    old = file.read_text(encoding="utf-8") if file.exists() else None
    write_whole(file, text.encode())
    done = [f"wrote {file}"]
    _systemctl(run, "daemon-reload")
    _systemctl(run, "enable", "--now", UNIT)
    done.append(f"started {UNIT}, now and at each login")
    if old not in {None, text}:
        _systemctl(run, "restart", UNIT)
        done.append(f"restarted {UNIT}, as it has changed")
    done.append("to keep it running while you are logged out: loginctl enable-linger")
    return done


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
    try:
        for path in (link, file):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise BadSetup(f"{file} cannot be removed: {error.strerror}.") from None
    with contextlib.suppress(OSError):  # other services have links there
        link.parent.rmdir()
    done.append(f"removed {file}")
    with contextlib.suppress(BadSetup):  # without systemd there is nothing to tell it
        _systemctl(run, "daemon-reload")
    return done


def keeps(environ: Mapping[str, str]) -> bool:
    """Tell whether the service is installed for the home that this environment names."""
    try:
        text = unit_file(environ).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    line = _home_line(places.home(environ))
    return line in text if line else "AGENTBUS_HOME=" not in text


def _home_line(home: str | None) -> str:
    return f"Environment={_quoted(f'AGENTBUS_HOME={home}')}\n" if home else ""


def unit_file(environ: Mapping[str, str]) -> Path:
    """Return where systemd looks for this user's unit."""
    given = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(given) if given.startswith("/") else user_home(environ) / ".config"
    return folder / "systemd" / "user" / UNIT


def user_home(environ: Mapping[str, str]) -> Path:
    """Return the user's home folder."""
    return Path(environ.get("HOME") or Path.home())


def write_whole(file: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file, all of it or none of it; everybody may read it unless `mode` says otherwise.

    Raises:
        BadSetup: it cannot be written.
    """
    try:
        # Of a private file the folder is private, too.
        folder = 0o777 if mode & 0o044 else 0o700
        file.parent.mkdir(mode=folder, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as temporary:
                temporary.write(content)
                temporary.flush()
                os.fsync(temporary.fileno())
            Path(name).chmod(mode)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadSetup(f"{file} cannot be written: {error.strerror}.") from None


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
        said = (ended.stderr or ended.stdout or f"exit code {ended.returncode}").strip()
        raise BadSetup(f"`{name}` failed: {said.splitlines()[0]}", hint=hint)


def check_plain(text: str) -> None:
    """See that a path can stand in a service's file.

    Raises:
        BadSetup: it has a control character in it.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise BadSetup(f"{text!r} has a control character in it.", hint=BY_HAND)


def _systemctl(run: Run, *words: str) -> None:
    hint = BY_HAND
    if words[0] in {"enable", "restart"}:
        hint = f"See `journalctl --user -u {UNIT}`. {BY_HAND}"
    checked(run, "systemctl", "--user", *words, hint=hint)


def _quoted(text: str) -> str:
    """Quote one word by systemd's rules: C escapes, and %% for %."""
    check_plain(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
