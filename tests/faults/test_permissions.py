# SPDX-License-Identifier: Apache-2.0
"""A shared server that forbids something says so at once, and not by a time-out."""

import asyncio
import json
from dataclasses import replace

import pytest
from nats_owner import shared_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadSetup, NotAllowed, Refused
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.patterns.events import publish, subscribe
from mcp_agentbus.store import subjects

PROMISED_S = 5
BY_TOKEN = 'authorization { token: "right-token" }'


def forbidding(*subjects):
    """Return the configuration of a server that lets everybody in and forbids some publishing."""
    denied = json.dumps(list(subjects))
    rights = f"permissions: {{ publish: {{ deny: {denied} }} }}"
    users = f"users: [ {{ user: worker, password: x, {rights} }} ]"
    return f"no_auth_user: worker\nauthorization {{ {users} }}"


def forbidding_to_hear(*subjects):
    """The same for what is listened to."""
    return forbidding().replace(
        "publish: { deny: [] }", f"subscribe: {{ deny: {json.dumps(list(subjects))} }}"
    )


def token_file(folder, text, mode=0o600):
    file = folder / "token"
    file.write_text(text)
    file.chmod(mode)
    return file


async def test_a_forbidden_task_is_refused_at_once_and_other_things_work(tmp_path):
    with shared_server(tmp_path, forbidding("agentbus.coder.tasks.>")) as settings:
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            Session(bus, Agent("coder")) as coder,
        ):
            for session in (planner, coder):
                assert (await read_inbox(session)).empty

            async with asyncio.timeout(PROMISED_S):
                with pytest.raises(NotAllowed):
                    await send_task(planner, "coder", "Forbidden", "x")

            [receipt] = await send_task(coder, "planner", "Allowed", "x")
            assert (await read_inbox(coder)).empty
            [item] = (await read_inbox(planner)).tasks
            assert item.task.id == receipt.task_id


async def test_a_forbidden_result_is_refused_at_once_and_the_claim_stays(tmp_path):
    with shared_server(tmp_path, forbidding("agentbus.*.results.coder.*")) as settings:
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            Session(bus, Agent("coder")) as coder,
        ):
            assert (await read_inbox(coder)).empty
            await send_task(planner, "coder", "Do it", "x")

            async with asyncio.timeout(PROMISED_S):
                with pytest.raises(NotAllowed):
                    await read_inbox(coder)
            assert coder.claims == {}


async def test_a_forbidden_event_is_refused_and_others_are_heard(tmp_path):
    with shared_server(tmp_path, forbidding("agentbus-events.page.>")) as settings:
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("builder")) as builder,
            Session(bus, Agent("page")) as page,
            subscribe(page, "build.*") as heard,
        ):
            for _ in range(2):
                with pytest.raises(NotAllowed):
                    await publish(page, "build.Done")
            await publish(builder, "build.Done")
            assert (await anext(heard)).sender == "builder"


async def test_whoever_may_not_hear_events_is_told_so_and_reads_on(tmp_path):
    with shared_server(tmp_path, forbidding_to_hear("agentbus-events.>")) as settings:
        for group in ("", "pages") * 10:  # a connection that is just open is the busiest
            async with Bus.connect(settings) as bus, Session(bus, Agent("page")) as page:
                with pytest.raises(NotAllowed):
                    async with subscribe(page, "build.*", group=group):
                        pass
                assert (await read_inbox(page)).empty


async def test_a_forbidden_pull_is_refused_at_once(tmp_path):
    pulls = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.TASKS}.>"
    with shared_server(tmp_path, forbidding(pulls)) as settings:
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("coder")) as coder,
            Session(bus, Agent("planner")) as planner,
        ):
            await coder.called()
            await send_task(planner, "coder", "Not to be had", "x")
            async with asyncio.timeout(PROMISED_S):
                with pytest.raises(NotAllowed):
                    await watch_inbox(coder, timeout_s=60)
            async with asyncio.timeout(PROMISED_S):
                with pytest.raises(NotAllowed):
                    await read_inbox(coder)


@pytest.mark.promise(40)
@pytest.mark.parametrize("given", ["wrong-token", "", "right-token-and-more"])
async def test_a_wrong_token_is_refused_at_once(tmp_path, given):
    with shared_server(tmp_path, BY_TOKEN) as shared:
        settings = replace(shared, token_file=token_file(tmp_path, given))
        async with Bus(settings) as bus, Session(bus, Agent("planner")) as planner:
            for call in (
                lambda: send_task(planner, "coder", "Forbidden", "x"),
                lambda: read_inbox(planner),
                lambda: publish_result(planner, "t1", "completed"),
            ):
                async with asyncio.timeout(PROMISED_S):
                    with pytest.raises(NotAllowed, match="token") as refused:
                        await call()
                assert not given or given not in str(refused.value)


async def test_no_token_is_refused_at_once_and_the_right_one_opens(tmp_path):
    with shared_server(tmp_path, BY_TOKEN) as shared:
        async with Bus(shared) as bus, Session(bus, Agent("planner")) as planner:
            async with asyncio.timeout(PROMISED_S):
                with pytest.raises(NotAllowed):
                    await read_inbox(planner)

        settings = replace(shared, token_file=token_file(tmp_path, "right-token\n"))
        async with Bus(settings) as bus, Session(bus, Agent("planner")) as planner:
            assert (await read_inbox(planner)).empty


@pytest.mark.promise(41)
async def test_a_token_that_others_may_read_is_not_used(tmp_path):
    with shared_server(tmp_path, BY_TOKEN) as shared:
        settings = replace(shared, token_file=token_file(tmp_path, "right-token", 0o644))
        async with Bus(settings) as bus, Session(bus, Agent("planner")) as planner:
            with pytest.raises(BadSetup, match="open to other users"):
                await read_inbox(planner)


async def test_an_account_without_jetstream_is_told_of_and_not_that_streams_are_missing(tmp_path):
    users = "{ users: [ { user: worker, password: x } ] }"
    with shared_server(tmp_path, f"no_auth_user: worker\naccounts {{ A: {users} }}") as settings:
        async with Bus(settings) as bus, Session(bus, Agent("planner")) as planner:
            async with asyncio.timeout(PROMISED_S):
                with pytest.raises(Refused, match="has no JetStream for this login"):
                    await send_task(planner, "coder", "Nobody stores it", "x")
