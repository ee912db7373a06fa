# SPDX-License-Identifier: Apache-2.0
"""A role that an account has no more closes the inbox of that role, and no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gated import gated
from mallory import once_known

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.listener import status
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.state import State
from mcp_agentbus.shared.accounts import owner
from mcp_agentbus.store import records, roster
from mcp_agentbus.tools import follow
from mcp_agentbus.wakes.ledger import Ledger


@pytest.mark.asyncio(loop_scope="function")
async def test_who_has_lost_a_role_reads_its_own_inbox_and_is_told_of_the_other(tmp_path):
    me = Agent("coder", roles=("review", "qa"))
    async with (
        gated(tmp_path, laptop=["qa", "review"], vps=["review"]) as shared,
        Bus.connect(shared.admin) as admin,
        Bus.connect(shared.settings("laptop")) as bus,
        Bus.connect(shared.settings("vps")) as theirs,
        Session(theirs, Agent("reviewer", roles=("review",))) as reviewer,
    ):
        async with Session(bus, me) as before:
            await read_inbox(before)
            await send_task(before, "role:review", "Of another's hand", "x")
        await read_inbox(reviewer)
        await owner.grant(admin, shared.folder, "laptop", no_roles=["review"])

        async def lacking():
            lacks = await roster.register_granted(bus, me, None)
            if not lacks:
                raise LookupError
            return lacks

        assert await once_known(LookupError, lacking) == {"review"}
        async with Session(bus, me) as coder:
            await send_task(coder, "coder", "Own", "x")
            await send_task(coder, "role:qa", "For a role", "x")
            read = await read_inbox(coder)
            peeked = await read_inbox(coder, peek=True)
            watched = await watch_inbox(coder, timeout_s=0)
        assert {item.task.subject for item in read.tasks} == {"Own", "For a role"}
        async with Session(bus, me, leased=True) as shell:
            typed = await read_inbox(shell)
        for inbox in (read, peeked, watched, typed):
            assert inbox.degraded.startswith("role:review is not read, as it is not granted")
        assert (await roster.registration(bus, "coder")).roles == ("qa",)


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize(
    ("said", "lacks"),
    [(("review",), {"review"}), ((), set()), (("qa",), set())],
    ids=["by its user still", "by its registration alone", "in another's place"],
)
async def test_who_has_lost_its_only_role_goes_on_without(tmp_path, said, lacks):
    had = Agent("coder", roles=("review",))
    async with (
        gated(tmp_path, laptop=["qa"]) as shared,
        Bus.connect(shared.admin) as admin,
        Bus.connect(shared.settings("laptop")) as bus,
    ):
        await roster.register_granted(bus, replace(had, roles=()), None)
        key = roster._profile_key("coder")
        stood, revision = await records.read(admin, key)
        await records.write(admin, key, stood.model_copy(update={"roles": had.roles}), revision)

        async with Session(bus, replace(had, roles=said)) as coder:
            read = await read_inbox(coder)
        kept = await roster.registration(bus, "coder")

    assert (coder.ungranted, kept.roles) == (lacks, tuple({*said} - lacks))
    assert bool(read.degraded) == bool(lacks)


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize("registers", [True, False])
async def test_a_listener_looks_after_the_inboxes_that_are_left(tmp_path, registers):
    me, desk = Agent("coder", roles=("review", "qa")), Desk("coder")
    async with (
        gated(tmp_path, laptop=["qa"]) as shared,
        Bus.connect(shared.settings("laptop")) as bus,
    ):
        await roster.register_granted(bus, me, None)
        settings = replace(shared.settings("laptop"), agents={"coder": me})
        state = State(settings, bus, Ledger(tmp_path / "ledger.sqlite3"), print)
        state.desks["coder"] = desk

        await desk.subscribe(bus, me, ("high",), registers=registers, is_woken=bool)
        async with desk.subscriptions:
            await state.look("coder")
        following = follow._Following(bus, me, None)
        await following.prepare()

    assert following._agent.inboxes == ("coder", "role-qa")
    assert state.inboxes("coder") == ("coder", "role-qa")
    assert "role:review" in status.agent_data(desk, None, 0, away=False)["says"]
