# SPDX-License-Identifier: Apache-2.0
"""Numbers, moments, durations and JSON as people and other machines read and write them.

>>> stamp(datetime(2026, 5, 18, 10, tzinfo=UTC)), size(2048), seconds("1h30m")
('2026-05-18T10:00:00.000Z', '2 KiB', 5400.0)
>>> from_json(b"1e999")
ValueError: a number has more than 300 digits
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn
from unicodedata import combining, east_asian_width

from mcp_agentbus.errors import BadInput

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_PART: Final = r"(\d{1,9}(?:\.\d{1,3})?)([smhdw])"
# A terminal that is narrower than this is left to cut lines as it likes.
_COLUMNS_MIN: Final = 20
_COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")
# A longer number fits into no float.
_DIGITS_MAX: Final = 300
_DURATION: Final = rf"(?:\d{{1,9}}(?:\.\d{{1,3}})?|(?:{_PART})+)"


def now() -> datetime:
    """Return the time of day, for what other machines read; durations use the monotonic clock."""
    return datetime.now(UTC)


def midnight(at: datetime) -> datetime:
    """Return when the day began by this machine's clock, which may have been changed since."""
    wall = at.astimezone().replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    return wall.astimezone()


def stamp(at: datetime, *, timespec: str = "milliseconds") -> str:
    """Return `at` as RFC 3339 in UTC; without a zone it is UTC already."""
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def minute(at: str) -> str:
    """Return an RFC 3339 time as this user's clock shows it, such as `2026-05-18 12:00`."""
    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M}"


def many(count: int, what: str, *, grouped: bool = False) -> str:
    """Return a number of things, such as `1 task` or `2 tasks`; grouped as in `1,204 tasks`."""
    number = f"{count:,}" if grouped else f"{count}"
    return f"{number} {what}" if count == 1 else f"{number} {what}s"


def size(count: float) -> str:
    """Return a number of bytes for a person, such as `2 KiB` or `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def seconds(written: str, low: float = 0, high: float = float("inf")) -> float:
    """Return a duration as people write it, in seconds: `90`, `90s`, `1.5h`, `2d`, `1h30m`.

    Args:
        written: a number of seconds, or numbers with one of s, m, h, d and w each.
        low: the shortest that does, in seconds.
        high: the longest.

    Raises:
        ValueError: it is none, or not from `low` to `high`; the message says so in a sentence.
    """
    letters = written.strip().lower()
    if not re.fullmatch(_DURATION, letters, re.ASCII):
        raise ValueError(f"{written[:40]!r} is no duration: 90, 90s, 15m, 2h, 3d")
    parts = re.findall(_PART, letters) or [(letters, "")]
    length = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not low <= length <= high:
        raise ValueError(f"{written[:40]!r} is not from {duration(low)} to {duration(high)}")
    return length


def duration(length: float) -> str:
    """Return a number of seconds as `seconds` reads it, in the largest unit without a fraction."""
    unit = next(unit for unit in ("d", "h", "m", "s") if length % _UNITS[unit] == 0 or unit == "s")
    return f"{length / _UNITS[unit]:g}{unit}" if length else "0"


def since(written: str) -> str:
    """Return a moment that has passed as `moment` reads it: as RFC 3339, or how long ago it was.

    A time is one of ISO 8601, also in its basic form, as in `20261120T1800Z`. How long ago is as
    `seconds` reads it, and stays so: of the server's clock this machine's knows nothing.

    Raises:
        ValueError: it is none; the message says so in a sentence.
    """
    at, told, current = None, "", datetime.now().astimezone()
    # Eight digits that can be a date are one: nobody counts so many seconds.
    ways = (_at, _ago) if re.fullmatch(r"\d{8}", written.strip(), re.ASCII) else (_ago, _at)
    for way in ways:
        with suppress(ValueError, OverflowError):
            at = way(written, current)
            told = at.isoformat() if way is _at else written.strip()
            break
    if at is None or at > current:
        raise ValueError(
            f"{written[:40]!r} is no time that has passed: 90s, 15m, 2h, 3d, or 2026-11-20T18:00Z"
        )
    return told


def moment(told: str, current: datetime) -> datetime:
    """Return the moment that `since` has told, by a clock that says `current`."""
    try:
        return datetime.fromisoformat(told)
    except ValueError:
        return _ago(told, current)


def _ago(written: str, current: datetime) -> datetime:
    return current - timedelta(seconds=seconds(written))


def _at(written: str, _: datetime) -> datetime:
    return datetime.fromisoformat(written.strip()).astimezone()  # without a zone this machine's


def whole(written: str, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`.

    Raises:
        ValueError: it is none; the message says so in a sentence.
    """
    if not (re.fullmatch(r"\d{1,9}", written.strip(), re.ASCII) and low <= int(written) <= high):
        raise ValueError(f"{written[:40]!r} is no whole number from {low} to {high}")
    return int(written)


def is_count(written: str, digits: int) -> bool:
    """Tell whether that is a number as this program writes one, of up to so many digits."""
    return written.isascii() and written.isdecimal() and len(written) <= digits


def cut(line: str, width: int) -> str:
    """Return a line, or as much of it as is at most `width` cells wide, and that there is more."""
    line = line.expandtabs()
    return line if _cells(line) <= width else line[: _fits(line, width - 1)] + "\u2026"


