# SPDX-License-Identifier: Apache-2.0
"""Any program as a host: the user's own argv, the notice on its standard input.

    $ echo '1 task waits in your agentbus inbox. WakeOrder read_inbox.' | my-agent --once

No shell reads the argv, and nothing of a task is in it.
"""

from __future__ import annotations

from mcp_agentbus.wakes.hosts.process import run
from mcp_agentbus.wakes.hosts.protocol import Ended, WakeOrder


async def wake(call: WakeOrder) -> Ended:
    """Start the program that the rules name, and wait for its end."""
    if not call.rules.command:
        return Ended("not_started", "its rules name no command")
    return await run(
        call.rules.command,
        stdin=call.notice,
        call=call,
        time_limit_s=call.rules.limits.time_limit_s,
    )
