# SPDX-License-Identifier: Apache-2.0
"""Settings: where the files are, which server to use, who this agent is.

    >>> load_settings({"AGENTBUS_HOME": "/tmp/bus"}).data_dir
    PosixPath('/tmp/bus/data')

One file (`config.toml`) and a few environment variables, which win; `rules.KEYS`,
`sections` and `variables` list them all. It makes no folder and opens no connection.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.config import rules
from mcp_agentbus.config.rules import Rules
from mcp_agentbus.config.sections.human import Human
from mcp_agentbus.config.sections.human import read as read_human
from mcp_agentbus.config.sections.server import BINARY, IN_ENVIRON, Server
from mcp_agentbus.config.sections.server import read as read_server
from mcp_agentbus.config.tables import (
    Key,
    checked,
    checked_roles,
    of_type,
    parse_toml,
    read_toml,
    readers,
    unread,
)
from mcp_agentbus.config.values import Within, boolean
from mcp_agentbus.core import hosts, places
from mcp_agentbus.core.ids import ANY_SENDER, Agent, agent_id
from mcp_agentbus.errors import BadInput, BadSetup

#: What changes when a file is written anew, or its mode; zeros if there is none.
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Keeps:
    """What the archive keeps."""

    enabled: bool = True
    #: Also the texts of tasks and results, without which only their subjects can be searched.
    texts: bool = True
    #: Of a task nothing has happened for so long: it goes.
    days: int = 90
    #: Where the file is larger the oldest go.
    max_mb: int = 256


@dataclass(frozen=True, kw_only=True)
class Settings(Server):
    """Everything that is configured."""

    #: The bus's data, 0700: the embedded server and its token.
    data_dir: Path
    #: What must outlive a reboot but is not the bus's data: wakes, names, a key, what shells ended.
    state_dir: Path
    config_file: Path
    #: The listener's socket; gone after a reboot.
    runtime_dir: Path
    #: What is kept of tasks that are over.
    archive: Keeps = field(default_factory=Keeps)
    #: How a person is told.
    human: Human = field(default_factory=Human)
    #: What the configuration says of each agent, by id.
    agents: Mapping[str, Agent] = field(default_factory=dict)
    #: What the user allows for those that can be woken, by id.
    rules: Mapping[str, Rules] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: config.toml's stamp from before it was read, for who reads it again; None if it was not read.
    stamp: Stamp | None = field(default=None, repr=False, compare=False)

    @property
    def ledger_file(self) -> Path:
        """Where the listener keeps its record of wakes."""
        return self.state_dir / "wakes.db"

    @property
    def taps_file(self) -> Path:
        """Where is noted what a person was told."""
        return self.state_dir / "taps.json"

    @property
    def joined_folder(self) -> Path:
        """Where `agentbus join` keeps an account's key, and by what its server is known."""
        return self.config_file.parent / "joined"

    @property
    def archive_file(self) -> Path | None:
        """Where the archive lies; None where nothing is to be kept."""
        return self.state_dir / "archive.db" if self.archive.enabled else None


#: Every key of [archive].
ARCHIVE_KEYS: Final = (
    Key("enabled", boolean, Keeps,
        "Whether what became of tasks is kept on this machine, for `agentbus tasks` and `search`.",
        "false"),
    Key("texts", boolean, Keeps,
        "Whether the texts of requests, notes and results are kept, and not their subjects alone; "
        "[those that are kept already stay](history.md#where-it-comes-from).",
        "false"),
    Key("days", Within(1, 3_650), Keeps,
        "A task is removed when nothing has happened to it for so long, it is over, and the bus "
        "keeps nothing of it.",
        "30", unit="days"),
    Key("max_mb", Within(1, 100_000), Keeps,
        "The greatest size of the file; where it is larger the oldest tasks are removed, at last "
        "those that are not over.",
        "1024", unit="MiB"),
)  # fmt: skip
_TABLES: Final = dict.fromkeys(("server", "agents", "wake", "archive", "human"), of_type(dict))
_IN_ARCHIVE: Final = readers(ARCHIVE_KEYS)
# What others see of an agent is read here, and what may wake it by `rules.read`.
_IN_AGENT: Final = {key.name: key.reader if key.into is Agent else unread for key in rules.KEYS}
# Read by OpenSSL, where it is set: by what a server with a certificate of a private CA is known.
_TRUSTED: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# What says which server it is, and what opens it.
_SERVER: Final = (*IN_ENVIRON, "allow_plaintext")
# What tells one bus from another.
_BUS: Final = (*_SERVER, "data_dir", "state_dir", "config_file")


