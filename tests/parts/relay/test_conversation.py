# SPDX-License-Identifier: Apache-2.0
"""What the next server of a session has to be told: the handshake, and what has no answer yet."""

from __future__ import annotations

import json

import pytest

from mcp_agentbus.core import lines
from mcp_agentbus.relay import messages
from mcp_agentbus.relay.conversation import Conversation

HELLO = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}\n'
GREETED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'


def line(**message):
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"


def call(request, **more):
    return line(id=request, method="tools/call", params={"name": "read_inbox", **more})


def result(request):
    return line(id=request, result={})


def error(request):
    return line(id=request, error={"code": -32603, "message": "no"})


def cancelled(request):
    return line(method="notifications/cancelled", params={"requestId": request})


class Counted(str):
    """An id that counts what it is compared with."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        Counted.compared += 1
        return str.__eq__(self, other)


LEAVING, LEFT = line(method=lines.LEAVING), line(method=lines.LEFT)


def talk(*said):
    """Return a conversation: what is a call or a notification the host has said, else the server."""
    conversation = Conversation()
    for spoken in said:
        if "method" in json.loads(spoken) and spoken not in {LEAVING, LEFT}:
            conversation.asked(messages.read(spoken))
        else:
            conversation.answered(spoken)
    return conversation


def told(conversation):
    """Return the handshake that the next server is told, and the calls by their ids."""
    said = conversation.so_far().splitlines(keepends=True)
    handshake = b"".join(each for each in said if each in (HELLO, GREETED))
    return handshake, [json.loads(each)["id"] for each in said if each not in (HELLO, GREETED)]


@pytest.mark.parametrize(
    ("said", "handshake", "calls"),
    [
        ((), b"", []),
        ((HELLO,), b"", [0]),
        ((HELLO, result(0)), HELLO, []),
        ((HELLO, result(0), GREETED), HELLO + GREETED, []),
        ((HELLO, result(0), GREETED, call(1)), HELLO + GREETED, [1]),
        ((HELLO, result(0), GREETED, call(1), result(1)), HELLO + GREETED, []),
        ((HELLO, result(0), GREETED, call(1), cancelled(1)), HELLO + GREETED, []),
        # A handshake that was refused is none: the session is of the other era.
        ((call(1), result(1), HELLO, error(0), call(2)), b"", [2]),
        ((call(1), call(2), result(1), call(3)), b"", [2, 3]),
        # An id is 1 or "1", and these are two; 1 is not true, either.
        ((call(1), call("1"), result(1)), b"", ["1"]),
        ((call(1), cancelled(True)), b"", [1]),
        # Two requests of one id have two answers.
        ((call(1), call(1), result(1)), b"", [1]),
        # A notification of the host has no answer, and one about nothing changes nothing.
        ((line(method="notifications/roots/list_changed"),), b"", []),
        ((call(1), cancelled(2), line(method="notifications/cancelled")), b"", [1]),
        ((call(1), cancelled([1]), cancelled({})), b"", [1]),
        # An error is an answer.
        ((call(1), error(1)), b"", []),
    ],
)
def test_what_has_no_answer_is_said_again_after_the_handshake(said, handshake, calls):
    conversation = talk(*said)

    assert conversation.is_answered == (not calls)
    assert told(conversation) == (handshake, calls)


@pytest.mark.parametrize(
    ("last", "maybe_done"), [((), True), ((LEAVING,), True), ((LEAVING, LEFT), False)]
)
def test_the_next_server_is_told_how_long_a_call_waits_and_whether_it_may_be_done(last, maybe_done):
    conversation = talk(call(1, arguments={"limit": 5}, _meta={"progressToken": "t"}), *last)

    again = json.loads(conversation.so_far())
    meta = again["params"].pop("_meta")

    assert again == json.loads(call(1, arguments={"limit": 5}))
    assert meta.pop(lines.SAID_BEFORE) >= 0
    assert meta == {"progressToken": "t", lines.MAYBE_DONE: maybe_done}


def test_what_no_server_has_taken_whole_is_not_done_whatever_has_become_of_that_server():
    conversation = Conversation()
    refused, taken, waits = map(messages.read, (call(1), call(2), call(2)))
    assert [conversation.asked(each) for each in (refused, taken, waits)] == [True, True, False]
    conversation.not_taken(refused)

    def maybe_done():
        again = map(json.loads, conversation.so_far().splitlines())
        return {each["id"]: each["params"]["_meta"][lines.MAYBE_DONE] for each in again}

    assert maybe_done() == {1: False, 2: True}
    conversation.answered(result(2))
    assert maybe_done() == {1: True, 2: False}
    assert maybe_done() == {1: True, 2: True}


@pytest.mark.parametrize("said", [GREETED, cancelled(1), line(method=lines.READY)])
def test_of_a_notification_that_no_server_has_taken_a_request_is_none_the_wiser(said):
    conversation = talk(call(1))
    conversation.not_taken(messages.read(said))

    assert json.loads(conversation.so_far())["params"]["_meta"][lines.MAYBE_DONE] is True


def test_a_request_waits_for_another_of_its_id_and_is_asked_then():
    conversation = Conversation()
    assert conversation.asked(messages.read(call(1, limit=1)))
    assert not conversation.asked(messages.read(call(1, limit=2)))
    assert not conversation.asked(messages.read(call(1, limit=3)))
    assert conversation.asked(messages.read(call("1")))

    assert conversation.due() == []
    assert conversation.answered(result(1))
    assert [waited.line for waited in conversation.due()] == [call(1, limit=2)]
    assert conversation.due() == []
    assert conversation.asked(messages.read(cancelled(1)))
    assert [waited.line for waited in conversation.due()] == [call(1, limit=3)]


def test_the_next_server_is_asked_one_of_an_id_and_the_other_after_its_answer():
    conversation = talk(call(1), call(1))

    assert told(conversation) == (b"", [1])
    assert not conversation.is_answered
    assert conversation.answered(result(1))
    assert [waited.line for waited in conversation.due()] == [call(1)]


@pytest.mark.parametrize("line_", [LEAVING, LEFT])
def test_a_host_does_not_hear_that_a_server_leaves(line_):
    assert talk(call(1)).answered(line_) is False


def test_a_handshake_that_was_answered_is_answered_to_the_host_once():
    conversation = talk(HELLO, result(0), GREETED, call(1))

    assert conversation.so_far()
    assert conversation.answered(result(0)) is False
    assert conversation.answered(result(1)) is True


def test_the_answer_to_a_handshake_that_had_none_is_the_hosts():
    conversation = talk(HELLO)

    assert conversation.so_far()
    assert conversation.answered(result(0)) is True


def test_each_server_in_turn_is_told_the_same_and_each_answer_to_that_is_kept_back():
    conversation = talk(HELLO, result(0), GREETED)
    for _ in range(2):
        assert conversation.so_far() == HELLO + GREETED
        assert conversation.answered(result(0)) is False
    assert conversation.answered(result(0)) is True


def test_a_request_and_its_answer_are_not_compared_with_all_that_wait(monkeypatch):
    """A burst of 4,000 took a relay six seconds, most of it looking for one of the same id."""
    monkeypatch.setattr(Counted, "compared", 0)
    conversation = Conversation()
    for number in range(100):
        content = {"id": Counted(number), "method": "ping"}
        conversation.asked(messages.HostMessage(content, b""))
        conversation.not_taken(messages.HostMessage(content, b""))
    monkeypatch.setattr(json, "loads", lambda number: {"id": Counted(number)})
    for number in reversed(range(100)):
        conversation.answered(number)

    assert conversation.is_answered
    assert Counted.compared < 1_000


def test_each_request_under_way_is_told_why_it_gets_no_answer():
    conversation = talk(HELLO, result(0), GREETED, call(1), call(2), result(1))

    assert conversation.refused("no") == [error(2)]
