# SPDX-License-Identifier: Apache-2.0
"""Other processes of this machine: which one is which, whose child, when a parent ends.

    >>> mine = known(os.getpid())
    >>> mine.is_here, is_still(mine)
    (True, True)
    >>> on_end(os.getppid(), lambda: os._exit(0))  # a host's death is the end of its servers

A number alone names no process: it is given again, and another container has the same one. With
the moment of its start, and the namespace in which it is counted, it does.
"""

# No `annotations` of __future__: a named tuple compiles those, for a millisecond of each start.
import errno
import os
import select
import signal as signals
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from mcp_agentbus.core.children import threads
from mcp_agentbus.core.feather.ancestors import ANCESTORS_MAX, parent_of, ps, ps_all, status, words

# Where the system cannot tell of a parent's end, it is looked for this often, in seconds.
_LOOK_AGAIN_S: Final = 1.0
# In /proc/PID/stat behind the name, counted from 0; proc(5) counts them from 1, as 22.
_STARTED: Final = 19
# Linux takes 2 MiB of arguments and environment at most, unless somebody has raised that.
_ENVIRON_MAX_BYTES: Final = 4 << 20
_LINUX: Final = sys.platform == "linux"
# What is said of a call that the kernel does not know, or that a container does not allow.
_NO_CALL: Final = {errno.ENOSYS, errno.EPERM}
# What `machine` has found: it is asked for with each process.
_machine: Final[list[str]] = []


class Process(NamedTuple):
    """A process, told from every other one; what is not known of it is empty."""

    pid: int
    #: When it was started, in its system's words: for as long as it lives, and of no other one.
    born: str = ""
    #: The name of its machine, as people know it.
    host: str = ""
    #: Where its number counts: a boot of a machine, and there a pid namespace.
    space: str = ""
    #: Which network it has: a boot, and there a network namespace.
    network: str = ""
    #: When it was noted, in seconds since 1970.
    since: float = 0.0

    @property
    def is_here(self) -> bool:
        """Whether its number counts in this process's namespace, or nothing says otherwise."""
        return self.space in {"", space()}

    @property
    def mark(self) -> str:
        """What tells it from others of its number, in a line."""
        return f"{self.born} {self.space}"

    @classmethod
    def marked(cls, pid: int, mark: str) -> "Process":
        """Return a process of which its number and its `mark` were noted, or when it was born."""
        born, _, space = mark.partition(" ")
        return cls(pid, born, space=space)

    @property
    def where(self) -> str:
        """Where and since when it runs, for people: `pid 4711 on host web-1 ...`."""
        parts = [f"pid {self.pid}"]
        if self.host:
            parts.append(f"on host {self.host}")
        if not self.is_here:
            parts.append(f"in another pid namespace ({self.space.rpartition(' ')[2]})")
        if self.since:
            parts.append(time.strftime("since %Y-%m-%d %H:%M", time.localtime(self.since)))
        return " ".join(parts)


def known(pid: int, *, since: float | None = None) -> Process:
    """Return what tells a process from others; it was noted just now, unless told otherwise."""
    since = round(time.time(), 3) if since is None else since
    with _pinned(pid) as (_, number):
        if not number:
            return Process(pid, since=since)
        pids, net = (_namespace(str(number), kind) for kind in ("pid", "net"))
        return Process(pid, _started(number), os.uname().nodename, pids, net, since)


def space() -> str:
    """Return in which boot of which machine, and there in which namespace, numbers count here."""
    return _namespace("self", "pid")


def network() -> str:
    """Return which network this process has; empty if that is not known."""
    return _namespace("self", "net")


def sees_same_files(pid: int) -> bool:
    """Tell whether a process, seen from here, finds the same files by the same names.

    In the same namespace one may have a root of its own, as after chroot(2).
    """
    if not _LINUX:
        return True
    with suppress(OSError):
        roots = (os.stat(f"/proc/{each}/root") for each in (pid, "self"))  # noqa: PTH116
        is_one = _namespace(str(pid), "mnt") == _namespace("self", "mnt") != ""
        return is_one and os.path.samestat(*roots)
    return False


def naming() -> str:
    """Return where the machine's name counts: it is given another there, and stays the same."""
    return _namespace("self", "uts")


