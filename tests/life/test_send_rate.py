# SPDX-License-Identifier: Apache-2.0
"""How many tasks a model may send: a burst that no honest agent meets, and loops come to an end."""

import contextlib

import pytest
import served
from listeners import known, listening

from mcp_agentbus.errors import SendLimit
from mcp_agentbus.handoff.dispatch.rate import SENT_A_MINUTE, SendRate
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task

# In the loop, of each of both: so many are left to them.
_TURNS = 5


class Clock:
    """A time that stands until it is set on."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rate(clock):
    return SendRate(SENT_A_MINUTE, clock)


def test_a_burst_passes_and_what_is_over_is_told_when_it_may_come(rate, clock):
    for _ in range(SENT_A_MINUTE):
        rate.check("planner", 1)
    with pytest.raises(SendLimit) as over:
        rate.check("planner", 10)
    rate.check("coder", 1)
    clock.now = 5.0
    rate.check("planner", 10)

    assert over.value.hint.startswith("Wait 5 s, then send it again.")
    assert over.value.message.endswith("Nothing was sent.")


def test_a_call_to_more_than_a_minute_has_passes_once_and_is_paid_for(rate, clock):
    rate.check("planner", 5 * SENT_A_MINUTE)
    clock.now = 239.0
    with pytest.raises(SendLimit):
        rate.check("planner", 1)
    clock.now = 241.0
    rate.check("planner", 1)


async def test_two_models_that_answer_each_task_by_a_new_one_are_stopped_with_words(world, rate):
    # By a peek, which claims nothing, so that no task counts as the cause of the next.
    pair = [await world.session(name, host="mcp") for name in ("one", "other")]
    names = [each.me.id for each in pair]
    for each in pair:
        each.rate = rate
        rate.check(each.me.id, SENT_A_MINUTE - _TURNS)
    said, turns = [], 0
    while len(said) < 3:
        me, to = turns % 2, names[1 - turns % 2]
        await read_inbox(pair[me], peek=True, limit=1)
        try:
            await send_task(pair[me], to, "Thanks", "And you?", request_id=f"turn-{turns}")
        except SendLimit as over:
            said.append(str(over))
        turns += 1
    [receipt] = await send_task(pair[0], names[1], "Thanks", "And you?", request_id="turn-0")

    assert turns == 2 * _TURNS + 3
    assert all("a result goes back by publish_result" in each for each in said)
    assert receipt.duplicate


@pytest.mark.parametrize("way", ["alone", "relayed"])
async def test_what_serves_sessions_of_models_counts_what_they_send(house, planner, way):
    many = [f"{way}-{n}" for n in range(50)]
    await known(planner, *many)
    async with contextlib.AsyncExitStack() as stack:
        if way == "relayed":
            await stack.enter_async_context(listening(house))
        home = house.data_dir.parent
        client = served.client(home, f"model-{way}", served.ERAS[-1])
        model = await stack.enter_async_context(client)
        answers = [
            await model.call_tool("send_task", {"to": many, "subject": "s", "body": "b"})
            for _ in range(3)
        ]

    assert [answer.is_error for answer in answers] == [False, False, True]
    assert f"send {SENT_A_MINUTE} tasks a minute at most" in answers[2].content[0].text
