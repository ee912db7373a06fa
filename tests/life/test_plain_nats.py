# SPDX-License-Identifier: Apache-2.0
"""Tasks of whoever writes plain NATS, and chooses ids: answered and shown like any other."""

from __future__ import annotations

import json

import pytest

from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.store import subjects, unseen


async def test_the_result_of_a_task_that_came_over_plain_nats_is_shown_once(world, monkeypatch):
    """Its sender's side keeps nothing of it until then, and may be a session all the same."""
    planner, coder = await world.session("planner"), await world.session("coder")
    subject = subjects.task_subject(coder.me.id, "normal", planner.me.id)
    await world.bus.publish(subject, b'{"id":"raw-1","payload":{"content":"hello"}}')
    await read_inbox(coder)
    await publish_result(coder, "raw-1", "completed")
    # By now its sender would have kept something of it.
    monkeypatch.setattr(unseen, "_RECORD_LATE", unseen.timedelta())

    shown = [
        len((await read_inbox(planner, thread_id="raw-1")).results),
        len((await read_inbox(planner, thread_id="raw-1")).results),
        len((await read_inbox(planner)).results),
    ]

    assert shown == [1, 0, 0]


@pytest.mark.parametrize("sent", ["in one look", "one after the other"])
async def test_tasks_of_one_id_from_two_senders_and_to_two_inboxes_get_an_answer_each(world, sent):
    """Whoever writes plain NATS chooses ids."""
    role = f"r{world.name('')}"
    coder = await world.session("coder", roles=(role,))
    senders = [await world.session(name) for name in ("one", "two", "three")]
    inboxes = [coder.me.id, coder.me.id, f"role-{role}"]

    async def send(sender, inbox):
        subject = subjects.task_subject(inbox, "normal", sender.me.id)
        body = json.dumps({"id": "same", "payload": {"content": sender.me.id}})
        await world.bus.publish(subject, body.encode())

    answered = []
    for sender, inbox in zip(senders, inboxes, strict=True):
        await send(sender, inbox)
        if sent == "one after the other":
            await read_inbox(coder)
    while len(answered) < 3:
        [item] = (await read_inbox(coder)).tasks
        await publish_result(coder, "same", "completed", summary=f"for {item.task.sender}")
        answered.append(item.task.sender)

    for sender in senders:
        [result] = (await watch_inbox(sender, timeout_s=10)).results
        assert result.summary == f"for {sender.me.id}"
        again = await publish_result(coder, "same", "completed", summary=result.summary)
        assert again.unchanged
