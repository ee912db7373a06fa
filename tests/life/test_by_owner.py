# SPDX-License-Identifier: Apache-2.0
"""A server whose owner has made everything: who may make nothing works with what is there."""

import json

import pytest
import served
from local_server import configured
from nats_owner import shared_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import streams

MAKES = [f"$JS.API.{kind}.{verb}.>" for kind, verb in (
    ("STREAM", "CREATE"), ("STREAM", "UPDATE"), ("STREAM", "DELETE"), ("CONSUMER", "CREATE"),
    ("CONSUMER", "DURABLE.CREATE"), ("CONSUMER", "DELETE"),
)]  # fmt: skip
USERS = (
    "no_auth_user: worker\nauthorization { users: [ { user: owner, password: x }, { user: worker, "
    f"password: y, permissions: {{ publish: {{ deny: {json.dumps(MAKES)} }} }} }} ] }}"
)


@pytest.fixture
def server(tmp_path):
    """Its users' settings, and its owner's."""
    with shared_server(tmp_path, USERS) as users:
        password = tmp_path / "password"
        password.touch(mode=0o600)
        password.write_text("x")
        lines = f'url = "{users.url}"\nuser = "owner"\npassword_file = "{password}"'
        yield users, configured(tmp_path / "owner", f"[server]\n{lines}")


async def test_a_task_goes_over_and_back_by_what_the_owner_has_made(server, tmp_path):
    users, owners = server
    async with Bus(users) as bus, Session(bus, Agent("planner")) as planner:
        with pytest.raises(NotAllowed, match="server config --streams --for AGENT"):
            await planner.called()

    code, printed = await served.typed(
        tmp_path, "server", "config", "--streams", "--for", "planner,coder,role:review"
    )
    made = json.loads(printed)
    async with Bus(owners) as bus:
        for stream in made["streams"]:
            await bus.api(f"STREAM.CREATE.{stream['name']}", stream)
        for each in made["consumers"]:
            config = each["config"]
            call = f"CONSUMER.CREATE.{each['stream_name']}.{config['name']}"
            await bus.api(f"{call}.{config['filter_subject']}", each)

    async with (
        Bus(users) as bus,
        Session(bus, Agent("planner")) as planner,
        Session(bus, Agent("coder", roles=("review",))) as coder,
    ):
        await read_inbox(coder)
        await send_task(planner, "coder", "Count", "x")
        [receipt] = await send_task(planner, "role:review", "Look", "x")
        tasks = (await read_inbox(coder)).tasks
        await publish_result(coder, receipt.task_id, "completed", summary="looked")
        [result] = (await watch_inbox(planner, timeout_s=20)).results
        with pytest.raises(NotAllowed, match="--for AGENT"):
            async with Session(bus, Agent("stranger")) as stranger:
                await read_inbox(stranger)

    assert (code, len(made["streams"]), len(made["consumers"])) == (0, len(streams.STREAMS), 13)
    assert [item.task.subject for item in tasks] == ["Count", "Look"]
    assert result.summary == "looked"


async def test_what_belongs_to_the_streams_is_refused_without_them(tmp_path):
    for words in (("--for", "planner"), ("--replicas", "3")):
        code, said = await served.typed(tmp_path, "server", "config", *words)
        assert (code, "Add --streams" in said) == (2, True)
    code, said = await served.typed(tmp_path, "server", "config", "--streams", "--for", "No Name")
    assert (code, said.count("\n")) == (2, 2)
