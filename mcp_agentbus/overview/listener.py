# SPDX-License-Identifier: Apache-2.0
"""How the listener stands, by what it answers.

>>> ask_listener(settings).state
'runs'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.listener import status
from mcp_agentbus.listener.status import State
from mcp_agentbus.relay import local_socket, seat

# In seconds; a listener answers in a millisecond, and one that has not in this time hangs.
_LISTENER_S: Final = 2.0


@dataclass(frozen=True)
class Listener:
    """What the listener has answered."""

    state: State = "stopped"
    #: Why it is not there, or what to do about it.
    says: str = ""
    #: See `listener.requests`; empty without an answer.
    answer: Mapping[str, Any] = field(default_factory=dict)

    def refused(self, agent: str) -> Mapping[str, Mapping[str, int]]:
        """Return what was refused since it began: `refused` of whose tasks, `refused_by` whom."""
        said = self.agents.get(agent, {})
        return {key: said.get(key) or {} for key in ("refused", "refused_by")}

    @cached_property
    def agents(self) -> dict[str, Mapping[str, Any]]:
        """What it says of each agent that it looks after, see `case.Word`."""
        return {said["agent"]: said for said in self.answer.get("agents", ())}


def ask_listener(settings: Settings) -> Listener:
    """Ask the listener how it stands, without having it count what waits."""
    try:
        with local_socket.connect(settings) as connection:
            connection.settimeout(_LISTENER_S)
            answer = local_socket.exchange(connection, {"op": "status", "count": False})
    except TimeoutError:
        return Listener("silent", "It does not answer: `agentbus listen --replace`.")
    except (OSError, ValueError):
        away = seat.absence(settings)
        return Listener(status.absent(away), f"{away.message} {away.hint}")
    if "error" in answer:
        return Listener("silent", f"{answer['error']} {answer.get('hint', '')}")
    seen = status.seen_from(settings, answer)
    return Listener(seen["state"], "", seen)
