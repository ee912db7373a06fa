# SPDX-License-Identifier: Apache-2.0
"""Settings: where the files are, which server to use, who this agent is.

    >>> load_settings({"AGENTBUS_HOME": "/tmp/bus"}).data_dir
    PosixPath('/tmp/bus/data')

One file (`config.toml`) and a few environment variables, which win; `SERVER_KEYS`,
`rules.KEYS` and `variables` list them all. It makes no folder and opens no connection.
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
from mcp_agentbus.config.values import Within, boolean, check_url
from mcp_agentbus.core import hosts, places
from mcp_agentbus.core.ids import Agent, agent_id
from mcp_agentbus.errors import BadInput, BadSetup


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


@dataclass(frozen=True)
class Settings:
    """Everything that is configured."""

    #: The bus's data, 0700: the embedded server and its token.
    data_dir: Path
    #: What must outlive a reboot but is not the bus's data: wakes, names, a key, what shells ended.
    state_dir: Path
    config_file: Path
    #: The listener's socket; gone after a reboot.
    runtime_dir: Path
    #: A shared server; None means the embedded one of this user.
    url: str | None = None
    #: A file that holds the shared server's token.
    token_file: Path | None = None
    #: The certificates of who signs the shared server's; what the system trusts if None.
    ca_file: Path | None = None
    #: What this machine shows the shared server: its certificate and, if not in there, its key.
    cert_file: Path | None = None
    key_file: Path | None = None
    #: A nats-server to use instead of the one that was installed along.
    binary: Path | None = None
    #: What is kept of tasks that are over.
    archive: Keeps = field(default_factory=Keeps)
    #: How a person is told.
    human: Human = field(default_factory=Human)
    #: What the configuration says of each agent, by id.
    agents: Mapping[str, Agent] = field(default_factory=dict)
    #: What the user allows for those that can be woken, by id.
    rules: Mapping[str, Rules] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def ledger_file(self) -> Path:
        """Where the listener keeps its record of wakes."""
        return self.state_dir / "wakes.db"

    @property
    def taps_file(self) -> Path:
        """Where is noted what a person was told."""
        return self.state_dir / "taps.json"

    @property
    def archive_file(self) -> Path | None:
        """Where the archive lies; None where nothing is to be kept."""
        return self.state_dir / "archive.db" if self.archive.enabled else None


#: Every key of [server].
SERVER_KEYS: Final = (
    Key("url", of_type(str), Settings,
        "The shared server: one `nats://` or `tls://` URL, without a secret in it.",
        '"tls://bus.example.org:4222"', "this user's own server"),
    Key("token_file", of_type(str), Settings,
        "The file (0600) that holds the shared server's token.",
        '"~/.config/agentbus/token"', "no token"),
    Key("allow_plaintext", of_type(bool), None,
        "Whether a server off this machine may be used without TLS: say it only where the network "
        "itself is encrypted.",
        "true", "`false`"),
    Key("ca_file", of_type(str), Settings,
        "The certificate (PEM) of the private CA that signs the shared server's; then no other "
        "counts.",
        '"~/.config/agentbus/ca.pem"', "what the system trusts, or SSL_CERT_FILE"),
    Key("cert_file", of_type(str), Settings,
        "The certificate (PEM) that this machine shows to a shared server that asks for one.",
        '"~/.config/agentbus/client.pem"', "none"),
    Key("key_file", of_type(str), Settings,
        "The file (0600) with the key of `cert_file`, without a passphrase.",
        '"~/.config/agentbus/client.key"', "it stands in `cert_file`"),
    Key("binary", of_type(str), Settings,
        "The nats-server that is started in the place of the one that came along.",
        '"/usr/local/bin/nats-server"', "the one that came along"),
)  # fmt: skip
#: Every key of [archive].
ARCHIVE_KEYS: Final = (
    Key("enabled", boolean, Keeps,
        "Whether what became of tasks is kept on this machine, for `agentbus tasks` and `search`.",
        "false"),
    Key("texts", boolean, Keeps,
        "Whether the texts of requests, notes and results are kept, and not their subjects alone.",
        "false"),
    Key("days", Within(1, 3_650), Keeps,
        "A task is removed when nothing has happened to it for so long.",
        "30", unit="days"),
    Key("max_mb", Within(1, 100_000), Keeps,
        "The greatest size of the file; where it is larger the oldest tasks are removed.",
        "1024", unit="MiB"),
)  # fmt: skip
_TABLES: Final = dict.fromkeys(("server", "agents", "wake", "archive", "human"), of_type(dict))
_IN_SERVER: Final = readers(SERVER_KEYS)
_IN_ARCHIVE: Final = readers(ARCHIVE_KEYS)
# What others see of an agent is read here, and what may wake it by `rules.read`.
_IN_AGENT: Final = {key.name: key.reader if key.into is Agent else unread for key in rules.KEYS}
# Read by OpenSSL, where it is set: by what a server with a certificate of a private CA is known.
_TRUSTED: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# What [server] says of the server.
_SERVER: Final = ("url", "token_file", "ca_file", "cert_file", "key_file")
# What tells one bus from another.
_BUS: Final = ("url", "token_file", "data_dir", "state_dir", "config_file")


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
    file = read_toml(config_file) if text is None else parse_toml(config_file, text)
    document = checked(file, _TABLES, str(config_file))
    server = checked(document.get("server", {}), _IN_SERVER, f"{config_file} [server]")
    tables = document.get("agents", {})
    agents = {name: _agent(name, table, config_file) for name, table in tables.items()}
    in_wake = rules.read_defaults(document.get("wake", {}), f"{config_file} [wake]")
    rules_of = {
        name: rules.read(name, table, in_wake, _where(config_file, name))
        for name, table in tables.items()
    }
    keeps = checked(document.get("archive", {}), _IN_ARCHIVE, f"{config_file} [archive]")
    human = read_human(document.get("human", {}), f"{config_file} [human]")
    url = env.get("AGENTBUS_URL") or server.get("url")
    if url:
        check_url(url, allow_plaintext=server.get("allow_plaintext") is True)
    return Settings(
        data_dir=data_dir,
        state_dir=state_dir,
        config_file=config_file,
        runtime_dir=runtime_dir,
        url=url,
        token_file=_path(env.get("AGENTBUS_TOKEN_FILE") or server.get("token_file"), env),
        **_tls_files(server, env, config_file),
        binary=_path(env.get("AGENTBUS_NATS_SERVER") or server.get("binary"), env),
        archive=Keeps(**keeps),
        human=human,
        agents=agents,
        rules={name: of_agent for name, of_agent in rules_of.items() if of_agent},
        environ=env,
    )


def settings_or_defaults(environ: Mapping[str, str]) -> Settings:
    """Read the settings; without config.toml, or a URL that is none, where it cannot be read.

    For those who only look, or say why: another bus may be in them than the user's own.
    """
    with suppress(BadSetup):
        return load_settings(environ)
    with suppress(BadSetup):
        return load_settings(environ, text="")
    without = {name: value for name, value in environ.items() if name != "AGENTBUS_URL"}
    return replace(load_settings(without, text=""), environ=dict(environ))


def server_of(settings: Settings) -> dict[str, str]:
    """Return what says which server it is, for `settings_as_before`; files by name, no secret."""
    return {name: str(value) for name in _SERVER if (value := getattr(settings, name))}


def settings_as_before(environ: Mapping[str, str], server: Mapping[str, str]) -> Settings:
    """Return the settings without config.toml, but for the server that a listener has told of.

    For a session that has begun by a file that cannot be read any more.
    """
    told = {name: str(server[name]) for name in _SERVER if server.get(name)}
    url = told.pop("url", None)
    files: dict[str, Any] = {name: Path(file) for name, file in told.items()}
    return replace(settings_or_defaults(environ), url=url, **files)


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
    server = {"AGENTBUS_URL": settings.url, "AGENTBUS_TOKEN_FILE": settings.token_file}
    set_here = {name: str(value) for name, value in server.items() if env.get(name)}
    return folders | set_here | _trusted_by(settings)


def _trusted_by(settings: Settings) -> dict[str, str]:
    """Return the variables by which OpenSSL knows who is spoken to, as far as they are set."""
    env, urls = settings.environ, [settings.url or "", *(of.url for of in settings.rules.values())]
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


def _path(value: object, env: Mapping[str, str]) -> Path | None:
    return Path(places.absolute(str(value), env)) if value else None


def _tls_files(
    server: Mapping[str, Any], env: Mapping[str, str], file: Path
) -> dict[str, Path | None]:
    """Return what [server] says of certificates; whoever opens a connection reads them.

    Raises:
        BadSetup: there is a key, and nothing that it belongs to.
    """
    if server.get("key_file") and not server.get("cert_file"):
        raise BadSetup(
            f"{file} [server] has a key_file and no cert_file.",
            hint="Name the certificate of that key, too, or take it out.",
        )
    return {name: _path(server.get(name), env) for name in ("ca_file", "cert_file", "key_file")}


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
        )
    except BadInput as error:
        raise BadSetup(f"{where}: {error.message}", hint=error.hint) from None
