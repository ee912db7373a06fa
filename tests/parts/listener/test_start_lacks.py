# SPDX-License-Identifier: Apache-2.0
"""Asked to wake an agent whose host cannot be started, a listener says so and begins nothing."""

import threading

import pytest
from listeners import configure

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.core import text
from mcp_agentbus.errors import Refused
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.endpoint import Connection
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.listener.requests import Requests
from mcp_agentbus.listener.runner import Runner
from mcp_agentbus.wakes.hosts import process, registry


class AskedFor(Exception):
    """A wake has begun."""


def begins(_):
    raise AskedFor


def wake(requests):
    return requests.wake(Connection({"op": "wake", "agent": "coder"}, 1, None, None))


@pytest.fixture
def requests(settings, tmp_path, state_on):
    """Make what a listener is asked, which may start an agent by these rules."""

    def made(rules):
        settings.config_file.parent.mkdir()
        configure(settings, tmp_path, coder=rules)
        state = state_on(None)
        state.ledger.clear_failures = begins
        loop = Loop(state, None, Runner(state, None, {}))
        return Requests(state, loop, None, loop._runner, None)

    return made


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"host": "claude-code"}, "claude is not on the listener's PATH"),
        ({"command": ["/no/such/program"]}, "/no/such/program is not there"),
        ({"command": ["/bin/true"], "dir": "/no/such/folder"}, "/no/such/folder is not there"),
    ],
)
async def test_who_asks_for_a_wake_that_cannot_begin_is_told_what_it_lacks(
    requests, events, rules, said
):
    with pytest.raises(Refused, match=said) as refused:
        await wake(requests(rules))

    assert "run the same again" in refused.value.hint
    assert "noted" not in events


async def test_a_folder_whose_file_system_has_gone_away_holds_no_listener_up(requests, monkeypatch):
    comes_back = threading.Event()
    monkeypatch.setattr(process, "_LOOKS_S", 0.01)
    monkeypatch.setattr(Rules, "folder_lacks", lambda _: comes_back.wait(20) and "")

    with pytest.raises(Refused, match="its file system does not answer"):
        await wake(requests({"command": ["/bin/true"]}))

    comes_back.set()


async def test_a_folder_of_path_whose_file_system_has_gone_away_holds_no_listener_up(
    requests, monkeypatch
):
    comes_back = threading.Event()
    monkeypatch.setattr(
        registry, "missing_program", lambda *_: not comes_back.wait(20) and ("claude",)
    )
    # Its folder is looked at first, for as long as it takes.
    monkeypatch.setattr(
        Rules, "folder_lacks", lambda _: monkeypatch.setattr(process, "_LOOKS_S", 0.01) or ""
    )

    with pytest.raises(AskedFor):  # whether it lacks a program is not known
        await wake(requests({"host": "claude-code"}))

    comes_back.set()


async def test_an_openclaw_is_asked_whatever_has_become_of_its_folder(requests):
    asked = {"host": "openclaw", "dir": "/no/such/folder", "wake": "work", "token_file": "/t"}

    with pytest.raises(AskedFor):
        await wake(requests(asked))


@pytest.mark.parametrize(
    ("held", "means", "outcome", "cause"),
    [
        ("backoff", "start", "not_started", "claude is not installed"),
        ("gave_up", "start", "not_started", "claude is not installed"),
        ("quiet_hours", "start", "not_started", ""),
        ("backoff", "start", "exited", ""),
        ("backoff", "nudge", "not_started", ""),  # its session had ended: nothing is to be mended
    ],
)
async def test_of_an_agent_that_is_held_by_a_wake_that_did_not_start_the_cause_is_told(
    requests, held, means, outcome, cause
):
    asked = requests({"command": ["/bin/true"]})
    ledger, now = asked._state.ledger, text.now()
    wake = ledger.note("coder", means, keys=(), senders=(), at=now)
    ledger.ended(wake, at=now, outcome=outcome, said="claude is not installed")
    ledger.led_to_read(wake, False)

    told = asked._agent(Desk("coder", held=held))

    assert told["not_started"] == cause
    assert ("did not start, as claude is not installed; " in told["held"]) == bool(cause)
