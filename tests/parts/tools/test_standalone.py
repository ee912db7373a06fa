# SPDX-License-Identifier: Apache-2.0
"""A session in a process of its own: how it ends."""

import asyncio
import threading
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from mcp_agentbus.core.aio import together
from mcp_agentbus.tools import standalone
from mcp_agentbus.tools.standalone import Standalone

# A call of the bus runs out of time just before its session does; a busy machine looks at both at
# once, after a pause.
CALL_S, SESSION_S, PAUSE_S = 0.05, 0.06, 0.2


async def out_of_time(*_):
    """Wait for what never comes, in a task of its own, until the call and its session are late."""
    asyncio.get_running_loop().call_later(CALL_S / 2, threading.Event().wait, PAUSE_S)

    async def call():
        async with asyncio.timeout(CALL_S):
            await asyncio.Event().wait()

    await together(call())


async def test_a_session_that_ends_beside_a_call_that_is_late_says_nothing(monkeypatch):
    tried = Mock(side_effect=out_of_time)
    monkeypatch.setattr(standalone, "_CLOSE_TIMEOUT_S", SESSION_S)
    session = SimpleNamespace(close=tried, bus=SimpleNamespace(close=pytest.fail))

    await Standalone._close(SimpleNamespace(_session=session))

    tried.assert_called_once()


async def test_what_was_held_before_is_waited_for_in_vain_and_the_session_begins(monkeypatch):
    tried = Mock(side_effect=out_of_time)
    monkeypatch.setattr(standalone, "_TAKE_OVER_S", SESSION_S)

    await standalone._taken_over(SimpleNamespace(take_over=tried), [{}])

    tried.assert_called_once_with([{}])
