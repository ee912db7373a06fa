# SPDX-License-Identifier: Apache-2.0
"""An account says that it leaves: it is removed once, however often it says so meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mcp_agentbus.bus.replies import Message
from mcp_agentbus.shared.accounts import doorkeeper


async def test_who_says_again_and_again_that_it_leaves_is_removed_once(monkeypatch):
    """Each removal takes the lock by which others join."""
    removed, go_on = [], asyncio.Event()

    async def remove(_bus, _folder, name, *, give_back):
        removed.append((name, give_back))
        await go_on.wait()
        return doorkeeper.owner.Removed(0, ())

    class Answers:
        """Takes what is answered."""

        said = asyncio.Queue()

        async def send(self, reply, data, headers):
            self.said.put_nowait(reply)

    monkeypatch.setattr(doorkeeper.owner, "remove", remove)
    bus = Answers()
    arrived = doorkeeper.leaving(bus, Path("/nowhere"))
    for name in ("laptop", "laptop", "pi", "laptop"):
        arrived(Message(f"agentbus-gate.{name}.leave", b'{"give_back":true}', {}, f"to {name}"))
    go_on.set()
    answered = [await bus.said.get() for _ in range(2)]

    assert answered == ["to laptop", "to pi"]
    assert removed == [("laptop", True), ("pi", True)]