def holding(file: str) -> list[int]:
    """Return the other processes seen from here that have a file open, of any namespace.

    None are seen where the system does not tell, or only of another namespace's numbers.
    """
    pids = []
    with suppress(OSError):
        if _same(os.getpid()):
            for name in os.listdir("/proc"):  # noqa: PTH208
                with suppress(OSError, ValueError):
                    if int(name) != os.getpid() and _may_have_open(int(name), file):
                        pids.append(int(name))
    return pids


def started_with(*ending: str) -> list[int]:
    """Return the other processes seen from here whose command line ends in these words."""
    if not _LINUX:
        rows = (row.split(maxsplit=1) for row in ps_all("command"))
        last = " ".join(("", *ending))
        return [int(row[0]) for row in rows if row[-1].endswith(last)]
    pids = []
    with suppress(OSError):
        if _same(os.getpid()):
            for name in os.listdir("/proc"):  # noqa: PTH208
                with suppress(OSError, ValueError):  # behind the last word stands an end, too
                    if tuple(words(int(name))[-1 - len(ending) : -1]) == ending:
                        pids.append(int(name))
    return pids


def above(pid: int) -> list[int]:
    """Return the ids of a process's parent, of that one's, and so on, if the system tells."""
    ids: list[int] = []
    while (pid := parent_of(pid)) > 0 and len(ids) < ANCESTORS_MAX:
        ids.append(pid)
    return ids


def begun_with(pid: int) -> dict[str, str]:
    """Return the environment with which a process was started, whatever it has made of it since.

    Empty where the system does not tell: of other users' processes, and other than on Linux.
    """
    if not _LINUX:
        return {}
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            entries = os.fsdecode(file.read(_ENVIRON_MAX_BYTES)).split("\0")
    except OSError:
        return {}
    return {name: value for name, given, value in (e.partition("=") for e in entries) if given}


def born(pid: int) -> str:
    """Return when a process was started, in its system's words; empty if it has ended.

    The same for as long as it lives, and another one for the next process of this number.
    """
    with _pinned(pid) as (_, number):
        return _started(number) if number else ""


def is_still(process: Process, *, holding: str = "", naming: str = "") -> bool:
    """Tell whether that very process lives, here; as `signal`, without one."""
    return signal(process, 0, holding=holding, naming=naming)


def signal(process: Process, number: int, *, holding: str = "", naming: str = "") -> bool:
    """Send a signal to that very process, if it lives; return whether it does.

    Whatever runs in another pid namespace is left alone, as is what has got its number since.

    Args:
        process: which one.
        number: of the signal; 0 sends none.
        holding: a file that it must have open, where the system tells.
        naming: a word that must be in its command line, of any characters.
    """
    if not process.is_here or process.pid <= 0:
        return False
    with _pinned(process.pid) as (descriptor, shown), suppress(OSError):
        # What is read of the number that /proc shows is of this process as long as it lives: the
        # signal itself fails if it does not.
        if not shown or process.born not in {"", _started(shown)}:
            return False
        if _names(shown, naming) and _may_have_open(shown, holding):
            _send(process.pid, descriptor, number)
            return True
    return False


def opened(pid: int) -> int:
    """Return a descriptor of a process, on Linux; -1 where it gives none of any.

    Pythons that were built for Linux before 5.3 have no such call.

    Raises:
        OSError: there is no such process, or no descriptor is left.
    """
    try:
        return os.pidfd_open(pid)
    except AttributeError:
        return -1
    except OSError as error:
        if error.errno in _NO_CALL:
            return -1
        raise


def ending() -> tuple[signals.Signals, ...]:
    """Return the signals that are to end this process in good order.

    That of a terminal which is closed is none where it is ignored, as `nohup` has it.
    """
    hangs_up = signals.getsignal(signals.SIGHUP) is not signals.SIG_IGN
    return (signals.SIGINT, signals.SIGTERM, *([signals.SIGHUP] if hangs_up else []))


def on_end(parent: int, end: Callable[[], None], *, patient_s: float = 0.0) -> None:
    """Call `end`, in a thread of its own, when the parent process ends; at once if it has.

    Whoever else keeps our standard input open does not matter.

    Args:
        parent: its number, noted as this process began: an orphan's parent is another one.
        end: what to do then.
        patient_s: as in `threads.begin`.

    Raises:
        OSError: no thread is to be had.
    """
    threads.begin(_watch, parent, end, name="agentbus-parent", patient_s=patient_s)


