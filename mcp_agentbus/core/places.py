# SPDX-License-Identifier: Apache-2.0
"""Where this user's processes meet: the folder of the listener's socket, from the environment.

    >>> runtime_folder({"AGENTBUS_HOME": "/bus"})
    '/bus/run'

Apart from `config`, since a relayed session has to know no more than this, and imports little. It
makes no folder.
"""

# No `annotations` of __future__: a named tuple compiles those, for a millisecond of each start.
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

# Where systemd keeps the runtime folders of users, by their numbers (pam_systemd(8)).
_USERS: Final = "/run/user"


class Where(Protocol):
    """What leads to this user's listener: a `Place`, or `config.Settings`."""

    @property
    def runtime_dir(self) -> str | os.PathLike[str]:
        """The folder of its socket."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment."""


class Place(NamedTuple):
    """What leads to the listener before its configuration is read."""

    runtime_dir: str
    environ: Mapping[str, str]


def home(environ: Mapping[str, str]) -> str | None:
    """Return the one folder for everything, if AGENTBUS_HOME names one."""
    given = environ.get("AGENTBUS_HOME")
    return os.path.abspath(os.path.expanduser(given)) if given else None  # noqa: PTH100, PTH111


def runtime_folder(environ: Mapping[str, str]) -> str:
    """Return the listener's folder, which need not be there.

    It is one that is removed at logout where the system has one (see the XDG Base Directory
    Specification), else it is in the state folder. A shell without a login (cron, su, ssh with a
    command) lacks the variable, and must find the same listener as one with it.
    """
    if everything := home(environ):
        return f"{everything}/run"
    mine = f"{_USERS}/{os.getuid()}" if os.name == "posix" else ""
    for folder in (environ.get("XDG_RUNTIME_DIR", ""), mine):
        with suppress(OSError):
            if folder.startswith("/") and os.stat(folder).st_uid == os.getuid():  # noqa: PTH116
                return f"{folder}/agentbus"
    # Imported late: few need it.
    import platformdirs

    return f"{platformdirs.user_state_dir('agentbus', appauthor=False)}/run"
