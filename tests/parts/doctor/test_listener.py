# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` says of the listener, by what that answers and what keeps it."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from threading import Event
from types import SimpleNamespace

import pytest
from local_server import configured, settings_at
from mcp_agentbus.installers import service

from mcp_agentbus import errors
from mcp_agentbus.core import notices
from mcp_agentbus.doctor import listener
from mcp_agentbus.relay import local_socket, seat, starter
from mcp_agentbus.version import __version__

RUNS = {
    "pid": 4711, "version": __version__, "since": "2026-11-21T10:00:00+00:00", "bus": "ok",
    "away_since": None, "ledger": "ok", "config": "ok", "archive": "ok", "human": "ok", "agents": [],
}  # fmt: skip
CODER = '[agents.coder]\nhost = "claude-code"\ndir = "/shop"\nwake = "{}"\n'


@pytest.fixture
def settings(tmp_path):
    return settings_at(tmp_path / "bus", HOME=str(tmp_path))


@pytest.fixture
def answers(monkeypatch):
    """Have a listener answer what is given; None if none runs."""

    def answer(said):
        def ask(*_):
            if said is None:
                raise errors.NoListener
            return said

        monkeypatch.setattr(local_socket, "ask", ask)

    return answer


@pytest.fixture
def manager(monkeypatch):
    """A service manager that keeps a listener, and notes what it is told."""
    told = []
    found = SimpleNamespace(
        NAME="systemd",
        LOG="journalctl",
        told=told,
        is_current=lambda _: False,
        program=lambda _: "/moved/bin/python",
        install=lambda _: told.append("install"),
        restart=lambda: ["/bin/echo", "restart"],
    )
    monkeypatch.setattr(service, "manager", lambda: found)
    monkeypatch.setattr(starter, "keeps", lambda _: True)
    return found


@pytest.mark.parametrize("said", [None, RUNS | {"version": "0.0.9"}])
def test_a_service_that_would_start_something_else_is_installed_anew(
    settings, answers, manager, said
):
    answers(said)
    [found] = listener.checks(settings)
    answers(RUNS)

    assert found.state == "wrong"
    assert "agentbus listen --install" in found.fix
    assert found.mend.do() == f"listener {__version__} runs, pid 4711"
    assert manager.told == ["install"]


@pytest.mark.parametrize("said", [None, RUNS | {"version": "0.0.9"}])
def test_a_service_that_is_as_it_should_be_is_started_anew(settings, answers, manager, said):
    manager.is_current = lambda _: True
    answers(said)
    [found] = listener.checks(settings)
    answers(RUNS)

    assert found.fix.startswith("Run: /bin/echo restart")
    found.mend.do()
    assert manager.told == []


def test_a_service_whose_program_is_gone_is_told_while_its_listener_runs(
    settings, answers, manager
):
    """But not one that a person has altered."""
    answers(RUNS)
    [stale] = listener.checks(settings)
    mended = stale.mend.do()
    manager.program = lambda _: sys.executable
    [current] = listener.checks(settings)

    assert (stale.state, stale.fix) == ("warning", "Run `agentbus listen --install`.")
    assert "by systemd, whose service starts /moved/bin/python: that is gone" in stale.said
    assert (mended, manager.told) == (f"listener {__version__} runs, pid 4711", ["install"])
    assert (current.state, current.mend) == ("ok", None)


@pytest.mark.parametrize(
    ("wake", "variables", "note"),
    [
        (
            "answer",
            {},
            "; after a restart of this machine nothing wakes coder until a session starts one",
        ),
        ("hold", {}, ""),
        ("answer", {"AGENTBUS_LISTENER": "off"}, ""),
    ],
)
def test_of_a_listener_that_nobody_keeps_it_is_told_what_that_means(
    tmp_path, answers, wake, variables, note
):
    home = tmp_path / "bus"
    answers(RUNS)
    [found] = listener.checks(configured(home, CODER.format(wake), HOME=str(tmp_path), **variables))

    assert found.state == "ok"
    assert found.said.endswith(f", not kept by {service.manager().NAME}{note}")


def test_where_nothing_here_starts_one_none_is_ended(settings, answers, monkeypatch):
    """As where it is run by hand, by a supervisor or in a container."""
    off = replace(settings, environ={**settings.environ, "AGENTBUS_LISTENER": "off"})
    monkeypatch.setattr(listener.Machine, "run", lambda *_: pytest.fail("it was told to end"))
    answers(RUNS | {"version": "0.0.9"})
    [other] = listener.checks(off)

    with pytest.raises(errors.BadSetup, match=r"left alone.*agentbus listen --replace"):
        listener.moved(off)
    assert (other.state, other.mend) == ("wrong", None)
    assert other.fix == "Run `agentbus listen --replace`."


def test_sessions_that_an_upgrade_has_left_as_they_were_are_named(settings, answers):
    agent = {"agent": "coder", "host": "claude-code", "reason": "", "until": None}
    answers(RUNS | {"agents": [agent | {"other_versions": ["", "0.0.9"]}]})
    [_, warned] = listener.checks(settings)
    answers(RUNS | {"agents": [agent | {"other_versions": []}, agent]})
    [whole] = listener.checks(settings)

    assert (warned.name, warned.state, whole.state) == ("sessions of coder", "warning", "ok")
    assert warned.said.endswith("installed: an earlier one, 0.0.9")
    assert warned.fix.startswith("Start them anew")


