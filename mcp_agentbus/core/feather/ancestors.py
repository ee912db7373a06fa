# SPDX-License-Identifier: Apache-2.0
"""What the processes above this one are called, and what /proc or `ps` says of any.

    >>> next(ancestors())
    {'bash', '-bash', ''}

Each command that is typed loads it, so it loads nothing that Python has not loaded by itself; what
can be done about a process is in `processes`.
"""

# No `annotations` of __future__ either: a file more to be found and read.
import os
import sys

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from collections.abc import Iterator

# `ps` answers in some milliseconds.
_PS_TIMEOUT_S = 5.0
# More than any shell in a terminal in an editor has.
ANCESTORS_MAX = 64
# In /proc/PID/stat behind the name, counted from 0; proc(5) counts them from 1, as 4.
_PARENT = 1
# How what runs a script is called, at the beginning: node, Python.
_INTERPRETERS = ("bun", "deno", "node", "python")
# These do too; with the whole path, if the script was typed as a program.
_SHELLS = {"bash", "dash", "sh", "zsh"}
# Their options whose value is the next word.
_WITH_VALUE = {"-C", "-W", "-X", "-r", "--conditions", "--env-file", "--import", "--loader"}
_WITH_VALUE |= {"--experimental-loader", "--require"}
# Behind these stands code; `-m` has the name of a module, which is a script's as well.
_WITH_CODE = {"-c", "-e", "-p", "--eval", "--print"}
_LINUX = sys.platform == "linux"


def ancestors() -> "Iterator[set[str]]":
    """Yield what each ancestor of this process is called, the parent first.

    That is its own name, and those of its program, of the script that it runs and of the package
    of the latter: `node .../node_modules/@anthropic-ai/claude-code/cli.js`. In small letters,
    without what follows a blank.
    """
    pid = os.getppid()
    # A parent that ends leaves its children to another, so there is no end that is sure.
    for _ in range(ANCESTORS_MAX):
        if pid <= 0:
            return
        try:
            names = {name.lower().partition(" ")[0] for name in _names(pid) if name}
        except OSError:  # it has ended
            pass
        else:
            yield names
        pid = parent_of(pid)


def parent_of(pid: int) -> int:
    """Return the id of a process's parent; 0 if it has ended, or the system does not tell."""
    if not _LINUX:
        return int(ps(pid, "ppid") or 0)
    stat = status(pid)
    return int(stat[_PARENT]) if stat else 0


def status(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat that stand behind the process's name; empty if none.

    The name stands in parentheses and may hold blanks, parentheses and ends of lines itself.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123  # pathlib weighs a megabyte
            return stat.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []


def words(pid: int) -> list[str]:
    """Return the command line of a process.

    Raises:
        OSError: it has ended.
    """
    if not _LINUX:
        return ps(pid, "command").split(" ")
    with open(f"/proc/{pid}/cmdline", "rb") as line:  # noqa: PTH123
        return [os.fsdecode(word) for word in line.read().split(b"\0")]


def _names(pid: int) -> list[str]:
    """Return the names of a process, its program and its script, and of the script's package.

    They tell which host's agent one is, so no word counts that says something else, nor a folder
    that is a user's own: `su codex`, `make claude`, `sh codex/nightly.sh`.

    Raises:
        OSError: it has ended.
    """
    name = ""
    if _LINUX:
        with open(f"/proc/{pid}/comm", "rb") as comm:  # noqa: PTH123
            name = os.fsdecode(comm.read()).strip()
    path, *given = words(pid)
    program = path.rpartition("/")[2]
    kind = program.lower()
    if kind.startswith(_INTERPRETERS):
        script = _script(given)
        return [name, program, script.rpartition("/")[2], _package(script)]
    script = given[0] if given and kind in _SHELLS else ""
    return [name, program, script.rpartition("/")[2] if "/" in script else ""]


def _package(script: str) -> str:
    """Return the package that a script is of, by the folder in which its installer keeps it."""
    _, is_kept, path = f"/{script}".rpartition("/node_modules/")
    if not is_kept:  # Cursor's CLI brings its own node
        return "cursor-agent" if "/cursor-agent/versions/" in script else ""
    within = path.partition("/")[2] if path.startswith("@") else path
    return within.partition("/")[0]


def _script(given: list[str]) -> str:
    """Return which script an interpreter was given; empty if it runs something else."""
    rest = iter(given)
    for word in rest:
        if not word.startswith("-"):
            return word
        if word in _WITH_CODE:
            return ""
        if word in _WITH_VALUE:
            next(rest, "")
    return ""


def ps(pid: int, field: str) -> str:
    """Return what `ps` says of a process; empty if nothing."""
    return _ps("-o", f"{field}=", "-p", str(pid)).strip()


def ps_all(field: str) -> list[str]:
    """Return what `ps` says of each process of this user, behind its number."""
    return _ps("-x", "-o", "pid=", "-o", f"{field}=").splitlines()


def _ps(*words: str) -> str:
    import subprocess  # where there is no /proc

    try:
        ran = subprocess.run(
            ["/bin/ps", "-ww", *words],
            env={"LC_ALL": "C", "TZ": "UTC"},  # a time of it is the same in each time zone
            capture_output=True,
            text=True,
            timeout=_PS_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout
