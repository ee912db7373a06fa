# SPDX-License-Identifier: Apache-2.0
"""A word that wants no answer: shown once, over then, never a result, and nobody's wake."""

from __future__ import annotations

import pytest
from test_shell import Shell

from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.tools.answers import render
from mcp_agentbus.wakes import demand


@pytest.fixture
def shell(home, tmp_path):
    return Shell(home.data_dir.parent, tmp_path)


async def _told(world, **options):
    """Return planner, coder and the id of a word that coder has not read."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(
        planner, coder.me.id, "The build is green", "since 10:00", expect="nothing", **options
    )
    return planner, coder, receipt.task_id


async def test_a_word_is_shown_once_and_is_over_at_its_readers_next_call(world):
    planner, coder, word = await _told(world)

    first = await read_inbox(coder)
    before = await task_life(planner, word)
    again = await read_inbox(coder)
    after = await task_life(planner, word)

    [item] = first.tasks
    assert (item.task.id, item.task.body, item.task.expect) == (word, "since 10:00", "nothing")
    shown = render.inbox_text(first, coder.me.id)
    assert f"Word {word} from {planner.me.id}" in shown
    assert "wants no answer" in shown
    assert again.empty
    assert (before.state, after.state) == ("claimed", "completed")
    assert "it was shown to its reader" in render.life_text(after)
    assert (await read_inbox(planner)).empty


async def test_a_word_that_may_not_have_arrived_is_named_again_and_its_reader_that_ends_has_it(
    world,
):
    _, coder, word = await _told(world)
    lost, later = coder.calls.begin(), coder.calls.begin()

    await read_inbox(coder, call=lost)
    lost.lost()
    [again] = (await read_inbox(coder, call=later)).tasks
    later.answered(surely=True)
    coder.calls.end()
    await coder.close()

    assert (again.task.id, again.given_at) == (word, None)
    async with Session(world.bus, coder.me) as next_session:
        assert (await read_inbox(next_session)).empty
        assert (await task_life(next_session, word)).state == "completed"


async def test_a_word_that_expires_unread_is_no_result_of_its_senders(world, elapse):
    planner, _, word = await _told(world, expires_in_s=5)

    elapse(6)
    planner.outcomes.swept_at = None
    inbox = await read_inbox(planner)
    looked = await demand.look(world.bus, planner.me.id, planner.inboxes)

    assert inbox.empty
    assert inbox.waiting == {}
    assert looked.things == ()
    assert (await task_life(planner, word)).record.state == "expired"
    with pytest.raises(BadInput, match="wants no answer"):
        await watch_inbox(planner, task_id=word, timeout_s=5)


async def test_a_word_of_high_priority_wakes_nobody_and_is_counted(world):
    planner, coder, _ = await _told(world, priority="high")
    looked = await demand.look(world.bus, coder.me.id, coder.inboxes)
    [receipt] = await send_task(planner, coder.me.id, "Do it", "now", priority="high")
    both = await demand.look(world.bus, coder.me.id, coder.inboxes)

    assert (looked.things, vars(looked.counts)) == (
        (),
        {"high": 0, "others": 1, "results": 0, "answers": 0},
    )
    assert [thing.task_id for thing in both.things] == [receipt.task_id]
    assert vars(both.counts) == {"high": 1, "others": 1, "results": 0, "answers": 0}


async def test_to_answer_a_word_changes_nothing_and_says_so(world):
    planner, coder, word = await _told(world)

    unread = await publish_result(coder, word, "completed", body="thanks")
    await read_inbox(coder)
    held = await publish_result(coder, word, "failed", body="thanks")
    await read_inbox(coder)
    over = await publish_result(coder, word, "working")

    for published in (unread, held, over):
        assert "wants no answer, so nothing was stored" in render.published_text(published)
    life = await task_life(planner, word)
    assert (life.state, life.record.body) == ("completed", "")
    assert [step.state for step in life.history] == ["stored", "claimed", "completed"]


async def test_a_word_can_be_withdrawn_before_it_is_read(world):
    planner, coder, word = await _told(world)

    await publish_result(planner, word, "cancelled")

    assert (await read_inbox(coder)).empty
    assert (await task_life(planner, word)).state == "cancelled"


async def test_what_is_no_word_or_contradicts_itself_is_refused(world):
    planner, coder, _ = await _told(world)

    with pytest.raises(BadInput, match="nothing to expect"):
        await send_task(planner, coder.me.id, "x", "y", expect="something")
    with pytest.raises(BadInput, match="no result comes"):
        await send_task(planner, coder.me.id, "x", "y", expect="nothing", notify="wake")


def test_a_shell_tells_and_is_told(shell):
    shell("agents")
    shell("inbox", agent="coder")

    sent = shell("tell", shell.name("coder"), "The build is green", agent="planner")
    read = shell("inbox", agent="coder")
    again = shell("inbox", agent="coder")
    life = shell("tasks", "--state", "completed", agent="planner")
    marked = shell.json(
        "tell", shell.name("coder"), "Notes", "# Notes", "--content-type", "markdown",
        agent="planner",
    )  # fmt: skip

    assert "shown once, at its reader's next call" in sent
    assert "The build is green" in read
    assert "nothing new" in again
    assert "wants no answer" in life
    assert [receipt["state"] for receipt in marked["receipts"]] == ["stored"]
    assert "Content type: markdown" in shell("inbox", agent="coder")
    assert "No task" in shell("tasks", "--received", agent="planner")
