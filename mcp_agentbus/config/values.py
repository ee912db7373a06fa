# SPDX-License-Identifier: Apache-2.0
"""Values that a user has written: what each kind takes, and what it refuses.

    >>> hours("22:00-07:00")
    Hours(begin=datetime.time(22, 0), end=datetime.time(7, 0))
    >>> absolute("shop")
    Wrong: is not an absolute path

Each reader takes what TOML holds and returns it as the program has it, or raises `Wrong`. None
opens a file or looks whether what is named exists.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from mcp_agentbus.config.tables import Reader, Wrong
from mcp_agentbus.core.framing import escape
from mcp_agentbus.core.ids import (
    ANY_SENDER,
    DESCRIPTION_MAX_CHARS,
    LANES,
    Priority,
    agent_id,
    inbox_of,
    is_label,
)
from mcp_agentbus.errors import BadInput, BadSetup

#: Hosts of a URL that are this machine; names are not looked up.
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_HOURS: Final = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: All of them stand in the agent's registration, which everybody reads.
ACCEPTED_MAX: Final = 100
_INSTRUCTION_MAX_CHARS: Final = 500
_MODE: Final = re.compile(r"[A-Za-z]{1,40}")
# {}, {input}, {{ task.body }}; not JSON, which has quotes.
_PLACEHOLDER: Final = re.compile(r"\{\s*[\w.-]*\s*\}")


@dataclass(frozen=True)
class Within:
    """Takes a number from `low` to `high`: a whole one, or any where `kind` is float.

    Refuses true and false, which are numbers to Python, and nan, which TOML has.
    """

    low: int
    high: int
    kind: type[int | float] = int

    def __call__(self, value: Any) -> float:
        """Return the number.

        Raises:
            Wrong: it is none, or out of the range.
        """
        fits = isinstance(value, int | self.kind) and not isinstance(value, bool)
        if not fits or not self.low <= value <= self.high:
            number = "number" if self.kind is float else "whole number"
            raise Wrong(
                f"is no {number} from {self.low} to {self.high}", "Set one, or take it out."
            )
        return self.kind(value)


class Hours(NamedTuple):
    """Hours of each day, by the clock on the wall; they may reach over midnight."""

    begin: time
    end: time

    def over(self, at: datetime, zone: tzinfo | None) -> datetime:
        """Return `at`, or the end of these hours if it lies in them; `zone` is the wall's."""
        here = at.astimezone(zone)
        clock = here.time()
        if self.begin <= self.end:
            within = self.begin <= clock < self.end
        else:
            within = clock >= self.begin or clock < self.end
        if not within:
            return at
        day = here.date() if clock < self.end else here.date() + timedelta(days=1)
        over = datetime.combine(day, self.end, here.tzinfo)
        # Where clocks are set back, the first of two equal times is over already in the second
        # hour.
        return over if over.astimezone(UTC) > at.astimezone(UTC) else over.replace(fold=1)


def one_of(*words: str) -> Reader:
    """Return a reader that takes one of these words."""

    def reader(value: Any) -> str:
        if value not in words:
            raise Wrong("is none of its values", f"Known: {', '.join(words)}.")
        return str(value)

    return reader


def string(value: Any) -> str:
    """Take a text; refuse line breaks and other control characters, which none here needs."""
    if not isinstance(value, str):
        raise Wrong("is not a string", "Write it in quotes.")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise Wrong("has a control character in it", "Write it on one line, without any.")
    return value


def strings(value: Any) -> tuple[str, ...]:
    """Take a list of such texts, also an empty one; refuse one text in its place."""
    if not isinstance(value, list):
        raise Wrong(
            "is not a list", 'Write each part in quotes, and all in brackets: ["one", "two"].'
        )
    return tuple(map(string, value))


def boolean(value: Any) -> bool:
    """Take true or false; refuse 0, 1 and the words."""
    if not isinstance(value, bool):
        raise Wrong("is not a boolean", "Write true or false, without quotes.")
    return value


def absolute(value: Any) -> Path:
    """Take a path that begins with / or ~; refuse one that depends on the working directory."""
    try:
        path = Path(string(value)).expanduser()
    except RuntimeError:  # ~somebody who does not exist
        path = Path()
    if not path.is_absolute():
        raise Wrong("is not an absolute path", "Begin it with / or ~/.")
    return path


def command(value: Any) -> tuple[str, ...]:
    """Take a program and its arguments.

    Refuse a relative path, which depends on where the listener runs, and a placeholder such as
    {input}: whoever writes one expects a task's text on a command line.
    """
    argv = strings(value)
    if not argv or not argv[0]:
        raise Wrong("names no program", "Write the program first, then its arguments.")
    if "/" in argv[0] and not argv[0].startswith("/"):
        raise Wrong(
            "names a program by a relative path", "Use its absolute path, or a name on PATH."
        )
    if any(_PLACEHOLDER.search(word) for word in argv):
        raise Wrong(
            "has a placeholder in it",
            "Take it out: nothing is filled in, and the notice comes on standard input.",
        )
    return argv


def senders(value: Any) -> frozenset[str]:
    """Take a list of agents' ids, in which "*" is everybody, or that alone; refuse roles."""
    try:
        ids = [ANY_SENDER] if value == ANY_SENDER else strings(value)
        return frozenset(agent if agent == ANY_SENDER else agent_id(agent) for agent in ids)
    except BadInput as error:
        raise Wrong(f"names nobody: {error.message.rstrip('.')}", error.hint) from None


