# SPDX-License-Identifier: Apache-2.0
"""What a server is told of accounts, and what is kept of them: nothing of a peer's but checked."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from local_server import settings_at

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.errors import BadInput
from mcp_agentbus.shared.accounts import bus_conf, conf
from mcp_agentbus.shared.accounts.record import (
    AccountRecord,
    Invitation,
    UnreadableRecord,
    account_in,
    account_name,
    encoded,
    invitation_in,
)

_NOW = datetime(2026, 11, 27, 13, tzinfo=UTC)


def _public():
    return Nkey(new_seed()).public


_KEYS = bus_conf.Keys(admin=_public(), system=_public(), lobby=_public())


def _account(name, **more):
    return AccountRecord(name=name, joined_at=_NOW, since=_NOW, **{"key": _public(), **more})


def _names(text):
    return [line.split()[0] for line in text.splitlines() if line.startswith("A_")]


def test_who_has_joined_gets_in_and_nobody_else():
    laptop, pi = _account("laptop"), _account("pi")
    away = [
        _account("away", state="removed"), _account("loud", state="cut-off"),
        _account("rotated", key=""),
    ]  # fmt: skip

    text = conf.joined([pi, *away, laptop], _KEYS)

    assert _names(text) == ["A_laptop", "A_pi"]
    assert not any(each.key in text for each in away if each.key)
    assert conf.joined([laptop, pi], _KEYS) == text


def test_a_key_lets_in_one_account_and_none_that_is_the_servers_own():
    first = _account("first")
    later = replace(first, name="another", joined_at=_NOW + timedelta(hours=1))
    stolen = [_account(f"as-{n}", key=key) for n, key in enumerate(vars(_KEYS).values())]

    assert _names(conf.joined([later, *stolen, first], _KEYS)) == ["A_first"]


def test_an_account_says_nothing_but_to_its_own_gate_and_hears_what_is_for_it():
    text = conf.joined([_account("laptop"), _account("pi")], _KEYS)
    of_laptop, of_pi = text.split("\nA_pi {")

    assert "pi." not in of_laptop
    assert "laptop" not in of_pi
    allowed = next(line for line in of_laptop.splitlines() if "publish:" in line)
    words = json.loads(allowed.partition(":")[2])
    assert words == [
        "agentbus-gate.laptop.>", "agentbus.*.succeed.*", "_INBOX.>", "$SYS.REQ.USER.INFO",
    ]  # fmt: skip


def test_a_server_takes_all_names_that_an_account_may_have(tmp_path):
    names = ("laptop", "1e5", "true", "10mb", "a-b_c", "-x"[1:], "9", "x" * 63)
    (tmp_path / "nats.conf").write_text(bus_conf.bus_accounts(_KEYS))
    (tmp_path / "accounts.conf").write_text(conf.joined(map(_account, names), _KEYS))

    told = subprocess.run(
        [embedded.binary(settings_at(tmp_path)), "-t", "-c", tmp_path / "nats.conf"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("name", ["", "A", "all", "system", "role-x", "a.b", "a b", ">", "x" * 64])
def test_a_name_that_would_mean_something_else_is_none(name):
    with pytest.raises(BadInput):
        account_name(name)
    with pytest.raises(BadInput):
        conf.joined([_account(name)], _KEYS)


def test_what_is_kept_comes_back_as_it_was():
    account = _account("laptop", roles=("review",), state="cut-off")
    invitation = Invitation(
        id="0" * 16, name="laptop", secret_sha256="a" * 64, roles=("x",), expires_at=_NOW,
        state="used", used_by=account.key, used_at=_NOW,
    )  # fmt: skip

    assert account_in(account.subject, encoded(account)) == account
    assert invitation_in(invitation.subject, encoded(invitation)) == invitation
    assert not invitation.lets_in(_NOW - timedelta(hours=1))


_BAD_ACCOUNT = (
    {"name": "pi"}, {"key": "x } inject {"}, {"key": None}, {"state": "king"}, {"roles": "review"},
    {"roles": ["a.b"]}, {"roles": [1]}, {"since": "yesterday"}, {"since": "2026-11-27T13:00:00"},
    {"joined_at": 5},
)  # fmt: skip
_BAD_INVITATION = (
    {"id": "1" * 16}, {"secret_sha256": "A" * 64}, {"state": None}, {"used_by": "x"}, {"name": "*"},
    {"used_at": "?"}, {"expires_at": None},
)  # fmt: skip


@pytest.mark.parametrize("changed", _BAD_ACCOUNT)
def test_what_is_no_account_is_not_read_as_one(changed):
    account = _account("laptop")
    said = json.loads(encoded(account))

    with pytest.raises(UnreadableRecord):
        account_in(account.subject, json.dumps(said | changed).encode())


@pytest.mark.parametrize("changed", _BAD_INVITATION)
def test_what_is_no_invitation_is_not_read_as_one(changed):
    made = Invitation(id="0" * 16, name="a", secret_sha256="a" * 64, expires_at=_NOW)

    with pytest.raises(UnreadableRecord):
        invitation_in(made.subject, json.dumps(json.loads(encoded(made)) | changed).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_bytes_that_are_no_record_are_not_read_as_one(data):
    for read, subject in ((account_in, "agentbus-accounts.a"), (invitation_in, "agentbus-x.1")):
        with pytest.raises(UnreadableRecord):
            read(subject, data)
