# SPDX-License-Identifier: Apache-2.0
"""A backup of a bus: a folder with a snapshot of each stream, and a list of them with digests.

    >>> async for progress in back_up(bus, Path("2026-11-27")):
    ...     print(progress)
    3 for later: 2 KiB
    ...

All that is stored is in it: tasks, where they stand, who holds them, results, who is registered,
and of a shared server who has joined, by public keys. Not in it are tokens and secret keys, who is
there at the moment, and the ids by which a message that was sent twice is known to be the same,
which count for ten minutes. The folder is 0700, its files 0600; it appears at its place once all of
it is on the disk, or not at all.

Each stream is as it was at one moment; the streams, while the bus is in use, are of moments that
follow each other, in the order of `ORDER`. So a task may have gone from one to the next in between:

- What was done after its task was written down: the record says so, and who is offered the task
  again does not get it, as after a worker's crash.
- What went from the schedule into an inbox, or was set aside, is in both: a task's record makes it
  claimed once.
- What was sent in between has a record and no task. `restore` ends it as failed, so that its sender
  is told.
- A set-aside task that was just then put back into its inbox (`agentbus replay`) may be in neither;
  it has its end already, which stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import text
from mcp_agentbus.core.files import opened, read_whole, sync, unusable, write_whole
from mcp_agentbus.core.places import make_private
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadInput, BadSetup
from mcp_agentbus.shared import snapshot
from mcp_agentbus.shared.accounts import store as accounts
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.version import __version__

#: The streams of a backup, in the order in which they are written down. PRESENCE is of the moment.
ORDER: Final = (
    subjects.SCHEDULE, subjects.TASKS, subjects.DEAD, subjects.RESULTS, subjects.AGENTS,
)  # fmt: skip
#: What each holds, for a person.
WHAT: Final = {
    subjects.SCHEDULE: "for later",
    subjects.TASKS: "in inboxes",
    subjects.DEAD: "set aside",
    subjects.RESULTS: "records of tasks",
    subjects.AGENTS: "agents",
    accounts.STREAM: "accounts and invitations",
}
LIST: Final = "backup.json"
# How a backup is laid out: one more where an older version could not restore it, as one of a server
# with accounts.
_FORMAT: Final = 2
_WITHOUT_ACCOUNTS: Final = 1
_DAMAGED: Final = "Take another backup: this one cannot be relied on. Nothing was changed."


@dataclass(frozen=True)
class Stream:
    """One stream of a backup."""

    name: str
    #: Of its file.
    bytes: int
    sha256: str
    #: As `STREAM.INFO` says them.
    config: dict[str, Any]
    state: dict[str, Any]

    @property
    def messages(self) -> int:
        """How many it holds."""
        return int(self.state["messages"])

    @property
    def room(self) -> int:
        """What they take on a server's disk, in bytes."""
        return int(self.state["bytes"])

    @property
    def last_seq(self) -> int:
        """The sequence of the last one that was ever stored."""
        return int(self.state["last_seq"])

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}.snapshot"


@dataclass(frozen=True)
class Backup:
    """A backup that is there, as its list says it."""

    folder: Path
    #: When it was begun.
    taken_at: datetime
    #: The version of agentbus that took it.
    agentbus: str
    streams: tuple[Stream, ...]

    def parts(self, stream: Stream, size: int) -> Iterator[bytes]:
        """Yield a stream's snapshot, so many bytes at a time.

        Raises:
            OSError: it cannot be read.
        """
        with opened(self.folder / stream.file) as file:
            while part := file.read(size):
                yield part


@dataclass(frozen=True)
class Progress:
    """How far a backup or its restoring has come with one stream."""

    stream: str
    #: What it holds.
    messages: int
    #: Of its snapshot: so much is written, or read.
    bytes: int
    is_complete: bool = False

    def __str__(self) -> str:
        so_far = "" if self.is_complete else " so far"
        return f"{self.messages:,} {WHAT[self.stream]}: {text.size(self.bytes)}{so_far}"


async def back_up(bus: Bus, folder: Path) -> AsyncGenerator[Progress, None]:
    """Take a backup, and yield how far it has come; where it ends early, nothing is left of it.

    Args:
        bus: of which.
        folder: where; it is not there yet, or empty.

    Raises:
        BadInput: something is there already.
        BadSetup: it cannot be written.
        BusUnreachable, Unconfirmed, NotAllowed, Refused: the server is away, or does not give it.
    """
    written: list[Stream] = []
    try:
        _check_free(folder)
        await streams.ensure_streams(bus)
        begun = text.now()
        make_private(folder.parent)
        # Beside its place: into that it is moved as a whole.
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            names = [*ORDER, accounts.STREAM] if await accounts.exist(bus) else ORDER
            for name in names:
                async with aclosing(_written(bus, name, unfinished)) as steps:
                    async for step in steps:
                        if isinstance(step, Progress):
                            yield step
                            continue
                        written.append(step)
                        yield Progress(name, step.messages, step.bytes, is_complete=True)
            _finish(unfinished, Backup(folder, begun, __version__, tuple(written)))
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    except OSError as error:
        raise unusable(error, folder, done="written") from None


