# SPDX-License-Identifier: Apache-2.0
"""What looks at a listener or a server, or ends one, while config.toml or more cannot be read."""

import contextlib
import json
import os
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from local_server import configured

from mcp_agentbus.bus import embedded
from mcp_agentbus.cli import agent, listen, server
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.errors import BadSetup, BusUnreachable, NoListener
from mcp_agentbus.version import __version__
from mcp_agentbus.wakes.ledger import Ledger

WRONG = "config.toml is not TOML"


@pytest.fixture
def home(settings, monkeypatch):
    """A home whose config.toml was mistyped."""
    for name in [name for name in os.environ if name.startswith(("AGENTBUS_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AGENTBUS_HOME", str(settings.data_dir.parent))
    configured(settings.data_dir.parent, "")
    settings.config_file.write_text("[agents")
    return settings


def typed(*words):
    return parser().parse_args(words)


def test_a_server_is_stopped_and_what_is_not_known_is_said(home, capsys):
    embedded.ensure(home)

    assert server.run(typed("server", "stop")) == 0

    said = capsys.readouterr().out
    assert said.startswith("stopped; its tasks are kept\n")
    assert "shared server, which this does not stop, is not known" in said
    assert WRONG in said
    assert embedded.find(home) is None


def test_the_configuration_of_a_server_needs_none_of_a_users(home, capsys):
    assert server.run(typed("server", "config")) == 0
    assert "jetstream" in capsys.readouterr().out


def test_a_listener_is_looked_at_by_what_it_says_of_the_bus(home, capsys, monkeypatch):
    standing = {
        "pid": 4711, "version": __version__, "since": "2026-11-21T10:00:00+00:00", "bus": "ok",
        "away_since": None, "config": "ok", "relayed": 0, "agents": [],
        "config_file": str(home.config_file), "bus_at": "tls://bus.example.org:4222",
    }  # fmt: skip
    monkeypatch.setattr(listen.local_socket, "ask", lambda *_: standing)

    assert listen.run(typed("listen", "--status")) == 0

    said = capsys.readouterr().out
    assert "ANOTHER BUS" not in said
    assert "GOES ON WITH THE RULES OF BEFORE" in said
    assert WRONG in said


def test_a_listener_that_is_to_end_is_looked_for(home):
    with pytest.raises(NoListener):
        listen.run(typed("listen", "--stop"))


def test_of_a_listener_that_has_ended_is_said_what_is_not_known(home, capsys, monkeypatch):
    monkeypatch.setattr("mcp_agentbus.listener.daemon.stop", lambda _: None)

    assert listen.run(typed("listen", "--stop", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == {"running": False, "outbox": None}
    assert listen.run(typed("listen", "--stop")) == 0
    assert f"is not known: {home.config_file} is not TOML" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        ((), ""),
        ((True, True), " 2 tasks stored here, not yet at the bus: the next one hands that on."),
        ((False,), " 1 task stored here for another bus: kept until that is set up."),
        (None, " Whether tasks are stored here, not yet at the bus, is not known: It is not"),
    ],
)
def test_of_a_listener_that_has_ended_is_said_what_it_leaves(home, capsys, monkeypatch, ours, told):
    async def left(*_, **__):
        if ours is None:  # its own server was stopped before
            raise BusUnreachable("It is not there.")
        return [SimpleNamespace(is_ours=each) for each in ours]

    waits = None if ours is None else len(ours)
    home.config_file.write_text("")
    monkeypatch.setattr("mcp_agentbus.listener.daemon.stop", lambda _: None)
    monkeypatch.setattr("mcp_agentbus.store.outbox.outbox.read_outbox", left)

    assert listen.run(typed("listen", "--stop", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == {"running": False, "outbox": waits}
    assert listen.run(typed("listen", "--stop")) == 0
    assert capsys.readouterr().out.startswith(f"The listener has stopped.{told}")


def test_the_service_of_a_listener_is_taken_away(home, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(home.data_dir))

    assert listen.run(typed("listen", "--uninstall")) == 0
    assert "is not installed" in capsys.readouterr().out


def test_the_last_wakes_of_an_agent_are_shown_and_of_an_unknown_one_is_said_why_not(home, capsys):
    with pytest.raises(BadSetup, match=WRONG):
        agent.run(typed("agent", "wakes", "smith"))
    assert not home.ledger_file.exists()
    with contextlib.closing(Ledger(home.ledger_file)) as ledger:
        ledger.note(
            "coder", "start", keys=["task coder a"], senders=["planner"], at=datetime.now(UTC)
        )

    assert agent.run(typed("agent", "wakes", "coder")) == 0
    assert "started for 1 task" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["listen", "server start", "agent wake coder"])
def test_what_is_to_run_waits_until_it_can_be_read(home, words):
    module = {"listen": listen, "server": server, "agent": agent}[words.split()[0]]

    with pytest.raises(BadSetup, match=WRONG):
        module.run(typed(*words.split()))
