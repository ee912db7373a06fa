# SPDX-License-Identifier: Apache-2.0
"""A server that another program uses, whose streams have the names of agentbus's."""

import json
from dataclasses import replace

import pytest
from doctors import report
from nats_owner import shared_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import Refused
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session

# As the task bus agentbus 0.1 makes them; its publisher asks nobody whether a task was kept.
_TASKS = {"name": "AGENTBUS_TASKS", "subjects": ["agentbus.*.tasks"], "max_age": 7 * 86400 * 10**9}
_RESULTS = {"name": "AGENTBUS_RESULTS", "subjects": ["agentbus.*.results"]}
_ACCOUNTS = (
    "accounts { OTHER: { jetstream: enabled, users: [ { user: other, password: x } ] }, "
    "OURS: { jetstream: enabled, users: [ { user: ours, password: x } ] } }\n"
)


@pytest.fixture
async def server(tmp_path):
    """Give the settings of a user in the account of the other program, and in one of our own."""
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("x")
    with shared_server(tmp_path, _ACCOUNTS) as settings:
        other = replace(settings, user="other", password_file=password)
        async with Bus(other) as bus:
            for made in (_TASKS, _RESULTS):
                await bus.api(f"STREAM.CREATE.{made['name']}", made)
        yield other, replace(other, user="ours")


async def _streams(settings):
    async with Bus(settings) as bus:
        answer = await bus.api("STREAM.LIST")
        return {each["config"]["name"]: each["config"] for each in answer["streams"] or ()}


async def test_nothing_is_stored_in_its_streams_which_stay_as_they_are(server):
    theirs, _ = server
    before = await _streams(theirs)

    async with Bus(theirs) as bus, Session(bus, Agent("planner")) as planner:
        with pytest.raises(Refused, match="Another program has a stream AGENTBUS_") as refused:
            await send_task(planner, "planner", "Count", "x")

    assert "an account of its own" in refused.value.hint
    assert before.keys() == {"AGENTBUS_TASKS", "AGENTBUS_RESULTS"}
    assert await _streams(theirs) == before


async def test_doctor_names_them_and_offers_to_change_none(server):
    theirs, _ = server
    before = await _streams(theirs)

    code, found = await report(theirs)
    await report(theirs, fix=True)

    streams = found["streams"]
    assert (code, streams["state"]) == (1, "wrong")
    assert "another program has AGENTBUS_RESULTS, AGENTBUS_TASKS" in streams["said"], streams
    assert "an account of its own" in streams["fix"]
    assert json.dumps(await _streams(theirs)) == json.dumps(before)


async def test_in_an_account_of_its_own_the_same_server_will_do(server):
    theirs, ours = server

    async with Bus(ours) as bus, Session(bus, Agent("planner")) as planner:
        [receipt] = await send_task(planner, "planner", "Count", "x")

    assert receipt.state == "stored"
    assert len(await _streams(theirs)) == 2
