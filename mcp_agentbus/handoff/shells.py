# SPDX-License-Identifier: Apache-2.0
"""What is known here of shells' sessions without opening one.

    >>> agents(settings)
    frozenset({'planner'})
    >>> gone_since(folder, session_id) is None  # some shell is left
    True
    >>> claimed_below(folder, session_id, program)
    frozenset({'7f3a9c21'})

No process of a shell's session is there between two commands. What keeps one alive is above them: a
shell in a terminal, a program that works by commands. Where none of that is left, nobody goes on.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import processes
from mcp_agentbus.core.feather import ancestors
from mcp_agentbus.core.files import own_folder, read_whole, write_whole
from mcp_agentbus.core.ids import SHELL_PREFIX
from mcp_agentbus.core.processes import Process
from mcp_agentbus.errors import BadSetup

# What tells one Linux from another, see machine-id(5); the second is of those without systemd.
_MACHINE_IDS: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")
# They go on when no shell is left below them.
_OUTLIVE: Final = frozenset({"systemd", "init", "login", "sshd", "sshd-session", "tmux", "SCREEN"})
# So many lines are noted, more than what is kept to make room: the newest shells that may live, and
# beside them the newest tasks, of shells that are gone too, as what those have left is given back.
_LINES_MAX: Final = 128
_SHELLS_KEPT: Final = 32
_TASKS_KEPT: Final = 64
# What stands before the id of a task: no process has such a number.
_TASK: Final = "task"
# Under what names machines were here: a line each, beside the shells' files.
_MACHINES: Final = "machines"
_MACHINES_MAX: Final = 64


class _Noted(NamedTuple):
    """A shell with what is above it, and tasks that were claimed or gone on with from it."""

    shell: Sequence[Process]
    tasks: frozenset[str] = frozenset()


class _Machine(NamedTuple):
    """A machine as it was seen here."""

    #: What it has for good; copies of it have that, too.
    number: str
    #: Where its name counted: for as long as it ran.
    space: str
    #: Its name then, and the one of its first use.
    name: str
    first: str


def session_id(agent: str, folder: Path) -> str:
    """Return the id of an agent's shell session: the same each time, on this machine alone.

    Two users, or two homes of one, differ by the folder in which its file lies.
    """
    machine = processes.machine() or _machine(folder)
    named = "\0".join((machine, os.path.realpath(folder), agent))
    digest = hashlib.sha256(named.encode(errors="surrogateescape"))
    return SHELL_PREFIX + digest.hexdigest()[:16]


def _machine(folder: Path) -> str:
    """Return a Linux's number with its name, the one of its first use if it was renamed since.

    Copies have its number and its files, as containers of an image may. They run on their own, so
    one that has another name is another machine, as is one that was renamed while it was off; only
    of a copy of a running one's memory nothing tells.
    """
    number, name, space = _number(), socket.gethostname(), processes.naming()
    known = _machines(folder)
    same = [each for each in known if each.number == number and _is_same(each, name, space)]
    first = same[-1].first if same else name
    now = _Machine(number, space, name, first)
    if now not in known:
        lines = ["\t".join(each) for each in (*known, now)][-_MACHINES_MAX:]
        with suppress(OSError, BadSetup):  # then it is known by the name of now
            own_folder(folder)
            content = "\n".join(lines).encode(errors="surrogateescape")
            write_whole(folder / _MACHINES, content, durable=False)
    return f"{number} {first}"


def _is_same(seen: _Machine, name: str, space: str) -> bool:
    return seen.name == name or (bool(space) and seen.space == space)


def _machines(folder: Path) -> list[_Machine]:
    """Return what was noted of machines; nothing if it cannot be read."""
    with suppress(OSError):
        lines = read_whole(folder / _MACHINES).decode(errors="surrogateescape").split("\n")
        each = (line.split("\t") for line in lines)
        return [_Machine(*fields) for fields in each if len(fields) == len(_Machine._fields)]
    return []


def _number() -> str:
    """Return what this Linux has for good; empty if it has nothing of that kind."""
    number = ""
    for path in _MACHINE_IDS:
        with suppress(OSError, ValueError):
            number = number or read_whole(path).decode("ascii").strip()
    return number


def file_of(folder: Path, agent: str) -> Path:
    """Return where an agent remembers what its next task goes on from."""
    return folder / f"{SHELL_PREFIX}{agent}.jsonl"


def agents(settings: Settings) -> frozenset[str]:
    """Return the agents that had a shell's session here."""
    files = settings.state_dir.glob(file_of(Path(), "*").name)
    return frozenset(file.stem.removeprefix(SHELL_PREFIX) for file in files)


