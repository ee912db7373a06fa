# SPDX-License-Identifier: Apache-2.0
"""Where this user's folders are, and where their processes meet, from the environment.

    >>> runtime_folder({"AGENTBUS_HOME": "/bus"})
    '/bus/run'
    >>> state_folder({"HOME": "/home/me"})
    '/home/me/.local/state/agentbus'

Apart from `config`, since a relayed session and a command have to know no more than this. It loads
nothing that Python has not loaded by itself, and makes no folder unless it is told to.
"""

# No `annotations` of __future__ either: a file more to be found and read.
import os
import sys

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    class Where(Protocol):
        """What leads to this user's listener: a `Place`, or `settings.Settings`."""

        @property
        def runtime_dir(self) -> str | os.PathLike[str]:
            """The folder of its socket."""

        @property
        def environ(self) -> Mapping[str, str]:
            """The environment."""

else:
    Where = object  # for annotations that Python evaluates

# Where systemd keeps the runtime folders of users, by their numbers (pam_systemd(8)).
_USERS = "/run/user"
# The variables on which the platform's folders depend, and what is below the home without them: as
# the XDG Base Directory Specification says, and on other systems what their own guides say.
_BELOW_HOME = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
}
_ELSEWHERE = {"darwin": "Library/Application Support", "win32": "AppData/Local"}
_NAME_ONE = "Name a folder of yours in AGENTBUS_HOME, such as: export AGENTBUS_HOME=/path"
_DELETED = " (deleted)"


class Place:
    """What leads to the listener before its configuration is read."""

    def __init__(self, runtime_dir: str, environ: "Mapping[str, str]") -> None:
        self.runtime_dir = runtime_dir
        self.environ = environ


def home(environ: "Mapping[str, str]") -> str | None:
    """Return the one folder for everything, if AGENTBUS_HOME names one.

    Raises:
        BadSetup: it names one by what is not there: a home, or a working folder.
    """
    given = environ.get("AGENTBUS_HOME")
    if not given:
        return None
    folder = os.path.expanduser(given)  # noqa: PTH111
    if folder.startswith("~"):
        raise _bad_setup(f"AGENTBUS_HOME is {given}, and there is no such home.", hint=_NAME_ONE)
    try:
        return os.path.abspath(folder)  # noqa: PTH100
    except OSError:
        raise _bad_setup(
            f"AGENTBUS_HOME is {given}, in a working folder that is gone.", hint=_NAME_ONE
        ) from None


def user_home(environ: "Mapping[str, str]") -> str:
    """Return the user's home: HOME if it is an absolute path, else what the system says.

    Raises:
        BadSetup: there is none.
    """
    given = environ.get("HOME", "")
    if given.startswith("/"):
        return given.rstrip("/") or "/"
    if os.name != "posix":
        return os.path.expanduser("~")  # noqa: PTH111
    # Imported late: few need it.
    import pwd

    try:
        known = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        known = ""
    if known.startswith("/"):
        return known.rstrip("/") or "/"
    raise _bad_setup(
        f"There is no home folder: HOME is not set, and user {os.getuid()} has no account here.",
        hint=_NAME_ONE,
    )


def login() -> str:
    """Return the name of who runs this, as the system has it; the number of who has none."""
    if os.name != "posix":
        return os.environ.get("USERNAME", "")
    # Imported late: few need it.
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container
        return str(os.getuid())


def xdg_folders(environ: "Mapping[str, str]") -> dict[str, str]:
    """Return the folders to which XDG_CONFIG_HOME, XDG_DATA_HOME and XDG_STATE_HOME lead.

    A variable that is unset, or no absolute path, leads to its default; so one that names its
    default is the same as none.

    Raises:
        BadSetup: as `user_home`.
    """
    return {name: _xdg_folder(environ, name) for name in _BELOW_HOME}


def state_folder(environ: "Mapping[str, str]") -> str:
    """Return where lies what must outlive a reboot, but is not the bus's data.

    Raises:
        BadSetup: as `home` and `user_home`.
    """
    if everything := home(environ):
        return f"{everything}/state"
    return os.path.join(_xdg_folder(environ, "XDG_STATE_HOME"), "agentbus")  # noqa: PTH118


def runtime_folder(environ: "Mapping[str, str]") -> str:
    """Return the listener's folder, which need not be there.

    It is in the one of the login where there is one, else in the state folder.

    Raises:
        BadSetup: as `state_folder`.
    """
    if everything := home(environ):
        return f"{everything}/run"
    if of_login := login_folder(environ):
        return f"{of_login}/agentbus"
    return f"{state_folder(environ)}/run"


