# SPDX-License-Identifier: Apache-2.0
"""`agentbus status`, `why` and `policy explain`: what each tells, as a text and as data.

    >>> text, data = await status(settings, (80, 24, False))

In the process in which it was typed, or in the listener, which has a connection to the bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.overview import document, screen, situation
from mcp_agentbus.overview import policy as policies
from mcp_agentbus.overview import why as reasons
from mcp_agentbus.overview.known import known

#: A text, and the same as data.
Told = tuple[str, Any]


async def status(settings: Settings, terminal: Sequence[int], bus: Bus | None = None) -> Told:
    """Tell what goes on, for a terminal of so many columns and rows, with colours or without.

    Raises: as `known`.
    """
    columns, rows, is_styled = terminal
    now = await situation.look(settings, bus)
    shown = screen.screen(now, columns=columns, rows=rows, styled=bool(is_styled))
    return shown, document.of_situation(now)


async def why(settings: Settings, task_id: str, bus: Bus | None = None) -> Told:
    """Tell why a task is not done.

    Raises:
        BadInput, UnknownTask: it is not known which task is meant.
        BadSetup, NotAllowed: as `known`.
    """
    async with known(settings, bus) as here:
        case = here.case(here.task(task_id), placed=True)
    answer = reasons.why(case)
    return document.why_text(case, answer), document.of_case(case, answer)


async def policy(settings: Settings, sender: str, to: str, bus: Bus | None = None) -> Told:
    """Tell what would become of a task now.

    Raises:
        BadInput: one of both is no agent.
        BadSetup, NotAllowed: as `known`.
    """
    async with known(settings, bus) as here:
        # The record of wakes is read through as it is opened; others go on meanwhile.
        explained = await asyncio.to_thread(policies.explain, here, sender, to)
    return explained.text, explained.data
