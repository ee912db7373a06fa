# SPDX-License-Identifier: Apache-2.0
"""What an agent asks its own user: decided at a terminal, told once, and by nobody else."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
import served
from persons import at_terminal
from places import outside_and_inside

from mcp_agentbus.core import text
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.records import read_record, write_record
from mcp_agentbus.tools.answers import documents, past, render
from mcp_agentbus.tools.answers.readers import SHELL
from mcp_agentbus.wakes import demand

ASKS = "May I drop the table carts?"


async def _asking(world, status="needs_approval", **options):
    """Return planner, coder and the id of a task about which coder asks its user."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Clean up", "please", **options)
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, status, summary=ASKS)
    return planner, coder, receipt.task_id


async def _typed(world, reply, *argv, **options):
    home = world.bus.settings.data_dir.parent
    return await asyncio.to_thread(at_terminal, home, reply, *argv, **options)


def _decided(planner, coder, task_id):
    """Return what was decided about a task that its worker has not read."""
    state_dir = planner.bus.settings.state_dir
    return decisions.given(state_dir, planner.me.id, coder.me.id, task_id)


@pytest.mark.parametrize(("word", "says"), [("approve", "APPROVED"), ("deny", "DENIED")])
async def test_its_user_decides_and_the_session_that_asked_is_told_once(world, word, says):
    planner, coder, task_id = await _asking(world)
    waiting = asyncio.create_task(watch_inbox(coder, timeout_s=20))

    typed = await _typed(
        world, task_id[:6], word, past.short(task_id), "--note", "only\x1b carts <<<"
    )
    decided = await task_life(planner, task_id)
    told = await waiting
    again = await read_inbox(coder)
    after = await task_life(planner, task_id)

    assert (typed.code, f"what {coder.me.id} asks about task {task_id}" in typed.out) == (0, True)
    assert f"    {ASKS}" in typed.shown
    assert "    Subject: Clean up" in typed.shown
    [item] = told.tasks
    assert (item.question, item.decision.approved) == (ASKS, word == "approve")
    outside, inside = outside_and_inside(render.inbox_text(told, coder.me.id))
    assert f"Your user has {says} this about task {task_id}" in outside
    assert r'with the words "only\x1b carts <<<"' in outside
    assert f"what {coder.me.id} had asked" in outside
    assert ASKS in inside
    assert "1 decision of your user" in outside
    assert [(item.state, item.decision) for item in again.tasks] == [("working", None)]
    # Its sender sees what was decided and that it was read, and not the words with it.
    step = "approved" if word == "approve" else "denied"
    assert [step.state for step in decided.history][-1] == step
    assert (after.state, after.record.history[-1].reason) == (
        "working", f"its user had {step} what it asked",
    )  # fmt: skip
    assert "carts <<<" not in json.dumps(documents.of_life(after))
    assert _decided(planner, coder, task_id) is None


async def test_one_that_may_not_have_arrived_is_told_again(world):
    _, coder, task_id = await _asking(world)
    await _typed(world, task_id[:6], "approve", task_id)

    lost, later = coder.calls.begin(), coder.calls.begin()
    await read_inbox(coder, call=lost)
    lost.lost()
    [again] = (await read_inbox(coder, call=later)).tasks

    assert again.decision.approved


async def test_whoever_is_offered_the_task_next_is_told_and_woken_for_it(world):
    _, coder, task_id = await _asking(world, priority="high")
    await coder.close()
    before = await demand.look(world.bus, coder.me.id, coder.inboxes)
    typed = await _typed(world, task_id[:6], "approve", task_id)
    after = await demand.look(world.bus, coder.me.id, coder.inboxes)

    async with Session(world.bus, coder.me) as next_session:
        [item] = (await read_inbox(next_session)).tasks

    assert f"the next session of {coder.me.id} that gets it is told" in typed.out
    assert [thing.unanswered for thing in (*before.things, *after.things)] == [True, False]
    assert (item.question, item.decision.approved) == (ASKS, True)


