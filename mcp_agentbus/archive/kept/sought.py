# SPDX-License-Identifier: Apache-2.0
"""How tasks are found by words: those of the index, letters within texts, the beginning of an id.

>>> [way.condition for way in ways_to(["flaky"])]
['words MATCH ?']

Pure: conditions, with their values. Nothing that was typed is a part of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

_SNIPPET_WORDS: Final = 12
# Less begins too many ids.
_ID_MIN_CHARS: Final = 6
# Less begins most words, and so finds most tasks.
_BEGINNING_MIN_CHARS: Final = 3
# What the index does not have, or only as one word from blank to blank: what is written without
# blanks, as in Chinese, Japanese, Korean or Thai; and paths and addresses, as artifacts are.
_WITHIN: Final = re.compile(
    "[/\\\\._\u0e00-\u0eff\u1000-\u11ff\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff]"
)
# Of more words, or longer ones, as in a stack trace, SQLite takes no condition.
_WITHIN_MAX: Final = 50
_WITHIN_MAX_CHARS: Final = 1_000
# What LIKE has a meaning for, and how it is written as itself.
_OF_LIKE: Final = re.compile(r"[\\%_]")
_AS_ITSELF: Final = r"\\\g<0>"
_TEXTS: Final = " || char(10) || ".join(
    f"tasks.{name}" for name in ("subject", "request", "summary", "result", "artifacts")
)


class Way(NamedTuple):
    """By which columns, of which tables and on what condition rows are looked for."""

    columns: str = "tasks.*, '' AS snippet"
    source: str = "tasks"
    condition: str = "1"
    values: tuple[str, ...] = ()


def ways_to(words: Sequence[str]) -> Iterator[Way]:
    """Yield how tasks are found that have each of these words, the best first.

    A word may be the beginning of one, and what is within a text may be looked for as such.
    """
    yield Way(
        f"tasks.*, snippet(words, -1, '', '', ' \u2026 ', {_SNIPPET_WORDS}) AS snippet",
        "words CROSS JOIN tasks ON tasks.n = words.rowid",  # in this order
        "words MATCH ?",
        (_match(words),),
    )
    if len(words) == 1 and len(words[0]) >= _ID_MIN_CHARS:
        between = (words[0], f"{words[0]}\U0010ffff")
        yield Way(condition="tasks.id BETWEEN ? AND ?", values=between)
    within = [word for word in words if _WITHIN.search(word)]
    if 0 < len(within) <= _WITHIN_MAX and max(map(len, within)) <= _WITHIN_MAX_CHARS:
        conditions = [rf"{_TEXTS} LIKE ? ESCAPE '\'"] * len(within)
        values = [f"%{_OF_LIKE.sub(_AS_ITSELF, word)}%" for word in within]
        if others := [word for word in words if word not in within]:
            conditions.append("tasks.n IN (SELECT rowid FROM words WHERE words MATCH ?)")
            values.append(_match(others))
        yield Way(condition=" AND ".join(conditions), values=tuple(values))


def _match(words: Iterable[str]) -> str:
    """Return words as FTS5 takes them, quoted: none is its syntax.

    Each is the beginning of one, but where it is too short for that, or ends in what the index does
    not have: of `C++` that has the `c`.
    """
    return " ".join(f'"{_quoted(word)}"{"*" * _begins(word)}' for word in words)


def _quoted(word: str) -> str:
    return word.replace('"', '""')


def _begins(word: str) -> bool:
    is_long = len(word) >= _BEGINNING_MIN_CHARS or not word.isascii()
    return is_long and word[-1].isalnum()
