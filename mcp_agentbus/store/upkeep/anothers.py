# SPDX-License-Identifier: Apache-2.0
"""Streams that have names of ours on a shared server and are another program's, which needs them.

The task bus agentbus 0.1 has two. Set up as ours they would keep nothing more of what it sends, and
it asks nobody whether something was kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_agentbus.errors import Refused
from mcp_agentbus.store.subjects import overlap

#: What a stream of ours says of itself: the number of its layout.
MARK: Final = "agentbus-layout"
#: What agentbus needs there.
ROOM: Final = "another server, or an account of its own on that one: docs/nats.md"


def is_anothers(made: Mapping[str, Any], has: Mapping[str, Any]) -> bool:
    """Tell whether what stands in the place of a stream that we make keeps something else."""
    takes = has.get("subjects") or ()
    is_ours = any(overlap(mine, other) for mine in made["subjects"] for other in takes)
    return bool(takes) and not is_ours and MARK not in (has.get("metadata") or {})


def check(made: Mapping[str, Any], has: Mapping[str, Any]) -> None:
    """See that a stream may be set up as ours.

    Raises:
        Refused: another program needs it as it is.
    """
    if is_anothers(made, has):
        raise Refused(
            f"Another program has a stream {made['name']} on this server, as the task bus "
            "agentbus 0.1 makes it. It is left as it is, and nothing was stored.",
            hint=f"Have agentbus use {ROOM}.",
        )
