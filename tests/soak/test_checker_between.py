# SPDX-License-Identifier: Apache-2.0
"""The checker lets a process alone that could not begin while its package was replaced, and no other."""

import pytest
from checker import check
from held import Contents, Record
from ledger import Fault, Ledger, Sent, Shown, Tried, Trouble

_MISSING = "No module named 'mcp_agentbus.version'"
_UPGRADE = Fault(10.0, "upgrade", "10.0", 11.0)


def broken(*entries, records=None, sent=None):
    """Return what is found wrong with these entries, each with its kind."""
    ledger = Ledger()
    for entry in entries:
        ledger.add(entry)
    return [violation.kind for violation in check(ledger, Contents(records or {}, sent=sent or {}))]


@pytest.mark.parametrize(
    "told",
    [
        f"ModuleNotFoundError: {_MISSING}",
        "/usr/bin/python: No module named mcp_agentbus.__main__; 'mcp_agentbus' is a package",
        "ImportError: cannot import name 'seat' from 'mcp_agentbus.relay' (unknown location)",
        "ImportError: cannot import name 'text' from partially initialized module 'mcp_agentbus'",
    ],
)
def test_who_begins_while_files_are_missing_is_let_alone(told):
    assert broken(_UPGRADE, Trouble(11.2, "died", told, (10.4,))) == []


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(10.9, "died", _MISSING),
        Trouble(10.9, "died", _MISSING, (2.0,)),
        Trouble(13.9, "died", _MISSING, (11.1,)),
        Trouble(10.9, "died", "KeyError: 'mcp_agentbus'", (10.4,)),
        Trouble(10.9, "died", "No module named 'nats'", (10.4,)),
    ],
    ids=["ran on", "began long before", "began after it", "of something else", "another's module"],
)
def test_whoever_else_has_that_trouble_has_broken_a_promise(trouble):
    assert broken(_UPGRADE, trouble) == ["died"]


def test_another_fault_excuses_nobody_who_finds_no_package():
    other = Fault(10.0, "kill_server", "pid 1", 11.0)

    assert broken(other, Trouble(10.9, "died", _MISSING, (10.4,))) == ["died"]


@pytest.mark.parametrize(("at", "kinds"), [(6.8, ["early"]), (7.1, [])])
def test_what_is_shown_as_expired_before_its_deadline_is_told(at, kinds):
    receipt = Sent(2.0, "t1", 1.9, "pat", "pat#1", "ana", "low", "pat-t1", "deadline", expires=7.0)
    entries = Tried(1.8, "pat-t1"), receipt, Shown(at, "t1", "pat", "pat#1", "expired")
    records = {"t1": Record("expired", "", ("stored", "expired"))}

    assert broken(*entries, records=records, sent={"t1": "pat-t1"}) == kinds
