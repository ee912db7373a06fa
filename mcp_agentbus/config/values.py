# SPDX-License-Identifier: Apache-2.0
"""Values that a user has written, checked one by one where they are read.

>>> checked_table({"agent": "coder"}, {"agent": str}, ".agentbus.toml")
{'agent': 'coder'}
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from mcp_agentbus.core.files import check_private
from mcp_agentbus.core.ids import agent_id, is_label
from mcp_agentbus.errors import BadInput, BadSetup

_TYPE_NAMES: Final = {dict: "table", str: "string", bool: "boolean", list: "list"}


def read_toml(path: Path, *, private: bool) -> dict[str, Any]:
    """Return what a TOML file holds; nothing if there is none.

    Raises:
        BadSetup: it cannot be read, or is not TOML; `private`: others may read it.
    """
    try:
        if private:
            check_private(path)
        return parse_toml(path, path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadSetup(f"{path} cannot be read: {error.strerror}.") from None


def parse_toml(path: Path, content: str | bytes) -> dict[str, Any]:
    """Return what the text of a TOML file holds.

    Raises:
        BadSetup: it is not TOML.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadSetup(
            f"{path} is not TOML: {error}.", hint="Correct it or move it away."
        ) from None


def checked_table(value: object, known: Mapping[str, type], where: str) -> dict[str, Any]:
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


def check_url(url: str, *, allow_plaintext: bool) -> None:
    """See that `url` names one server, without a secret, by TLS unless it is on this machine.

    Raises:
        BadSetup: it does not.
    """
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


LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Wrong(Exception):
    """A value makes no sense; says what it is not, and what to do."""

    def __init__(self, said: str, hint: str) -> None:
        super().__init__(said)
        self.said = said
        self.hint = hint


def string(value: Any) -> str:
    """Return a text without line breaks or other controls."""
    if not isinstance(value, str):
        raise Wrong("is not a string", "Write it in quotes.")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise Wrong("has a control character in it", "Write it on one line, without any.")
    return value


def strings(value: Any) -> tuple[str, ...]:
    """Return a list of such texts."""
    if not isinstance(value, list):
        raise Wrong("is not a list", 'Write it as ["one", "two"].')
    return tuple(string(one) for one in value)


def boolean(value: Any) -> bool:
    """Return `true` or `false`."""
    if not isinstance(value, bool):
        raise Wrong("is not a boolean", "Write true or false, without quotes.")
    return value


def absolute(value: Any) -> Path:
    """Return an absolute folder."""
    try:
        path = Path(string(value)).expanduser()
    except RuntimeError:  # ~somebody who does not exist
        path = Path()
    if not path.is_absolute():
        raise Wrong("is not an absolute path", "Begin it with / or ~/.")
    return path


def one_of(*words: str) -> Callable[[Any], str]:
    """Return a reader that takes one of these words."""

    def reader(value: Any) -> str:
        if value not in words:
            raise Wrong("is none of its values", f"Known: {', '.join(words)}.")
        return str(value)

    return reader


def command(value: Any) -> tuple[str, ...]:
    """Return a command line's words."""
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
    """Return who may wake an agent."""
    try:
        found = [ANY_SENDER] if value == ANY_SENDER else strings(value)
        return frozenset(one if one == ANY_SENDER else agent_id(one) for one in found)
    except BadInput as error:
        raise Wrong(f"names nobody: {error.message.rstrip('.')}", error.hint) from None


def hours(value: Any) -> tuple[time, time] | None:
    """Return the quiet hours' begin and end."""
    if not string(value):
        return None  # an agent without quiet hours where [wake] has some
    found = _HOURS.fullmatch(value)
    if not found or found[1] == found[2]:
        raise Wrong(
            "is no range of two times", 'Write it as "22:00-07:00"; "" means no quiet hours.'
        )
    return time.fromisoformat(found[1]), time.fromisoformat(found[2])


def permission_mode(value: Any) -> str:
    """Return a permission mode that leaves asking on."""
    mode = string(value)
    if mode.casefold() == "bypasspermissions":
        raise Wrong(
            "is bypassPermissions",
            "A peer's task would run with every permission. Use acceptEdits with allow rules.",
        )
    if not _WORD.fullmatch(mode):
        raise Wrong("is no permission mode", "Use a mode of the host, such as acceptEdits.")
    return mode


def allow(value: Any) -> tuple[str, ...]:
    """Return Claude Code's allow rules."""
    rules = strings(value)
    if any(not rule or rule.startswith("-") for rule in rules):
        raise Wrong("has an entry that is no rule", 'Write it as ["Bash(git status)", "Edit"].')
    return rules


def chat(value: Any) -> str:
    """Return the id of a conversation."""
    if not is_label(string(value)):
        raise Wrong("is no id of a chat", "Copy it from `cursor-agent ls`.")
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


def gateway_url(value: Any) -> str:
    """Return the URL of a gateway on this machine."""
    try:
        return gateway(string(value)).geturl()
    except BadSetup as error:
        raise Wrong("is no address that may get a token", error.hint) from None


_HOURS: Final = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z]{1,40}")
# {}, {input}, {{ task.body }}; not JSON, which has quotes.
_PLACEHOLDER: Final = re.compile(r"\{\s*[\w.-]*\s*\}")
#: In `wake_from`: everybody on the bus.
ANY_SENDER: Final = "*"
