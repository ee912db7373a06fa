# SPDX-License-Identifier: Apache-2.0
"""What the user allows for the agents of this machine: host, folder, wake profile, limits.

    [agents.coder]
    host = "claude-code"
    dir = "/home/me/shop"
    wake = "answer"                  # hold: never start it; work: the host's own permissions
    quiet_hours = "22:00-07:00"

Nothing that a task holds can change any of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from mcp_agentbus.core.ids import agent_id, is_label
from mcp_agentbus.errors import BadInput, BadSetup

Profile = Literal["hold", "answer", "work"]
#: Hosts that can be woken without a live session.
HOSTS: Final = ("claude-code", "cursor", "openclaw", "command")
#: Those of them that work in a folder, which their sessions tell, and whose permissions agentbus
#: can limit for one wake.
LIMITED: Final = ("claude-code", "cursor")
#: What each wake profile means.
MEANS: Final[Mapping[Profile, str]] = {
    "hold": "nothing starts it; it reads its inbox in sessions that you open",
    "answer": "an urgent task may start it, to read and answer only",
    "work": "an urgent task may start it, to work with its host's own permissions",
}
#: In `wake_from`: everybody on the bus.
ANY_SENDER: Final = "*"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Limits:
    """How often, how long and for how much an agent may be woken."""

    #: Wakes that one sender may cause in an hour.
    per_sender_hour: int = 6
    #: Wakes in an hour.
    per_hour: int = 12
    #: Wakes in 24 hours.
    per_day: int = 50
    #: Notices of results in live sessions in an hour.
    result_notices_per_hour: int = 60
    #: A started process is ended after this many seconds.
    time_limit_s: int = 1800
    #: Turns of a model in one wake, where the host can limit them.
    max_turns: int = 30
    #: US dollars in one wake, where the host can limit them.
    max_usd: float = 1.0
    #: US dollars in 24 hours, as far as the host reports them.
    usd_per_day: float = 10.0


@dataclass(frozen=True)
class Rules:
    """What the user has set for one agent."""

    agent: str
    #: One of HOSTS.
    host: str
    #: Where its process is started.
    folder: Path
    profile: Profile
    #: `command` only: the argv that is started, the notice on its standard input.
    command: tuple[str, ...] = ()
    #: Senders that may wake it besides this machine's own; or `ANY_SENDER`.
    wake_from: frozenset[str] = frozenset()
    #: From and to, in the user's own time; may reach over midnight.
    quiet_hours: tuple[time, time] | None = None
    #: `claude-code` and `cursor`, profile `work`: the host's permission mode and allow rules.
    permission_mode: str = ""
    allow: tuple[str, ...] = ()
    #: Continue the agent's last conversation where no live process has it.
    resume: bool = False
    #: `cursor`: the chat that is continued.
    chat: str = ""
    #: `openclaw`: its gateway, and a 0600 file with `hooks.token`.
    url: str = "http://127.0.0.1:18789"
    token_file: Path | None = None
    #: What runs when the listener is stopped: ended with it, or left to end by itself.
    on_stop: Literal["end", "leave"] = "end"
    limits: Limits = Limits()


def check_defaults(table: Mapping[str, Any], where: str) -> None:
    """See that the [wake] table holds what it may.

    Raises:
        BadSetup: a key that does not exist, or a value that makes no sense.
    """
    _values(table, _DEFAULTS, where)


def read(
    agent: str, table: Mapping[str, Any], defaults: Mapping[str, Any], where: str
) -> Rules | None:
    """Return the rules of an [agents.ID] table; None if it has no `dir`, so nothing starts it.

    `defaults` is the [wake] table, and `where` names the file and the agent's table.

    Raises:
        BadSetup: a key that does not exist, or a value that makes no sense.
    """
    own = {key: value for key, value in table.items() if key not in _NOT_OURS}
    given = _values(own, _KEYS, where)
    if "dir" not in given:
        return None
    host = table.get("host")
    if host not in HOSTS:
        raise BadSetup(
            f"{where}: host is none that can be woken.",
            hint=f"Set host to one of {', '.join(HOSTS)}, or take dir out.",
        )
    profile = _profile(host, given, where)
    _check_host_keys(host, profile, given, where)
    _check_folder(host, given["dir"], where)
    values = _values(defaults, _DEFAULTS, where) | given
    limits = {name: values.pop(name) for name in _BOUNDS if name in values}
    values = {_FIELDS.get(key, key): value for key, value in values.items()}
    values["profile"] = profile
    return Rules(agent=agent, host=host, limits=Limits(**limits), **values)


def _profile(host: str, given: Mapping[str, Any], where: str) -> Profile:
    """Return the wake profile, which must be given where we cannot limit the host."""
    profile: Profile | None = given.get("wake")
    if host in LIMITED:
        return profile or "answer"
    if profile not in {"hold", "work"}:
        wrong = "wake is missing" if profile is None else f'wake = "{profile}" does not exist here'
        raise BadSetup(
            f"{where}: {wrong}.",
            hint=f"With host {host} its own rules hold in a woken session, and agentbus cannot "
            'limit them: set wake = "work" to allow that, or wake = "hold".',
        )
    return profile


def _check_host_keys(host: str, profile: Profile, given: Mapping[str, Any], where: str) -> None:
    """See that no key is set that would have no effect, and that none is missing."""
    for key in given:
        hosts = _ONLY_FOR.get(key, HOSTS)
        if host not in hosts:
            raise BadSetup(
                f"{where}: {key} has no effect with host {host}.",
                hint=f"Take it out; it is for {' and '.join(hosts)}.",
            )
    for key in ("permission_mode", "allow"):
        if given.get(key) and profile != "work":
            raise BadSetup(
                f'{where}: {key} is set, but wake is "{profile}".',
                hint='Set wake = "work", or take it out: only work has permissions of its own.',
            )
    if host == "command" and "command" not in given:
        raise BadSetup(
            f"{where}: command is missing.",
            hint='Name the program: command = ["/usr/bin/python3", "wake.py"]',
        )


def _check_folder(host: str, folder: Path, where: str) -> None:
    """See that an agent which may read its folder cannot read its user's keys there."""
    home = Path.home()
    if host in LIMITED and folder in {home, *home.parents}:
        raise BadSetup(
            f"{where}: dir is the home folder, or holds it.",
            hint="Name a project's folder: a woken agent may read all of it, and answers peers.",
        )


