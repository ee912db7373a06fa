# SPDX-License-Identifier: Apache-2.0
"""What the roster says of an agent by what is stored, without asking a server."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from messages import read_record
from pydantic import ValidationError
from strategies import spelt

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.config.tables import ROLES_MAX
from mcp_agentbus.config.values import ACCEPTED_MAX
from mcp_agentbus.core import text
from mcp_agentbus.core.notices import Holds
from mcp_agentbus.store import roster
from mcp_agentbus.store.queries.signs import Sign
from mcp_agentbus.store.roster import Entry, Profile, best
from mcp_agentbus.store.task import Undecodable

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def test_a_registration_cannot_be_changed_in_place():
    with pytest.raises(ValidationError, match="frozen"):
        Profile(id="coder", registered_at=NOON).description = "Other"


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "completed", "session": "s1"},
        {"state": "stored", "session": "s1"},
        {"state": "working", "session": ""},
    ],
)
async def test_what_is_over_or_in_no_sessions_hands_nobody_may_hold(fields):
    assert not await roster.may_hold(None, read_record(**fields))


def test_of_what_a_registration_says_that_is_believed_which_can_be_true():
    said = {
        "id": "somebody", "registered_at": text.stamp(NOON),
        "last_seen": text.stamp(NOON + timedelta(days=9)),
        "roles": ["dev", "no role\n", *(f"r{number}" for number in range(99))],
        "hosts": [*(f"h{number}" for number in range(999)), "no host\n"],
        "accept_from": ["ann", "no one\n", *(["bob"] * 999)],
        "account": "no account\n", "description": "x" * 999, "newer": "kept",
    }  # fmt: skip
    stored = Found("agentbus.coder.profile", 1, NOON, {}, spelt(said))

    profile = roster.decode_profile(stored)
    assert profile.newer == "kept"  # of a newer version: else it would be lost when it is written

    assert profile == Profile(
        id="coder", registered_at=NOON, last_seen=NOON, account="", description="x" * 300,
        roles=("dev", *(f"r{number}" for number in range(99)))[:ROLES_MAX],
        hosts=tuple(f"h{number}" for number in range(991, 999)),
        accept_from=("ann", *(["bob"] * 999))[:ACCEPTED_MAX], newer="kept",
    )  # fmt: skip


def test_a_registration_is_read_as_it_was_written():
    profile = Profile(id="coder", registered_at=NOON, last_seen=NOON, account="ann", roles=("dev",))
    data = profile.model_dump_json().encode()
    stored = Found("agentbus.coder.profile", 1, NOON, {}, data)

    assert roster.decode_profile(stored) == profile
    away = roster._kept(stored).away
    assert (away.state, away.registered_at, away.last_seen) == ("offline", NOON, NOON)


@pytest.mark.parametrize(
    ("data", "account"),
    [
        (b"\x00", ""),
        (b'["ann"]', ""),
        (b"[" * 100_000, ""),
        (b'{"account": "no account"}', ""),
        (b'{"account": ["ann"]}', ""),
        (b'{"v": 1, "id": "evil", "account": "ann"}', "ann"),
    ],
)
def test_a_registration_that_cannot_be_read_is_its_agents_and_accounts_all_the_same(data, account):
    stored = Found("agentbus.coder.profile", 1, NOON, {}, data)

    known = Profile(id="coder", registered_at=NOON, account=account)
    assert roster.decode_profile(stored) == known
    with pytest.raises(Undecodable):
        roster.decode_profile(replace(stored, subject="agentbus.no one.profile"))


@pytest.mark.parametrize(
    ("state", "last_seen", "registered_at", "was_there"),
    [
        ("live session", None, None, True),
        ("listening", None, None, True),
        ("offline", NOON, None, True),
        ("offline", NOON - timedelta(seconds=1), NOON, False),
        ("never seen", None, NOON, True),  # as new as that
        ("never seen", None, NOON - timedelta(seconds=1), False),
        ("not known", None, None, False),
    ],
)
def test_who_is_there_or_was_or_is_new_was_there(state, last_seen, registered_at, was_there):
    entry = Entry("coder", state, last_seen, registered_at)

    assert entry.was_there(NOON) is was_there


def test_a_role_is_as_lively_as_the_liveliest_that_holds_it_and_takes_what_any_of_them_takes():
    ann = Entry("ann", "offline", NOON, accept_from=("lead",))
    bob = Entry("bob", "listening", NOON - timedelta(days=1), holds=(Holds(),), accept_from=())
    cas = Entry("cas", "never seen", accept_from=("lead", "role:x"))

    role = best("role-dev", [ann, bob, cas])

    assert (role.id, role.state, role.last_seen) == ("role-dev", "listening", NOON)
    assert role.holds == bob.holds
    assert sorted(role.accept_from) == ["ann", "bob", "cas", "lead", "role:x"]
    assert best("role-dev", [cas]).last_seen is None


def test_of_a_newcomer_with_many_hosts_the_latest_are_told():
    signs = [
        Sign(
            "ann", "s1", "session", f"h{number}", leaving=False, gone=False, holds=Holds(), at=NOON
        )
        for number in range(999)
    ]

    assert roster._newcomer("ann", signs).hosts == tuple(f"h{number}" for number in range(991, 999))
