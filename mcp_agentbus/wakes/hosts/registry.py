# SPDX-License-Identifier: Apache-2.0
"""The wakers of all hosts, and the programs that they start, by the host's name in the rules."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mcp_agentbus.wakes.hosts import claude_code, command, cursor, openclaw
from mcp_agentbus.wakes.hosts.protocol import Waker

#: By which programs a host's agents are started, any one of which will do.
PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"claude-code": claude_code.PROGRAMS, "cursor": cursor.PROGRAMS}
)
#: One for each of `rules.HOSTS`.
WAKERS: Final[Mapping[str, Waker]] = MappingProxyType(
    {
        "claude-code": claude_code.wake,
        "cursor": cursor.wake,
        "openclaw": openclaw.wake,
        "command": command.wake,
    }
)