def load_settings(environ: Mapping[str, str] | None = None, *, text: str | None = None) -> Settings:
    """Read the settings; `text` is taken for what config.toml holds, if it is given.

    Raises:
        BadSetup: the file is not TOML, others can change it, it names an unknown key, holds a value
            of the wrong type or a bad id, or names a server off this machine without TLS.
    """
    # Of another process the ancestors are others.
    ours = environ is None or environ is os.environ
    env = {**os.environ, **hosts.said(os.environ)} if ours else dict(environ or ())
    if home := places.home(env):
        env["AGENTBUS_HOME"] = home  # so that it is the same to whom this starts in another folder
    data_dir, state_dir, config_file, runtime_dir = _folders(env)
    # Before: what is written while it is read is read again.
    stamp = stamp_of(config_file) if text is None else None
    file = read_toml(config_file) if text is None else parse_toml(config_file, text)
    document = checked(file, _TABLES, str(config_file))
    tables = document.get("agents", {})
    agents = {name: _agent(name, table, config_file) for name, table in tables.items()}
    in_wake = rules.read_defaults(document.get("wake", {}), f"{config_file} [wake]")
    rules_of = {
        name: rules.read(name, table, in_wake, _where(config_file, name))
        for name, table in tables.items()
    }
    keeps = checked(document.get("archive", {}), _IN_ARCHIVE, f"{config_file} [archive]")
    human = read_human(document.get("human", {}), f"{config_file} [human]")
    server = read_server(document.get("server", {}), env, f"{config_file} [server]")
    return Settings(
        data_dir=data_dir,
        state_dir=state_dir,
        config_file=config_file,
        runtime_dir=runtime_dir,
        **server,
        archive=Keeps(**keeps),
        human=human,
        agents=agents,
        rules={name: of_agent for name, of_agent in rules_of.items() if of_agent},
        environ=env,
        stamp=stamp,
    )


def stamp_of(file: Path) -> Stamp:
    """Return a file's stamp as it is now."""
    try:
        stat = file.stat()
    except OSError:
        return 0, 0, 0
    # A chmod, which the refusal of an open file asks for, changes the last only.
    return stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns


def settings_or_defaults(environ: Mapping[str, str]) -> Settings:
    """Read the settings; without config.toml, and what variables say of a server, where need be.

    For those who only look, or say why: another bus may be in them than the user's own.
    """
    with suppress(BadSetup):
        return load_settings(environ)
    with suppress(BadSetup):
        return load_settings(environ, text="")
    # Of half a login, too, a session tells its model, and doctor what else it finds.
    servers = set(IN_ENVIRON.values())
    without = {name: value for name, value in environ.items() if name not in servers}
    return replace(load_settings(without, text=""), environ=dict(environ))


def settings_and_fault() -> tuple[Settings, BadSetup | None]:
    """Return this process's settings; `settings_or_defaults` and the reason where none can be read.

    For what looks at something that runs, or ends it: nobody is to mend a file before that.
    """
    try:
        return load_settings(), None
    except BadSetup as error:
        return settings_or_defaults(os.environ), error


def server_of(settings: Settings) -> dict[str, str]:
    """Return what says which server it is, for `settings_as_before`; files by name, no secret."""
    return {name: str(value) for name in _SERVER if (value := getattr(settings, name))}


