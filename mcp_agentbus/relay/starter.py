# SPDX-License-Identifier: Apache-2.0
"""Whether systemd or launchd keeps a listener: read from the file that tells them to.

    >>> keeps({"HOME": "/home/me"})
    False

`agentbus listen --install` writes that file. Sessions ask, so it needs the standard library only,
and does not ask the service manager itself.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from mcp_agentbus.core import hosts, places
from mcp_agentbus.core.places import Where

UNIT: Final = "agentbus-listen.service"
LABEL: Final = "dev.agentbus.listen"
# What a listener's socket depends on.
_WHERE: Final = ("AGENTBUS_HOME", "XDG_RUNTIME_DIR")
# As `installers.systemd` writes them, or a user without the quotes.
_SET: Final = re.compile(rf'({"|".join(_WHERE)})=(.*?)"?$', re.MULTILINE)


def by_launchd() -> bool:
    """Tell whether this system's service manager is launchd; else it is systemd, if any."""
    return sys.platform == "darwin"


def keeps(environ: Mapping[str, str]) -> bool:
    """Tell whether a listener is kept on the socket to which this environment leads."""
    try:
        found = _set_in_plist(environ) if by_launchd() else _set_in_unit(environ)
    except (OSError, ValueError, AttributeError):  # there is none, or it is not ours
        return False
    if places.home(found) or places.home(environ):
        return places.home(found) == places.home(environ)
    return places.runtime_folder(found) == places.runtime_folder(environ)


def unit_file(environ: Mapping[str, str]) -> str:
    """Return where systemd looks for this user's unit."""
    given = environ.get("XDG_CONFIG_HOME", "")
    folder = given if given.startswith("/") else f"{_user_home(environ)}/.config"
    return f"{folder}/systemd/user/{UNIT}"


def plist_file(environ: Mapping[str, str]) -> str:
    """Return where launchd looks for this user's plist."""
    return f"{_user_home(environ)}/Library/LaunchAgents/{LABEL}.plist"


def _set_in_unit(environ: Mapping[str, str]) -> dict[str, str]:
    with open(unit_file(environ), encoding="utf-8") as file:  # noqa: PTH123  # see `places`
        found = _SET.findall(file.read())
    return {name: re.sub(r"\\(.)", r"\1", value.replace("%%", "%")) for name, value in found}


def _set_in_plist(environ: Mapping[str, str]) -> dict[str, str]:
    # Imported late: they are for macOS.
    import plistlib
    from xml.parsers.expat import ExpatError

    with open(plist_file(environ), "rb") as file:  # noqa: PTH123
        try:
            found = plistlib.load(file).get("EnvironmentVariables", {})
        except ExpatError as error:
            raise ValueError from error
    return {name: str(found[name]) for name in _WHERE if name in found}


def _user_home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111


# Of a host's environment nothing goes to a listener that would make it look like this session.
_SESSIONS_OWN: Final = (
    "AGENTBUS_AGENT",
    "AGENTBUS_HOST",
    *(variable for host in hosts.HOSTS for variable in host.sessions_own),
)
_NEVER: Final = {"0", "off", "never", "no"}


def start_listener(where: Where) -> bool:
    """Start a listener that outlives this process; exactly one of those started stays.

    Does nothing, and returns False, where AGENTBUS_LISTENER says so, and where a service manager
    keeps one: whoever has stopped that one wants none.
    """
    import subprocess

    if where.environ.get("AGENTBUS_LISTENER", "").lower() in _NEVER:
        return False
    if keeps(where.environ):
        return False
    environ = {
        name: value for name, value in where.environ.items() if not name.startswith(_SESSIONS_OWN)
    }
    # It starts in another folder, where a relative path would lead elsewhere.
    if home := places.home(environ):
        environ["AGENTBUS_HOME"] = home
    if file := environ.get("AGENTBUS_TOKEN_FILE"):
        environ["AGENTBUS_TOKEN_FILE"] = os.path.abspath(os.path.expanduser(file))  # noqa: PTH100, PTH111
    with suppress(OSError):
        subprocess.Popen(
            [sys.executable, "-m", "mcp_agentbus", "listen", "--while-needed"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environ,
            start_new_session=True,
        )
        return True
    return False
