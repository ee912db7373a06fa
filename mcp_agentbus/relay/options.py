# SPDX-License-Identifier: Apache-2.0
"""What `agentbus serve` was started with, read without what parses every other command.

    >>> read(["--agent", "coder", "--watch-max", "25s"], {})
    Options(agent='coder', watch_max_s=25.0, fault=None)

No host shows its user what a server says as it ends, so nothing that stands in a host's entry ends
one: what is wrong there is kept as a fault, with which the tools answer.
"""

# No `annotations` of __future__: a named tuple compiles those, for a millisecond of each start.
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from mcp_agentbus.core import places
from mcp_agentbus.core.places import Place
from mcp_agentbus.errors import BadInput, BadSetup

#: As long as a call may wait anyway, in seconds.
WATCH_MAX_S: Final = 3600
#: Where nothing is.
NOWHERE: Final = "/dev/null"
_VARIABLE: Final = "AGENTBUS_WATCH_MAX_S"
_VALUED: Final = ("--agent", "--watch-max", "--only")
_HINT: Final = (
    "Have it corrected where the host starts agentbus: agentbus serve [--agent ID] "
    "[--watch-max SECONDS] [--only TASK], which `agentbus install` writes. Then start the session "
    "anew."
)


class Serving(NamedTuple):
    """How a session is to be served."""

    #: As --agent says.
    agent: str | None = None
    #: The most that a call of watch_inbox waits, in seconds.
    watch_max_s: float = WATCH_MAX_S
    #: The id of the one task that the session is given; empty for any.
    only: str = ""
    #: What is wrong with them, or with where the session was started; None if nothing is.
    fault: BadInput | BadSetup | None = None


def place_of(environ: Mapping[str, str]) -> tuple[Place, BadSetup | None]:
    """Return what leads to a listener, or to none, and why there is no telling which."""
    try:
        places.working_folder(environ)
        return Place(places.runtime_folder(environ), environ), None
    except BadSetup as error:
        return Place(NOWHERE, environ), error


def read(argv: Sequence[str], environ: Mapping[str, str]) -> Serving:
    """Return what was typed after `agentbus serve`, or what is wrong with it."""
    given: dict[str, str] = {}
    words = iter(argv)
    try:
        for word in words:
            name, has_value, value = word.partition("=")
            if name in _VALUED:
                given[name] = value if has_value else _next(words, name)
            elif word != "--json":
                raise BadInput(f"`agentbus serve` takes no {word[:40]!r}.", hint=_HINT)
        watch_max_s = _watch_max_s(given.get("--watch-max"), environ)
        return Serving(given.get("--agent"), watch_max_s, _only(given.get("--only", "")))
    except BadInput as fault:
        return Serving(given.get("--agent"), fault=fault)


def _next(words: Iterator[str], name: str) -> str:
    value = next(words, "-")
    if value.startswith("-"):
        raise BadInput(f"`agentbus serve {name}` was given no value.", hint=_HINT)
    return value


def _only(typed: str) -> str:
    if not typed:
        return ""
    from mcp_agentbus.core import ids  # few say it

    if not ids.is_task_id(typed):
        raise BadInput(f"--only: {typed[:40]!r} is not the id of a task.", hint=_HINT)
    return typed


def _watch_max_s(typed: str | None, environ: Mapping[str, str]) -> float:
    given = environ.get(_VARIABLE, "") if typed is None else typed
    if typed is None and not given:
        return WATCH_MAX_S
    from mcp_agentbus.core import text  # few say it

    try:
        return text.seconds(given, 1, WATCH_MAX_S)
    except ValueError as error:
        where = _VARIABLE if typed is None else "--watch-max"
        raise BadInput(f"{where}: {error}.", hint=_HINT) from None