def settings_as_before(environ: Mapping[str, str], server: Mapping[str, str]) -> Settings:
    """Return the settings without config.toml, but for the server that a listener has told of.

    For a session that has begun by a file that cannot be read any more.
    """
    told: dict[str, Any] = {name: str(server[name]) for name in _SERVER if server.get(name)}
    for name, value in told.items():
        told[name] = Path(value) if name.endswith("_file") else value
    told["allow_plaintext"] = "allow_plaintext" in told
    nothing: dict[str, Any] = dict.fromkeys(IN_ENVIRON)
    return replace(settings_or_defaults(environ), **{**nothing, **told})


def neighbour_settings(ours: Settings, environ: object) -> Settings:
    """Return the settings of another process of this user, by the environment that it has sent.

    The inverse of `neighbour_environ`: what that names leads here to the same bus.

    Raises:
        BadInput: that is no environment, or one of another bus.
        BadSetup: as `load_settings`.
    """
    if not isinstance(environ, dict):
        raise BadInput("No environment was given.")
    theirs = load_settings(environ)
    if any(getattr(theirs, name) != getattr(ours, name) for name in _BUS):
        raise BadInput("This process is on another bus.")
    return theirs


def neighbour_environ(settings: Settings) -> dict[str, str]:
    """Return the variables by which a process started elsewhere finds these folders and this bus.

    The inverse of `neighbour_settings`. Only those that are set and that change something: one
    that names what holds without it is left out. None is a secret: `load_settings` has refused a
    URL with one in it, and of a token it knows the file.
    """
    env = settings.environ
    if home := places.home(env):
        folders = {"AGENTBUS_HOME": home}
    else:
        set_ = places.xdg_folders(env)
        unset = places.xdg_folders({**env, **dict.fromkeys(set_, "")})
        folders = {name: path for name, path in set_.items() if path != unset[name]}
        without = {name: value for name, value in env.items() if name != "XDG_RUNTIME_DIR"}
        if places.runtime_folder(env) != places.runtime_folder(without):
            folders["XDG_RUNTIME_DIR"] = env["XDG_RUNTIME_DIR"]
    variables = {**IN_ENVIRON, "binary": BINARY}
    set_here = {
        name: str(getattr(settings, key)) for key, name in variables.items() if env.get(name)
    }
    return folders | set_here | _trusted_by(settings)


def _trusted_by(settings: Settings) -> dict[str, str]:
    """Return the variables by which OpenSSL knows who is spoken to, as far as they are set."""
    env, urls = settings.environ, [*settings.urls, *(of.url for of in settings.rules.values())]
    is_tls = any(url.startswith(("tls:", "https:")) for url in urls)
    return {name: places.absolute(env[name], env) for name in _TRUSTED if is_tls and env.get(name)}


def _folders(env: Mapping[str, str]) -> tuple[Path, Path, Path, Path]:
    """Return the data folder, the state folder, config.toml and the runtime folder."""
    state, runtime = Path(places.state_folder(env)), Path(places.runtime_folder(env))
    if given := places.home(env):
        home = Path(given)
        return home / "data", state, home / "config.toml", runtime
    xdg = places.xdg_folders(env)
    config = Path(xdg["XDG_CONFIG_HOME"], "agentbus", "config.toml")
    return Path(xdg["XDG_DATA_HOME"], "agentbus"), state, config, runtime


def _where(file: Path, agent: str) -> str:
    """Return how a message names an agent's table."""
    return f"{file} [agents.{agent}]"


def _agent(name: str, table: object, file: Path) -> Agent:
    """Return what others see of an agent, by its table."""
    where = _where(file, name)
    values = checked(table, _IN_AGENT, where)
    try:
        return Agent(
            id=agent_id(name),
            host=values.get("host", "shell"),
            description=values.get("description", ""),
            roles=checked_roles(values.get("roles", ()), where),
            accept_from=values.get("accept_from", (ANY_SENDER,)),
            set_up=True,
        )
    except BadInput as error:
        raise BadSetup(f"{where}: {error.message}", hint=error.hint) from None
