# SPDX-License-Identifier: Apache-2.0
"""Start a listener where none runs, unless systemd or launchd keeps one.

    >>> keeps({"HOME": "/home/me"})     # no unit of ours is in /home/me/.config/systemd/user
    False
    >>> start_listener(place)           # `agentbus listen --while-needed`, in the background
    True

Whether one is kept is read from the file that `agentbus listen --install` writes. Sessions ask, so
it needs the standard library only, and does not ask the service manager itself. It does not wait
until the listener answers, and starts none in place of a kept one: whoever stops that wants none.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from mcp_agentbus.core import hosts, places, programs
from mcp_agentbus.core.places import Where

#: What the service is called: by systemd, and by launchd.
UNIT: Final = "agentbus-listen.service"
LABEL: Final = "dev.agentbus.listen"
# With one of these in AGENTBUS_LISTENER, no session starts a listener.
_NEVER: Final = {"0", "off", "never", "no"}
# What leads to this session's listener and bus, and to this program; its host may have others.
_PLACES: Final = (
    *("HOME", "AGENTBUS_", "XDG_", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("PYTHONPATH", "PYTHONUSERBASE"),
)
# Variables that name files.
_FILES: Final = (
    *("AGENTBUS_TOKEN_FILE", "AGENTBUS_PASSWORD_FILE", "AGENTBUS_CREDS_FILE", "AGENTBUS_NKEY_FILE"),
    *("AGENTBUS_CA_FILE", "AGENTBUS_CERT_FILE", "AGENTBUS_KEY_FILE"),
    *("AGENTBUS_NATS_SERVER", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
# What a listener's socket depends on.
_SOCKETS_OWN: Final = ("AGENTBUS_HOME", "XDG_RUNTIME_DIR")
# A variable in a unit, as `installers.systemd` writes it, or a user without the quotes.
_SET_IN_UNIT: Final = re.compile(rf'({"|".join(_SOCKETS_OWN)})=(.*?)"?$', re.MULTILINE)


def start_listener(where: Where) -> bool:
    """Start a listener that outlives this process; exactly one of those started stays.

    Does nothing, and returns False, where AGENTBUS_LISTENER says so, where a service manager keeps
    one, and where no process can be started.
    """
    import subprocess

    if not is_started(where.environ):
        return False
    environ = {
        name: value
        for name, value in programs.without_project(_users(where.environ)).items()
        if not (hosts.is_of_session(name) or hosts.is_among(name, hosts.OF_MANAGER))
    }
    # It starts in another folder, where a relative path would lead elsewhere.
    if home := places.home(environ):
        environ["AGENTBUS_HOME"] = home
    for name in _FILES:
        if file := environ.get(name):
            environ[name] = places.absolute(file, where.environ)
    with suppress(OSError):
        subprocess.Popen(
            programs.ourselves("listen", "--while-needed"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environ,
            start_new_session=True,
        )
        return True
    return False


def is_started(environ: Mapping[str, str]) -> bool:
    """Tell whether a session starts a listener: its user wants that, and none is kept."""
    return environ.get("AGENTBUS_LISTENER", "").lower() not in _NEVER and not keeps(environ)


def _users(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the user has set around a session: what a listener that it starts hands on."""
    begun_with = hosts.begun_with()
    if not begun_with:
        return dict(environ)
    given = {name: begun_with[name] for name in begun_with if not hosts.is_among(name, _PLACES)}
    return given | {name: environ[name] for name in environ if hosts.is_among(name, _PLACES)}


def keeps(environ: Mapping[str, str]) -> bool:
    """Tell whether a listener is kept on the socket to which this environment leads."""
    try:
        kept = _set_in_plist(environ) if by_launchd() else _set_in_unit(environ)
    except (OSError, ValueError, AttributeError):  # there is none, or it is not ours
        return False
    if places.home(kept) or places.home(environ):
        return places.home(kept) == places.home(environ)
    return places.runtime_folder(kept) == places.runtime_folder(environ)


def by_launchd() -> bool:
    """Tell whether this system's service manager is launchd; else it is systemd, if any."""
    return sys.platform == "darwin"


def unit_file(environ: Mapping[str, str]) -> str:
    """Return where systemd looks for this user's unit."""
    given = environ.get("XDG_CONFIG_HOME", "")
    folder = given if given.startswith("/") else f"{places.user_home(environ)}/.config"
    return f"{folder}/systemd/user/{UNIT}"


def plist_file(environ: Mapping[str, str]) -> str:
    """Return where launchd looks for this user's plist."""
    return f"{places.user_home(environ)}/Library/LaunchAgents/{LABEL}.plist"


def _set_in_unit(environ: Mapping[str, str]) -> dict[str, str]:
    from mcp_agentbus.core import files  # imported late: who finds a listener needs none of it

    variables = _SET_IN_UNIT.findall(files.read_whole(unit_file(environ)).decode())
    return {name: re.sub(r"\\(.)", r"\1", value.replace("%%", "%")) for name, value in variables}


def _set_in_plist(environ: Mapping[str, str]) -> dict[str, str]:
    # Imported late: they are for macOS.
    import plistlib
    from xml.parsers.expat import ExpatError

    from mcp_agentbus.core import files

    plist = files.read_whole(plist_file(environ))
    try:
        variables = plistlib.loads(plist).get("EnvironmentVariables", {})
    except ExpatError as error:
        raise ValueError from error
    return {name: str(variables[name]) for name in _SOCKETS_OWN if name in variables}
