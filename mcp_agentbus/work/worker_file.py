# SPDX-License-Identifier: Apache-2.0
"""A worker's TOML file: which agent, which program, how long, what is logged, and where.

    >>> worker_file = read(None)          # agentbus.toml here, else the user's, else the machine's
    >>> worker_file.argv
    ('agent-cli', 'chat', '--oneshot', '{input}')

The form is that of the task bus agentbus 0.1 (its `agentbus worker run`), read as it stands. What
it cannot mean here is refused with what to write instead; nothing is guessed or passed over. The
file names a program that is run, so it must be its user's own, or the machine's administrator's.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.config.tables import Key, Wrong, checked, of_type, parse_toml, readers
from mcp_agentbus.config.values import Within, string, strings
from mcp_agentbus.core import files, places
from mcp_agentbus.core.ids import agent_id
from mcp_agentbus.errors import BadInput, BadSetup
from mcp_agentbus.work.brief import PLACE, has_place
from mcp_agentbus.work.log import LogFile
from mcp_agentbus.work.program import TIME_LIMIT_S

#: Where it is looked for, if none is named: the first that is there counts.
PLACES: Final = ("./agentbus.toml", "~/.agentbus/config.toml", "/etc/agentbus/agentbus.toml")
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LOGS: Final = "~/.agentbus/logs"
_DAY_S: Final = 24 * 3600


@dataclass(frozen=True)
class WorkerFile:
    """What such a file says."""

    #: Where it lies.
    path: Path
    #: The agent whose tasks are done.
    agent: str
    #: The program and its arguments, one of which has the place of the task.
    argv: tuple[str, ...]
    #: What the program is told besides.
    instruction: str = ""
    #: The server; None: the bus of this user's configuration.
    url: str | None = None
    #: The program is ended after so many seconds.
    time_limit_s: float = TIME_LIMIT_S
    #: A task with more bytes, subject and body, is rejected.
    task_max_bytes: int = 1 << 20
    #: For so long, in seconds, a bus that is away is tried before that counts as a try.
    try_s: float = 2
    #: After so many tries the worker gives up.
    tries: float = math.inf
    level: int = logging.INFO
    log: LogFile = field(default_factory=lambda: LogFile(Path(_LOGS)))

    def settings(self, environ: Mapping[str, str]) -> Settings:
        """Return the settings by which the bus is found: this user's, but for the server's URL.

        Raises:
            BadSetup: as `load_settings`, of that URL too.
        """
        if self.url is None:
            return load_settings(environ)
        try:
            return load_settings({**environ, "AGENTBUS_URL": self.url})
        except BadSetup as error:
            message = error.message.replace("AGENTBUS_URL", "server_url")
            raise BadSetup(message, hint=error.hint) from None


def _id(value: Any) -> str:
    try:
        return agent_id(string(value))
    except BadInput as error:
        raise Wrong(f"names no agent: {error.message.rstrip('.')}", error.hint) from None


def _program(value: Any) -> tuple[str, ...]:
    """Take a program with its arguments; refuse one for a shell, and one without a task's place."""
    argv = strings(value)
    if not argv or not argv[0] or PLACE in argv[0]:
        raise Wrong("names no program", "Write the program first, then its arguments.")
    if not has_place(argv):
        raise Wrong(
            f"has no {PLACE}, where the task would stand",
            f'Add it as an argument: "{PLACE}"; for a program that reads its task on standard '
            "input there is `agentbus work -- PROGRAM`.",
        )
    return argv


def _instruction(value: Any) -> str:
    """Take a text of several lines."""
    if not isinstance(value, str) or "\0" in value:
        raise Wrong("is no text", "Write it in quotes.")
    return value


def _server(value: Any) -> str:
    """Take the URL of a server; refuse one with a secret in it, which any backup would have."""
    url = string(value)
    plain = "nats://HOST:PORT"
    with suppress(ValueError):  # not shown: its text may hold a piece of a secret
        parts = urlsplit(url)
        if "@" not in parts.netloc:
            return url
        plain = f"{parts.scheme}://{parts.hostname}:{parts.port or 4222}"
    raise Wrong(
        "has a login in it, or is no URL",
        "If it leads to the task bus agentbus 0.1, leave it out: the worker is on the bus of your "
        f'own configuration. Else write it as "{plain}"; what opens it stands in a 0600 file that '
        "[server] of agentbus's own config.toml names: a token in token_file; of a user, user and "
        "password_file. Where that lies: docs/config.md",
    )


def _tries(value: Any) -> float:
    tries = Within(-1, 1_000_000)(value)
    return math.inf if tries < 0 else tries


def _level(value: Any) -> int:
    level = string(value).upper()
    if level not in _LEVELS:
        raise Wrong("is no level", f"Known: {', '.join(_LEVELS)}.")
    return int(logging.getLevelNamesMapping()[level])


