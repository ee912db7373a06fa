# SPDX-License-Identifier: Apache-2.0
"""What is said in a sandbox that reaches no server, where a listener runs outside of it.

    >>> raise beside(error, settings, "clear")
    OutOfReach: The bus server ... Hint: A listener (pid 4711 ...) runs outside, and does not do ...

Whoever has one is not to be told to start one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, TypeVar

from mcp_agentbus.bus import reach
from mcp_agentbus.core import processes
from mcp_agentbus.core.places import Where
from mcp_agentbus.errors import AgentbusError, BadSetup
from mcp_agentbus.relay import seat
from mcp_agentbus.relay.carried.command import COMMANDS

_NOT_ITS_OWN: Final = "does not do this command: run it outside this sandbox."
_NOT_TAKEN: Final = (
    "did not do this: its socket is hidden from in here, or this has other settings or another TZ "
    "than it has. Run it outside this sandbox, or as the listener was started."
)

_E = TypeVar("_E", bound=AgentbusError)


def beside(error: _E, where: Where, command: str = "") -> _E:
    """Return an error of a command, with another hint if the one that it has is done already."""
    there = None
    with suppress(OSError, BadSetup):  # a sandbox may forbid to look: then nothing more is known
        there = seat.seated(where) if error.hint == reach.LISTEN else None
    if there is None:
        return error
    if there.process and there.process.network == processes.network():
        return error  # it is in here, too
    why = _NOT_TAKEN if command in COMMANDS else _NOT_ITS_OWN
    return error.saying(hint=f"{there.who[0].upper()}{there.who[1:]} runs outside, and {why}")
