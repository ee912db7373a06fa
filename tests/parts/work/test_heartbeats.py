# SPDX-License-Identifier: Apache-2.0
"""Who counts as dead: whoever falls silent without a word, while this process hears others."""

import json

import pytest

from mcp_agentbus.bus.replies import Message
from mcp_agentbus.store import subjects
from mcp_agentbus.work import heartbeats
from mcp_agentbus.work.heartbeats import Heartbeats


@pytest.fixture
def room(monkeypatch):
    """Signs of life as they are heard at a time, and who has died by then."""

    class Room:
        now = 0.0

        def __init__(self):
            self._heartbeats = Heartbeats(None, None)

        def hear(self, agent, session="5e55", **said):
            beat = json.dumps({"kind": "session", "host": "python", **said}).encode()
            subject = subjects.heartbeat_subject(agent, session)
            self._heartbeats._hear(Message(subject, beat))

        def dead_at(self, now):
            self.now = now
            self.hear("me")
            return self._heartbeats._dead(now)

    room = Room()
    monkeypatch.setattr(heartbeats.time, "monotonic", lambda: room.now)
    return room


def test_one_that_falls_silent_has_died_once(room):
    room.hear("coder")

    assert [room.dead_at(now) for now in (5, 10, 15, 16, 20)] == [[], [], [], ["coder"], []]


def test_one_that_says_goodbye_has_not(room):
    room.hear("coder")
    room.hear("coder", leaving=True)

    assert [room.dead_at(now) for now in (5, 10, 16)] == [[], [], []]


def test_one_that_a_listener_knows_to_be_killed_has_died_at_once(room):
    room.hear("coder")
    room.hear("coder", gone=True)
    room.hear("nobody", gone=True)

    assert room.dead_at(1) == ["coder"]


def test_an_agent_lives_as_long_as_one_of_its_sessions(room):
    room.hear("coder", "a")
    room.dead_at(9)
    room.hear("coder", "b")

    assert [room.dead_at(now) for now in (16, 23, 25)] == [[], [], ["coder"]]


def test_nobody_dies_while_this_process_hears_nothing(room):
    room.hear("coder")

    assert room._heartbeats._dead(100) == []
    assert [room.dead_at(now) for now in (100, 105, 110, 116)] == [[], [], [], ["coder"]]


def test_listeners_and_nonsense_are_no_sessions(room):
    room.hear("coder", kind="listener")
    room._heartbeats._hear(Message("agentbus.coder.heartbeat.x", b"nonsense"))
    room._heartbeats._hear(None)

    assert [room.dead_at(now) for now in (8, 16)] == [[], []]
