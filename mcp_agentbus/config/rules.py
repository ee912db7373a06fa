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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mcp_agentbus.config.values import (
    Wrong,
    absolute,
    allow,
    boolean,
    chat,
    command,
    gateway_url,
    hours,
    one_of,
    permission_mode,
    senders,
)
from mcp_agentbus.core import hosts
from mcp_agentbus.errors import BadSetup

Profile = Literal["hold", "answer", "work"]
#: What each wake profile means.
MEANS: Final[Mapping[Profile, str]] = {
    "hold": "nothing starts it; it reads its inbox in sessions that you open",
    "answer": "an urgent task may start it, to read and answer only",
    "work": "an urgent task may start it, to work with its host's own permissions",
}


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
    #: One of `hosts.WOKEN`.
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
    if host not in hosts.WOKEN:
        raise BadSetup(
            f"{where}: host is none that can be woken.",
            hint=f"Set host to one of {', '.join(hosts.WOKEN)}, or take dir out.",
        )
    profile = _profile(host, given.get("wake"), where)
    _check_host_keys(host, profile, given, where)
    _check_folder(host, given["dir"], where)
    values = _values(defaults, _DEFAULTS, where) | given
    limits = {name: values.pop(name) for name in _BOUNDS if name in values}
    values = {_FIELDS.get(key, key): value for key, value in values.items()}
    values["profile"] = profile
    return Rules(agent=agent, host=host, limits=Limits(**limits), **values)


def profile_of(host: str, given: Profile | None) -> Profile | None:
    """Return an agent's wake profile: the one given, or the default of its host.

    None where only the user can choose, between `hold` and `work`: agentbus cannot limit what a
    session of such a host does, so there is no `answer`.
    """
    if hosts.named(host).limited:
        return given or "answer"
    return given if given in {"hold", "work"} else None


def _profile(host: str, given: Profile | None, where: str) -> Profile:
    if profile := profile_of(host, given):
        return profile
    wrong = f'wake = "{given}" does not exist here' if given else "wake is missing"
    raise BadSetup(
        f"{where}: {wrong}.",
        hint=f"With host {host} its own rules hold in a woken session, and agentbus cannot "
        'limit them: set wake = "work" to allow that, or wake = "hold".',
    )


def _check_host_keys(host: str, profile: Profile, given: Mapping[str, Any], where: str) -> None:
    """See that no key is set that would have no effect, and that none is missing."""
    for key in given:
        meant = hosts.with_key(key)
        if host not in meant:
            raise BadSetup(
                f"{where}: {key} has no effect with host {host}.",
                hint=f"Take it out; it is for {' and '.join(meant)}.",
            )
    for key in ("permission_mode", "allow"):
        if given.get(key) and profile != "work":
            raise BadSetup(
                f'{where}: {key} is set, but wake is "{profile}".',
                hint='Set wake = "work", or take it out: only work has permissions of its own.',
            )
    if "command" in hosts.named(host).keys and "command" not in given:
        raise BadSetup(
            f"{where}: command is missing.",
            hint='Name the program: command = ["/usr/bin/python3", "wake.py"]',
        )


def _check_folder(host: str, folder: Path, where: str) -> None:
    """See that an agent which may read its folder cannot read its user's keys there."""
    home = Path.home()
    if hosts.named(host).limited and folder in {home, *home.parents}:
        raise BadSetup(
            f"{where}: dir is the home folder, or holds it.",
            hint="Name a project's folder: a woken agent may read all of it, and answers peers.",
        )


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
        except Wrong as wrong:
            raise BadSetup(f"{where}: {key} {wrong.said}.", hint=wrong.hint) from None
    return values


def _within(name: str) -> Callable[[Any], float]:
    low, high = _BOUNDS[name]
    kind = type(getattr(Limits, name))

    def reader(value: Any) -> float:
        number = "number" if kind is float else "whole number"
        # A bool is an int in Python, and TOML has nan, which is in no range.
        fits = isinstance(value, int | kind) and not isinstance(value, bool)
        if not fits or not low <= value <= high:
            raise Wrong(f"is no {number} from {low} to {high}", "Set one, or take it out.")
        return float(value) if kind is float else int(value)

    return reader


# Keys of [agents.ID] that config checks.
_NOT_OURS: Final = frozenset({"host", "description", "roles"})
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
    "quiet_hours": hours,
    "wake_from": senders,
    "on_stop": one_of("end", "leave"),
    **{name: _within(name) for name in _BOUNDS},
}
# What [agents.ID] may hold besides.
_KEYS: Final[dict[str, Callable[[Any], Any]]] = {
    "dir": absolute,
    "wake": one_of(*get_args(Profile)),
    "command": command,
    "permission_mode": permission_mode,
    "allow": allow,
    "resume": boolean,
    "chat": chat,
    "gateway_url": gateway_url,
    "token_file": absolute,
    **_DEFAULTS,
}
KEYS: Final = tuple(_KEYS)
# Keys whose field in Rules has another name.
_FIELDS: Final = {"dir": "folder", "wake": "profile", "gateway_url": "url"}
