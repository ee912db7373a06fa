# SPDX-License-Identifier: Apache-2.0
"""A session's relay when something fails that nobody has foreseen: it ends in words, or goes on."""

import gc
import json
import os
import queue
import socket
from types import SimpleNamespace

import pytest
import threadless

from mcp_agentbus.core import lines
from mcp_agentbus.core.places import Place
from mcp_agentbus.relay import messages, session
from mcp_agentbus.relay.member import Me
from mcp_agentbus.relay.options import Serving

PING = messages.read(b'{"jsonrpc":"2.0","id":7,"method":"ping"}\n')


class Host:
    """A host, of which a test says what it does."""

    def __init__(self):
        self.told = queue.Queue()
        self.say = self.told.put

    def lines(self, _):
        yield PING.line

    def pass_on(self, _line, _to):
        raise TypeError("of another version")


@pytest.fixture
def relay(tmp_path, monkeypatch):
    """A relay, the listener's end of its connection, and with which code it has ended."""
    here, listener = socket.socketpair()
    exits = queue.Queue()

    def exit_(code):
        exits.put(code)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", exit_)
    place = Place(str(tmp_path), {})
    options, me = Serving("coder"), Me("coder", "codex", "s1")
    behind = SimpleNamespace(connection=here)
    with here, listener:
        yield session._Relay(place, options, me, Host(), behind), listener, exits


def test_what_nobody_has_foreseen_in_what_the_host_says_ends_the_session_with_the_reason(
    relay, capsys, monkeypatch
):
    relay, _, exits = relay
    monkeypatch.setattr(session.threads, "begin", lambda part, **_: part())

    with pytest.raises(SystemExit):
        relay._beside(relay._pass_up)

    assert exits.get_nowait() == 1
    answer = json.loads(relay._host.told.get())
    assert answer["id"] == 7
    assert "cannot go on with this session" in answer["error"]["message"]
    assert "Hint: Start the session anew" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ImportError, RuntimeError, AttributeError, TypeError])
def test_a_listener_that_leaves_is_told_at_once_though_nothing_could_be_loaded(
    relay, monkeypatch, error
):
    relay, listener, _ = relay

    def load():
        raise error

    monkeypatch.setattr(session, "_load", load)
    monkeypatch.setattr(relay._host, "pass_on", lambda line, to: to.sendall(line))
    relay._prepare()

    assert json.loads(listener.recv(1000))["method"] == lines.READY


def test_a_session_goes_on_though_no_thread_is_to_be_had_to_prepare_it(relay, monkeypatch):
    relay, listener, exits = relay
    threadless.for_tries(monkeypatch, 1)
    for method in (lines.LEAVING, "notifications/message"):
        listener.sendall(messages.dump({"jsonrpc": "2.0", "method": method}))
    listener.close()

    relay._pass_down(relay._behind.connection)

    assert json.loads(relay._host.told.get_nowait())["method"] == "notifications/message"
    assert exits.empty()


def test_a_session_that_serves_itself_lives_from_when_it_has_loaded_what_that_takes(
    relay, monkeypatch
):
    """A host that only asks for its tools would leave a trace on a slow machine."""
    relay, _, _ = relay
    done = []
    monkeypatch.setattr(session, "OwnProcess", SimpleNamespace)
    monkeypatch.setattr(session.threads, "begin", lambda *_, **__: None)
    monkeypatch.setattr(relay, "_made", lambda _: done.append("loaded"))
    monkeypatch.setattr(relay._membership, "start", lambda **_: done.append("lives"))
    monkeypatch.setattr(relay, "_serve", lambda *_: os._exit(0))
    with pytest.raises(SystemExit):
        relay._run(os.getppid())

    assert done == ["loaded", "lives"]


def test_memory_is_collected_though_nothing_could_be_loaded(monkeypatch):
    def load(_):
        raise ImportError

    monkeypatch.setattr(session.late, "load", load)
    with pytest.raises(ImportError):
        session._load()

    assert gc.isenabled()
