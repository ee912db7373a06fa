# SPDX-License-Identifier: Apache-2.0
"""How an archive stays as small and as young as `[archive]` in config.toml has it.

    >>> trim(archive, there=await now_about(bus, text.now()), first=4711)

All is done a few tasks or pages at a time, each in a transaction of its own, so that others can
write meanwhile; `removed` knows what goes first.
"""

from __future__ import annotations

import math
from contextlib import closing
from datetime import datetime, timedelta
from typing import Final

from mcp_agentbus.archive.file import Archive, iso
from mcp_agentbus.archive.kept.removed import BUS_KEEPS, NOTE_REMOVED, TAKEN, Going, Which, Why
from mcp_agentbus.core import text

# Of so many bytes tasks are removed in one transaction, and of so many pages what is left is put in
# order: each takes a tenth of a second.
_AT_ONCE: Final = 512 << 10
_PAGES_AT_ONCE: Final = 500
# How full it is afterwards, so that it is not made smaller at each write.
_FULL: Final = 0.9
# By a clock that is behind it may have ended before it was sent.
_OLDER: Final = "updated_at < ? AND created_at < ?"


def trim(archive: Archive, there: datetime | None = None, first: int = 0) -> None:
    """Remove what is older than is kept, and the oldest where the file is too large.

    What is not over stays, and what the bus keeps, from which it would not be read again; but
    where nothing else is left that makes the file small enough.

    Args:
        archive: which one, of which the bus is known.
        there: the time by the bus server's clock; not known: nothing goes for its age.
        first: the first record that the bus keeps, by its sequence.

    Raises:
        ArchiveBroken: as any use of it.
    """
    if not archive.is_grown:
        return
    archive.is_grown = False
    # A clock that is ahead would have all of it go.
    now = min(text.now(), there) if there else text.now()
    going = Going(archive.stream, first, iso(now), iso(now - BUS_KEEPS))
    gone = 0.0
    if there:
        oldest = iso(now - timedelta(days=archive.keeps.days))
        gone = _remove(archive, going.over.of(_OLDER, oldest, oldest), "days", enough=math.inf)
    limit, size = archive.keeps.max_mb << 20, size_of(archive)
    if size > limit:
        gone += _make_room(archive, going, limit * _FULL)
    elif gone > size * (1 - _FULL):
        _forget_words(archive)
    if gone:
        _give_back(archive)


def size_of(archive: Archive) -> int:
    """Return how many bytes of its file are in use."""
    pages, size = (
        int(archive.rows(f"PRAGMA {name}")[0][0]) for name in ("page_count", "page_size")
    )
    return (pages - _free(archive)) * size


def _make_room(archive: Archive, going: Going, limit: float) -> float:
    """Remove the first tasks to go until no more than that is in use; return as `_remove`."""
    removed = 0.0
    while True:
        # Before it is looked what is in use: of what went before the index may have it twice.
        _forget_words(archive)
        gone, over = 0.0, size_of(archive) - limit
        for which in going.first_to_last:
            gone += _remove(archive, which, "max_mb", enough=over - gone)
        if not gone:
            return removed
        removed += gone


def _remove(archive: Archive, which: Which, why: Why, *, enough: float) -> float:
    """Remove tasks, the oldest first, a few at a time; return about how many bytes they had.

    Args:
        archive: from which.
        which: of which tasks.
        why: by which limit, which is noted.
        enough: of more bytes than that no further task goes.
    """
    oldest = f"SELECT n, updated_at, {TAKEN} FROM tasks WHERE {which.condition}"  # noqa: S608
    gone = 0.0
    while gone < enough:
        going, size, until = [], 0.0, ""
        with archive.transaction() as file:
            rows = file.execute(f"{oldest} ORDER BY updated_at", which.values)
            with closing(rows):  # left open they would keep the next step from writing
                for n, until, taken in rows:  # noqa: B007 - of the last one it counts
                    going.append((n,))
                    size += taken
                    if size >= min(_AT_ONCE, enough - gone):
                        break
            file.executemany("DELETE FROM tasks WHERE n = ?", going)
            if going:
                file.execute(NOTE_REMOVED, (why, until, which.is_open))
        if not going:
            break
        gone += size
    return gone


def _forget_words(archive: Archive) -> None:
    """Have the index let go of the words of what was removed, of which it has noted that alone.

    They take as much room as before until all of it is merged, which is done a few pages at a
    time: others write meanwhile.
    """
    pages, changed = -_PAGES_AT_ONCE, 2  # a negative number has it begin with all there is
    while changed > 1:  # as it says that it has found nothing to merge
        with archive.transaction() as file:
            before = file.total_changes
            file.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (pages,))
            changed = file.total_changes - before
        pages = _PAGES_AT_ONCE


def _give_back(archive: Archive) -> None:
    """Have the file become smaller by what is not in use, a few pages at a time."""
    before, free = math.inf, _free(archive)
    while before > free:
        # Each row that is fetched is one page.
        archive.rows(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
        before, free = free, _free(archive)


def _free(archive: Archive) -> int:
    """Return how many pages of the file are not in use."""
    return int(archive.rows("PRAGMA freelist_count")[0][0])
