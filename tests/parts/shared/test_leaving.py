# SPDX-License-Identifier: Apache-2.0
"""An account says that it leaves: it is removed once, however often it says so meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

from local_server import configured

from mcp_agentbus.bus.login.nkey import new_seed
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.shared.accounts import doorkeeper
from mcp_agentbus.shared.membership import leave as leaving


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


async def test_what_is_not_about_the_server_stays_where_nothing_is_known_of_before(
    tmp_path, monkeypatch
):
    async def told(*_, **__):
        return "it is away"

    monkeypatch.setattr(leaving, "_tell", told)
    key = tmp_path / "laptop.nk"
    key.touch(mode=0o600)
    key.write_text(new_seed())
    server = f'url = "nats://127.0.0.1:1"\nnkey_file = "{key}"\naccount = "laptop"\n'
    binary = '[server]\nbinary = "/bin/nats-server"\n'

    left = await leaving.leave(configured(tmp_path / "home", binary + server), give_back=False)

    assert left.settings.config_file.read_text() == binary
    assert (left.account, left.told, dict(left.before)) == (
        "laptop", False, {"binary": "/bin/nats-server"}
    )  # fmt: skip