@pytest.mark.parametrize("wake", ["hold", "work"])
def test_where_no_session_starts_one_doctor_does_not_say_that_one_does(tmp_path, answers, wake):
    text = CODER.format(wake)
    off = configured(tmp_path / "bus", text, HOME=str(tmp_path), AGENTBUS_LISTENER="off")
    answers(None)
    [found] = listener.checks(off)

    assert found.said.endswith("; no session starts one here, by AGENTBUS_LISTENER")
    assert found.mend is None


def test_an_agent_that_the_bus_lets_the_listener_not_look_at_is_named(settings, answers):
    one = {"agent": "coder", "reason": "", "says": "it cannot be looked at", "until": None}
    answers(RUNS | {"agents": [one, one | {"agent": "planner", "says": ""}]})

    [itself, found] = listener.checks(settings)

    assert itself.said.startswith("degraded: ")
    assert (found.name, found.said) == ("desk of coder", "it cannot be looked at")


@pytest.mark.parametrize("reason", ["backoff", "quiet_hours"])
def test_why_an_agent_is_held_is_told_by_the_name_of_its_reason(settings, answers, reason):
    one = {"agent": "coder", "reason": reason, "held": "in other words", "until": None}
    answers(RUNS | {"agents": [one, one | {"reason": ""}]})

    _, found = listener.checks(settings)

    assert found.said == f"held: {notices.WHY[reason]}"
    assert bool(found.fix) == (reason == "backoff")


def test_of_a_wake_that_did_not_start_the_cause_is_told(settings, answers):
    cause = {"not_started": "claude is not installed"}
    answers(RUNS | {"agents": [{"agent": "coder", "reason": "backoff", "until": None} | cause]})

    _, found = listener.checks(settings)

    assert "did not start, as claude is not installed; " in found.said


@pytest.mark.parametrize(
    ("wake", "there", "lacks"),
    [
        ("answer", [], "ANTHROPIC_API_KEY, CLAUDE_CONFIG_DIR"),
        ("work", ["CLAUDE_CONFIG_DIR", "CURSOR_API_KEY"], "ANTHROPIC_API_KEY"),
        ("work", ["ANTHROPIC_API_KEY", "CLAUDE_CONFIG_DIR"], ""),
        ("hold", [], ""),
        ("answer", None, ""),
    ],
)
def test_what_a_hosts_login_lacks_where_the_listener_was_started_is_named(
    tmp_path, answers, wake, there, lacks
):
    login = {"ANTHROPIC_API_KEY": "zq9secret", "CLAUDE_CONFIG_DIR": "/c", "CURSOR_API_KEY": "c"}
    (tmp_path / "bus").mkdir()
    (tmp_path / "bus" / "config.toml").write_text(CODER.format(wake))
    (tmp_path / "bus" / "config.toml").chmod(0o600)
    settings = settings_at(tmp_path / "bus", HOME=str(tmp_path), **login)
    place = {"config_file": str(settings.config_file), "bus_at": str(settings.data_dir)}
    answers(RUNS | place | ({} if there is None else {"logins": there}))

    named = [check for check in listener.checks(settings) if check.name == "login of coder"]

    assert [check.state for check in named] == ["warning"] * bool(lacks)
    assert all(f"lacks {lacks}, by which claude-code" in check.said for check in named)
    assert "zq9secret" not in str(named)


@pytest.mark.parametrize(
    ("besides", "lacks"), [({}, []), ({"AWS_SESSION_TOKEN": "t"}, ["AWS_SESSION_TOKEN"])]
)
def test_what_a_hosts_own_settings_give_to_each_session_is_lacked_by_none(
    tmp_path, answers, monkeypatch, besides, lacks
):
    login = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_PROFILE": "work", "AWS_REGION": "eu-west-1"}
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "settings.json").write_text(json.dumps({"env": login}))
    text = CODER.format("answer")
    settings = configured(tmp_path / "bus", text, HOME=str(tmp_path), **login, **besides)
    place = {"config_file": str(settings.config_file), "bus_at": str(settings.data_dir)}
    renewed = []
    monkeypatch.setattr(listener, "_renew", renewed.append)
    answers(RUNS | place | {"logins": []})

    named = [check.said for check in listener.checks(settings) if check.name == "login of coder"]

    assert listener.with_login(settings, "claude-code") == ", ".join(lacks)
    assert [said.split(",")[0] for said in named] == [
        f"the listener lacks {name}" for name in lacks
    ]
    assert len(renewed) == len(lacks)


def test_one_that_just_starts_or_ends_is_waited_for(settings, monkeypatch):
    """As while a host is asked, whose session starts a listener and ends it."""
    looks, seated, decided = count(1), seat.seated, Event()

    def look(where):
        there = seated(where)
        if next(looks) == 2:  # the first is for the words of the error
            decided.set()
        return there

    monkeypatch.setattr(seat, "seated", look)
    with ThreadPoolExecutor() as other:
        with seat.taken(settings):
            checked = other.submit(listener.checks, settings)
            decided.wait(10)
        [check] = checked.result()

    assert check.state == "ok"
    assert check.said.startswith("stopped")


def test_what_waits_for_its_bus_is_told_with_the_reason(settings, answers):
    outbox = {"waiting": 2, "since": "2026-11-21T10:00:00+00:00", "says": "It is barred."}
    answers(RUNS | {"outbox": outbox})
    [_, found] = listener.checks(settings)
    answers(RUNS | {"outbox": outbox | {"waiting": 0, "since": None}})
    [alone] = listener.checks(settings)

    assert (found.name, found.state) == ("outbox", "warning")
    assert found.said.startswith("2 tasks stored here, not yet at the bus, since ")
    assert found.said.endswith(". It is barred.")
    assert alone.name == "listener"
