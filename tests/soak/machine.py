# SPDX-License-Identifier: Apache-2.0
"""What runs and lies on the machine for a run: its processes, what they take, its files.

    >>> processes(folder)
    [Process(pid=4711, kind='listener', ...), ...]

By /proc alone, so Linux only; whoever has the run's folder in its arguments or environment is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# How each is told by its arguments, the first that fits.
_KINDS = (
    ("woken.py", "woken"),
    ("agentbus_hook.py", "hook"),
    # An account's own, which keeps what it has sent while the bus was away.
    ("/accounts/", "outbox"),
    ("nats.conf", "server"),
    (" server gate", "gate"),
    ("guard.py", ""),
    (" listen", "listener"),
    (" serve ", "session"),
    ("worker.py", "python"),
    (" work ", "worker"),
    ("toiling.py", "program"),
    ("mcp_agentbus", "command"),
)


@dataclass(frozen=True)
class Process:
    """A process of the run."""

    pid: int
    kind: str
    argv: str
    parent: int


@dataclass(frozen=True)
class Sample:
    """What a process takes at a moment."""

    at: float
    pid: int
    kind: str
    rss_mb: float
    descriptors: int
    cpu_s: float


def processes(folder: Path) -> list[Process]:
    """Return the processes of a run but for this one and its guard; zombies are none."""
    told = os.fsencode(folder)
    running = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            argv = (entry / "cmdline").read_bytes()
            if pid == os.getpid() or not argv:
                continue
            if told in argv or told in (entry / "environ").read_bytes():
                line = argv.replace(b"\0", b" ").decode(errors="replace")
                kind = next((kind for word, kind in _KINDS if word in line), "other")
                if kind:
                    running.append(Process(pid, kind, line.strip(), _parent(entry)))
    return sorted(running, key=lambda process: process.pid)


def _parent(process: Path) -> int:
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def sample(process: Process, at: float) -> Sample | None:
    """Return what a process takes; None if it has ended."""
    folder = Path(f"/proc/{process.pid}")
    with contextlib.suppress(OSError):
        after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(after_name[11]) + int(after_name[12])) / _TICKS
        rss = int((folder / "statm").read_text().split()[1]) * _PAGE / (1 << 20)
        descriptors = len(list((folder / "fd").iterdir()))
        return Sample(at, process.pid, process.kind, rss, descriptors, cpu_s)
    return None


def faulty_files(home: Path) -> list[str]:
    """Return what is wrong with the files that the bus keeps: open to others, cut short, damaged."""
    complaints = []
    for folder in (home / "data", home / "state", home / "run"):
        paths = [folder, *folder.rglob("*")] if folder.exists() else []
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                about = path.lstat()
                if stat.S_IMODE(about.st_mode) & 0o077 and home / "data/store" not in path.parents:
                    complaints.append(
                        f"{path.relative_to(home)} is open: {about.st_mode & 0o777:o}"
                    )
                if path.suffix == ".json" and stat.S_ISREG(about.st_mode):
                    complaints += _damaged(path, home)
    for ledger in (home / "state").glob("*.db"):
        with (
            # A full disk has no room for what a look at it needs.
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as opened,
        ):
            [[verdict]] = opened.execute("PRAGMA quick_check")
            if verdict != "ok":
                complaints.append(f"{ledger.name}: {verdict}")
    return complaints


def _damaged(path: Path, home: Path) -> list[str]:
    try:
        json.loads(path.read_text() or "{}")  # a full disk may leave it empty
    except ValueError as error:
        return [f"{path.relative_to(home)} is no JSON: {error}"]
    return []


def tracebacks(logs: Path) -> list[tuple[str, str]]:
    """Return the name of each log that has a traceback in it, and its end."""
    shown = []
    for log in sorted(logs.iterdir()):
        said = log.read_text(errors="replace")
        if "Traceback (most recent call last)" in said:
            last = said[said.rindex("Traceback") :].strip().splitlines()
            end = " | ".join(line.strip() for line in last[-4:])
            shown.append((log.name, f"{log.name}: {end}"))
    return shown
