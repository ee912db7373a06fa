# SPDX-License-Identifier: Apache-2.0
"""What the next server of a session has to be told: the handshake, and what has no answer yet."""

from __future__ import annotations

import json

import pytest

from mcp_agentbus.relay.conversation import Conversation

HELLO = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}\n'
GREETED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'


def line(**message):
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


def call(request):
    return line(id=request, method="tools/call", params={"name": "read_inbox"})


def result(request):
    return line(id=request, result={})


def cancelled(request):
    return line(method="notifications/cancelled", params={"requestId": request})


def talk(*said):
    """Return a conversation: what is a call or a notification the host has said, else the server."""
    conversation = Conversation()
    for message in said:
        asks = "method" in json.loads(message)
        (conversation.asked if asks else conversation.answered)(message)
    return conversation


@pytest.mark.parametrize(
    ("said", "under_way", "so_far"),
    [
        ((), set(), b""),
        ((HELLO,), {0}, HELLO),
        ((HELLO, result(0)), set(), HELLO),
        ((HELLO, result(0), GREETED), set(), HELLO + GREETED),
        ((HELLO, result(0), GREETED, call(1)), {1}, HELLO + GREETED + call(1)),
        ((HELLO, result(0), GREETED, call(1), result(1)), set(), HELLO + GREETED),
        ((HELLO, result(0), GREETED, call(1), cancelled(1)), set(), HELLO + GREETED),
        ((call(1), call(2), result(1), call(3)), {2, 3}, call(2) + call(3)),
        # An id is 1 or "1", and these are two.
        ((call(1), call("1"), result(1)), {"1"}, call("1")),
        # A notification of the host has no answer, and one about nothing changes nothing.
        ((line(method="notifications/roots/list_changed"),), set(), b""),
        ((call(1), cancelled(2), line(method="notifications/cancelled")), {1}, call(1)),
        # An error is an answer.
        ((call(1), line(id=1, error={"code": -32603, "message": "no"})), set(), b""),
    ],
)
def test_what_has_no_answer_is_said_again_after_the_handshake(said, under_way, so_far):
    conversation = talk(*said)

    assert conversation.under_way == under_way
    assert conversation.so_far() == so_far


def test_a_handshake_that_was_answered_is_answered_to_the_host_once():
    conversation = talk(HELLO, result(0), GREETED, call(1))

    assert conversation.so_far()
    assert conversation.answered(result(0)) is False
    assert conversation.answered(result(1)) is True


def test_the_answer_to_a_handshake_that_had_none_is_the_hosts():
    conversation = talk(HELLO)

    assert conversation.so_far() == HELLO
    assert conversation.answered(result(0)) is True


def test_each_server_in_turn_is_told_the_same_and_each_answer_to_that_is_kept_back():
    conversation = talk(HELLO, result(0), GREETED)
    for _ in range(2):
        assert conversation.so_far() == HELLO + GREETED
        assert conversation.answered(result(0)) is False
    assert conversation.answered(result(0)) is True


@pytest.mark.parametrize(
    "nonsense", [b"\n", b"no JSON\n", b"[1]\n", b"null\n", b"[" * 100_000 + b"\n", b"\xff\n"]
)
def test_what_is_no_message_is_passed_on_and_changes_nothing(nonsense):
    conversation = talk(HELLO, call(1))
    conversation.asked(nonsense)

    assert conversation.answered(nonsense) is True
    assert conversation.under_way == {0, 1}
