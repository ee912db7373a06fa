# SPDX-License-Identifier: Apache-2.0
"""Settings: where the files are, which server to use, who this agent is.

    >>> load({"AGENTBUS_HOME": "/tmp/bus"}).data_dir
    PosixPath('/tmp/bus/data')

One file (`config.toml`, 0600) and a few environment variables, which win. It makes no folder and
opens no connection.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from mcp_agentbus.config.rules import KEYS, LOOPBACK, Rules, check_defaults
from mcp_agentbus.config.rules import read as read_rules
from mcp_agentbus.core import places
from mcp_agentbus.core.ids import ROLE_PREFIX, agent_id, is_inbox, role_name
from mcp_agentbus.errors import BadInput, BadSetup

FOLDER_FILE: Final = ".agentbus.toml"
# What config.toml, its tables and a .agentbus.toml may hold, and of which type.
_TABLES: Final = {"server": dict, "agents": dict, "wake": dict}
_SERVER: Final = {"url": str, "token_file": str, "allow_plaintext": bool, "binary": str}
# The types of the rules' values are their readers' business.
_AGENT: Final = {"host": str, "description": str, "roles": list, **dict.fromkeys(KEYS, object)}
_FOLDER: Final = {"agent": str, "description": str, "roles": list}
# What tells one bus from another.
_BUS: Final = ("url", "token_file", "data_dir", "state_dir", "config_file")
# The variables on which the platform's folders depend, and what is below the home without them.
_PLATFORM: Final = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
}
_ON_MACOS: Final = "Library/Application Support"
_TYPE_NAMES: Final = {dict: "table", str: "string", bool: "boolean", list: "list"}

# The environment variable by which a host can be known, and the host's name on the bus.
_HOSTS: Final = (
    ("CURSOR_VERSION", "cursor"),
    ("CURSOR_TRACE_ID", "cursor"),
    ("CLAUDECODE", "claude-code"),
    ("OPENCLAW_STATE_DIR", "openclaw"),
    ("OPENCLAW_SHELL", "openclaw"),
)


@dataclass(frozen=True)
class Agent:
    """Who a session speaks for."""

    id: str
    #: The host's name: `claude-code`, `cursor`, `openclaw`, or `shell`.
    host: str = "shell"
    #: One line for the roster.
    description: str = ""
    #: The shared inboxes it also reads.
    roles: tuple[str, ...] = ()

    @property
    def inboxes(self) -> tuple[str, ...]:
        """The inboxes it reads: its own, then those of its roles."""
        return (self.id, *(ROLE_PREFIX + role for role in self.roles))


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


def load(environ: Mapping[str, str] | None = None, *, text: str | None = None) -> Settings:
    """Read the settings; `text` is taken for what config.toml holds, if it is given.

    Raises:
        BadSetup: the file is not TOML, is open to others, names an unknown key, holds a value of
            the wrong type or a bad id, or names a server off this machine without TLS.
    """
    env = dict(os.environ if environ is None else environ)
    if home := places.home(env):
        env["AGENTBUS_HOME"] = home  # so that it is the same to whom this starts in another folder
    data_dir, state_dir, config_file, runtime_dir = _folders(env)
    found = (
        _read_toml(config_file, private=True) if text is None else _parse_toml(config_file, text)
    )
    document = _checked(found, _TABLES, str(config_file))
    server = _checked(document.get("server", {}), _SERVER, f"{config_file} [server]")
    tables = document.get("agents", {})
    agents = {key: _agent(key, value, config_file) for key, value in tables.items()}
    wake = document.get("wake", {})
    check_defaults(wake, f"{config_file} [wake]")
    rules = {
        key: read_rules(key, value, wake, _where(config_file, key)) for key, value in tables.items()
    }
    url = env.get("AGENTBUS_URL") or server.get("url")
    if url:
        _check_url(url, allow_plaintext=server.get("allow_plaintext") is True)
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


def neighbour(ours: Settings, environ: object) -> Settings:
    """Return the settings of another process of this user, by its environment.

    Raises:
        BadInput: it is on another bus.
        BadSetup: as `load`.
    """
    if not isinstance(environ, dict):
        raise BadInput("No environment was given.")
    # What the platform's own folders depend on is read from this process's environment.
    if not environ.get("AGENTBUS_HOME") and _above(environ) != _above(ours.environ):
        raise BadInput("This process has other folders.")
    theirs = load(environ)
    if any(getattr(theirs, name) != getattr(ours, name) for name in _BUS):
        raise BadInput("This process is on another bus.")
    return theirs


def leads_here(settings: Settings) -> dict[str, str]:
    """Return the variables by which a process started elsewhere finds these folders and this bus.

    Only those that are set and that change something. None is a secret: `load` has refused a URL
    with one in it, and of a token it knows the file.
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


def who(settings: Settings, given: str | None = None, folder: Path | None = None) -> Agent:
    """Tell which agent a session in `folder` is.

    In this order: `given` (--agent), AGENTBUS_AGENT, the nearest .agentbus.toml above the folder,
    the agent that `agentbus agent add` has set up for this very folder and host, else the folder's
    name with the host's, such as `shop-claude`.

    Raises:
        BadInput: the id that was found may not name an agent.
        BadSetup: the .agentbus.toml is not TOML, or a value in it has the wrong type.
    """
    host = host_of(settings.environ)
    folder = (folder or Path.cwd()).resolve()
    local = _nearest(folder)
    name = given or settings.environ.get("AGENTBUS_AGENT") or local.get("agent")
    name = name or _set_up_for(settings, folder, host)
    agent = agent_id(str(name)) if name else default_id(folder, host)
    known = settings.agents.get(agent, Agent(agent))
    if (local.get("agent") or agent) != agent:
        local = {}  # it describes somebody else
    return Agent(
        id=agent,
        host=host,
        description=str(local.get("description") or known.description),
        roles=tuple(role_name(str(role)) for role in local.get("roles") or known.roles),
    )


