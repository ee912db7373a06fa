# SPDX-License-Identifier: Apache-2.0
"""Change agents and the server in config.toml, and leave the rest of it as its user wrote it.

    >>> add(settings, "coder", host="claude-code", dir="/home/me/shop")
    >>> set_server(settings, {"url": "tls://bus.example.org:4222", "account": "laptop", ...})

One process at a time edits; the new text is read as settings before it takes the file's place, so
what would be refused later never gets there. Comments, order and ends of lines stay; a file that is
written in a way that this cannot keep is refused, not rewritten.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tomllib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp_agentbus.config.changes import toml_text
from mcp_agentbus.config.rules import Rules
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core import files, hosts, locks, places
from mcp_agentbus.core.files import decoded, encoded, shell_word, unusable, write_whole
from mcp_agentbus.core.ids import agent_id
from mcp_agentbus.errors import BadInput, BadSetup, UnknownAgent


@dataclass(frozen=True)
class Added:
    """What has become of config.toml."""

    settings: Settings
    #: Keys that the agent's table had, and that mean nothing beside those given anew.
    gone: tuple[str, ...] = ()


def add(settings: Settings, agent: str, *, replace: bool = False, **keys: Any) -> Added:
    """Write the table of an agent; return the settings with it. A key that is None is left out.

    With `replace` a table that is there already gets these keys, and keeps its others: an agent
    that lost a role, its quiet hours or a limit by the way would do what its user never said.

    Raises:
        BadInput: it is there already, or a value makes no sense. Nothing was changed.
        BadSetup: config.toml cannot be edited, or was refused before anything was changed in it.
    """
    agent_id(agent)
    wanted = {key: value for key, value in keys.items() if value is not None}
    with _editing(settings) as file:
        old = file.text
        known = load_settings(settings.environ, text=old).agents
        if agent in known and not replace:
            raise BadInput(
                f"{agent} is in {settings.config_file} already.",
                hint="Use --replace to write it anew, or edit the file.",
            )
        before = tomllib.loads(old)
        tables = dict(before.get("agents", {}))
        table = tables.get(agent, {})
        gone = tuple(key for key in table if key not in wanted and _is_over(key, table, wanted))
        kept = {key: value for key, value in table.items() if key not in gone}
        tables[agent] = kept | wanted
        new = (
            toml_text.changed(old, agent, tables[agent])
            if agent in known
            else toml_text.appended(old, agent, wanted)
        )
        _check(settings, new, {**before, "agents": tables})
        try:
            loaded = load_settings(settings.environ, text=new)
            _see_used(loaded.rules.get(agent), wanted)
        except BadSetup as error:
            raise BadInput(f"Not written. {error.message}", hint=error.hint) from None
        file.write(new)
    return Added(loaded, gone)


def _is_over(key: str, table: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether a key of an agent's table means nothing any more beside those given anew."""
    now = {**table, **wanted}
    moves = now.get("host") != table.get("host")
    if key in hosts.WITH_WORK:  # and each host understands these in its own way
        works = now.get("wake") == "work" and now.get("host") in hosts.with_key(key)
        return moves or not works
    return moves and (key == "wake" or now.get("host") not in hosts.with_key(key))


def _see_used(rules: Rules | None, wanted: Mapping[str, Any]) -> None:
    """See that no key that was typed does nothing: what is in the file already is only passed over.

    Raises:
        BadSetup: one would.
    """
    if rules is None:
        return
    for key in rules.idle:
        if key in wanted:
            raise BadSetup(
                f"{key} has no effect with host {rules.host} and wake {rules.profile}.",
                hint=f"Leave it out; it is for {' and '.join(hosts.with_key(key))} with wake work.",
            )
    host, mode = hosts.named(rules.host), rules.permission_mode
    if "permission_mode" in wanted and not host.takes_mode(mode):
        raise BadSetup(
            f"{rules.host} takes no permission_mode {mode}.",
            hint=f"Leave it out, or give {' or '.join(host.modes)}.",
        )


def remove(settings: Settings, agent: str) -> Settings:
    """Take the table of an agent out; return the settings without it.

    Raises:
        UnknownAgent: there is none.
        BadSetup: config.toml cannot be edited.
    """
    with _editing(settings) as file:
        old = file.text
        if agent not in load_settings(settings.environ, text=old).agents:
            raise UnknownAgent(
                f"{settings.config_file} has no agent {agent[:80]!r}.",
                hint="Run `agentbus agent list` to see those it has.",
            )
        after = tomllib.loads(old)
        del after["agents"][agent]
        new = toml_text.without_agent(old, agent, after)
        _check(settings, new, after)
        loaded = load_settings(settings.environ, text=new)
        file.write(new)
    return loaded


