# SPDX-License-Identifier: Apache-2.0
"""Where a run's processes are started: the home of a user, the logs, and what they know of both.

>>> place = Place(environ(folder / "home", folder), folder / "logs")
>>> with place.log("ana-1#1") as log: ...
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO


@dataclass
class Place:
    """Where the run's processes are started: one user's home."""

    environ: dict[str, str]
    logs: Path
    #: Whose inbox is looked at there.
    reader: str = "ana"
    #: Which account of a shared bus that user is.
    account: str = ""
    #: Commands under way, for who kills one.
    commands: set[asyncio.subprocess.Process] = field(default_factory=set)
    #: Whatever was begun and goes on by itself.
    background: list[asyncio.subprocess.Process] = field(default_factory=list)
    #: When each process was begun that says what is wrong in a log, by the log's name; monotonic.
    begun: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def home(self) -> Path:
        """The folder of its user."""
        return Path(self.environ["HOME"])

    @property
    def mark(self) -> str:
        """What the names of sessions there end with; by it all of them are meant, too."""
        return self.account and f"@{self.account}"

    def log(self, name: str) -> BinaryIO:
        """Open the log of a process that is about to begin; what it has stays there."""
        self.begun[f"{name}.err"].append(time.monotonic())
        return (self.logs / f"{name}.err").open("ab")


def environ(home: Path, folder: Path) -> dict[str, str]:
    """Return what the processes of a user know of the machine, and where the run's package is."""
    return {
        "AGENTBUS_HOME": str(home),
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(folder / "site"),
        "PYTHONSAFEPATH": "1",  # the package of the folder in which the run was begun is another
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
    }