def above(pid: int) -> list[Process]:
    """Return the processes above a command that end with its shell, the nearest first.

    None where the system does not tell. This process, which does the command for it, is none of
    them: a listener outlives the programs that it has woken.
    """
    shell = []
    for each in processes.above(pid):
        with suppress(OSError):  # it has ended
            # Some write what they do behind their name: `sshd: me@pts/0`.
            program = ancestors.words(each)[0].partition(": ")[0]
            name = program.rpartition("/")[2].partition(" ")[0].rstrip(":")
            if each in {1, os.getpid()} or name in _OUTLIVE:
                break
            shell.append(processes.known(each))
    return shell


def note(folder: Path, session: str, shell: Sequence[Process], tasks: Collection[str] = ()) -> None:
    """Note from which shell a command of a session was typed, as `above`.

    With the tasks that it has claimed or gone on with: they are of the shell noted last with them.

    Raises:
        OSError: the file cannot be written.
        BadSetup: the folder is another user's.
    """
    if not shell:
        return
    file, known, new = _noted_in(folder, session), _noted(folder, session), frozenset(tasks)
    line, by_task = _line(shell), _by_task(known)
    is_known = any(_line(one.shell) == line for one in known)
    if is_known and all(_line(by_task.get(task_id, ())) == line for task_id in new):
        os.utime(file)
        return
    own_folder(folder)
    if len(known) >= _LINES_MAX:
        # A loss of power ends all shells.
        lines = [_line(*one) for one in _kept([*known, _Noted(shell, new)])]
        write_whole(file, b"".join(lines), durable=False)
        return
    # In one go, and beside others that do the same.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(file, flags, 0o600)
    try:
        os.write(descriptor, _line(shell, new))
    finally:
        os.close(descriptor)


def _kept(known: Sequence[_Noted]) -> list[_Noted]:
    """Return of what was noted what is kept, each shell once, with the tasks that are its own."""
    kept, seen, shells = dict[bytes, _Noted](), set[str](), 0
    for one in reversed(known):
        line = _line(one.shell)
        tasks = one.tasks - seen if len(seen) < _TASKS_KEPT else frozenset()
        seen |= one.tasks
        if tasks or line in kept:
            before = kept[line].tasks if line in kept else frozenset()
            kept[line] = _Noted(one.shell, before | tasks)
        elif shells < _SHELLS_KEPT and not _is_gone(one.shell):
            shells += 1
            kept[line] = one._replace(tasks=frozenset())
    return [*reversed(kept.values())]


def claimed_below(folder: Path, session: str, process: Process) -> frozenset[str]:
    """Return the tasks that commands below a process have claimed, if it and they are gone.

    But those that another shell has gone on with since; and what it has started and that has left
    its group may go on with them.
    """
    wanted = Process.marked(process.pid, process.mark)
    return frozenset(
        task_id
        for task_id, shell in _by_task(_noted(folder, session)).items()
        if wanted in shell and _is_gone(shell[: shell.index(wanted) + 1])
    )


def gone_since(folder: Path, session: str) -> datetime | None:
    """Return when a command was typed last from shells of which none is left; None if one may be.

    What a session has claimed later was claimed by other ways, of which nothing is noted.
    """
    known = _noted(folder, session)
    with suppress(OSError):
        if known and all(_is_gone(one.shell) for one in known):
            return datetime.fromtimestamp(_noted_in(folder, session).stat().st_mtime, UTC)
    return None


def _noted_in(folder: Path, session: str) -> Path:
    return folder / f"{session}.above"


def _line(shell: Sequence[Process], tasks: Collection[str] = ()) -> bytes:
    fields = [f"{each.pid} {each.mark}" for each in shell]
    fields += [f"{_TASK} {task_id}" for task_id in sorted(tasks)]
    return "\t".join(fields).encode() + b"\n"


def _noted(folder: Path, session: str) -> list[_Noted]:
    """Return what was noted, a shell with what is above it each; none if it cannot be read."""
    try:
        lines = read_whole(_noted_in(folder, session)).decode().splitlines()
        return [_read(line.split("\t")) for line in lines]
    except (OSError, ValueError):
        return []


def _by_task(known: Sequence[_Noted]) -> dict[str, Sequence[Process]]:
    """Return the shell that was noted last with each task."""
    return {task_id: one.shell for one in known for task_id in one.tasks}


def _read(fields: Sequence[str]) -> _Noted:
    each = [field.partition(" ") for field in fields]
    tasks = frozenset(task_id for kind, _, task_id in each if kind == _TASK)
    return _Noted([_marked(*field) for field in each if field[0] != _TASK], tasks)


def _marked(pid: str, _: str, mark: str) -> Process:
    if not mark.strip():  # a number alone names no process
        raise ValueError
    return Process.marked(int(pid), mark)


def _is_gone(shell: Sequence[Process]) -> bool:
    return not any(map(_may_live, shell))


def _may_live(process: Process) -> bool:
    if process.is_here:
        return processes.is_still(process)
    # Of another container's numbers nobody here can tell; of another boot none is left.
    return process.space.partition(" ")[0] == processes.space().partition(" ")[0]
