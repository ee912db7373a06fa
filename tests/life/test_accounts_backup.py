# SPDX-License-Identifier: Apache-2.0
"""Who may use a shared server, in its backup and after it was restored: nobody comes back in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from backups import backed_up, restored
from made_server import made_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.core import text
from mcp_agentbus.errors import Refused
from mcp_agentbus.shared import backup
from mcp_agentbus.shared.accounts import lobby, owner, store
from mcp_agentbus.shared.accounts.apply import apply
from mcp_agentbus.shared.accounts.record import AccountRecord


@pytest.fixture
def server(tmp_path):
    with made_server(tmp_path / "bus") as made:
        yield made


@pytest.fixture
async def bus(server):
    async with Bus.connect(server.owner) as bus:
        await store.ensure(bus)
        yield bus


async def joined(bus, *names):
    now = text.now()
    for name in names:
        key = Nkey(new_seed()).public
        await store.put(bus, AccountRecord(name=name, key=key, joined_at=now, since=now), 0)


async def test_it_goes_into_another_server_with_its_backup(server, bus, tmp_path):
    await joined(bus, "laptop", "pi")
    await owner.invite(bus, server.files.folder, "nas")
    steps = await backed_up(server.owner, tmp_path / "backup")
    before = await store.standing(bus)
    with made_server(tmp_path / "other") as other:
        await restored(other.owner, tmp_path / "backup")
        async with Bus.connect(other.owner) as there:
            after = await store.standing(there)
            let_in = await apply(there, other.files.folder)
    seeds = [file.read_bytes() for file in server.files.keys]
    written = [file.read_bytes() for file in (tmp_path / "backup").iterdir()]

    assert "3 accounts and invitations" in str(steps[-1])
    assert (after, let_in) == (before, {"laptop", "pi"})
    assert not any(seed in content for seed in seeds for content in written)


@pytest.mark.promise(55)
async def test_who_was_removed_or_has_another_key_since_does_not_come_back(server, bus, tmp_path):
    folder = server.files.folder
    await joined(bus, "laptop", "pi", "nas")
    await backed_up(server.owner, tmp_path / "backup")
    await owner.remove(bus, folder, "laptop")
    pi, revision = await store.account(bus, "pi")
    await store.put(bus, replace(pi, key=Nkey(new_seed()).public), revision)
    await store.forget(bus, (await store.account(bus, "nas"))[0])
    await joined(bus, "vps")
    since = {each.name: each for each in await store.accounts(bus)}

    async with lobby.opened(bus, folder):
        with pytest.raises(Refused, match="gate runs"):
            await restored(server.owner, tmp_path / "backup", replace=True)
    await restored(server.owner, tmp_path / "backup", replace=True)
    after = {each.name: each for each in await store.accounts(bus)}

    assert {name: after[name] for name in since} == since
    assert after.keys() - since.keys() == {"nas"}
    assert await apply(bus, folder) == {"pi", "nas", "vps"}
    assert backup.find(tmp_path / "backup").streams[-1].name == store.STREAM