def rename(settings: Settings, agent: str, new: str) -> Settings:
    """Give an agent another id, also wherever it is a sender; return the settings with that.

    Raises:
        BadInput: there is an agent of that id already.
        BadSetup: config.toml cannot be edited.
    """
    agent_id(new)
    with _editing(settings) as file:
        before = tomllib.loads(file.text)
        if new in before.get("agents", {}):
            raise BadInput(f"{new} is in {settings.config_file} already.", hint="Take another id.")
        text = toml_text.with_header(file.text, before, agent, new)
        return _trusted(settings, file, text, agent, new)


def distrust(settings: Settings, agent: str) -> Settings:
    """Take an id that anybody may have next from all senders; return the settings without it.

    Raises: as `server_in`.
    """
    if agent not in _file(settings.config_file).text:  # whose folder may be nobody's to write in
        return settings
    with _editing(settings) as file:
        return _trusted(settings, file, file.text, agent, None)


def _trusted(settings: Settings, file: _File, text: str, agent: str, new: str | None) -> Settings:
    """Write the file as this text has it, with another id among the senders, or none."""
    before = tomllib.loads(file.text)
    after = {key: toml_text.trusting(table, agent, new) for key, table in before.items()}
    after["agents"] = {
        new or name if name == agent else name: toml_text.trusting(table, agent, new)
        for name, table in before.get("agents", {}).items()
    }
    if after == {"agents": {}, **before}:
        return settings
    text = toml_text.with_trust(text, agent, new)
    _check(settings, text, after)
    loaded = load_settings(settings.environ, text=text)
    file.write(text)
    return loaded


def server_in(settings: Settings) -> dict[str, Any]:
    """Return what [server] says.

    Raises:
        BadSetup: as `set_server`.
    """
    with _editing(settings) as file:
        return dict(tomllib.loads(file.text).get("server", {}))


def set_server(settings: Settings, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Have [server] say exactly this; return what it said before. Without keys it is left out.

    Raises:
        BadSetup: config.toml cannot be edited, or would be refused with it. Nothing was changed.
    """
    with _editing(settings) as file:
        document = tomllib.loads(file.text)
        before, rest = dict(document.get("server", {})), toml_text.but(document, "server")
        new = toml_text.with_server(file.text, keys)
        _check(settings, new, {**rest, "server": dict(keys)} if keys else rest)
        load_settings(settings.environ, text=new)
        if keys != before:
            file.write(new)
    return before


@dataclass(frozen=True)
class _File:
    """config.toml as it is, and as it is to stay: its place, its mode, how its text is spelled."""

    #: The file itself, where config.toml is a link to it.
    path: Path
    #: With its own ends of lines; empty if there is no file.
    text: str = ""
    mark: bytes = b""
    mode: int = 0o600

    def write(self, new: str) -> None:
        write_whole(self.path, encoded(new, self.mark, self.path), mode=self.mode)


@contextlib.contextmanager
def _editing(settings: Settings) -> Generator[_File]:
    """Yield config.toml, while no other process of this kind edits it.

    Raises:
        BadSetup: others can change the file or its folder, or it cannot be used.
    """
    file = settings.config_file
    lock = file.with_name(f"{file.name}.lock")
    try:
        places.make_private(file.parent)
        folder = file.parent.stat()
        if folder.st_uid != os.getuid() or files.is_open(folder):
            raise BadSetup(
                f"{file.parent} can be changed by other users.",
                hint=f"Run: chmod 700 {shell_word(file.parent)}",
            )
        with locks.held(lock, wait=True):
            yield _file(file)
    except OSError as error:
        raise unusable(error, file, done="edited") from None


def _file(path: Path) -> _File:
    try:
        files.check_own(path)
        text, mark = decoded(files.read_whole(path))
        return _File(path.resolve(), text, mark, stat.S_IMODE(path.stat().st_mode))
    except FileNotFoundError:
        return _File(path.resolve())
    except UnicodeDecodeError as error:
        raise BadSetup(
            f"{path} is not TOML: {error}.", hint="Correct it or move it away."
        ) from None


def _check(settings: Settings, new: str, expected: Mapping[str, Any]) -> None:
    """See that an edit did what it should and nothing else.

    Raises:
        BadSetup: it did not; nothing is written.
    """
    if not toml_text.says(new, expected):
        raise BadSetup(f"{settings.config_file} cannot be edited.", hint=toml_text.BY_HAND)
