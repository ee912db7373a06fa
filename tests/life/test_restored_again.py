# SPDX-License-Identifier: Apache-2.0
"""A shared bus whose restore ended early: the next one knows all that the first had to say."""

from __future__ import annotations

import platform
from dataclasses import replace

import pytest
from backups import backed_up, restored
from made_server import made_server
from test_accounts_backup import joined

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.shared import restore
from mcp_agentbus.shared.accounts import store
from mcp_agentbus.store import roster
from mcp_agentbus.store.registered.profile import Profile
from mcp_agentbus.store.subjects import AGENTS, profile_subject


@pytest.fixture
def server(tmp_path):
    with made_server(tmp_path / "bus") as made:
        yield made


class Killed(BaseException):
    """Where a restore was killed."""


async def _registered(bus, agent, account):
    """Have an agent be an account's, as a gate writes it."""
    subject = profile_subject(agent)
    stored = await bus.last(AGENTS, subject)
    profile = Profile(id=agent, account=account, registered_at=text.now())
    data = profile.model_dump_json().encode()
    await bus.replace(AGENTS, subject, data, stored.seq if stored else 0)


@pytest.mark.parametrize(("removed", "elsewhere"), [(0, False), (4, False), (4, True)])
async def test_who_sent_since_is_told_and_each_agent_stays_its_account_s(
    server, tmp_path, monkeypatch, *, removed, elsewhere
):
    async with Bus.connect(server.owner) as bus:
        await store.ensure(bus)
        await joined(bus, "laptop", "pi")
        for agent, account in (("coder", "pi"), ("moved", "laptop")):
            await _registered(bus, agent, account)
        await backed_up(server.owner, tmp_path / "backup")
        await _registered(bus, "moved", "pi")
        await _registered(bus, "newbie", "pi")
        async with Session(bus, Agent("planner")) as planner:
            await planner.called()
            sent = [(await send_task(planner, "coder", "Since", "x"))[0].task_id for _ in range(3)]

    begun, given = [], restore._given

    async def ends_early(bus, backup, stream, config):
        begun.append(stream.name)
        if len(begun) > removed:
            raise Killed
        async for step in given(bus, backup, stream, config):
            yield step

    with monkeypatch.context() as early:
        early.setattr(restore, "_given", ends_early)
        with pytest.raises(Killed):
            await restored(server.owner, tmp_path / "backup", replace=True)
    [first] = (server.owner.data_dir / "backups").iterdir()
    owner = replace(server.owner, data_dir=tmp_path / "other") if elsewhere else server.owner
    host = platform.node() if elsewhere else ""
    with monkeypatch.context() as machine:
        if elsewhere:
            machine.setattr(platform, "node", lambda: "another")
        *_, replaced = await restored(owner, tmp_path / "backup", replace=True)

    assert (replaced.backup, replaced.told, replaced.host) == (first, 3, host)
    async with Bus.connect(server.owner) as bus, Session(bus, Agent("planner")) as planner:
        told = (await read_inbox(planner)).results
        known = [await roster.registration(bus, name) for name in ("coder", "moved", "newbie")]
    assert {each.task_id: each.state for each in told} == dict.fromkeys(sent, "failed")
    assert [each and each.account for each in known] == ["pi", "pi", "pi"]
    for settings in (owner, server.owner):
        *_, replaced = await restored(settings, tmp_path / "backup", replace=True)
        assert replaced.backup.parent == settings.data_dir / "backups"
        assert (replaced.told, replaced.host, replaced.backup == first) == (0, "", False)