def login_folder(environ: "Mapping[str, str]") -> str:
    """Return the folder that the system removes at logout; "" if it has none.

    By it the user's systemd is reached, and a listener: see the XDG Base Directory Specification. A
    shell without a login (cron, su, ssh with a command) lacks the variable, and must find the same
    as one with it.
    """
    mine = f"{_USERS}/{os.getuid()}" if os.name == "posix" else ""
    for folder in (environ.get("XDG_RUNTIME_DIR", ""), mine):
        try:
            if folder.startswith("/") and os.stat(folder).st_uid == os.getuid():  # noqa: PTH116
                return folder
        except OSError:
            continue
    return ""


def lacking_login(environ: "Mapping[str, str]") -> str:
    """Return what a shell without a login lacks, as NAME=VALUE; "" if that is not so."""
    folder = login_folder(environ)
    lacks = folder and folder != environ.get("XDG_RUNTIME_DIR")
    return f"XDG_RUNTIME_DIR={folder}" if lacks else ""


def own_folders(environ: "Mapping[str, str]") -> tuple[str, ...]:
    """Return the folders that are agentbus' own, of this user: settings, data, state, sockets.

    Raises:
        BadSetup: as `state_folder`.
    """
    if everything := home(environ):
        return (everything,)
    kinds = xdg_folders(environ).values()
    return (*(f"{folder}/agentbus" for folder in kinds), runtime_folder(environ))


def working_folder(environ: "Mapping[str, str]") -> str:
    """Return the working folder; where it is gone, what it was called.

    Raises:
        BadSetup: it is gone, and nothing says what it was called.
    """
    try:
        return os.getcwd()  # noqa: PTH109  # pathlib weighs a megabyte
    except OSError:
        pass
    try:
        return os.readlink("/proc/self/cwd").removesuffix(_DELETED)  # noqa: PTH115
    except OSError:
        pass
    if (said := environ.get("PWD", "")).startswith("/"):
        return said
    raise _bad_setup("The working folder is gone.", hint="Run: cd ~")


def absolute(path: str, environ: "Mapping[str, str]") -> str:
    """Return a path that leads to the same from any folder.

    Raises:
        BadSetup: as `working_folder`.
    """
    path = os.path.expanduser(path)  # noqa: PTH111
    if not os.path.isabs(path):  # noqa: PTH117
        path = f"{working_folder(environ)}/{path}"
    return os.path.normpath(path)


def _xdg_folder(environ: "Mapping[str, str]", name: str) -> str:
    given = environ.get(name, "")
    if not given.startswith("/"):
        below = _ELSEWHERE.get(sys.platform, _BELOW_HOME[name])
        given = os.path.join(user_home(environ), below)  # noqa: PTH118
    return os.path.normpath(given)


def make_private(folder: "str | os.PathLike[str]") -> None:
    """Make a folder and those above it that are missing, each for this user alone.

    Whatever the umask: `mkdir -p` leaves those above to it, and who can write there can put another
    folder in the place of this one.

    Raises:
        BadSetup: it would be root's among the folders of whoever typed sudo.
        OSError: one cannot be made, or something else is there.
    """
    path, missing = os.path.abspath(folder), []  # noqa: PTH100
    while not os.path.exists(path):  # noqa: PTH110
        missing.append(path)
        path = os.path.dirname(path)  # noqa: PTH120
    _check_by_sudo(os.path.abspath(folder), path)  # noqa: PTH100
    for place in reversed(missing):
        try:
            os.mkdir(place, 0o700)  # noqa: PTH102
        except FileExistsError:  # another process has just made it
            pass
    if not os.path.isdir(folder):  # noqa: PTH112
        import errno  # few need it

        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def _check_by_sudo(folder: str, there: str) -> None:
    """See that root makes nothing in a home that sudo has kept: its own user could not use it then.

    Only of this program's own folders: any other one was named to it. Who is root without sudo, as
    in a container whose home is a mounted one, has no other user.
    """
    by = os.environ.get("SUDO_UID", "0")
    if os.name != "posix" or os.geteuid() or by == "0" or str(os.stat(there).st_uid) != by:  # noqa: PTH116
        return
    if any(f"{folder}/".startswith(f"{own}/") for own in own_folders(os.environ)):
        raise _bad_setup(
            f"{folder} would belong to root, and lies among the folders of user {by}.",
            hint="Run this as the user whose folder it is: without sudo, or with `sudo -H`.",
        )


def _bad_setup(message: str, *, hint: str) -> Exception:
    from mcp_agentbus.errors import BadSetup  # few meet it

    return BadSetup(message, hint=hint)