async def test_a_live_session_is_told_of_it_like_of_an_answer(world):
    _, coder, task_id = await _asking(world)
    await _typed(world, task_id[:6], "approve", task_id)

    [thing] = (await demand.look(world.bus, coder.me.id, coder.inboxes)).things

    assert (thing.kind, thing.session, thing.live_only) == ("answer", coder.id, True)


@pytest.mark.parametrize(
    ("reply", "options", "why"),
    [
        ("yes", {}, "not how the task's id begins"),
        ("\x04", {}, "Nothing was typed. Nothing was stored. Hint: Nothing is decided"),
        ("", {"CLAUDECODE": "1"}, "from within an agent's host"),
        ("", {"AGENTBUS_WORKER": "coder"}, "from within an agent's host"),
        ("", {"ancestors": ["node", "claude"]}, "from within an agent's host"),
        ("", {"ancestors": ["codex"]}, "from within an agent's host"),
    ],
)
async def test_what_no_person_has_confirmed_is_no_decision(world, reply, options, why):
    planner, coder, task_id = await _asking(world)

    typed = await _typed(world, reply or task_id[:6], "approve", task_id, **options)

    assert typed.code != 0
    assert why in " ".join(typed.out.split())
    assert _decided(planner, coder, task_id) is None
    assert [item.decision for item in (await read_inbox(coder)).tasks] == [None]


async def test_what_its_agent_waits_for_no_more_is_not_decided(world):
    planner, coder, task_id = await _asking(world)
    loop = asyncio.get_running_loop()

    def goes_on():
        went_on = publish_result(coder, task_id, "working")
        asyncio.run_coroutine_threadsafe(went_on, loop).result(20)

    typed = await _typed(world, task_id[:6], "approve", task_id, meanwhile=goes_on)

    assert (typed.code, "has gone on meanwhile" in typed.out) == (1, True)
    assert _decided(planner, coder, task_id) is None


async def test_without_a_terminal_nobody_decides(world):
    planner, coder, task_id = await _asking(world)
    alone = served.changed("core.feather.ancestors.ancestors = lambda: iter(())")

    code, said = await served.typed(
        world.bus.settings.data_dir.parent, "approve", task_id,
        program=["setsid", "--wait", served.AGENTBUS[0], *alone],
    )  # fmt: skip

    assert (code, "no terminal here" in said) == (1, True)
    assert _decided(planner, coder, task_id) is None


async def test_only_what_asks_for_an_approval_is_decided(world):
    planner, coder, task_id = await _asking(world, "needs_input")
    asks_sender = await _typed(world, task_id[:6], "approve", task_id)
    await publish_result(coder, task_id, "working")
    asks_nobody = await _typed(world, task_id[:6], "deny", task_id)
    await publish_result(coder, task_id, "completed")
    over = await _typed(world, task_id[:6], "approve", task_id)

    assert f"agentbus answer {task_id} TEXT --agent {planner.me.id}" in asks_sender.out
    assert "waits for nobody's approval" in asks_nobody.out
    assert "is over: completed" in over.out


@pytest.mark.parametrize("change", ["words", "time"])
async def test_a_question_that_was_changed_on_the_bus_has_no_approval(world, change):
    planner, coder, task_id = await _asking(world)
    await _typed(world, task_id[:6], "approve", task_id)
    await coder.close()
    record, revision = await read_record(world.bus, planner.me.id, coder.me.id, task_id)
    changed = {"summary": "May I drop all tables?"}
    if change == "time":
        later = [step.model_copy(update={"at": step.at + timedelta(microseconds=1)})
                 for step in record.history]  # fmt: skip
        changed = {"history": tuple(later)}
    await write_record(world.bus, record.model_copy(update=changed), revision)

    async with Session(world.bus, coder.me) as next_session:
        [item] = (await read_inbox(next_session)).tasks

    assert (bool(item.question), item.decision) == (True, None)


