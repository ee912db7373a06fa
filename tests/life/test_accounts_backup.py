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
from mcp_agentbus.errors import BusUnreachable, Refused
from mcp_agentbus.shared import backup, restore
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


async def standing(bus):
    return [*await store.invitations(bus), *await store.accounts(bus)]


async def test_it_goes_into_another_server_with_its_backup(server, bus, tmp_path):
    await joined(bus, "laptop", "pi")
    await owner.invite(bus, server.files.folder, "nas")
    steps = await backed_up(server.owner, tmp_path / "backup")
    before = await standing(bus)
    with made_server(tmp_path / "other") as other:
        async with Bus.connect(other.owner) as there:
            await owner.invite(there, other.files.folder, "vps")
            [invited] = await standing(there)
            await restored(other.owner, tmp_path / "backup")
            after = await standing(there)
            let_in = await apply(there, other.files.folder)
    seeds = [file.read_bytes() for file in server.files.keys]
    written = [file.read_bytes() for file in (tmp_path / "backup").iterdir()]

    assert "3 accounts and invitations" in str(steps[-1])
    assert after == [before[0], invited, *before[1:]]
    assert let_in == {"laptop", "pi"}
    assert not any(seed in content for seed in seeds for content in written)


@pytest.mark.promise(55)
async def test_who_was_removed_or_has_another_key_since_does_not_come_back(
    server, bus, tmp_path, monkeypatch
):
    folder = server.files.folder
    await joined(bus, "laptop", "pi")
    await backed_up(server.owner, tmp_path / "backup")
    await owner.remove(bus, folder, "laptop")
    pi, revision = await store.account(bus, "pi")
    await store.put(bus, replace(pi, key=Nkey(new_seed()).public), revision)
    await joined(bus, "vps")
    since = await standing(bus)

    async with lobby.opened(bus, folder):
        with pytest.raises(Refused, match="gate runs"):
            await restored(server.owner, tmp_path / "backup", replace=True)
    monkeypatch.setattr(restore, "end_lost", ends_early)
    with pytest.raises(BusUnreachable, match="It is away"):
        await restored(server.owner, tmp_path / "backup", replace=True)
    half = await standing(bus)
    monkeypatch.undo()
    await restored(server.owner, tmp_path / "backup", replace=True)

    assert half == await standing(bus) == since
    assert await apply(bus, folder) == {"pi", "vps"}
    assert backup.find(tmp_path / "backup").streams[-1].name == store.STREAM


async def ends_early(*_):
    raise BusUnreachable("It is away.")
