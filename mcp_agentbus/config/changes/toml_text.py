# SPDX-License-Identifier: Apache-2.0
r"""The text of config.toml with one change in it, and all else as its user wrote it.

    >>> changed('# mine\n[agents.coder]\nhost = "codex"\n', "coder", {"host": "cursor"})
    '# mine\n[agents.coder]\nhost = "cursor"\n'

Pure: text in, text out, with its own ends of lines.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Generator, Mapping
from typing import Any, Final, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable, InlineTable, Table

from mcp_agentbus.errors import BadSetup

#: What its user may do with a file that this cannot keep as it is.
BY_HAND: Final = "Edit the file by hand: it is written in a way that no program should touch."
# The keys that name senders.
_OF_SENDERS: Final = ("wake_from", "accept_from")


@contextlib.contextmanager
def _by_hand() -> Generator[None]:
    """Say so where tomlkit cannot take a text apart, or not in the way that is asked.

    Raises:
        BadSetup: it cannot.
    """
    try:
        yield
    except (TOMLKitError, AttributeError, TypeError) as error:
        raise BadSetup("config.toml cannot be edited.", hint=BY_HAND) from error


def with_server(old: str, keys: Mapping[str, Any]) -> str:
    """Return the text with exactly these keys in [server]."""
    with _by_hand():
        document = tomlkit.parse(old)
        table = document.get("server")
        if keys and isinstance(table, Table | InlineTable):
            _fill(table, keys)
            return tomlkit.dumps(document)
        if table is not None:  # it goes, or stands in dotted keys, which tomlkit cannot take apart
            del document["server"]
        cut = tomlkit.dumps(document)
    rest = old if table is None else _spliced(old, len(old) - len(cut), cut) or cut
    end = _end_of_line(old)
    new = tomlkit.dumps({"server": dict(keys)}).replace("\n", end) if keys else ""
    return f"{rest}{end if rest and new else ''}{new}"


def _fill(table: AbstractTable, keys: Mapping[str, Any]) -> None:
    """Have a table say exactly this; what it says already stays as it is written."""
    for key in [key for key in table if key not in keys]:
        del table[key]
    for key, value in keys.items():
        if key not in table or table[key] != value:
            table[key] = value


def with_header(old: str, before: Mapping[str, Any], agent: str, new: str) -> str:
    """Return the text with an agent's table, if it has one, under another id."""
    tables = before.get("agents", {})
    if agent not in tables:
        return old
    after = {**before, "agents": {**but(tables, agent), new: tables[agent]}}
    header = re.compile(
        rf"""^([ \t]*\[agents\.)["']?{re.escape(agent)}["']?(?=[.\]])""", re.MULTILINE
    )
    text = header.sub(rf"\g<1>{new}", old)
    if says(text, after):
        return text
    # It stands in braces, or under dotted keys.
    cut = without_agent(old, agent, {**before, "agents": but(tables, agent)})
    return appended(cut, new, tables[agent])


def with_trust(old: str, agent: str, new: str | None) -> str:
    """Return the text with another id, or none, wherever an agent's stands among senders."""
    document = tomlkit.parse(old)
    tables = [*document.get("agents", {}).values(), document.get("wake")]
    named = [
        table.get(key) for table in tables if isinstance(table, Mapping) for key in _OF_SENDERS
    ]
    for senders in (each for each in named if isinstance(each, list)):
        for at in reversed(range(len(senders))):
            if senders[at] == agent:
                if new:
                    senders[at] = new
                else:
                    del senders[at]
    return tomlkit.dumps(document)


def trusting(table: Any, agent: str, new: str | None) -> Any:
    """Return the keys of an agent, or of all, with another id, or none, among the senders."""
    if not isinstance(table, dict):
        return table
    changed = dict(table.items())
    for key in _OF_SENDERS:
        senders = table.get(key)
        if isinstance(senders, list):
            kept = senders if new else [sender for sender in senders if sender != agent]
            changed[key] = [new if sender == agent else sender for sender in kept]
    return changed


def but(tables: Mapping[str, Any], without: str) -> dict[str, Any]:
    """Return the tables, or the keys of one, but for that."""
    return {name: table for name, table in tables.items() if name != without}


def says(content: str, expected: Mapping[str, Any]) -> bool:
    """Tell whether a text is TOML and says this; without agents it may keep their table's name."""
    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError:
        return False
    return {"agents": {}, **document} == {"agents": {}, **expected}


def appended(old: str, agent: str, keys: Mapping[str, Any]) -> str:
    """Return the text with the table at its end, after one end of a line; see `_spliced`."""
    table = tomlkit.dumps({"agents": {agent: dict(keys)}}).removeprefix("[agents]\n")
    end = _end_of_line(old)
    new = old + (end if old else "") + table.replace("\n", end)
    before = tomllib.loads(old)
    if says(new, {**before, "agents": {**before.get("agents", {}), agent: keys}}):
        return new
    # The agents stand in braces, where no table can follow.
    return changed(old, agent, keys)


def changed(old: str, agent: str, keys: Mapping[str, Any]) -> str:
    """Return the text with exactly these keys in the agent's table, made if it is not there."""
    with _by_hand():
        document = tomlkit.parse(old)
        agents = cast("AbstractTable", document["agents"])
        if agent not in agents:
            agents[agent] = tomlkit.inline_table()
        _fill(cast("AbstractTable", agents[agent]), keys)
        return tomlkit.dumps(document)


def without_agent(old: str, agent: str, after: Mapping[str, Any]) -> str:
    """Return the text without the agent's table, but with the comments that follow it."""
    with _by_hand():
        document = tomlkit.parse(old)
        del cast("AbstractTable", document["agents"])[agent]
        cut = tomlkit.dumps(document)
    spliced = _spliced(old, len(old) - len(cut), cut)
    return spliced if spliced is not None and says(spliced, after) else cut


def _spliced(old: str, length: int, cut: str) -> str | None:
    """Cut the lines of one table out of the text; None if they do not stand in one piece.

    `length` is how much tomlkit took out to get `cut`. It takes the comments behind a table for
    the table's own, and leaves the end of a line before it, which `appended` has put there.
    """
    for header in re.finditer(r"^[ \t]*\[", old, re.MULTILINE):
        start = header.start()
        if old[:start] + old[start + length :] == cut:
            break
    else:
        return None
    lines = old[start : start + length].splitlines(keepends=True)
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    head, rest = old[:start], old[start + sum(map(len, lines)) :]
    end = _end_of_line(old)
    if not rest or head.endswith(end * 2):
        head = head.removesuffix(end)
    return head + rest


def _end_of_line(content: str) -> str:
    return "\r\n" if "\r\n" in content else "\n"
