# SPDX-License-Identifier: Apache-2.0
"""Tables that a user has written in TOML: which keys they may have, and how each is read.

    >>> known = {"agent": of_type(str)}
    >>> checked({"agent": "coder"}, known, ".agentbus.toml")
    {'agent': 'coder'}
    >>> checked({"agnet": "coder"}, known, ".agentbus.toml")
    BadSetup: .agentbus.toml has a key that does not exist: agnet. Hint: Known: agent.

A key stands in one tuple, beside the code that it is for, with all that is said of it in
docs/config.md. Nothing is guessed: what cannot be read as it is written is refused.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcp_agentbus.core.files import check_own, decoded, read_whole, unusable
from mcp_agentbus.core.ids import role_name
from mcp_agentbus.errors import BadSetup

#: Each is an inbox with three lanes, which every read asks.
ROLES_MAX: Final = 16
# tomllib takes a name of 20,000 parts apart for 7 s: by the square of their number.
_PARTS_MAX: Final = 100
# One that has no end goes to the end, so that each is looked through once. Two of the quotes before
# the last three are its own: taken for another's, they would hide the names behind them.
_TEXTS: Final = re.compile(
    r'''"""(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)|'{3}.*?(?:'{3,5}|\Z)|'''
    r"""#[^\n]*+|"(?:\\.|[^\\"\n])*+"?|'[^'\n]*+'?""",
    re.DOTALL,
)
_MANY_PARTS: Final = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{_PARTS_MAX}}}")
# What tomllib says at the end of why it reads no more; before may stand names that a file has.
_WHERE: Final = re.compile(r" \(at [a-z0-9, ]+\)\Z")
_TYPE_NAMES: Final = {dict: "table", str: "string", bool: "boolean", list: "list"}


class Wrong(Exception):
    """A value makes no sense: it `is_not` what its key takes. The hint says what to do."""

    def __init__(self, is_not: str, hint: str = "") -> None:
        super().__init__(is_not)
        self.is_not = is_not
        self.hint = hint


#: Returns a value as the program has it, or raises `Wrong`.
Reader = Callable[[Any], Any]


class Key(NamedTuple):
    """A key of a table: how its value is read, and what docs/config.md says of it."""

    name: str
    reader: Reader
    #: The data class that takes the value; None if the program keeps it nowhere.
    into: type | None
    #: What it means; of a number without its range, which the reader knows.
    sentence: str
    #: A value, in TOML.
    example: str
    #: What holds without it, as it is shown; if empty, what the data class has.
    default: str = ""
    #: What a number counts.
    unit: str = ""
    #: The data class's field, where its name is another one.
    field: str = ""
    #: Whether it may stand in [wake] as well, for all agents.
    in_wake: bool = False


def of_type(kind: type) -> Reader:
    """Return a reader of values of one of TOML's types."""

    def reader(value: Any) -> Any:
        if not isinstance(value, kind):
            raise Wrong(f"is not a {_TYPE_NAMES[kind]}")
        return value

    return reader


def unread(value: Any) -> Any:
    """Return a value that is read elsewhere."""
    return value


def readers(keys: Iterable[Key]) -> dict[str, Reader]:
    """Return the readers of these keys' values, by the keys' names."""
    return {key.name: key.reader for key in keys}


def checked(table: object, known: Mapping[str, Reader], where: str) -> dict[str, Any]:
    """Return what a table holds, by its keys, each value read by its key's reader.

    Raises:
        BadSetup: it is no table, has a key that does not exist, or a value that makes no sense;
            the message begins with `where`.
    """
    if not isinstance(table, dict):
        raise BadSetup(f"{where} is not a table.")
    values = {}
    for name, value in table.items():
        if name not in known:
            raise BadSetup(
                f"{where} has a key that does not exist: {name}.",
                hint=f"Known: {', '.join(known)}.",
            )
        try:
            values[name] = known[name](value)
        except Wrong as wrong:
            raise BadSetup(f"{where}: {name} {wrong.is_not}.", hint=wrong.hint) from None
    return values


def checked_roles(roles: Iterable[Any], where: str) -> tuple[str, ...]:
    """Return the roles of an agent.

    Raises:
        BadInput: a name is none.
        BadSetup: there are too many; the message begins with `where`.
    """
    names = tuple(role_name(as_word(role)) for role in roles)
    if len(names) > ROLES_MAX:
        raise BadSetup(
            f"{where} has {len(names)} roles.", hint=f"Leave {ROLES_MAX} of them at most."
        )
    return names


def as_word(value: object) -> str:
    """Return a value of TOML that is to be a word; empty if it is something else."""
    return value if isinstance(value, str) else ""


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file of this user's holds; nothing if there is none.

    Raises:
        BadSetup: it cannot be read, or is not TOML; others can change it.
    """
    try:
        check_own(path)
        return parse_toml(path, read_whole(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unusable(error, path, done="read") from None


def parse_toml(
    path: Path | str, content: str | bytes, *, is_strangers: bool = False
) -> dict[str, Any]:
    """Return what the text of a TOML file holds.

    Args:
        path: how it is named.
        content: its text.
        is_strangers: it may be another's, and nothing that stands in it is repeated.

    Raises:
        BadSetup: it is not TOML, or has a name of more than 100 parts.
    """
    try:
        text = content if isinstance(content, str) else decoded(content)[0]
        if _MANY_PARTS.search(_TEXTS.sub("x", text)):
            raise BadSetup(
                f"{path} has a name of more than {_PARTS_MAX} parts.",
                hint="Correct it or move it away.",
            )
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number may be too long for Python
        where = _WHERE.search(str(error))
        why = (where[0] if where else "") if is_strangers else f": {error}"
        raise BadSetup(f"{path} is not TOML{why}.", hint="Correct it or move it away.") from None
