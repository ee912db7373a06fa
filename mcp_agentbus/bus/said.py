# SPDX-License-Identifier: Apache-2.0
"""What is said of a server that does not do what it is asked, by who can mend it.

It decides nothing: `reconnect` sees which of them it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from mcp_agentbus.bus.replies import DISK_IS_FULL, LEADERLESS
from mcp_agentbus.core.files import unusable
from mcp_agentbus.errors import BusUnreachable, Unconfirmed

#: Whose server it is: this user's own, a shared one, or one of several.
Whose = Literal["own", "one", "several"]

GONE: Final = "The bus server went away. Nothing was stored."

#: It knows nobody who takes what was said.
NO_JETSTREAM: Final = (
    "answers, and has no JetStream for this login",
    "See that it was started with JetStream, and that the login's account has it.",
)
MISSING: Final = (
    "answers, but its streams are missing",
    "If it stays so, tell whoever runs the shared server.",
)
MAKES_NONE: Final = (
    "answers, but no stream takes this, and this login may make none",
    "Have whoever runs it make those of `agentbus server config --streams`.",
)
TAKES_NOTHING: Final = (
    "has its streams, but takes nothing of this for them",
    "Call again; if it stays so, ask whoever runs it whether this login may do that.",
)

#: What a person can do about a server that hangs.
MEND: Final[Mapping[Whose, str]] = {
    "own": "If it stays so, run `agentbus server stop`, then `agentbus server start`.",
    "one": "If it stays so, tell whoever runs the shared server.",
    "several": "If it stays so, tell whoever runs its servers: more than half must run.",
}

_STARTED_BY_ITSELF: Final = (
    "Before that, free some disk space: the server is started anew by itself. If that does not "
    "help, run `agentbus doctor`."
)
_STARTED_BY_OTHERS: Final = (
    "If it stays so, tell whoever runs the shared server: once its disk has room, it stores "
    "something only when it is started anew."
)

#: The system's words for a disk that may not be written to.
READ_ONLY: Final = "read-only file system"
#: Of one that this process may not write to: its sandbox may say so, while a server writes there.
READ_ONLY_HERE: Final = f"{READ_ONLY} for this process"


def of_no_use(whose: Whose, what: tuple[str, str]) -> BusUnreachable:
    """Return the error of a server that answers; who runs a shared one is to be asked."""
    hint = "Run `agentbus doctor`: it names what is there." if whose == "own" else what[1]
    return BusUnreachable(f"The bus server {what[0]}. Nothing was stored.", hint=hint)


def silent(whose: Whose, what: str = "") -> BusUnreachable:
    """Return the error of a server that hangs, or is just starting: nobody can tell which."""
    what = what or (LEADERLESS if whose == "several" else "The bus server does not answer.")
    hint = f"Call again in a while. {MEND[whose]}"
    return BusUnreachable(f"{what} Nothing was stored.", hint=hint)


def gone(whose: Whose) -> BusUnreachable:
    """Return the error of a connection that has ended; a server of our own is started anew."""
    return BusUnreachable(GONE, hint="" if whose == "own" else silent(whose).hint)


def is_full(why: str) -> bool:
    """Tell whether it is a want of room by which a write failed."""
    return any(words in why for words in DISK_IS_FULL)


def nothing_kept(why: str | None) -> Unconfirmed:
    """Return the error of a server that takes a message and does not say that it is stored.

    Args:
        why: the system's words for the write that failed there, where those are known; None: it is
            a shared server, which only who runs it can start anew.
    """
    unknown = "it is not known whether this was stored."
    if not why or is_full(why):
        return Unconfirmed(
            "The bus server answers but confirms nothing, as it does when its disk is full: "
            f"{unknown}",
            mend=_STARTED_BY_OTHERS if why is None else _STARTED_BY_ITSELF,
        )
    if why == READ_ONLY_HERE:
        return Unconfirmed(
            "The bus server answers but confirms nothing. Its disk is mounted read-only for this "
            f"process, as by a sandbox, or for a disk that has failed: {unknown}",
            mend="Before that, run `agentbus doctor` outside of any sandbox.",
        )
    return Unconfirmed(
        f"The bus server answers but confirms nothing since it could not write ({why}): {unknown}",
        mend="Before that, run `agentbus doctor`: it says what to mend. Then the server is started "
        "anew by itself, once a minute at most.",
    )


def for_now(error: OSError) -> BusUnreachable:
    """Return the error of a system that gives no thread, or no file, to reach a server by."""
    refused = unusable(error)
    return BusUnreachable(f"{refused.message} Nothing was stored.", hint=refused.hint)


def closed() -> BusUnreachable:
    """Return the error of a bus that was closed here."""
    return BusUnreachable("This bus was closed. Nothing was stored.", hint="Open a new one.")