class _Wrong(Exception):
    """A value makes no sense; says what it is not, and what to do."""

    def __init__(self, said: str, hint: str) -> None:
        super().__init__(said)
        self.said = said
        self.hint = hint


def _values(
    table: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]], where: str
) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        if key not in known:
            raise BadSetup(
                f"{where} has a key that does not exist: {key}.", hint=f"Known: {', '.join(known)}."
            )
        try:
            values[key] = known[key](value)
        except _Wrong as wrong:
            raise BadSetup(f"{where}: {key} {wrong.said}.", hint=wrong.hint) from None
    return values


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong("is not a string", "Write it in quotes.")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise _Wrong("has a control character in it", "Write it on one line, without any.")
    return value


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _Wrong("is not a list", 'Write it as ["one", "two"].')
    return tuple(_string(one) for one in value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("is not a boolean", "Write true or false, without quotes.")
    return value


def _absolute(value: Any) -> Path:
    try:
        path = Path(_string(value)).expanduser()
    except RuntimeError:  # ~somebody who does not exist
        path = Path()
    if not path.is_absolute():
        raise _Wrong("is not an absolute path", "Begin it with / or ~/.")
    return path


def _one_of(*words: str) -> Callable[[Any], str]:
    def reader(value: Any) -> str:
        if value not in words:
            raise _Wrong("is none of its values", f"Known: {', '.join(words)}.")
        return str(value)

    return reader


def _command(value: Any) -> tuple[str, ...]:
    argv = _strings(value)
    if not argv or not argv[0]:
        raise _Wrong("names no program", "Write the program first, then its arguments.")
    if "/" in argv[0] and not argv[0].startswith("/"):
        raise _Wrong(
            "names a program by a relative path", "Use its absolute path, or a name on PATH."
        )
    if any(_PLACEHOLDER.search(word) for word in argv):
        raise _Wrong(
            "has a placeholder in it",
            "Take it out: nothing is filled in, and the notice comes on standard input.",
        )
    return argv


def _senders(value: Any) -> frozenset[str]:
    try:
        found = [ANY_SENDER] if value == ANY_SENDER else _strings(value)
        return frozenset(one if one == ANY_SENDER else agent_id(one) for one in found)
    except BadInput as error:
        raise _Wrong(f"names nobody: {error.message.rstrip('.')}", error.hint) from None


def _hours(value: Any) -> tuple[time, time] | None:
    if not _string(value):
        return None  # an agent without quiet hours where [wake] has some
    found = _HOURS.fullmatch(value)
    if not found or found[1] == found[2]:
        raise _Wrong(
            "is no range of two times", 'Write it as "22:00-07:00"; "" means no quiet hours.'
        )
    return time.fromisoformat(found[1]), time.fromisoformat(found[2])


def _permission_mode(value: Any) -> str:
    mode = _string(value)
    if mode.casefold() == "bypasspermissions":
        raise _Wrong(
            "is bypassPermissions",
            "A peer's task would run with every permission. Use acceptEdits with allow rules.",
        )
    if not _WORD.fullmatch(mode):
        raise _Wrong("is no permission mode", "Use a mode of the host, such as acceptEdits.")
    return mode


def _allow(value: Any) -> tuple[str, ...]:
    rules = _strings(value)
    if any(not rule or rule.startswith("-") for rule in rules):
        raise _Wrong("has an entry that is no rule", 'Write it as ["Bash(git status)", "Edit"].')
    return rules


def _chat(value: Any) -> str:
    if not is_label(_string(value)):
        raise _Wrong("is no id of a chat", "Copy it from `cursor-agent ls`.")
    return str(value)


def gateway(url: str) -> SplitResult:
    """Return the parts of the URL of OpenClaw's gateway.

    Raises:
        BadSetup: it is none, or the token would cross a network in plain text.
    """
    with suppress(ValueError):  # whose text may hold a piece of a secret
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        more = "@" in parts.netloc or parts.query or parts.fragment
        if safe and parts.hostname and parts.port != 0 and not more:
            return parts
    raise BadSetup(
        "gateway_url is no address that may get a token.",
        hint="Write it as http://127.0.0.1:18789; off this machine it must be https.",
    )


def _gateway(value: Any) -> str:
    try:
        return gateway(_string(value)).geturl()
    except BadSetup as error:
        raise _Wrong("is no address that may get a token", error.hint) from None


def _within(name: str) -> Callable[[Any], float]:
    low, high = _BOUNDS[name]
    kind = type(getattr(Limits, name))

    def reader(value: Any) -> float:
        number = "number" if kind is float else "whole number"
        # A bool is an int in Python, and TOML has nan, which is in no range.
        fits = isinstance(value, int | kind) and not isinstance(value, bool)
        if not fits or not low <= value <= high:
            raise _Wrong(f"is no {number} from {low} to {high}", "Set one, or take it out.")
        return float(value) if kind is float else int(value)

    return reader


# Keys of [agents.ID] that config checks.
_NOT_OURS: Final = frozenset({"host", "description", "roles"})
_HOURS: Final = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z]{1,40}")
# {}, {input}, {{ task.body }}; not JSON, which has quotes.
_PLACEHOLDER: Final = re.compile(r"\{\s*[\w.-]*\s*\}")
# From and to, per limit. More is a typing error: a wake takes seconds and costs money.
_BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "per_sender_hour": (0, 1_000),
    "per_hour": (0, 1_000),
    "per_day": (0, 10_000),
    "result_notices_per_hour": (0, 10_000),
    "time_limit_s": (1, 86_400),  # seconds; a day
    "max_turns": (1, 1_000),
    "max_usd": (0, 1_000),  # US dollars
    "usd_per_day": (0, 10_000),  # US dollars
}
LIMITS: Final = tuple(_BOUNDS)
# What [wake] may hold, and the reader of each.
_DEFAULTS: Final[dict[str, Callable[[Any], Any]]] = {
    "quiet_hours": _hours,
    "wake_from": _senders,
    "on_stop": _one_of("end", "leave"),
    **{name: _within(name) for name in _BOUNDS},
}
# What [agents.ID] may hold besides.
_KEYS: Final[dict[str, Callable[[Any], Any]]] = {
    "dir": _absolute,
    "wake": _one_of(*get_args(Profile)),
    "command": _command,
    "permission_mode": _permission_mode,
    "allow": _allow,
    "resume": _boolean,
    "chat": _chat,
    "gateway_url": _gateway,
    "token_file": _absolute,
    **_DEFAULTS,
}
KEYS: Final = tuple(_KEYS)
# Keys whose field in Rules has another name.
_FIELDS: Final = {"dir": "folder", "wake": "profile", "gateway_url": "url"}
# Keys that mean something to these hosts only.
_ONLY_FOR: Final[dict[str, tuple[str, ...]]] = {
    "command": ("command",),
    "permission_mode": LIMITED,
    "allow": LIMITED,
    "chat": ("cursor",),
    "gateway_url": ("openclaw",),
    "token_file": ("openclaw",),
}