def _set_up_for(settings: Settings, folder: Path, host: str) -> str | None:
    """Return the agent that a wake would start in this folder, by this host; None unless one is."""
    rules = [one for one in settings.rules.values() if one.host == host]
    found = [one.agent for one in rules if one.folder.resolve() == folder]
    return found[0] if len(found) == 1 else None


def host_of(environ: Mapping[str, str]) -> str:
    """Tell which host's process this environment belongs to; `shell` if none is known."""
    said = environ.get("AGENTBUS_HOST", "")
    if is_inbox(said):
        return said
    return next((host for variable, host in _HOSTS if environ.get(variable)), "shell")


def default_id(folder: Path, host: str) -> str:
    """Return an id made of the folder's name and the host's: `shop-claude`."""
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.name.lower()).strip("-_") or "agent"
    suffix = host.partition("-")[0]
    # 63 characters are the limit of an id.
    name = name[: 62 - len(suffix)]
    if f"{name}-".startswith(ROLE_PREFIX):  # reserved, and so is what a folder `role` would give
        name = f"my-{name}"[: 62 - len(suffix)]
    return agent_id(f"{name}-{suffix}")


def check_private(path: Path) -> None:
    """See that `path`, which holds a secret, belongs to this user alone.

    Raises:
        BadSetup: others may read or write it, it is a symlink, or it is somebody else's.
    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise BadSetup(f"{path} is a symlink.", hint="Put the file itself there, with mode 0600.")
    if os.name == "posix" and found.st_uid != os.getuid():
        raise BadSetup(f"{path} belongs to another user.", hint=f"Run: sudo chown $USER {path}")
    if os.name == "posix" and found.st_mode & 0o077:
        raise BadSetup(f"{path} is open to other users.", hint=f"Run: chmod 600 {path}")


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


def _read_toml(path: Path, *, private: bool) -> dict[str, Any]:
    try:
        if private:
            check_private(path)
        return _parse_toml(path, path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadSetup(f"{path} cannot be read: {error.strerror}.") from None


def _parse_toml(path: Path, content: str | bytes) -> dict[str, Any]:
    try:
        text = content if isinstance(content, str) else content.decode()
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadSetup(
            f"{path} is not TOML: {error}.", hint="Correct it or move it away."
        ) from None


def _nearest(folder: Path) -> dict[str, Any]:
    for place in (folder, *folder.parents):
        file = place / FOLDER_FILE
        if file.is_file():
            found = _read_toml(file, private=False)
            # It travels with the code, so a key that is unknown here may be a newer version's.
            known = {key: value for key, value in found.items() if key in _FOLDER}
            return _checked(known, _FOLDER, str(file))
    return {}


def _checked(value: object, known: Mapping[str, type], where: str) -> dict[str, Any]:
    """Return `value` if it is a table of known keys with values of their types."""
    if not isinstance(value, dict):
        raise BadSetup(f"{where} is not a table.")
    for key, content in value.items():
        if key not in known:
            raise BadSetup(
                f"{where} has a key that does not exist: {key}.", hint=f"Known: {', '.join(known)}."
            )
        if not isinstance(content, known[key]):
            raise BadSetup(f"{where}: {key} is not a {_TYPE_NAMES[known[key]]}.")
    return value


def _where(file: Path, agent: str) -> str:
    return f"{file} [agents.{agent}]"


def _agent(name: str, value: object, file: Path) -> Agent:
    where = _where(file, name)
    fields = _checked(value, _AGENT, where)
    try:
        return Agent(
            id=agent_id(name),
            host=fields.get("host", "shell"),
            description=fields.get("description", ""),
            roles=tuple(role_name(str(role)) for role in fields.get("roles", ())),
        )
    except BadInput as error:
        raise BadSetup(f"{where}: {error.message}", hint=error.hint) from None


def _check_url(url: str, *, allow_plaintext: bool) -> None:
    parts = _split(url)
    if not parts or parts.scheme not in {"nats", "tls"} or not parts.hostname:
        raise BadSetup(
            "AGENTBUS_URL is not a nats:// or tls:// URL.",
            hint="Name one server, with nothing after its port: tls://bus.example.org:4222",
        )
    if parts.username or parts.password:
        raise BadSetup(
            "The server's URL has a secret in it.",
            hint="Put a token into a 0600 file and name the file in AGENTBUS_TOKEN_FILE.",
        )
    if parts.hostname not in LOOPBACK and parts.scheme != "tls" and not allow_plaintext:
        raise BadSetup(
            f"The server {parts.hostname} is off this machine and the URL is without TLS.",
            hint="Use tls://, or set allow_plaintext = true under [server] in "
            "config.toml if the network itself is encrypted.",
        )


def _split(url: str) -> SplitResult | None:
    """Return the URL's parts, or None if it says more than one server's address."""
    try:
        parts = urlsplit(url)
        usable = parts.port != 0
    except ValueError:  # not shown: its text may hold a piece of a secret
        return None
    # The checks here would look at the first of several servers only.
    more = parts.path.removeprefix("/") or parts.query or parts.fragment or "," in parts.netloc
    return parts if usable and not more else None
