# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/config.md, from the code: each key and variable says what it means.

    >>> keys_of("server")
    ['url', 'token_file', 'allow_plaintext', 'binary']

Which keys a table may have, and for which hosts one is, is asked by settings that are refused, whose
message says it: so what is written here is what the program does.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Final

from variables import VARIABLES

from mcp_agentbus.config import folder_file, settings
from mcp_agentbus.config.rules import KEYS
from mcp_agentbus.config.sections.human import HUMAN_KEYS
from mcp_agentbus.config.sections.server import SERVER_KEYS
from mcp_agentbus.config.tables import Key
from mcp_agentbus.config.values import Within
from mcp_agentbus.core.hosts import HOSTS, WOKEN, Host, marked, named
from mcp_agentbus.errors import BadSetup

ROOT: Final = Path(__file__).parents[2]
_HOME: Final = {"AGENTBUS_HOME": "/tmp/no-such-agentbus"}
# The least that each host's table needs.
_LEAST: Final = {
    "claude-code": 'dir = "/srv/shop"',
    "cursor": 'dir = "/srv/shop"',
    "openclaw": 'dir = "/srv/shop"',
    "command": 'dir = "/srv/shop"\ncommand = ["notify"]',
}


def _by_name(keys: Iterable[Key]) -> dict[str, Key]:
    return {key.name: key for key in keys}


SERVER: Final = _by_name(SERVER_KEYS)
ARCHIVE: Final = _by_name(settings.ARCHIVE_KEYS)
HUMAN: Final = _by_name(HUMAN_KEYS)
AGENT: Final = _by_name(KEYS)
WAKE: Final = _by_name(key for key in KEYS if key.in_wake)
FOLDER: Final = _by_name(folder_file.FOLDER_KEYS)
TABLES: Final = {
    "server": SERVER, "agents.x": AGENT, "wake": WAKE, "archive": ARCHIVE, "human": HUMAN,
}  # fmt: skip


def keys_of(table: str) -> list[str]:
    """Return the keys that a table of config.toml may have, in the order of the code."""
    return _known(f"[{table}]\nno-such-key = 1\n")


def _known(text: str) -> list[str]:
    try:
        settings.load_settings(_HOME, text=text)
    except BadSetup as error:
        found = re.fullmatch(r"Known: (.*)\.", error.hint)
        if found:
            return found[1].split(", ")
    raise AssertionError(f"the code does not say what it knows of {text!r}")


def refused(text: str) -> str:
    """Return what is said against a text of config.toml; nothing if it is taken."""
    try:
        loaded = settings.load_settings(_HOME, text=text)
    except BadSetup as error:
        return error.message
    idle = [key for of_agent in loaded.rules.values() for key in of_agent.idle]
    return f"{', '.join(idle)} has no effect" if idle else ""


def agent_with(key: str, value: str, host: str) -> str:
    """Return the text of an agent's table with one key, and what its host needs besides."""
    given = {"host": f'"{host}"', "wake": '"work"'}
    given |= dict(line.split(" = ", 1) for line in _LEAST[host].splitlines())
    if key == "permission_mode" and (modes := named(host).modes):
        value = f'"{modes[0]}"'
    given |= {key: value} if key != "host" else {}
    return "[agents.x]\n" + "".join(f"{name} = {value}\n" for name, value in given.items())


def hosts_of(key: str) -> tuple[str, ...]:
    """Return the hosts for which a key of an agent has an effect."""
    example = AGENT[key].example
    return tuple(
        host for host in WOKEN if "has no effect" not in refused(agent_with(key, example, host))
    )


def default_of(key: Key) -> str:
    """Return what holds where a key is not set."""
    if key.default or key.into is None:
        return key.default
    [value] = [field.default for field in fields(key.into) if field.name == (key.field or key.name)]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def table(keys: dict[str, Key], without: Iterable[str] = ()) -> str:
    """Return a table of Markdown for the keys of a file."""
    rows = ["| key | what it says | default | example |", "|---|---|---|---|"]
    for name, key in keys.items():
        if name in without:
            continue
        sentence = key.sentence
        if isinstance(key.reader, Within):
            low, high = key.reader.low, key.reader.high
            sentence = f"{sentence.removesuffix('.')}: {low:,} to {high:,} {key.unit}."
        if keys is AGENT and hosts_of(name) != WOKEN:
            only = " and ".join(f"`{host}`" for host in hosts_of(name))
            sentence = f"With host {only}: {sentence[0].lower()}{sentence[1:]}"
        rows.append(f"| `{name}` | {sentence} | {default_of(key)} | `{name} = {key.example}` |")
    return "\n".join(rows)


def variables() -> str:
    """Return the table of the environment variables."""
    rows = ["| variable | what it says | default | example |", "|---|---|---|---|"]
    rows += [
        f"| `{variable.name}` | {variable.sentence} | {variable.default} | `{variable.example}` |"
        for variable in VARIABLES
    ]
    return "\n".join(rows)


def hosts_variables() -> str:
    """Return the list of the variables by which a host is known, the first that counts first."""

    def compared(one: Host, other: Host) -> int:
        return -1 if marked({one.marks[0]: "1", other.marks[0]: "1"}) is one else 1

    known = sorted((host for host in HOSTS if host.marks), key=functools.cmp_to_key(compared))
    told = [(host.name, host.marks) for host in known]
    told += [(host.name, host.around) for host in HOSTS if host.around]
    return "\n".join(
        f"- {name}: {' or '.join(f'`{mark}`' for mark in marks)}" for name, marks in told
    )


def variables_in_the_code() -> set[str]:
    """Return every variable of ours that the sources of the package, hooks and launchers name."""
    found: set[str] = set()
    folders = ("mcp_agentbus", "installers", "hooks", "monitors", "bin", ".claude-plugin")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in [*files, ROOT / ".mcp.json"]:
        if path.suffix in {".py", ".json", ".toml", ""}:
            found |= set(re.findall(r"\bAGENTBUS_[A-Z_]*[A-Z]\b", path.read_text()))
    return found


def tables_known() -> list[str]:
    """Return the tables that config.toml may have."""
    return _known("no-such-table = 1\n")


def sentences() -> set[str]:
    """Return what is said of keys that two files have, once in each file's table."""
    return {key.sentence for key in [*AGENT.values(), *FOLDER.values()]}


def said_by_the_code() -> str:
    """Return the text of the package with its sentences in one piece."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "mcp_agentbus").rglob("*.py")))
    return re.sub(r"\"\s*\n\s*f?\"", "", text)
