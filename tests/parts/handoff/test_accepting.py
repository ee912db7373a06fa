# SPDX-License-Identifier: Apache-2.0
"""Whose tasks a reader refuses, and of which of these it shows nothing."""

import pytest
from messages import read_record

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.intake import refusals
from mcp_agentbus.handoff.intake.refusals import Refusal
from mcp_agentbus.store import roster
from mcp_agentbus.store.roster import Entry

WHY = "coder takes tasks of lead only: its user has said so"


@pytest.fixture
def listed(monkeypatch):
    """Those whom the roster knows, by id; a test adds to it."""
    known = {}

    async def look(_, agent):
        return known.get(agent)

    async def everybody(_):
        return list(known.values())

    monkeypatch.setattr(roster, "look", look)
    monkeypatch.setattr(roster, "everybody", everybody)
    return known


@pytest.mark.parametrize(
    ("sender", "takes"),
    [("lead", True), ("coder", True), ("planner", True), ("mallory", False), ("nobody", False)],
)
async def test_a_reader_takes_what_its_user_lets_it_take_by_name_or_by_role(listed, sender, takes):
    me = Agent("coder", accept_from=("lead", "role:plan"))
    listed["planner"] = Entry("planner", "offline", roles=("plan",))
    listed["mallory"] = Entry("mallory", "offline", roles=("other",))

    assert (await refusals.refusal(None, me, sender, "coder") is None) == takes


@pytest.mark.parametrize(
    ("others", "is_left"),
    [
        ([Entry("reviewer", "offline", roles=("review",))], True),
        ([Entry("reviewer", "offline", roles=("other",))], False),
        ([Entry("reviewer", "offline", roles=("review",), accept_from=("lead",))], False),
        ([Entry("reviewer", "offline", roles=("review",), accept_from=("mallory",))], True),
        ([Entry("coder", "offline", roles=("review",))], False),
        ([], False),
    ],
)
async def test_what_a_role_gets_is_left_to_another_that_holds_it_and_takes_it(
    listed, others, is_left
):
    me = Agent("coder", roles=("review",), accept_from=("lead",))
    listed |= {each.id: each for each in others}

    assert await refusals.refusal(None, me, "mallory", "role-review") == Refusal(WHY, is_left)
    assert await refusals.refusal(None, me, "mallory", "coder") == Refusal(WHY)


@pytest.mark.parametrize(
    ("of", "hidden"),
    [
        ({"state": "stored"}, True),
        ({"state": "rejected"}, True),
        ({"state": "rejected", "attempts": 1}, False),
        ({"state": "stored", "attempts": 1}, False),
        ({"state": "completed"}, False),
        ({"state": "stored", "owner": "coder"}, False),
        ({"state": "stored", "inbox": "other"}, False),
        ({"state": "stored", "owner": "lead"}, False),
    ],
)
async def test_of_what_is_refused_unread_nothing_is_shown(listed, of, hidden):
    record = read_record().model_copy(update={"owner": "mallory", "inbox": "coder", **of})
    me = Agent("coder", accept_from=("lead",))

    assert await refusals.is_hidden(None, me, record) == hidden
