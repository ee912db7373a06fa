# SPDX-License-Identifier: Apache-2.0
"""How an agent stands by the roster, in a word."""

from __future__ import annotations

from typing import Final, Literal

#: `not known`: the server has not heard from anybody since it was started anew. `removed`: its
#: account was, so nobody is it unless that is let in again.
PresenceState = Literal[
    "live session", "listening", "not known", "offline", "never seen", "removed"
]  # fmt: skip
#: Of these it is sure that no session and no listener of theirs is there.
AWAY: Final = frozenset({"offline", "never seen", "removed"})
#: What is said of one that is `removed`.
REMOVED: Final = "its account was removed from the bus, so nobody reads there"
