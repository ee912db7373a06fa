# SPDX-License-Identifier: Apache-2.0
"""An account says nothing but to the gate, and reads the gate's answers as the bus's own."""

from __future__ import annotations

import pytest

from mcp_agentbus.bus.login.account import Account, Busy, Way
from mcp_agentbus.bus.login.nkey import Nkey, is_public, new_seed
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.errors import (
    GateAway,
    NameTaken,
    NotAccepted,
    NotAllowed,
    SendLimit,
    StoreFull,
    UnknownAgent,
)

LAPTOP = Account("laptop")
INFO = "$JS.API.STREAM.INFO.AGENTBUS_TASKS"


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (INFO, f"agentbus-gate.laptop.{INFO}"),
        ("agentbus.coder.back", "agentbus-gate.laptop.agentbus.coder.back"),
        ("agentbus.coder.heartbeat.1f", "agentbus-gate.laptop.agentbus.coder.heartbeat.1f"),
        ("agentbus-events.a.topic", "agentbus-gate.laptop.agentbus-events.a.topic"),
        ("agentbus-events.a.succeed.b", "agentbus-gate.laptop.agentbus-events.a.succeed.b"),
        ("agentbus.coder.succeed.claude-code", "agentbus.coder.succeed.claude-code"),
        ("_INBOX.abc.1", "_INBOX.abc.1"),
    ],
)
def test_all_goes_to_the_gate_but_what_sessions_of_one_agent_say_to_each_other(subject, said):
    assert LAPTOP.asked(subject) == said
    assert Way().asked(subject) == subject


def test_signs_of_life_are_heard_where_the_server_lets_an_account_hear_them():
    assert LAPTOP.heard("agentbus.*.heartbeat.*") == "agentbus-all.*.heartbeat.*"
    assert LAPTOP.heard("agentbus.coder.wake.*.*") == "agentbus.coder.wake.*.*"
    assert LAPTOP.heard("agentbus-events.*.>") == "agentbus-events.*.>"


def test_what_the_gate_passes_on_has_the_subject_and_acknowledgement_that_it_has_on_the_bus():
    passed_on = Message(
        "_INBOX.a",
        b"{}",
        {
            "Agentbus-Task": "9d",
            "Agentbus-Gate-Subject": "agentbus.coder.tasks.high.me",
            "Agentbus-Gate-Ack": "$JS.ACK.S.c.1.2.3.4.5",
        },
    )

    message = LAPTOP.answer(passed_on)

    assert message.subject == "agentbus.coder.tasks.high.me"
    assert message.reply == "$JS.ACK.S.c.1.2.3.4.5"
    assert message.headers == {"Agentbus-Task": "9d"}


def test_that_no_stream_takes_it_is_told_from_that_no_gate_is_there():
    nobody = {"Status": "503"}

    assert LAPTOP.answer(Message("_INBOX.a", b"", {**nobody, "Agentbus-Gate-Subject": ""})).status
    with pytest.raises(GateAway):
        LAPTOP.answer(Message("_INBOX.a", b"", nobody))


@pytest.mark.parametrize(
    ("code", "data", "kind", "words"),
    [
        ("not-yours", b"", NotAllowed, "forbid"),
        ("name-taken", b'{"free": "shop-2"}', NameTaken, "shop-2"),
        ("name-taken", b"[", NameTaken, "name"),
        ("not-granted", b'{"role": "review"}', NotAllowed, "role:review is not granted"),
        ("not-granted", b'{"role": "review"}', NotAllowed, "server accounts NAME --role review"),
        ("not-granted", b'{"role": "no role"}', NotAllowed, "forbid"),
        ("not-accepted", b"", NotAccepted, "takes no tasks"),
        ("unknown-agent", b"", UnknownAgent, "No agent"),
        ("too-many", b"", SendLimit, "minute"),
        ("no-room", b"", StoreFull, "owner"),
        ("too-wide", b"", SendLimit, "--all"),
        ("busy", b"", Busy, "gate"),
        ("of a later version", b"{}", NotAllowed, "forbid"),
    ],
)
def test_each_refusal_of_the_gate_is_an_error_with_its_own_words(code, data, kind, words):
    with pytest.raises(kind) as refused:
        LAPTOP.answer(Message("_INBOX.a", data, {"Agentbus-Gate-Refused": code}))
    assert words in f"{refused.value.message} {refused.value.hint}"


def test_a_new_key_is_one_that_a_server_knows_again():
    seed = new_seed()

    assert seed.startswith("SU")
    assert is_public(Nkey(seed).public)
    assert new_seed() != seed
    assert not is_public(seed)
    assert not is_public(Nkey(seed).public[:-1] + "A" * (Nkey(seed).public[-1] != "A"))
