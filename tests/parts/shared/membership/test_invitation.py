# SPDX-License-Identifier: Apache-2.0
"""The line of an invitation: what is told of one that is cut, changed, foreign or of another time."""

import base64
import hashlib
import json
import random
import string
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mcp_agentbus.bus.login.nkey import new_seed
from mcp_agentbus.errors import BadInput
from mcp_agentbus.shared import authority
from mcp_agentbus.shared.membership import invitation
from mcp_agentbus.shared.membership.invitation import Line

_KEY = authority.new_key()
_CA = authority.self_signed("bus", _KEY).decode()
_LINE = Line(
    urls=("tls://bus.example.org:4222", "tls://[fd00::7]:4222"),
    ca_pem=_CA,
    lobby_seed=new_seed(),
    id="0123456789abcdef",
    secret="s3cr3t-" + "x" * 36,
    name="laptop",
    expires_at=datetime(2026, 11, 27, 14, 0, tzinfo=UTC),
)
_WRITTEN = invitation.encode(_LINE)


def refused(given):
    with pytest.raises(BadInput) as refusal:
        invitation.decode(given)
    said = f"{refusal.value.message} {refusal.value.hint}"
    # Not even a piece of it is shown.
    pieces = [given[at : at + 12] for at in range(16, min(len(given), len(_WRITTEN)) - 12, 4)]
    assert not any(piece in said for piece in pieces)
    assert "Nothing was done." in said
    return said


def test_a_line_says_the_same_on_the_other_machine():
    assert invitation.decode(_WRITTEN) == _LINE
    public = replace(_LINE, ca_pem="")
    assert invitation.decode(invitation.encode(public)) == public
    both = replace(_LINE, ca_pem=_CA + authority.self_signed("other", _KEY).decode())
    assert invitation.decode(invitation.encode(both)) == both


def test_its_secrets_are_not_in_what_is_shown_of_it():
    assert _LINE.secret not in repr(_LINE)
    assert _LINE.lobby_seed not in repr(_LINE)


def test_it_is_one_word_which_a_terminal_or_a_mail_may_have_broken():
    assert set(_WRITTEN) <= set(string.ascii_letters + string.digits + "-_")
    broken = "\n".join(_WRITTEN[at : at + 76] for at in range(0, len(_WRITTEN), 76))

    assert invitation.decode(f"  '{broken}'\r\n") == _LINE


def test_wherever_it_is_cut_it_is_told_to_be_cut():
    for end in range(len("agentbus-join-1"), len(_WRITTEN)):
        assert "is cut" in refused(_WRITTEN[:end]), end
    assert "is no line" in refused(_WRITTEN[1:])
    assert "No line" in refused(" \n")


def test_a_letter_that_is_another_or_too_many_is_told():
    letters = random.Random(7)
    for at in range(len("agentbus-join-1-") + 3, len(_WRITTEN)):
        other = letters.choice([each for each in string.ascii_letters if each != _WRITTEN[at]])
        changed = f"{_WRITTEN[:at]}{other}{_WRITTEN[at + 1 :]}"
        try:
            # Of the last letter base64 may leave some bits unused.
            assert invitation.decode(changed) == _LINE
            assert at == len(_WRITTEN) - 1
        except BadInput:
            assert "was changed" in refused(changed), at
    assert "was changed" in refused(_WRITTEN + _WRITTEN)
    assert "was changed" in refused(_WRITTEN[:400] + "é" + _WRITTEN[400:])


def test_what_is_no_line_is_told_without_being_shown():
    seed = new_seed()
    for foreign in (seed, f"-----BEGIN USER NKEY SEED-----\n{seed}", "agentbus join", "agentbus-"):
        assert "is no line" in refused(foreign)


def test_a_line_of_a_later_version_says_what_is_to_be_installed():
    assert "pip install --upgrade" in refused(_WRITTEN.replace("-1-", "-2-", 1))


def _written_by_hand(**other):
    content = {
        "urls": list(_LINE.urls), "ca": [], "lobby": _LINE.lobby_seed, "id": _LINE.id,
        "secret": _LINE.secret, "name": "laptop", "expires": "2026-11-27T14:00:00Z", **other,
    }  # fmt: skip
    raw = json.dumps({key: value for key, value in content.items() if value is not None}).encode()
    raw = len(raw).to_bytes(2) + hashlib.sha256(raw).digest()[:6] + raw
    return f"agentbus-join-1-{base64.urlsafe_b64encode(raw).decode().rstrip('=')}"


@pytest.mark.parametrize(
    "other",
    [
        {"urls": []},
        {"urls": ["nats://bus.example.org:4222"]},
        {"urls": ["tls://me:secret@bus.example.org:4222"]},
        {"urls": ["tls://a.example.org,evil.example.org"]},
        {"name": "Lap.top"},
        {"name": "all"},
        {"id": "../../etc"},
        {"secret": "short"},
        {"secret": None},
        {"lobby": "SA" + "A" * 56},
        {"ca": ["?"]},
        {"ca": 7},
        {"expires": "soon"},
        {"expires": "2026-11-27T14:00:00"},
    ],
)
def test_what_a_line_may_not_say_is_refused_though_its_sum_is_right(other):
    assert invitation.decode(_written_by_hand()).name == "laptop"

    assert "does not say what an invitation says" in refused(_written_by_hand(**other))
