# SPDX-License-Identifier: Apache-2.0
"""How much waits besides what an answer gives: as the pulls have told, or by a look at each task."""

from types import SimpleNamespace

import pytest

from mcp_agentbus.core.ids import LANES
from mcp_agentbus.handoff.intake.brought import Brought
from mcp_agentbus.handoff.intake.rest import InboxRest, as_told, looked_at
from mcp_agentbus.store import queues
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.queues import Lane

HELD = SimpleNamespace(delivery=SimpleNamespace(subject="agentbus.role-review.tasks.low.planner"))
SESSION = SimpleNamespace(bus=None, inboxes=("coder", "role-review"), claims={"t1": HELD})


class Server:
    """Says how much each lane offers, and what it has; and is asked to mend inboxes."""

    def __init__(self):
        self.offers, self.lanes = dict.fromkeys(LANES, 7), {}
        self.asked, self.mended = [], []

    async def offered(self, _, inboxes, lanes, own):
        assert (inboxes, own) == (SESSION.inboxes, {("role-review", "low"): 1})
        self.asked += lanes
        return {lane: self.offers[lane] for lane in lanes}

    async def look(self, _, inbox, lane):
        self.asked.append((inbox, lane))
        return self.lanes.get((inbox, lane), Lane())

    async def ensure_inbox(self, _, inbox):
        self.mended.append(inbox)


@pytest.fixture
def server(monkeypatch):
    server = Server()
    for name in ("offered", "look"):
        monkeypatch.setattr(queues, name, getattr(server, name))
    monkeypatch.setattr(consumers, "ensure_inbox", server.ensure_inbox)
    return server


@pytest.mark.parametrize(
    ("by_pulls", "told", "waits", "asked"),
    [
        ({"high": 1}, {"high": 9, "low": 2}, {"high": 1, "normal": 7, "low": 2}, ["normal"]),
        ({}, {}, dict.fromkeys(LANES, 7), list(LANES)),
        ({"high": 0, "normal": 3, "low": 0}, {}, {"normal": 3}, []),
    ],
)
async def test_the_server_is_asked_for_what_no_pull_has_told(server, by_pulls, told, waits, asked):
    claims = [SimpleNamespace(was_offered=False)]

    assert await as_told(SESSION, Brought(claims, by_pulls), told) == InboxRest(waits, 0)
    assert server.asked == asked


async def test_where_something_was_offered_before_each_task_is_looked_at(server):
    server.lanes = {("coder", "high"): Lane(3, 2, gone=1)}
    claims = [SimpleNamespace(was_offered=each) for each in (False, True)]

    assert await as_told(SESSION, Brought(claims, dict.fromkeys(LANES, 0))) == InboxRest(
        {"high": 3}, 1, 1
    )


async def test_what_others_hold_is_what_is_held_but_for_its_own_and_where_any_waits_all_is_mended(
    server,
):
    server.lanes = {
        ("coder", "high"): Lane(1, 2), ("role-review", "high"): Lane(2, gone=1),
        ("coder", "normal"): Lane(0, 1), ("coder", "low"): Lane(3, gone=2),
    }  # fmt: skip

    assert await looked_at(SESSION) == InboxRest({"high": 3, "low": 3}, 2, 3)
    assert server.asked == [(inbox, lane) for lane in LANES for inbox in SESSION.inboxes]
    assert server.mended == ["coder", "role-review"]


async def test_where_nothing_waits_nothing_is_mended_and_nobody_holds_less_than_nothing(server):
    assert await looked_at(SESSION) == InboxRest({}, 0)
    assert server.mended == []
