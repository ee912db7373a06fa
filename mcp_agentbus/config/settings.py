# SPDX-License-Identifier: Apache-2.0
"""Settings: where the files are, which server to use, who this agent is.

    >>> load_settings({"AGENTBUS_HOME": "/tmp/bus"}).data_dir
    PosixPath('/tmp/bus/data')

One file (`config.toml`, 0600) and a few environment variables, which win. It makes no folder and
opens no connection.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcp_agentbus.config.rules import KEYS, Rules, check_defaults
from mcp_agentbus.config.rules import read as read_rules
from mcp_agentbus.config.values import check_url, checked_table, parse_toml, read_toml
from mcp_agentbus.core import places
from mcp_agentbus.core.ids import Agent, agent_id, role_name
from mcp_agentbus.errors import BadInput, BadSetup

# What config.toml, its tables and a .agentbus.toml may hold, and of which type.
_TABLES: Final = {"server": dict, "agents": dict, "wake": dict}
_SERVER: Final = {"url": str, "token_file": str, "allow_plaintext": bool, "binary": str}
# The types of the rules' values are their readers' business.
_AGENT: Final = {"host": str, "description": str, "roles": list, **dict.fromkeys(KEYS, object)}
# What tells one bus from another.
_BUS: Final = ("url", "token_file", "data_dir", "state_dir", "config_file")
# The variables on which the platform's folders depend, and what is below the home without them.
_PLATFORM: Final = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
}
_ON_MACOS: Final = "Library/Application Support"


@dataclass(frozen=True)
class Settings:
    """Everything that is configured."""

    #: The bus's data, 0700: the embedded server and its token.
    data_dir: Path
    #: What must outlive a reboot but is not the bus's data: claims of shell agents.
    state_dir: Path
    config_file: Path
    #: The listener's socket; gone after a reboot.
    runtime_dir: Path
    #: A shared server; None means the embedded one of this user.
    url: str | None = None
    #: A file that holds the shared server's token.
    token_file: Path | None = None
    #: A nats-server to use instead of the one that was installed along.
    binary: Path | None = None
    #: What the configuration says of each agent, by id.
    agents: Mapping[str, Agent] = field(default_factory=dict)
    #: What the user allows for those that can be woken, by id.
    rules: Mapping[str, Rules] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def ledger_file(self) -> Path:
        """Where the listener keeps its record of wakes."""
        return self.state_dir / "wakes.db"


def load_settings(environ: Mapping[str, str] | None = None, *, text: str | None = None) -> Settings:
    """Read the settings; `text` is taken for what config.toml holds, if it is given.

    Raises:
        BadSetup: the file is not TOML, is open to others, names an unknown key, holds a value of
            the wrong type or a bad id, or names a server off this machine without TLS.
    """
    env = dict(os.environ if environ is None else environ)
    if home := places.home(env):
        env["AGENTBUS_HOME"] = home  # so that it is the same to whom this starts in another folder
    data_dir, state_dir, config_file, runtime_dir = _folders(env)
    found = read_toml(config_file, private=True) if text is None else parse_toml(config_file, text)
    document = checked_table(found, _TABLES, str(config_file))
    server = checked_table(document.get("server", {}), _SERVER, f"{config_file} [server]")
    tables = document.get("agents", {})
    agents = {key: _agent(key, value, config_file) for key, value in tables.items()}
    wake = document.get("wake", {})
    check_defaults(wake, f"{config_file} [wake]")
    rules = {
        key: read_rules(key, value, wake, _where(config_file, key)) for key, value in tables.items()
    }
    url = env.get("AGENTBUS_URL") or server.get("url")
    if url:
        check_url(url, allow_plaintext=server.get("allow_plaintext") is True)
    return Settings(
        data_dir=data_dir,
        state_dir=state_dir,
        config_file=config_file,
        runtime_dir=runtime_dir,
        url=url,
        token_file=_path(env.get("AGENTBUS_TOKEN_FILE") or server.get("token_file")),
        binary=_path(env.get("AGENTBUS_NATS_SERVER") or server.get("binary")),
        agents=agents,
        rules={key: value for key, value in rules.items() if value},
        environ=env,
    )


def neighbour_settings(ours: Settings, environ: object) -> Settings:
    """Return the settings of another process of this user, by its environment.

    Raises:
        BadInput: it is on another bus.
        BadSetup: as `load_settings`.
    """
    if not isinstance(environ, dict):
        raise BadInput("No environment was given.")
    # What the platform's own folders depend on is read from this process's environment.
    if not environ.get("AGENTBUS_HOME") and _above(environ) != _above(ours.environ):
        raise BadInput("This process has other folders.")
    theirs = load_settings(environ)
    if any(getattr(theirs, name) != getattr(ours, name) for name in _BUS):
        raise BadInput("This process is on another bus.")
    return theirs


def neighbour_environ(settings: Settings) -> dict[str, str]:
    """Return the variables by which a process started elsewhere finds these folders and this bus.

    Only those that are set and that change something: the reverse of `neighbour_settings`. None is
    a secret: `load_settings` has refused a URL with one in it, and of a token it knows the file.
    """
    env = settings.environ
    found = {}
    if home := places.home(env):
        found["AGENTBUS_HOME"] = home
    else:
        usual = _above({**env, **dict.fromkeys(_PLATFORM, "")})
        found = {name: one for name, one in _above(env).items() if one != usual[name]}
        without = {name: value for name, value in env.items() if name != "XDG_RUNTIME_DIR"}
        if places.runtime_folder(env) != places.runtime_folder(without):
            found["XDG_RUNTIME_DIR"] = env["XDG_RUNTIME_DIR"]
    given = {"AGENTBUS_URL": settings.url, "AGENTBUS_TOKEN_FILE": settings.token_file}
    return found | {name: str(value) for name, value in given.items() if env.get(name)}


def _folders(env: Mapping[str, str]) -> tuple[Path, Path, Path, Path]:
    if one := places.home(env):
        home = Path(one)
        return home / "data", home / "state", home / "config.toml", home / "run"
    # Imported late: a command that only prints its help does not need it.
    import platformdirs

    dirs = platformdirs.PlatformDirs("agentbus", appauthor=False)
    config = dirs.user_config_path / "config.toml"
    return dirs.user_data_path, dirs.user_state_path, config, Path(places.runtime_folder(env))


def _above(env: Mapping[str, str]) -> dict[str, str]:
    """Return the folders above the platform's own; a variable may name the very default."""
    home = env.get("HOME", "")
    home = home if home.startswith("/") else os.path.expanduser("~")  # noqa: PTH111
    found = {}
    for name, below in _PLATFORM.items():
        given = env.get(name, "")
        usual = f"{home}/{_ON_MACOS if sys.platform == 'darwin' else below}"
        found[name] = os.path.normpath(given if given.startswith("/") else usual)
    return found


def _path(value: object) -> Path | None:
    return Path(str(value)).expanduser().absolute() if value else None


def _where(file: Path, agent: str) -> str:
    return f"{file} [agents.{agent}]"


def _agent(name: str, value: object, file: Path) -> Agent:
    where = _where(file, name)
    fields = checked_table(value, _AGENT, where)
    try:
        return Agent(
            id=agent_id(name),
            host=fields.get("host", "shell"),
            description=fields.get("description", ""),
            roles=tuple(role_name(str(role)) for role in fields.get("roles", ())),
        )
    except BadInput as error:
        raise BadSetup(f"{where}: {error.message}", hint=error.hint) from None
