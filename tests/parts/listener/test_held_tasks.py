# SPDX-License-Identifier: Apache-2.0
"""What holds the wake of a task is written into its life once, and of many at the same time."""

import asyncio

import pytest

from mcp_agentbus.core.notices import Reason
from mcp_agentbus.errors import Unconfirmed
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.listener.runner import Runner
from mcp_agentbus.listener.state import State
from mcp_agentbus.wakes import lives
from mcp_agentbus.wakes.facts import Hold, Waiting, Wake
from mcp_agentbus.wakes.ledger import Ledger


async def others_turn():
    """Let go on what waits for nothing else."""
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn


@pytest.fixture
def state(settings, tmp_path):
    """A listener's state without a bus."""
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    yield State(settings, None, ledger, lambda *_: None)
    ledger.close()


@pytest.fixture
def written(monkeypatch):
    """The steps that are written, and how many at once; `fails` has the next one fail."""

    class Written(list):
        fails = at_once = most = 0

    steps = Written()

    async def add_wake(_, __, inbox, task_id, moment):
        steps.at_once += 1
        steps.most = max(steps.most, steps.at_once)
        await others_turn()
        steps.at_once -= 1
        if steps.fails:
            steps.fails -= 1
            raise Unconfirmed
        steps.append((inbox, task_id, moment.reason))

    monkeypatch.setattr(lives, "add_wake", add_wake)
    return steps


def task(number):
    return Waiting(f"task coder {number}", "task", str(number), "planner", "planner", "coder")


def held(*things, reason=Reason.QUIET_HOURS):
    return Hold(reason, held=dict.fromkeys((thing.key for thing in things), reason))


async def acts(state, desk, decision, *things):
    """Do what a look does about a decision."""
    loop = Loop(state, None, Runner(state, None, {}))
    await loop._act(desk, decision, {thing.key: thing for thing in things})


async def test_a_reason_is_written_once_and_again_when_it_changes_or_the_task_comes_anew(
    state, written
):
    desk, one = Desk("coder"), task(1)
    for reason in (Reason.QUIET_HOURS, Reason.QUIET_HOURS, Reason.BACKOFF, Reason.QUIET_HOURS):
        await acts(state, desk, held(one, reason=reason), one)
    assert [why for *_, why in written] == [
        Reason.QUIET_HOURS.why, Reason.BACKOFF.why, Reason.QUIET_HOURS.why
    ]  # fmt: skip

    await acts(state, desk, held())  # it waits no more
    await acts(state, desk, held(one), one)

    assert len(written) == 4


async def test_what_could_not_be_written_is_written_at_the_next_look(state, written):
    desk, one, written.fails = Desk("coder"), task(1), 1

    for _ in range(3):
        await acts(state, desk, held(one), one)

    assert written == [("coder", "1", Reason.QUIET_HOURS.why)]


async def test_what_holds_a_task_after_a_wake_is_written_though_it_be_the_same(state, written):
    desk, one = Desk("coder"), task(1)
    await acts(state, desk, held(one), one)

    Runner(state, None, {}).begin(desk, Wake("start", (one,), (one,)))
    desk.running.cancel()
    await acts(state, desk, held(one), one)

    assert [why for *_, why in written] == [Reason.QUIET_HOURS.why] * 2


async def test_hundreds_of_held_tasks_are_written_fifty_at_once(state, written):
    many = [task(number) for number in range(120)]

    await acts(state, Desk("coder"), held(*many), *many)

    assert (len(written), written.most) == (120, 50)