def machine() -> str:
    """Return the number of this Mac, see gethostuuid(3): it takes another name in another network.

    Empty on other systems, and where it does not tell.
    """
    if not _machine and sys.platform == "darwin":
        import ctypes

        uuid, at_most = (ctypes.c_ubyte * 16)(), (ctypes.c_long * 2)(1, 0)
        with suppress(AttributeError):
            if ctypes.CDLL(None).gethostuuid(uuid, at_most) == 0:
                _machine.append(bytes(uuid).hex())
    return _machine[0] if _machine else ""


def _namespace(pid: str, kind: str) -> str:
    if not _LINUX:
        return machine()
    with suppress(OSError):
        namespace = os.readlink(f"/proc/{pid}/ns/{kind}")  # noqa: PTH115  # pathlib weighs a megabyte
        with open("/proc/sys/kernel/random/boot_id") as boot:  # noqa: PTH123
            return f"{boot.read().strip()} {namespace}"
    return ""


@contextmanager
def _pinned(pid: int) -> Generator[tuple[int, int], None, None]:
    """Yield a descriptor of a process, and the number by which /proc shows it; (-1, 0) of none.

    That is another one where /proc is of another namespace, as after `unshare --pid` alone.
    """
    if not _LINUX:
        yield -1, pid
        return
    descriptor, number = -1, 0
    try:
        with suppress(OSError, ValueError):
            descriptor = opened(pid)
            number = max(0, _shown(descriptor) if descriptor >= 0 else _same(pid))
        yield descriptor, number
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _shown(descriptor: int) -> int:
    with open(f"/proc/self/fdinfo/{descriptor}") as about:  # noqa: PTH123
        shown = [line.split()[1] for line in about if line.startswith("Pid:")]
    return int(shown[0]) if shown else 0


def _same(pid: int) -> int:
    """Return a number if it stands for the same process in /proc, which is of our namespace then.

    Raises:
        OSError: there is no /proc.
    """
    return pid if os.readlink("/proc/self") == str(os.getpid()) else 0  # noqa: PTH115


def _started(pid: int) -> str:
    if not _LINUX:
        return ps(pid, "lstart")
    stat = status(pid)
    return stat[_STARTED] if stat else ""


def _names(pid: int, word: str) -> bool:
    """Tell whether a word is in a command line, or none is asked for.

    `ps` tells blanks in a word, as in the paths of macOS, from those between words in no way.

    Raises:
        OSError: the process has ended.
    """
    line = words(pid)
    if _LINUX:
        return word in {"", *line}
    return not word or f" {word} " in f" {' '.join(line)} "


def _may_have_open(pid: int, file: str) -> bool:
    """Tell whether a process has a file open; where the system does not tell, it may have it.

    Raises:
        OSError: there is no such file, or it is not for us to know.
    """
    if not file or not _LINUX:
        return True
    wanted = os.stat(file)  # noqa: PTH116
    folder = f"/proc/{pid}/fd"
    for descriptor in os.listdir(folder):  # noqa: PTH208
        with suppress(FileNotFoundError):  # it was closed meanwhile
            if os.path.samestat(os.stat(f"{folder}/{descriptor}"), wanted):  # noqa: PTH116
                return True
    return False


def _send(pid: int, descriptor: int, number: int) -> None:
    if descriptor >= 0:
        try:
            signals.pidfd_send_signal(descriptor, number)
        except OSError as error:
            if error.errno not in _NO_CALL:
                raise
        else:
            return
    os.kill(pid, number)  # of a process that is not for us to signal it says so again


def _watch(parent: int, end: Callable[[], None]) -> None:
    try:
        _wait(parent)
    except (OSError, AttributeError):
        while os.getppid() == parent:
            time.sleep(_LOOK_AGAIN_S)
    end()


def _wait(parent: int) -> None:
    if sys.platform == "linux":
        descriptor = os.pidfd_open(parent)
        try:
            if os.getppid() == parent:  # else its number may be another's by now
                select.select([descriptor], [], [])
        finally:
            os.close(descriptor)
    else:
        queue = select.kqueue()
        its_end = select.kevent(
            parent, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT
        )
        if os.getppid() == parent:
            queue.control([its_end], 1)
