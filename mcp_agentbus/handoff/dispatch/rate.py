# SPDX-License-Identifier: Apache-2.0
"""How many tasks the MCP sessions of an agent may send in a minute.

    >>> SendRate(SENT_A_MINUTE).check("planner", 1)

No honest agent meets it; two that answer each task by a new one do, or a model that repeats itself.
Pure but for its clock: whoever serves sessions has one of it for all of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from mcp_agentbus.errors import SendLimit

#: Tasks that MCP sessions of one agent send in a minute, also all at once; each addressee counts.
SENT_A_MINUTE: Final = 120


class SendRate:
    """What is left to the agents whose sessions one process serves; without a number, everything.

    A call that asks for more than a minute has, as to `all`, is let through by a full one, and the
    next ones wait for as long as it has used up.
    """

    def __init__(
        self, a_minute: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._a_minute, self._clock = a_minute, clock
        #: By agent: how much was left, and when. Whoever is not in it has all of it.
        self._left: dict[str, tuple[float, float]] = {}

    def check(self, agent: str, tasks: int) -> None:
        """Count so many tasks as sent.

        Raises:
            SendLimit: they are too many now; none is counted.
        """
        now = self._clock()
        left = {who: (self._now(*then, now), now) for who, then in self._left.items()}
        self._left = {who: then for who, then in left.items() if then[0] < self._a_minute}
        mine, _ = self._left.get(agent, (self._a_minute, now))
        missing = min(tasks, self._a_minute) - mine
        if missing > 0:
            raise self._over(agent, math.ceil(missing * 60 / self._a_minute))
        self._left[agent] = mine - tasks, now

    def _now(self, left: float, at: float, now: float) -> float:
        return min(self._a_minute, left + (now - at) * self._a_minute / 60)

    def _over(self, agent: str, again_s: int) -> SendLimit:
        return SendLimit(
            f"The sessions of {agent} send {self._a_minute:g} tasks a minute at most, and this "
            "call goes beyond that. Nothing was sent.",
            hint=f"Wait {again_s} s, then send it again. If another agent answers each task of "
            "yours by a new one, end that: a result goes back by publish_result. Else tell your "
            "user.",
        )
