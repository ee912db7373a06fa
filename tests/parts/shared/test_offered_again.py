# SPDX-License-Identifier: Apache-2.0
"""What agents of an account hold that has gone: of a role it is others' to do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.shared.accounts.departures import agents_of, mark_removed, offer_again
from mcp_agentbus.shared.replacement.before import owned, put_back
from mcp_agentbus.store import roster, streams
from mcp_agentbus.store.records import read_record
from mcp_agentbus.tools.answers import words


@pytest.mark.parametrize(
    ("status", "gone", "offered"),
    [
        ("working", "coder", 1),
        ("needs_input", "coder", 1),
        ("completed", "coder", 0),
        ("working", "smith", 0),
    ],
)
async def test_a_task_of_a_role_is_offered_again_that_a_shell_holds_whose_account_has_gone(
    world, tmp_path, status, gone, offered
):
    role, planner = world.name("review"), await world.session("planner")
    coder = Agent(world.name("coder"), roles=(role,))
    async with shell_session(world.bus, coder, tmp_path) as shell:
        await roster.register(world.bus, coder, None)
        [sent] = await send_task(planner, f"role:{role}", "Look", "x")
        [own] = await send_task(planner, coder.id, "Build", "x")
        assert len((await read_inbox(shell)).tasks) == 2
        for each in (sent, own):
            await publish_result(shell, each.task_id, status, summary="Which branch?")

    again = await offer_again(world.bus, {world.name(gone): (role,)}, "laptop")

    record, _ = await read_record(world.bus, planner.me.id, f"role-{role}", sent.task_id)
    assert (again, record.state == "stored", record.session == "") == (offered, *[offered == 1] * 2)
    assert record.history[-1].reason == (
        "the account laptop, whose agent held it, was removed from the bus" if offered else ""
    )
    kept, _ = await read_record(world.bus, planner.me.id, coder.id, own.task_id)
    assert kept.state == status


async def test_the_agents_of_an_account_are_known_with_their_roles(world):
    agent = Agent(world.name("coder"), roles=("review",))
    profile = roster.Profile(
        id=agent.id, roles=agent.roles, account="laptop", registered_at=text.now()
    )
    data = profile.model_dump_json().encode()
    await world.bus.publish(f"agentbus.{agent.id}.profile", data)

    assert (await agents_of(world.bus))["laptop"][agent.id] == ("review",)


async def test_who_sends_to_an_agent_whose_account_was_removed_is_told_so_though_it_was_just_there(
    world,
):
    planner, coder = await world.session("planner"), Agent(world.name("coder"))
    profile = roster.Profile(id=coder.id, account=world.name("pc"), registered_at=text.now())
    data = profile.model_dump_json().encode()
    await world.bus.publish(f"agentbus.{coder.id}.profile", data)
    await roster.beat(world.bus, coder, "5e55")

    told = []
    for removed in (False, True, False):
        await mark_removed(world.bus, profile.account, removed=removed)
        [receipt] = await send_task(planner, coder.id, "Look", "x", priority="high")
        told.append((receipt.recipient, "account was removed" in receipt.reason))

    assert told == [("live session", False), ("removed", True), ("live session", False)]
    assert "account was removed from the bus" in words.whether_there(coder.id, "removed")


@pytest.mark.parametrize("removed", [True, False])
async def test_over_a_restore_an_agent_stands_as_its_account_does_which_no_backup_changes(
    world, removed
):
    coder, account = world.name("coder"), world.name("pc")
    await streams.ensure_streams(world.bus)
    profile = roster.Profile(id=coder, account=account, registered_at=text.now())
    await world.bus.publish(f"agentbus.{coder}.profile", profile.model_dump_json().encode())
    await mark_removed(world.bus, account, removed=removed)
    at_last = {coder: (await owned(world.bus))[coder]}

    await mark_removed(world.bus, account, removed=not removed)  # as a backup has it
    await put_back(world.bus, [SimpleNamespace(owned=at_last)])

    assert (await roster.registration(world.bus, coder)).removed == removed
