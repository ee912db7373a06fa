# SPDX-License-Identifier: Apache-2.0
"""Nothing of a test run outlives it, however it ends: one folder, and a guard over who is in it.

    folder = RunFolder()    # TMPDIR of all that the run starts
    folder.end(keep=False)  # or `kill -9` of the run: what was started for the folder is killed

Where there is room for it the folder is in memory: a tenth to a quarter of a run's processor time,
and more of its time, is writing through to the disk. A test kills processes and no machine, so
what it can find of what they wrote is the same; what a disk does when it is full is tested on disks
of their own. Root mounts a memory for each run; anybody else shares one that is there, which what
is kept of other runs may have filled. With TMPDIR set, the folder is there.

A listener, a server and a gateway detach themselves, as they must. What all of them have is a path
in the run's folder, in their arguments or their environment. The guard is a process of its own
with a pipe from the run; at the pipe's end it kills whoever has such a path, and nobody else.
"""

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

# A socket's path has 103 bytes on macOS, and the longest of a test's folder needs 75 of them.
_LONGEST = 20
_MEMORY = Path("/dev/shm")
_MOUNT = "/bin/mount"
# What a container may take, of which the machine's memory tells nothing: by either of two versions.
_LIMITS = tuple(
    Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory/memory.limit_in_bytes")
)
# Of what is free a server's store may take a quarter, and its streams ask for 5.4 GiB.
_ROOM_BYTES = 23 << 30
# What is mounted for a run alone may have as much as a store asks for at most; it takes none by that.
_OWN_BYTES = 40 << 30
# A run leaves 1.2 GiB, and its processes take about 2.
_SPARE_BYTES = 6 << 30
_KEEP = b"keep\n"
_ROUNDS = 100  # who is killed may have started another one meanwhile
_LOOK_AGAIN_S = 0.05


class RunFolder:
    """The temporary folder of one run."""

    def __init__(self) -> None:
        self.path = _own_memory() or _made(str(_MEMORY) if _in_memory() else _usual())
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.path)
        self._guard = subprocess.Popen(
            [sys.executable, "-S", __file__, str(self.path)],
            stdin=subprocess.PIPE,
            env={},
            cwd="/",
            start_new_session=True,  # what ends the run's process group does not end it
        )

    def end(self, *, keep: bool) -> None:
        """Kill what is left; remove the folder unless it is to be looked at."""
        self._guard.communicate(_KEEP if keep else b"")


def _made(within: str) -> Path:
    return Path(tempfile.mkdtemp(prefix="ab-", dir=within)).resolve()


def _usual() -> str:
    usual = tempfile.gettempdir()
    return usual if len(usual) <= _LONGEST else "/tmp"


def _own_memory() -> Path | None:
    """Mount a folder in memory for the run; return None where that cannot be, or is not to be."""
    if not _is_spare() or os.geteuid():
        return None
    folder = _made(_usual())
    options = ["-t", "tmpfs", "-o", f"mode=700,size={_OWN_BYTES}", "tmpfs", str(folder)]
    with contextlib.suppress(OSError):  # there is no `mount`
        if not subprocess.run([_MOUNT, *options], capture_output=True, check=False).returncode:
            return folder
    folder.rmdir()  # a container may not mount
    return None


def _in_memory() -> bool:
    """Tell whether a run has room for all that it writes in memory, and may run programs there."""
    if not _is_spare() or not os.access(_MEMORY, os.W_OK):
        return False
    there = os.statvfs(_MEMORY)
    return not there.f_flag & os.ST_NOEXEC and there.f_bavail * there.f_frsize >= _ROOM_BYTES


def _is_spare() -> bool:
    """Tell whether a run may fill memory: there is enough, and nobody has said another place."""
    if "TMPDIR" in os.environ:
        return False
    with contextlib.suppress(OSError, LookupError):  # not Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        spare = dict(line.split(":") for line in lines)["MemAvailable"].split()[0]
        return min(int(spare) << 10, *map(_limit, _LIMITS)) >= _SPARE_BYTES
    return False


def _limit(file: Path) -> float:
    with contextlib.suppress(OSError, ValueError):  # there is none
        return int(file.read_text())
    return math.inf


def started_for(folder: str) -> dict[int, str]:
    """Return the processes that have that folder in their arguments or environment."""
    return {pid: told for pid, told in _processes() if folder in told and pid != os.getpid()}


def _processes() -> list[tuple[int, str]]:
    if Path("/proc/self/environ").exists():
        processes = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
                told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
                processes.append((int(process.name), told.decode(errors="replace")))
        return processes
    shown = subprocess.run(
        ["ps", "eww", "-x", "-o", "pid=,command="], capture_output=True, check=False
    )
    rows = (row.split(maxsplit=1) for row in shown.stdout.decode(errors="replace").splitlines())
    return [(int(row[0]), row[-1]) for row in rows]


def _watch(folder: str) -> None:
    told = sys.stdin.buffer.read()
    pause = threading.Event()
    for _ in range(_ROUNDS):
        if not (left := started_for(folder)):
            break
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        pause.wait(_LOOK_AGAIN_S)
    _unmount(folder, keep=told == _KEEP)
    if told != _KEEP:
        shutil.rmtree(folder, ignore_errors=True)


def _unmount(folder: str, *, keep: bool) -> None:
    """Take off the small disks that tests have filled, and at last the run's own memory."""
    mounts = Path("/proc/self/mounts")
    for line in reversed(mounts.read_text().splitlines() if mounts.exists() else []):
        place = line.split()[1]
        if place.startswith(folder) and not (keep and place == folder):
            subprocess.run(["/bin/umount", "-l", place], check=False)


if __name__ == "__main__":
    _watch(sys.argv[1])
