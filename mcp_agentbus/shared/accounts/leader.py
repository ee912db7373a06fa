# SPDX-License-Identifier: Apache-2.0
"""What is stored last on a subject by the word of a stream's leader: nothing older is true.

    >>> await last(bus, "AGENTBUS_AGENTS", "agentbus.coder.profile")
    Found(subject='agentbus.coder.profile', seq=5, ...)

`Bus.last` is answered by any of several servers, one of which may not know yet what another has
acknowledged: enough for who looks again, and not for who decides.
"""

from __future__ import annotations

import base64
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.raw import head
from mcp_agentbus.bus.replies import ApiError, Found, server_time

# Of JetStream's API: nothing is stored there.
_NO_MESSAGE: Final = 10037


async def last(bus: Bus, stream: str, subject: str) -> Found | None:
    """Return it; None if nothing is stored there.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.api`.
    """
    try:
        answer = await bus.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
    except ApiError as error:
        if error.code != _NO_MESSAGE:
            raise
        return None
    message = answer["message"]
    return Found(
        subject=message["subject"],
        seq=int(message["seq"]),
        stored_at=server_time(message["time"]),
        headers=head.read(base64.b64decode(message.get("hdrs", ""))),
        data=base64.b64decode(message.get("data", "")),
    )