def folded(line: str, width: int, indent: str = "", *, cut: bool = False) -> str:
    """Return a line in as many as are needed for none to be wider than `width` cells.

    Args:
        line: what is broken between words; a tab goes on to the next eighth cell.
        width: 0 for any.
        indent: what all lines but the first begin with, as far as it leaves half of them.
        cut: also break a word that is wider than a line; else it stands on one of its own.
    """
    if width < _COLUMNS_MIN:
        return line
    line = line.expandtabs()
    if _cells(line) <= width:
        return line
    indent = indent[: width // 2]
    lines, current = [], ""
    # Each word with the blanks before it: columns stay where they are until a line ends.
    for word in re.split(r"(?<=\S)(?= )", line.rstrip()):
        if current.strip() and _cells(current + word) > width:
            lines.append(current)
            current = indent + word.lstrip()
        else:
            current += word
        while cut and (at := _fits(current, width)) < len(current):
            lines.append(current[:at])
            current = indent + current[at:]
    return "\n".join([*lines, current])


def colourless(printed: str) -> str:
    """Return what a program printed for a terminal without its colours."""
    return _COLOUR.sub("", printed)


def _cells(line: str) -> int:
    """Return how wide a terminal shows a line, in which colours take no room."""
    line = colourless(line)
    return len(line) if line.isascii() else sum(map(_width, line))


def _width(letter: str) -> int:
    if combining(letter):
        return 0
    return 2 if east_asian_width(letter) in {"W", "F"} else 1


def _fits(line: str, width: int) -> int:
    """Return how many letters of a line fit into so many cells; one at least."""
    cells = 0
    for at, letter in enumerate(line):
        cells += _width(letter)
        if cells > width:
            return max(1, at)
    return len(line)


def from_json(written: str | bytes) -> Any:
    """Return what JSON of somebody else's says: each of its numbers can be made a float or an int.

    Args:
        written: bytes are UTF-8, or what their first ones say; a text has no byte order mark.

    Raises:
        ValueError: it is no JSON, has NaN, Infinity or a number that is as good as that, or nests
            deeper than Python reads.
    """
    try:
        return json.loads(
            written, parse_int=_integer, parse_float=_fraction, parse_constant=_too_long
        )
    except RecursionError:
        raise ValueError("it nests too deep") from None


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= _DIGITS_MAX else _too_long(digits)


def _fraction(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _too_long(digits)


def _too_long(_: str) -> NoReturn:
    raise ValueError(f"a number has more than {_DIGITS_MAX} digits")


def check_text(value: str, what: str) -> str:
    """Return `value` if it is a text, which a program may have believed of a number.

    Raises:
        BadInput: it is none, or has what UTF-8 cannot hold, such as a byte that a shell gave.
    """
    if not isinstance(value, str):
        kind = type(value).__name__
        raise BadInput(f"The {what} is of type {kind}, and no text.", hint="Give it as a str.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadInput(
            f"The {what} has half a surrogate pair in it, which is not text.",
            hint="Send it as valid UTF-8.",
        ) from None
    return value


def check_texts(value: str | Iterable[str], what: str) -> tuple[str, ...]:
    """Return the texts; one stands for itself, and is no list of its letters.

    Raises:
        BadInput: they are none.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        value = (value,)
    return tuple(check_text(each, what) for each in value)


def check_number(
    value: float, what: str, low: float, high: float, *, hint: str, kind: type[int | float] = float
) -> float:
    """Return `value` if it is a number in this range, a whole one if `kind` is int.

    Raises:
        BadInput: it is none.
    """
    is_one = isinstance(value, int | kind) and not isinstance(value, bool)
    if not is_one or not low <= value <= high:
        raise BadInput(f"{what} is {str(value)[:80]}.", hint=hint)
    return value


def check_time(value: datetime, what: str) -> datetime:
    """Return `value` if it is a time with its zone.

    Raises:
        BadInput: it is none.
    """
    if not (isinstance(value, datetime) and value.tzinfo):
        raise BadInput(
            f"{what} is no time with a zone.", hint="Use such as datetime.now(UTC) - timedelta(1)."
        )
    return value


def check_keywords(given: Iterable[str], takes: type, function: str) -> None:
    """See that a function takes each of these keywords, of which Python itself takes any.

    Args:
        given: their names.
        takes: the TypedDict of those that there are.
        function: its name.

    Raises:
        BadInput: it does not take one, which would be passed over as if it had not been said.
    """
    known = list(takes.__annotations__)
    for name in given:
        if name not in known:
            from difflib import get_close_matches  # for a slip alone

            near = get_close_matches(name, known, n=1)
            hint = f"Nearest: {near[0]}." if near else f"Known: {', '.join(known)}."
            raise BadInput(f"{function} takes no {name[:70]!r}.", hint=hint)


def check_size(value: str, what: str, limit: int) -> str:
    """Return `value` if its UTF-8 form has at most `limit` bytes.

    Raises:
        BadInput: it is larger, or is not text that UTF-8 can hold. Nothing is ever cut.
    """
    size = len(check_text(value, what).encode())
    if size > limit:
        raise BadInput(
            f"The {what} has {size:,} bytes; the limit is {limit:,}.",
            hint="Store it as a file both agents can reach, and send the path or URL instead.",
        )
    return value
