# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes lie under a subject of ours, every look goes on and others' tasks come through."""

import itertools

import corpus
import strategies
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rawclient import Raw

from mcp_agentbus.archive.catch_up import catch_up
from mcp_agentbus.archive.file import Archive
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import agents, lookup
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.parked import parking
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.wakes import demand

FAMILIES = [
    "coder.tasks.high.{}", "coder.dead.low.{}", "coder.due.normal.{}", "planner.results.{}.t1",
    "planner.results.coder.{}", "planner.sent.coder.{}", "planner.wakes.coder.{}", "{}.profile",
    "{}.heartbeat.x", "coder.heartbeat.{}",
]  # fmt: skip
# Each finding under each family.
CORPUS = [*itertools.product(FAMILIES, corpus.read("records").values())]
NAMES = ["mallory", "planner", "e/vil", "\u202e", "\x1b[2J", "all", "a" * 300, "role-x"]
FIELDS = ["id", "type", "state", "payload", "attempts", "history", "updated_at", "kind", "roles",
          "registered_at", "created_at", "expires_at", "notify", "agent", "held_for"]  # fmt: skip
bodies = st.binary(max_size=200) | st.dictionaries(
    st.sampled_from(FIELDS), strategies.hostile_values, max_size=8
).map(strategies.spelt)


@given(st.lists(st.tuples(st.sampled_from(FAMILIES), st.sampled_from(NAMES), bodies), max_size=30))
@example([(family, f"m{number}", body) for number, (family, body) in enumerate(CORPUS)])
@settings(max_examples=8)
async def test_others_go_on_whatever_is_stored_under_our_subjects(messages):
    async with (
        Bus.ephemeral() as bus,
        Session(bus, Agent("planner")) as planner,
        Session(bus, Agent("coder")) as coder,
    ):
        await read_inbox(planner)
        await read_inbox(coder)
        async with Raw(bus.settings.data_dir) as raw:
            for family, name, body in messages:
                await raw.ask(f"agentbus.{family.format(name)}".encode(), body)
        await demand.look(bus, "coder", coder.inboxes)
        await demand.look(bus, "planner", planner.inboxes)
        await agents.page(bus)
        with Archive(None, Keeps()) as archive:
            await catch_up(bus, archive, ["*"])
        await read_inbox(planner, peek=True)
        await parking.parked(bus, "coder")
        [sent] = await send_task(planner, "coder", "Count", "x", priority="high")
        read = await read_inbox(coder, limit=50)
        assert sent.task_id in {item.task.id for item in read.tasks}
        await publish_result(coder, sent.task_id, "completed")
        [result] = (await watch_inbox(planner, timeout_s=5, task_id=sent.task_id)).results
        assert result.state == "completed"
        assert (await lookup.task_life(planner, sent.task_id)).state == "completed"


def test_each_finding_says_what_it_did_and_is_another():
    for kind in ("records", "lines", "tables", "repositories"):
        assert all(said.endswith(".") for said in corpus.said(kind).values())
    lines, records = corpus.read("lines"), corpus.read("records", "held-")
    assert len(set(lines.values())) == len(lines) > 0
    assert len(set(records.values())) == len(records) > 0
