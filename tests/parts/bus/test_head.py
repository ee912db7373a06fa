# SPDX-License-Identifier: Apache-2.0
"""The headers of what passes through whole, as bytes: read, made, and marked by a gate alone."""

import pytest

from mcp_agentbus.bus.raw import head


def test_headers_are_read_as_they_are_and_those_of_a_gate_are_no_one_else_s():
    raw = b"NATS/1.0 404 No\r\nAgentbus-Task: 9d\r\nagentbus-GATE-Subject: x\r\nbad\xff: y\r\n\r\n"

    assert head.read(raw) == {"Agentbus-Task": "9d", "agentbus-GATE-Subject": "x"}
    assert head.marked(raw, "agentbus.s", "$JS.ACK.a") == (
        b"NATS/1.0 404 No\r\nAgentbus-Gate-Subject: agentbus.s\r\nAgentbus-Gate-Ack: $JS.ACK.a\r\n"
        b"Agentbus-Task: 9d\r\nbad\xff: y\r\n\r\n"
    )
    assert (
        head.marked(b"NATS/1.0 503\r\n\r\n") == b"NATS/1.0 503\r\nAgentbus-Gate-Subject: \r\n\r\n"
    )
    assert head.read(head.made({"Agentbus-Task": "9d"})) == {"Agentbus-Task": "9d"}


def test_what_the_server_says_of_a_stored_message_counts_and_not_what_the_message_does():
    stored = (
        b"NATS/1.0\r\nNats-Subject: agentbus.mine\r\nNats-Sequence: 1\r\n"
        b"Nats-Subject: agentbus.others\r\nNats-Sequence: 7\r\n\r\n"
    )

    assert (head.stored_on(stored), head.sequence(stored)) == ("agentbus.others", 7)
    assert (head.stored_on(b"NATS/1.0 404\r\n\r\n"), head.sequence(b"")) == ("", 0)
    assert head.status(b"NATS/1.0 404 No\r\n\r\n") == b"404"
    assert head.status(b"NATS/1.0\r\nStatus: 503\r\n\r\n") == b""


@pytest.mark.parametrize("before", [b"", b" ", b"\t "])
def test_what_only_a_gate_says_is_taken_out_however_a_client_may_read_it(before):
    mine = b"Agentbus-Task: 9d\r\n\r\n"

    assert head.clean(b"NATS/1.0\r\n" + before + b"Agentbus-Gate-Ack: x\r\n" + mine) == (
        b"NATS/1.0\r\n" + mine
    )
