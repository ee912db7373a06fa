# SPDX-License-Identifier: Apache-2.0
"""What a worker writes down: a line of JSON for each step of a task, with ids and no text of it.

    >>> note("taken", task="9d0c...", sender="planner", attempt=1)
    {"at": "2026-11-27T04:00:01Z", "level": "info", "event": "taken", "task": "9d0c...", ...}

In a program it goes to `logging` as `mcp_agentbus.work`, where that program may do with it what it
likes; the commands write it to standard error, and into a file that is rotated.
"""

from __future__ import annotations

import errno
import json
import logging
import logging.handlers
import os
import stat
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, Literal

from mcp_agentbus.core.files import check_private, is_open, own_folder, unusable

Event = Literal[
    "started",  # the worker is there, and reads
    "taken",  # a task is claimed
    "aside",  # what cannot be worked on was parked
    "ended",  # it is done, given back, or over by somebody else's word: see `state`
    "hangs",  # a handler goes on though it was told to end
    "away",  # no bus answers
    "back",  # it does again
    "short",  # the machine has no room for a task to begin
    "refused",  # the bus takes something not yet
    "draining",  # the worker takes no more
    "stopped",  # it is over
]
#: Of the file in its folder.
FILE_NAME: Final = "agentbus-worker.log"
_LOGGER: Final = logging.getLogger("mcp_agentbus.work")


@dataclass(frozen=True)
class LogFile:
    """Where a worker's log lies, and how much of it."""

    folder: Path
    #: With so many bytes a file is put aside, and a new one begun.
    max_bytes: int = 100 << 20
    #: So many are kept of those that were put aside.
    backups: int = 5

    @property
    def path(self) -> Path:
        """The file that is written."""
        return self.folder / FILE_NAME


def note(event: Event, level: int = logging.INFO, **about: Any) -> None:
    """Write down what has happened; `about` holds ids, numbers and this program's own words."""
    _LOGGER.log(level, event, extra={"about": about})


def write(level: int = logging.INFO, file: LogFile | None = None) -> None:
    """Have all that this process logs written to standard error, and into a file if one is named.

    Raises:
        BadSetup: the file or its folder cannot be used, or others can write it.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if file:
        handlers.append(_opened(file))
    for handler in handlers:
        handler.setFormatter(_Lines())
    logging.basicConfig(level=max(level, logging.WARNING), handlers=handlers, force=True)
    _LOGGER.setLevel(level)


def check(file: LogFile) -> None:
    """See that a file can be written, and is this user's alone; it becomes so if others only read.

    An earlier agentbus left that to the umask.

    Raises:
        BadSetup: as `write`.
    """
    try:
        own_folder(file.folder)
        with suppress(FileNotFoundError):
            about = file.path.lstat()
            is_mine = stat.S_ISREG(about.st_mode) and about.st_uid == os.getuid()
            if is_mine and not is_open(about):
                _make_private(file.path)
            check_private(file.path)
    except OSError as error:
        raise unusable(error, file.path, done="written") from None


def _make_private(path: Path) -> None:
    """Let nobody else read a file of this user's, and of no other one's that takes its place."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _opened(file: LogFile) -> logging.Handler:
    check(file)
    try:
        return _Rotated(
            file.path, maxBytes=file.max_bytes, backupCount=file.backups, encoding="utf-8"
        )
    except OSError as error:
        raise unusable(error, file.path, done="written") from None


class _Rotated(logging.handlers.RotatingFileHandler):
    """Writes files that are this user's alone, through no link."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        descriptor = os.open(self.baseFilename, flags, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding=self.encoding)


class _Lines(logging.Formatter):
    """Spells a record as a line of JSON: of an error its kind and where it was, not what it says.

    That may be a peer's text. Of one of the system's the words are by its number.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "at": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
            "level": record.levelname.lower(),
        }
        if record.name == _LOGGER.name:
            line |= {"event": record.msg, **getattr(record, "about", {})}
        else:
            line |= {"event": "failed", "what": record.getMessage()}
        kind, error, trace = record.exc_info or (None, None, None)
        if kind:
            line["error"] = kind.__name__
            number = error.errno if isinstance(error, OSError) else None
            # A library's errors, as those of ssl and of names of hosts, have numbers of its own.
            is_systems = kind.__module__ == OSError.__module__
            if is_systems and number is not None and number in errno.errorcode:
                line["why"] = f"{errno.errorcode[number]}: {os.strerror(number)}"
            line["trace"] = traceback.format_tb(trace)
        return json.dumps(line)