async def _written(bus: Bus, name: str, folder: Path) -> AsyncGenerator[Progress | Stream, None]:
    """Write one stream down; yield how far that is, and at last what was written."""
    digest, count = hashlib.sha256(), 0
    descriptor = os.open(folder / f"{name}.snapshot", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        async with snapshot.taken(bus, name) as taken, aclosing(taken.parts()) as parts:
            async for part in parts:
                file.write(part)
                digest.update(part)
                count += len(part)
                yield Progress(name, int(taken.state["messages"]), count)
        file.flush()
        os.fsync(descriptor)
    yield Stream(name, count, digest.hexdigest(), taken.config, taken.state)


def _finish(unfinished: Path, backup: Backup) -> None:
    """Write the list of a backup, and move it to its place."""
    has_accounts = any(stream.name == accounts.STREAM for stream in backup.streams)
    listed = {
        "format": _FORMAT if has_accounts else _WITHOUT_ACCOUNTS,
        "agentbus": backup.agentbus,
        "taken_at": text.stamp(backup.taken_at),
        "streams": [asdict(stream) for stream in backup.streams],
    }
    write_whole(unfinished / LIST, json.dumps(listed, indent=1).encode())
    sync(unfinished)
    unfinished.rename(backup.folder)
    sync(backup.folder.parent)


def _check_free(folder: Path) -> None:
    """See that a backup can be moved there: to a new place, or to that of an empty folder."""
    try:
        is_free = stat.S_ISDIR(folder.lstat().st_mode) and not any(folder.iterdir())
    except FileNotFoundError:
        is_free = True
    if not is_free:
        raise BadInput(
            f"There is something at {folder} already, and no backup is written over it.",
            hint=f"Name a new folder, such as {folder}-{text.now():%Y-%m-%d-%H%M%S}.",
        )


def find(folder: Path) -> Backup:
    """Return the backup in a folder, once all of it was read and is as it was written.

    Raises:
        BadInput: there is none.
        BadSetup: it is damaged, not to be read, or a later version's.
    """
    try:
        backup = _listed(folder, read_whole(folder / LIST))
        for stream in backup.streams:
            digest, count = hashlib.sha256(), 0
            for part in backup.parts(stream, 1 << 20):
                digest.update(part)
                count += len(part)
            if count != stream.bytes or digest.hexdigest() != stream.sha256:
                what = f"{folder / stream.file} is not as it was written."
                raise BadSetup(what, hint=_DAMAGED)
    except FileNotFoundError as error:
        if error.filename == os.fspath(folder / LIST):
            what = f"There is no backup in {folder}: it has no {LIST}."
            hint = "Name the folder that `agentbus server backup` has made."
            raise BadInput(what, hint=hint) from None
        raise BadSetup(f"{error.filename} is missing.", hint=_DAMAGED) from None
    except OSError as error:
        raise unusable(error, folder, done="read") from None
    return backup


def _listed(folder: Path, content: bytes) -> Backup:
    try:
        listed = from_json(content)
        if listed["format"] > _FORMAT:
            raise _too_new(folder, str(listed["agentbus"]))
        backup = Backup(
            folder,
            datetime.fromisoformat(listed["taken_at"]),
            str(listed["agentbus"]),
            tuple(Stream(**stream) for stream in listed["streams"]),
        )
        names = tuple(stream.name for stream in backup.streams)
        counts = [(each.messages, each.room, each.last_seq) for each in backup.streams]
        if names not in (ORDER, (*ORDER, accounts.STREAM)) or any(
            number < 0 for each in counts for number in each
        ):
            raise ValueError
        if any(streams.is_newer(stream.config) for stream in backup.streams):
            raise _too_new(folder, backup.agentbus)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BadSetup(f"{folder / LIST} is damaged.", hint=_DAMAGED) from None
    return backup


def _too_new(folder: Path, version: str) -> BadSetup:
    return BadSetup(
        f"The backup in {folder} is of a later version of agentbus, {version[:40]!r}.",
        hint="Update agentbus here, then run it again. Nothing was changed.",
    )
