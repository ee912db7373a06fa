# SPDX-License-Identifier: Apache-2.0
"""What is said of a server that answers and does not do what it is asked, and of who runs it.

It decides nothing: `reconnect` sees which of them it is.
"""

from __future__ import annotations

from typing import Final

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
