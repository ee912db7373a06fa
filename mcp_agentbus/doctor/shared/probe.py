# SPDX-License-Identifier: Apache-2.0
"""The agents of a self-test: made up for each test, but an account's own, which are kept.

    async with alone(settings):
        sender(settings)  # 'doctor-laptop' of the account laptop

Nobody takes an account's names off a shared server, so its tests have the same two, one at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import locks
from mcp_agentbus.doctor.member import LOOK_AGAIN_S

# So long another test is waited for, in seconds; one that hangs is not.
_ANOTHER_S: Final = 60.0
# Of an account's name as much as leaves room for what stands around it.
_ACCOUNT_MAX_CHARS: Final = 48


@asynccontextmanager
async def alone(settings: Settings) -> AsyncGenerator[None, None]:
    """Wait until no other test of an account runs here: each would take the other's task."""
    async with AsyncExitStack() as stack:
        if settings.account:
            give_up = time.monotonic() + _ANOTHER_S
            with suppress(OSError):  # then it is not known
                file = settings.state_dir / "self-test.lock"
                while (lock := locks.take(file, wait=False)) is None:
                    if time.monotonic() > give_up:
                        break
                    await asyncio.sleep(LOOK_AGAIN_S)
                else:
                    stack.callback(os.close, lock)
        yield


def sender(settings: Settings) -> str:
    """Return who sends: one made up, but an account's own, whose names nobody takes off the bus."""
    account = settings.account
    if not account:
        return f"doctor-{secrets.token_hex(2)}"
    if len(account) > _ACCOUNT_MAX_CHARS:
        digest = hashlib.sha256(account.encode()).hexdigest()[:8]
        account = f"{account[: _ACCOUNT_MAX_CHARS - len(digest) - 1]}-{digest}"
    return f"doctor-{account}"
