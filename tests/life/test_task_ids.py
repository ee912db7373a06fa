# SPDX-License-Identifier: Apache-2.0
"""A task is named by the beginning of its id; one that is another agent's is said to be that."""

from dataclasses import replace
from pathlib import Path

import pytest
import served
from served import call, text

from mcp_agentbus.config import names
from mcp_agentbus.core import ids
from mcp_agentbus.errors import BadInput, UnknownTask
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.views.own_agents import of_this_user
from mcp_agentbus.handoff.views.task_ids import answered_id, whole_id
from mcp_agentbus.handoff.views.whose import sender_of, unknown_task
from mcp_agentbus.tools.answers.readers import MODEL, SHELL

UNKNOWN = "0" * 32
WRONG = "ffffff0"


def alike(sender, inbox):
    """Return two request ids whose tasks' ids begin with the same six letters."""
    seen = {}
    for number in range(1_000_000):
        task_id = sender.task_id(inbox, str(number))
        if (other := seen.setdefault(task_id[:6], number)) != number:
            return str(other), str(number)
    raise AssertionError("no two are alike")


async def test_the_first_six_letters_are_enough_for_sender_and_addressee(world):
    planner, coder = await world.session("planner"), await world.session("coder", roles=("six",))
    [receipt] = await send_task(planner, coder.me.id, "s", "b")
    [shared] = await send_task(planner, "role:six", "s", "b")

    for session in (planner, coder):
        for whole in (receipt.task_id, shared.task_id):
            assert await whole_id(session, whole[:6]) == whole
            assert await whole_id(session, whole[:31]) == whole
    assert await whole_id(planner, receipt.task_id[:5]) == receipt.task_id[:5]
    assert await whole_id(planner, "ffffff") == "ffffff"


async def test_where_two_begin_the_same_both_are_named_and_nothing_is_done(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    sent = [
        (await send_task(planner, coder.me.id, "s", "b", request_id=key))[0].task_id
        for key in alike(planner, coder.me.id)
    ]

    with pytest.raises(BadInput) as refused:
        await whole_id(coder, sent[0][:6])
    assert all(task_id in refused.value.message for task_id in sent)
    for task_id in sent:
        assert await whole_id(coder, task_id[:12]) == task_id


async def test_an_id_that_is_short_and_whole_is_meant_before_any_that_begins_with_it():
    known = {"abcdef", "abcdef01", "f" * 32}

    assert ids.whole_task_id("abcdef", known) == "abcdef"
    assert ids.whole_task_id("ffffff", known) == "f" * 32
    assert ids.whole_task_id("fffff", known) is None
    assert ids.whole_task_id("../etc", known) is None


@pytest.mark.parametrize("written", [32, 6], ids=["whole", "short"])
async def test_a_task_of_other_agents_is_said_to_be_theirs(world, written):
    planner, coder = await world.session("planner"), await world.session("coder")
    other = await world.session("other")
    [receipt] = await send_task(planner, coder.me.id, "s", "b")
    task_id = await whole_id(other, receipt.task_id[:written])
    whose = f"; {planner.me.id} sent it to {coder.me.id}."

    for attempt, deed in (
        (task_life(other, task_id), f"A session of {planner.me.id} can read it."),
        (watch_inbox(other, task_id=task_id, timeout_s=0), f"{planner.me.id} can wait for it."),
        (publish_result(other, task_id, "failed"), f"A session of {coder.me.id} can answer it."),
        (publish_result(other, task_id, "cancelled"), f"{planner.me.id} can withdraw it."),
    ):
        with pytest.raises(UnknownTask) as refused:
            await attempt
        assert receipt.task_id in refused.value.message
        assert refused.value.message.endswith(whose)
        assert refused.value.hint.endswith(deed)
        assert SHELL.hint(refused.value.hint).startswith("With --agent ")
        assert "--agent" not in MODEL.hint(refused.value.hint)
    with pytest.raises(UnknownTask) as refused:
        await task_life(other, UNKNOWN)
    assert refused.value.message == f"{other.me.id} neither sent nor received a task {UNKNOWN}."
    assert not (await read_inbox(other)).tasks


async def test_a_number_that_is_no_task_is_said_to_be_one_of_what_is_parked(world):
    for written, hint in (("12", ids.PARKED_NUMBER), (UNKNOWN, UnknownTask.hint)):
        error = await unknown_task(world.bus, written, "No", "read", by="sender")
        assert (error.message, error.hint) == ("No.", hint)


async def test_who_has_sent_a_task_is_known_by_its_id_and_what_is_answered_by_its_beginning(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "s", "b")
    await planner.outcomes.sent_records.settled()

    assert await sender_of(world.bus, receipt.task_id) == planner.me.id
    assert await sender_of(world.bus, UNKNOWN) is None
    assert await answered_id(coder, None) is None
    assert await answered_id(coder, receipt.task_id[:8]) == receipt.task_id
    assert await answered_id(coder, "other-producers:1") == "other-producers:1"
    with pytest.raises(UnknownTask, match="so nothing can answer it"):
        await answered_id(coder, WRONG)


async def test_tools_and_commands_take_the_beginning_of_an_id(home, way):
    folder = home.data_dir.parent
    sender, worker = f"short-planner-{way}", f"short-coder-{way}"
    async with served.client(folder, sender, served.MODERN) as planner:
        await call(planner, "send_task", to=sender, subject="first", body="b")
        code, out = await served.typed(folder, "inbox", "--agent", worker)
        sent = await served.send(planner, worker)
        short = sent[:6]
        answers = await served.send(planner, worker, in_reply_to=short)

        typed = [
            await served.typed(folder, *command, "--agent", worker)
            for command in (("inbox",), ("task", short), ("result", short, "completed"))
        ]
        watched = await call(planner, "watch_inbox", task_id=short, timeout_s=30)
        life = await call(planner, "read_inbox", task_id=short)
        withdrawn = await call(planner, "publish_result", task_id=answers[:6], status="cancelled")
        answering = {"subject": "s", "body": "b", "in_reply_to": WRONG}
        wrong = await planner.call_tool("send_task", {"to": worker, **answering})
        await served.typed(folder, "inbox", "--agent", f"third-{way}")
        code_of_other, others = await served.typed(folder, "task", short, "--agent", f"third-{way}")

    assert code == 0, out
    assert [code for code, _ in typed] == [0, 0, 0], typed
    assert f"In reply to: {sent}" in typed[0][1]
    assert sent in typed[1][1]
    assert f"Result of task {sent}" in text(watched)
    assert f"Task {sent}: completed" in text(life)
    assert answers in text(withdrawn)
    assert wrong.is_error
    assert f"No task's id begins with {WRONG}" in text(wrong)
    assert code_of_other != 0
    assert f"neither sent nor received a task {sent}; {sender} sent it to {worker}." in others
    assert f"With --agent {sender} you can read it." in others


async def test_on_a_shared_server_only_the_users_own_agents_are_looked_among(world, tmp_path):
    elsewhere = {"url": "tls://bus.example.org:4222", "state_dir": tmp_path}
    settings = replace(world.bus.settings, **elsewhere)

    assert of_this_user(settings) == ()
    with names.writing(settings) as book:
        book.names["shop-claude"] = names.holder(Path("/home/me/shop"), "claude-code")
    assert of_this_user(settings) == ("shop-claude",)
    assert of_this_user(replace(settings, url=None)) == ("*",)
