# SPDX-License-Identifier: Apache-2.0
r"""Starts programs: this one again, and nothing of a project's; another to its end.

    >>> ourselves("listen", "--while-needed")
    ['/home/me/.venv/bin/python', '-E', '-P', '-m', 'mcp_agentbus', 'listen', '--while-needed']
    >>> run(["nats-server", "--version"], timeout_s=10).stdout
    'nats-server: v2.15.1\n'

Hosts start us in folders of projects, and with what is exported there: a `json.py`, `nats.py` or
`mcp_agentbus/` of a project is none of ours. What a failure means is for a caller to say. Nothing
that a model or a host's session waits for is run to its end here: those live on, and are ended
together with what they have started. What renews this installation is said here, and typed by
whoever reads it.
"""

# Loaded before a project is off the path: nothing but these two, which Python itself has loaded.
import os
import sys

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Literal

_PACKAGE = "mcp_agentbus"
_NAME = "mcp-agentbus"
# What brings this installation up to date, has all its files anew, or adds an extra: by the file
# that a program leaves in the environments that it makes.
_INSTALLS = {
    "uv-receipt.toml": {
        "upgrade": "uv tool upgrade {}",
        "again": "uv tool upgrade --reinstall {}",
        "add": "uv tool install {}",
    },
    "pipx_metadata.json": {
        "upgrade": "pipx upgrade {}",
        "again": "pipx reinstall {}",
        "add": "pipx install --force {}",
    },
}
# The `pip` of a shell may be another Python's.
_PIP_INSTALLS = {
    "upgrade": "{python} -m pip install --upgrade {}",
    "again": "{python} -m pip install --force-reinstall {}",
    "add": "{python} -m pip install {}",
}
#: The folder in which Python has found this package; or a zip, which it takes for one.
OWN = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120


def ourselves(*words: str, module: str = _PACKAGE, python: str = sys.executable) -> list[str]:
    """Return the command that starts this agentbus, whatever the folder and what is exported there.

    Args:
        words: its arguments.
        module: another part of the package that is run as a program.
        python: the interpreter that has the package.
    """
    # -P: nothing of the folder in which it is started. -E: nothing by what is exported there,
    # unless we are found by that ourselves. Not -I, which would take `pip install --user` away.
    base = os.environ.get("PYTHONUSERBASE")
    needs = OWN in _exported(os.environ) or (base and OWN.startswith(_absolute(base) + os.sep))
    apart = ["-P"] if needs else ["-E", "-P"]
    return [python, *apart, "-m", module, *words]


def install_line(do: "Literal['upgrade', 'again', 'add']", extra: str = "") -> str:
    """Return what to type to renew this installation, or to add an extra, by what has made it."""
    import shlex  # for an error alone

    made = (_INSTALLS[file] for file in _INSTALLS if os.path.exists(f"{sys.prefix}/{file}"))  # noqa: PTH110
    what = shlex.quote(f"{_NAME}[{extra}]" if extra else _NAME)
    return next(made, _PIP_INSTALLS)[do].format(what, python=shlex.quote(sys.executable))


def forget_project() -> None:
    """Take off `sys.path` what a project has put there: the working folder, and PYTHONPATH.

    Where this package itself is found by one of them, that stays.
    """
    has_folder = bool(sys.path) and not sys.flags.safe_path
    if has_folder and _absolute(sys.path[0]) == _absolute("") and _absolute("") != OWN:
        del sys.path[0]
    exported = _exported(os.environ)
    if OWN in exported:
        return
    # Somebody may export what Python has anyway, and would leave it without that.
    import site

    needed = [os.path.dirname(os.__file__), *site.getsitepackages()]  # noqa: PTH120
    sys.path[:] = [
        folder for folder in sys.path if _absolute(folder) not in exported or folder in needed
    ]


def without_project(environ: "Mapping[str, str]") -> dict[str, str]:
    """Return an environment without one project's modules, for what works in many projects."""
    if OWN in _exported(environ):
        return dict(environ)
    return {name: value for name, value in environ.items() if name != "PYTHONPATH"}


def _exported(environ: "Mapping[str, str]") -> list[str]:
    """Return the folders of PYTHONPATH; an empty one in it is the working folder."""
    given = environ.get("PYTHONPATH")
    return [_absolute(folder) for folder in given.split(os.pathsep)] if given else []


def _absolute(folder: str) -> str:
    try:
        return os.path.abspath(folder)  # noqa: PTH100
    except OSError:  # the working folder is gone
        return folder


def folders(environ: "Mapping[str, str]") -> list[str]:
    """Return the folders of PATH that are the same from everywhere.

    By a relative or an empty one each project could put its own program in the place of another.
    """
    return [name for name in environ.get("PATH", "").split(os.pathsep) if os.path.isabs(name)]  # noqa: PTH117


def path(environ: "Mapping[str, str]") -> str:
    """Return PATH without what leads elsewhere from each folder, see `folders`."""
    return os.pathsep.join(folders(environ))


def run(
    argv: "Sequence[str | Path]",
    *,
    timeout_s: float,
    stdin: str = "",
    environ: "Mapping[str, str] | None" = None,
    folder: str | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a program; return its exit code and what it printed, whatever its bytes.

    Args:
        argv: the program and its arguments; no shell reads them.
        timeout_s: it is killed after so many seconds.
        stdin: what it can read.
        environ: its environment, this process's own if not given.
        folder: where it works, here if not given.

    Raises:
        OSError: it is not there, or cannot be run.
        subprocess.TimeoutExpired: it did not end in time.
    """
    import subprocess  # not for those who start nothing to its end

    given = os.environ if environ is None else environ
    if "PATH" in given:
        given = {**given, "PATH": path(given)}
    return subprocess.run(
        argv,
        input=stdin,
        env=given,
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
