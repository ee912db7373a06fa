# SPDX-License-Identifier: Apache-2.0
"""The wakers of all hosts by the host's name in the rules."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mcp_agentbus.wake import Waker, claude_code, command, cursor, openclaw

#: One for each of `rules.HOSTS`.
WAKERS: Final[Mapping[str, Waker]] = MappingProxyType(
    {
        "claude-code": claude_code.wake,
        "cursor": cursor.wake,
        "openclaw": openclaw.wake,
        "command": command.wake,
    }
)
