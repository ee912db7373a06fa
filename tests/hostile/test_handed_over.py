# SPDX-License-Identifier: Apache-2.0
"""Whoever answers a new session in the place of an earlier one gives it nothing and keeps it not."""

import corpus
import pytest

from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.presence.succession import Succession
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects

ANSWERS = corpus.read("records", "handed-")


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_session_begins_whatever_it_is_handed(own_world, answer):
    mallory = await own_world.another_bus()
    asked = []

    async def answers(message):
        await mallory.send(message.reply, answer, {})

    coder = await own_world.session("coder", known=False)
    coder.hosted = "claude 1"
    subject = Succession(coder.bus, coder.me.id, coder.id, coder.hosted).subject

    def arrived(message):
        if message and message.reply:
            asked.append(message)
            coder.finish_in_background(answers(message))

    async with mallory.subscribed(subject, arrived):
        await send_task(coder, coder.me.id, "To myself", "x")
        inbox = await read_inbox(coder)

    assert 1 <= len(asked) <= 8
    assert [item.task.subject for item in inbox.tasks] == ["To myself"]
    assert len(coder.claims) == 1


async def test_a_session_hands_over_only_to_one_of_its_user_that_asks_now(own_world):
    mallory = await own_world.another_bus()
    heard = []
    coder = await own_world.session("coder", known=False)
    subject = subjects.succeed_subject(coder.me.id, "*")
    async with mallory.subscribed(subject, heard.append):
        earlier = await own_world.session("coder", known=False)
        for session in (earlier, coder):  # by the same host, one after the other
            session.hosted = "claude 1"
            await send_task(session, session.me.id, "To myself", "x")
        await read_inbox(coder)
    asked = [message.data for message in heard]
    subject = Succession(coder.bus, coder.me.id, coder.id, coder.hosted).subject

    for data in (b"mallory", b"mallory 1 2", b"\xff " * 50, *asked):
        answer = await mallory.ask(subject, data, 0.3)
        assert not (answer and answer.data)

    assert earlier.successor == coder.id
    assert (coder.successor, len(coder.claims)) == ("", 2)
