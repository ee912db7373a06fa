# SPDX-License-Identifier: Apache-2.0
"""Numbers and moments as people and other machines read them.

>>> stamp(datetime(2026, 5, 18, 10, tzinfo=UTC)), size(2048)
('2026-05-18T10:00:00.000Z', '2 KiB')
"""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """Return the time of day, for what other machines read; durations use the monotonic clock."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """Return `at` as RFC 3339 in UTC with milliseconds; without a zone it is UTC already."""
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def minute(at: str) -> str:
    """Return an RFC 3339 time as this user's clock shows it, such as `2026-05-18 12:00`."""
    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M}"


def size(count: float) -> str:
    """Return a number of bytes for a person, such as `2 KiB` or `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