async def test_what_others_could_have_written_is_no_decision(world):
    planner, coder, task_id = await _asking(world)
    state_dir = world.bus.settings.state_dir
    record, _ = await read_record(world.bus, planner.me.id, coder.me.id, task_id)
    decisions.keep(state_dir, record, decisions.Decision(approved=True, note="", at=text.now()))
    kept = decisions.kept(state_dir, record)
    file = decisions._file(state_dir, record)

    file.chmod(0o644)
    is_open = decisions.kept(state_dir, record)
    file.chmod(0o600)
    written = json.loads(file.read_text())
    file.write_text(json.dumps({**written, "at": "2099-01-01T00:00:00"}))  # in no time zone
    _, shown = await served.typed(world.bus.settings.data_dir.parent, "why", task_id)
    odd = []
    for content in ("{}", "[]", "[" * 100_000):
        file.write_text(content)
        odd += [decisions.kept(state_dir, record)]
        odd += [decisions.given(state_dir, record.owner, record.inbox, task_id)]

    assert kept.approved
    assert is_open is None
    assert "its user approved that" in shown
    assert odd == [None] * 6


async def test_every_place_that_shows_it_says_what_to_type(world):
    planner, coder, task_id = await _asking(world)
    home = world.bus.settings.data_dir.parent

    published = await publish_result(coder, task_id, "needs_approval", summary=ASKS)
    asked = render.inbox_text(await read_inbox(planner), planner.me.id, reader=SHELL)
    shown = {
        "its own answer": render.published_text(published),
        "its sender's inbox": asked,
        "its life": render.life_text(await task_life(coder, task_id)),
    }
    for command in ("status", "why", "tasks"):
        words = (task_id,) if command == "why" else ("--agent", coder.me.id)
        _, shown[command] = await served.typed(home, command, *words[: 2 * (command != "status")])

    for place, said in shown.items():
        assert (place, f"agentbus approve {past.short(task_id)}" in said) == (place, True)
        assert (place, "deny" in said) == (place, True)


async def test_who_said_no_and_who_sent_the_task_are_told_that_it_was_completed_all_the_same(
    own_world,
):
    planner, coder, task_id = await _asking(own_world)
    home = own_world.bus.settings.data_dir.parent

    await _typed(own_world, task_id[:6], "approve", task_id)
    mistyped = await _typed(own_world, "nosuch", "deny", task_id)
    denied = await _typed(own_world, task_id[:6], "deny", task_id)
    undecided_no_more = render.inbox_text(await read_inbox(planner), planner.me.id, reader=SHELL)
    _, decided = await served.typed(home, "why", task_id)
    # It goes on before the decision is known to have arrived, as one that was never read.
    await read_inbox(coder)
    await publish_result(coder, task_id, "working")
    await publish_result(coder, task_id, "completed", summary="It is dropped.")
    result = render.inbox_text(await read_inbox(planner), planner.me.id)
    shown = {
        command: " ".join((await served.typed(home, *command.split(), *words))[1].split())
        for command, words in {
            "status": (), "why": (task_id,), "task": (task_id, "--agent", coder.me.id),
            "tasks": ("--agent", planner.me.id),
        }.items()
    }  # fmt: skip
    steps = [step.state for step in (await task_life(planner, task_id)).history]

    assert "You have APPROVED that" in denied.shown
    assert "in place of APPROVED of" in denied.out
    assert "You have APPROVED that" in mistyped.out
    assert "and that stands" in mistyped.out
    assert "its user DENIED that just now, not read yet" in undecided_no_more
    assert "agentbus approve" not in undecided_no_more
    assert "its user DENIED that just now" in decided
    assert steps[-4:] == ["approved", "denied", "working", "completed"]
    outside, _ = outside_and_inside(result)
    against = "after its worker's user had DENIED what it asked"
    assert against in outside
    for command in ("why", "task", "tasks"):
        assert (command, against in shown[command]) == (command, True)
    assert "DENIED before, " in shown["status"]
