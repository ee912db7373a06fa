# SPDX-License-Identifier: Apache-2.0
"""A part of the roster, as a whole: who is on it, what waits for them, and what is left out."""

import pytest

from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.agents import Listed, Page, page
from mcp_agentbus.store import queues, roster, subjects
from mcp_agentbus.store.roster import Entry

CODER = Entry(
    "coder", "live session", hosts=("claude-code",), roles=("review",), description="Writes tests"
)
PLANNER, TESTER = Entry("planner", "offline"), Entry("tester", "never seen")
WRITER = Entry("writer", "listening", roles=("review",))
#: What the server counts in each lane that has anything; of a lane without a task nobody asks.
COUNTS = {
    ("coder", "high"): 3, ("coder", "low"): 0, ("tester", "normal"): 1, ("role-review", "low"): 6,
}  # fmt: skip
REVIEW = {"review": {"low": 6}}


@pytest.fixture
def everybody(monkeypatch):
    """Who is registered, in the order of their ids."""
    entries = [CODER, PLANNER, TESTER, WRITER]

    async def registered(_):
        return entries

    async def stored(_):
        return {subjects.task_subject(*place, "planner"): 1 for place in COUNTS}

    async def counted(_, inboxes, lanes):
        return {lane: COUNTS[inboxes[0], lane] for lane in lanes}

    monkeypatch.setattr(roster, "everybody", registered)
    monkeypatch.setattr(queues, "stored_tasks", stored)
    monkeypatch.setattr(queues, "counts", counted)
    return entries


async def test_page_after_page_has_each_agent_once_with_what_waits_for_it(everybody):
    first = await page(None, limit=2)
    rest = await page(None, limit=2, cursor=first.next_cursor)

    assert first == Page(
        (Listed(CODER, {"high": 3}), Listed(PLANNER, {})), "planner", total=4, roles=REVIEW
    )
    assert rest == Page(
        (Listed(TESTER, {"normal": 1}), Listed(WRITER, {})), None, total=4, roles=REVIEW
    )


async def test_whoever_is_away_is_left_out_if_asked_and_counted(everybody):
    there = await page(None, include_offline=False)
    away = await page(None, query="planner", include_offline=False)

    assert there == Page(
        (Listed(CODER, {"high": 3}), Listed(WRITER, {})), None, total=2, away=2, roles=REVIEW
    )
    assert there.note == "Not shown: 2 agents more, offline."
    assert away == Page((), None, total=0, away=1)
    assert away.note == "Nobody that matches is there; 1 agent offline."
    assert (await page(None)).note == ""


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [CODER, PLANNER, TESTER, WRITER]),
        ("PLAN", [PLANNER]),
        ("Review", [CODER, WRITER]),
        ("Role:rev", [CODER, WRITER]),
        ("ole:rev", []),
        ("role", []),
        ("claude", [CODER]),
        ("writes TESTS", [CODER]),
        ("coder\nwriter", []),
    ],
)
async def test_it_is_searched_in_ids_roles_hosts_and_descriptions(everybody, query, found):
    assert [each.entry for each in (await page(None, query=query)).agents] == found


async def test_unless_asked_otherwise_a_page_has_20(everybody):
    everybody[:] = [Entry(f"a{number}", "offline") for number in range(10, 31)]
    shown = await page(None)

    assert [each.entry for each in shown.agents] == everybody[:20]
    assert (shown.next_cursor, shown.total) == ("a29", 21)
    assert await page(None, cursor="") == shown


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ({"limit": 0}, "Use 1 or more."),
        ({"limit": 1.5}, "Use 1 or more."),
        ({"query": 5}, "Give it as a str."),
        ({"cursor": 5}, "Give it as a str."),
        *(({"cursor": each}, "Use the cursor of the answer before.") for each in ("A b", "٣")),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_with_what_can(everybody, asked, hint):
    with pytest.raises(BadInput) as refused:
        await page(None, **asked)

    assert refused.value.hint == hint
    assert len((await page(None, limit=1)).agents) == 1
