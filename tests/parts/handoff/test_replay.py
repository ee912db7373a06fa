# SPDX-License-Identifier: Apache-2.0
"""What is set aside is offered again as it was sent, once, by who may have it."""

from dataclasses import replace as changed
from datetime import timedelta

import pytest
import strategies
from aside_stand_in import AT, LANE, OF_THE_TASK, Bus, aside
from messages import TASK

from mcp_agentbus.errors import Refused, UnknownTask
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.store import subjects
from mcp_agentbus.store.subjects import DEAD, TASKS


async def test_what_is_offered_again_is_what_was_sent_and_lies_there_no_more():
    bus = Bus(aside(1), aside(2))

    offered = await replay.replay(bus, ["coder"], "2")

    said = {**OF_THE_TASK, subjects.H_MOVED: "2"}
    assert offered.number == 2
    known = {"message_id": "replay-2-2026-05-18T10:00:00.000000Z", "stream": TASKS}
    assert bus.kept == [((LANE, b"rubbish", said), known)]
    asked = (DEAD, {"seq": 2, "batch": 1})
    assert bus.asked == [asked, asked, (f"STREAM.MSG.DELETE.{DEAD}", {"seq": 2})]


LATER = AT + timedelta(microseconds=1)


@pytest.mark.parametrize("now_there", [(), (aside(3),), (changed(aside(2), stored_at=LATER),)])
async def test_what_is_gone_from_there_or_is_another_by_now_is_neither_offered_nor_removed(
    monkeypatch, now_there
):
    bus = Bus(*now_there)
    seen = [parking._parked(aside(2))]

    async def parked(*_):
        return seen

    monkeypatch.setattr(replay, "parked", parked)
    with pytest.raises(UnknownTask, match="'2' is parked no more"):
        await replay.replay(bus, ["coder"], "2")
    assert (bus.kept, bus.asked) == ([], [(DEAD, {"seq": 2, "batch": 1})])


@pytest.mark.parametrize(
    ("there", "tries"),
    [
        ([changed(aside(9, on=LANE), data=b"rubbish")], 1),
        ([changed(aside(9, on=LANE), data=b"of another")], 2),
        ([changed(aside(10, on=LANE), data=b"rubbish")], 2),
        ([], 2),
    ],
    ids=["lies there", "another does", "gone", "the last, and gone"],
)
async def test_what_a_server_says_to_have_is_removed_only_where_it_lies_there(there, tries):
    bus = Bus(aside(1), *there, known=1)

    await replay.replay(bus, ["coder"], "1")

    assert [how["message_id"] is None for _, how in bus.kept] == [False, True][:tries]
    assert bus.asked[-1] == (f"STREAM.MSG.DELETE.{DEAD}", {"seq": 1})


async def test_what_is_past_its_deadline_is_not_offered_again(elapse):
    over = strategies.spelt({**TASK, "expires_at": AT.isoformat()})

    with pytest.raises(Refused, match="The deadline of task t1 has passed"):
        await replay.replay(Bus(aside(1, over)), ["coder"], "t1")


@pytest.mark.parametrize(
    ("inboxes", "said", "hint"),
    [
        (["lead"], "No task '1' is parked for lead, but one is for coder.", "A session of coder"),
        (["*"], "No task '9' is parked for your agents.", "`agentbus parked` lists what is"),
    ],
)
async def test_who_asks_for_what_is_parked_for_another_is_told_whose_it_is(inboxes, said, hint):
    which = said.split("'")[1]

    with pytest.raises(UnknownTask) as refused:
        await replay.replay(Bus(aside(1)), inboxes, which)

    assert refused.value.message == said
    assert refused.value.hint.startswith(hint)


async def test_an_inbox_that_nobody_can_have_is_not_named_to_who_asks_for_what_is_parked():
    on = "agentbus.coder;curl\u202e.dead.low.planner"

    with pytest.raises(UnknownTask) as refused:
        await replay.replay(Bus(aside(1, on=on)), ["lead"], "1")

    assert refused.value.message == "No task '1' is parked for lead."
    assert "curl" not in refused.value.hint


async def test_what_is_parked_for_a_role_is_offered_again_by_who_holds_it():
    on = subjects.dead_subject("role-review", "low", "planner")

    with pytest.raises(UnknownTask, match="but one is for role:review") as refused:
        await replay.replay(Bus(aside(1, on=on)), ["lead"], "1")

    assert refused.value.hint == "An agent that holds role:review can replay it."