def accepted(value: Any) -> tuple[str, ...]:
    """Take a list of agents' ids and `role:NAME`s, in which "*" is everybody, or that alone."""
    try:
        given = [ANY_SENDER] if value == ANY_SENDER else strings(value)
        for sender in given:
            if sender != ANY_SENDER:
                inbox_of(sender)
    except BadInput as error:
        raise Wrong(f"names nobody: {error.message.rstrip('.')}", error.hint) from None
    if len(given) > ACCEPTED_MAX:
        raise Wrong(f"names {len(given)} senders", f"Name {ACCEPTED_MAX} at most, or a role.")
    return tuple(dict.fromkeys(given))


def some_of(*words: str) -> Reader:
    """Return a reader that takes a list of these words, without an order; also an empty one."""

    def reader(value: Any) -> frozenset[str]:
        given = strings(value)
        if unknown := [word for word in given if word not in words]:
            raise Wrong(f"has {unknown[0]!r} in it", f"Known: {', '.join(words)}.")
        return frozenset(given)

    return reader


def instruction(value: Any) -> str:
    """Take a line for a model; refuse a long one, and what nobody sees who reads it."""
    line = string(value).strip()
    if len(line) > _INSTRUCTION_MAX_CHARS:
        raise Wrong(
            f"has {len(line)} characters",
            f"Write at most {_INSTRUCTION_MAX_CHARS}; what is longer belongs into a file of the "
            "folder that its host reads, such as CLAUDE.md.",
        )
    if (shown := escape(line)) != line:
        raise Wrong("has characters that nobody sees", f"Take them out: {shown}")
    return line


def description(value: Any) -> str:
    """Take what others are told of an agent; refuse what would not be kept whole."""
    if not isinstance(value, str):
        raise Wrong("is not a string", "Write it in quotes.")
    if len(value) > DESCRIPTION_MAX_CHARS:
        raise Wrong(f"has {len(value)} characters", f"Write at most {DESCRIPTION_MAX_CHARS}.")
    return value


def wake_on(value: Any) -> tuple[Priority, ...]:
    """Take a list of priorities; refuse one without a priority that is read before another of it.

    A wake has its agent read high before normal before low, so it would be woken for what it then
    reads later than what does not wake it.
    """
    given = strings(value) if isinstance(value, list) else ()
    lanes = LANES[: len(set(given))]
    if not given or set(given) != set(lanes):
        raise Wrong(
            "is no list of priorities from high on",
            'Write it as ["high"], ["high", "normal"] or ["high", "normal", "low"]. For no wake at '
            'all: wake = "hold", or per_day = 0.',
        )
    return lanes


def hours(value: Any) -> Hours | None:
    """Take begin and end of the quiet hours as HH:MM-HH:MM, also over midnight; "" means none.

    Refuse 24:00, and an end that is the begin: it could mean always or never.
    """
    if not string(value):
        return None  # an agent without quiet hours where [wake] has some
    times = _HOURS.fullmatch(value)
    if not times or times[1] == times[2]:
        raise Wrong(
            "is no range of two times", 'Write it as "22:00-07:00"; "" means no quiet hours.'
        )
    return Hours(time.fromisoformat(times[1]), time.fromisoformat(times[2]))


def permission_mode(value: Any) -> str:
    """Take a host's permission mode, a word; refuse the one that asks for nothing."""
    mode = string(value)
    if mode.casefold() == "bypasspermissions":
        raise Wrong(
            "is bypassPermissions",
            "A peer's task would run with every permission. Use acceptEdits with allow rules.",
        )
    if not _MODE.fullmatch(mode):
        raise Wrong("is no permission mode", "Use a mode of the host, such as acceptEdits.")
    return mode


def allow(value: Any) -> tuple[str, ...]:
    """Take a host's allow rules; refuse what its command line would take for an option."""
    rules = strings(value)
    if any(not rule or rule.startswith("-") for rule in rules):
        raise Wrong("has an entry that is no rule", 'Write it as ["Bash(git status)", "Edit"].')
    return rules


def variables(value: Any) -> tuple[str, ...]:
    """Take names of environment variables; refuse their values, which do not belong here."""
    names = strings(value)
    if not all(map(_VARIABLE.fullmatch, names)):
        raise Wrong(
            "has an entry that is no name of a variable",
            'Write names only, as ["JAVA_HOME"]: the values are those that the listener has.',
        )
    return names


def chat(value: Any) -> str:
    """Take the id of a conversation; refuse what a command line would take for an option."""
    if not is_label(string(value)):
        raise Wrong("is no id of a chat", "Copy it from `cursor-agent ls`.")
    return str(value)


def gateway_url(value: Any) -> str:
    """Take the URL of a gateway to which `gateway` lets a token go; refuse any other."""
    try:
        return gateway(string(value)).geturl()
    except BadSetup as error:
        raise Wrong("is no address that may get a token", error.hint) from None


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


def hook_token_file(profile: str) -> str:
    """Return the name of the file with the token of OpenClaw's gateway, of a profile if it has."""
    return f"openclaw-hooks-{profile}.token" if profile else "openclaw-hooks.token"


def profile_of(hook_token: Path) -> str:
    """Return the profile of the OpenClaw whose token is in a file of ours; empty for none."""
    found = re.fullmatch(hook_token_file("(.+)"), hook_token.name)
    return found[1] if found else ""