#: Every key, by its table.
KEYS: Final[Mapping[str, tuple[Key, ...]]] = {
    "agent": (
        Key("id", _id, WorkerFile,
            "The agent whose tasks are done.",
            '"coder"', "none: it is needed", field="agent"),
        Key("chat_cmd", _program, WorkerFile,
            "The program, run once for each task without a shell; `{input}` is the place of the "
            "task, an argument of its own or all behind an option.",
            '["agent-cli", "chat", "--oneshot", "{input}"]', "none: it is needed", field="argv"),
        Key("extra_instruction", _instruction, WorkerFile,
            "What the program is told besides, for each task.",
            '"Answer in German."', "nothing", field="instruction"),
    ),
    "worker": (
        Key("server_url", _server, WorkerFile,
            "The server, without a login: what opens it is named in `[server]` of agentbus's own "
            "[config.toml](config.md#server), or by [variables](config.md#environment-variables) "
            "where that has the `url` of another.",
            '"nats://127.0.0.1:7422"', "the bus of your configuration", field="url"),
        Key("task_timeout_seconds", Within(1, 7 * _DAY_S), WorkerFile,
            "The program is ended after so long.",
            "3600", unit="s", field="time_limit_s"),
        Key("max_task_bytes", Within(1, 1 << 30), WorkerFile,
            "A task with more, subject and body, is rejected.",
            "65536", unit="bytes", field="task_max_bytes"),
        Key("reconnect_time_wait_seconds", Within(1, 3600), WorkerFile,
            "So long a bus that is away is waited for before that counts as an attempt.",
            "5", unit="s", field="try_s"),
        Key("max_reconnect_attempts", _tries, WorkerFile,
            "After so many the worker gives up, with exit code 3; -1: never.",
            "30", "-1", field="tries"),
    ),
    "log": (
        Key("dir", string, LogFile,
            "The folder of `agentbus-worker.log`, which is yours alone.",
            '"~/logs"', f"`{_LOGS}`", field="folder"),
        Key("level", _level, WorkerFile,
            "DEBUG, INFO, WARNING, ERROR or CRITICAL.",
            '"WARNING"', "INFO"),
        Key("max_bytes", Within(1024, 1 << 34), LogFile,
            "With so many the file is put aside, and a new one begun.",
            "10485760", unit="bytes"),
        Key("backup_count", Within(1, 100), LogFile,
            "So many of those that were put aside are kept.",
            "2", unit="files", field="backups"),
    ),
}  # fmt: skip
_NEEDED: Final = ("id", "chat_cmd")
_TABLES: Final = dict.fromkeys(KEYS, of_type(dict))


def read(named: str | None, environ: Mapping[str, str] = os.environ) -> WorkerFile:
    """Read the file that was named, else the first of `PLACES` that is there.

    Raises:
        BadSetup: there is none, others can change it, or it makes no sense.
    """
    path = _place(named, environ)
    document = checked(parse_toml(path, _content(path)), _TABLES, str(path))
    given: dict[type, dict[str, Any]] = {WorkerFile: {}, LogFile: {}}
    for table, keys in KEYS.items():
        values = checked(document.get(table, {}), readers(keys), f"{path} [{table}]")
        for key in keys:
            if key.name in values:
                given[key.into or WorkerFile][key.field or key.name] = values[key.name]
            elif key.name in _NEEDED:
                raise BadSetup(
                    f"{path} [{table}] has no {key.name}.", hint=f"Add {key.name} = {key.example}"
                )
    folder = _path(given[LogFile].pop("folder", _LOGS), environ).absolute()
    return WorkerFile(path, **given[WorkerFile], log=LogFile(folder, **given[LogFile]))


def _place(named: str | None, environ: Mapping[str, str]) -> Path:
    for written in [named] if named else PLACES:
        path = _path(written, environ)
        if named or os.path.lexists(path):
            return path
    raise BadSetup(
        f"There is no configuration of a worker: none of {', '.join(PLACES)}.",
        hint="Write one, or name it with --config; `agentbus work -- PROGRAM` needs none.",
    )


def _path(written: str, environ: Mapping[str, str]) -> Path:
    """Return a path that a user has written; ~ is the home of that one's environment."""
    home, _, rest = written.partition("/")
    return Path(places.user_home(environ), rest) if home == "~" else Path(written)


def _content(path: Path) -> bytes:
    try:
        about = files.what_lies_at(path)
        # The administrator's is as good as one's own.
        if about.st_uid != 0 or files.is_open(about):
            files.check_own(path)
        return files.read_whole(path)
    except FileNotFoundError:
        raise BadSetup(f"{path} is not there.", hint="Correct --config.") from None
    except OSError as error:
        raise files.unusable(error, path, done="read") from None
