# SPDX-License-Identifier: Apache-2.0
"""A session's membership, as a listener sees it at the other end of the socket."""

import contextlib
import json
import os
import queue
import socket
import threading

import pytest

from mcp_agentbus.core.places import Place
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.relay import local_socket, member
from mcp_agentbus.relay.member import Me, Membership

_WITHIN_S = 30  # only a hang takes as long


@pytest.fixture
def listener(tmp_path):
    """What listens where a listener would."""
    place = Place(str(tmp_path), os.environ)
    with socket.socket(socket.AF_UNIX) as listens:
        listens.bind(local_socket.socket_path(place))
        listens.listen()
        listens.settimeout(_WITHIN_S)
        yield place, listens


class Joined:
    """The connection of a session that has joined, and as whom."""

    def __init__(self, listens):
        self._connection, _ = listens.accept()
        self._connection.settimeout(_WITHIN_S)
        self._lines = self._connection.makefile("rb")
        self.me = self.says()
        self.tell({"joined": self.me["session"], "agent": self.me["agent"]})

    def says(self):
        return json.loads(self._lines.readline())

    def tell(self, message):
        self._connection.sendall(local_socket.line(message))

    def end(self):
        self._lines.close()
        self._connection.close()


@contextlib.contextmanager
def joining(membership):
    """Have a session join once, until the listener ends."""
    thread = threading.Thread(target=membership._joined)
    thread.start()
    yield
    thread.join()


def test_a_session_that_gets_another_name_stays_joined_and_joins_the_next_listener_by_it(listener):
    place, listens = listener
    membership = Membership(place, Me("coder", "claude-code", "s1"), lambda *_: "")
    with joining(membership):
        first = Joined(listens)
        first.tell({"op": "named", "agent": "coder-4f1c", "roles": ["review"]})
        said = first.says()
        first.end()
    with joining(membership):
        second = Joined(listens)
        second.end()

    assert said == {"op": "named", "agent": "coder-4f1c", "roles": ["review"]}
    assert [(each.me["agent"], each.me["roles"]) for each in (first, second)] == [
        ("coder", []), ("coder-4f1c", ["review"])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("agent", "roles"), [("coder-4f1c", ("review",)), ("coder", ()), ("coder-4f1c", ())]
)
def test_one_that_serves_itself_tells_its_listener_of_its_name_and_its_roles(
    listener, agent, roles
):
    place, listens = listener
    me = Me("coder", "claude-code", "s1", roles=("review",))
    membership = Membership(place, me, lambda *_: "")
    with joining(membership):
        joined = Joined(listens)
        joined.tell({"op": "nudge", "n": 1, "text": "1 task waits."})
        answer = joined.says()  # from here on it knows that it has joined
        membership.renamed("coder", ("review",))
        membership.renamed(agent, roles)
        said = joined.says()
        joined.end()

    assert answer["shown"] is True
    assert said == {"op": "named", "agent": agent, "roles": list(roles)}


def test_one_that_leaves_is_there_no_more_and_joins_no_other_listener(listener):
    """As a worker's, whose process may go on."""
    place, listens = listener
    membership = Membership(place, Me("coder", "python", "s1"), lambda *_: "")
    thread = threading.Thread(target=membership.run)
    thread.start()
    joined = Joined(listens)
    joined.tell({"op": "nudge", "n": 1, "text": "1 task waits."})
    joined.says()  # from here on it knows that it has joined

    membership.leave()
    thread.join(_WITHIN_S)

    assert not thread.is_alive()
    assert joined._lines.readline() == b""
    joined.end()


@pytest.fixture
def running(monkeypatch):
    """Have a session run that is old enough; return how often it has begun to start a listener."""
    monkeypatch.setattr(member, "LIVES_AFTER_S", 0.0)
    memberships, threads, begun = [], [], queue.Queue()

    def run(place, begin=begun.put):
        monkeypatch.setattr(member, "start_listener", begin)
        membership = Membership(
            place, Me("coder", "codex", "s1"), lambda *_: "", again_s=(0.001, 0.001, 0.001)
        )
        memberships.append(membership)
        threads.append(threading.Thread(target=membership.run))
        threads[-1].start()
        return begun

    yield run
    for each in memberships:
        each.leave()
    for thread in threads:
        thread.join()


def test_where_none_can_be_started_it_is_tried_again_for_as_long_as_the_session_lives(
    running, tmp_path
):
    begun = running(Place(str(tmp_path), os.environ))

    assert [begun.get(timeout=5).runtime_dir for _ in range(4)] == [str(tmp_path)] * 4


def test_one_that_was_refused_starts_a_listener_once_that_one_has_gone(running, listener):
    place, listens = listener
    begun = running(place)
    connection, _ = listens.accept()
    listens.close()
    with connection, connection.makefile("rb") as lines:
        lines.readline()
        connection.sendall(local_socket.line({"error": "no", "hint": ""}))

    assert begun.get(timeout=5) is place


def test_one_whose_listener_says_what_nobody_has_foreseen_joins_again(running, listener, capsys):
    place, listens = listener
    running(place)
    for _ in range(3):
        joined = Joined(listens)
        joined.tell({"op": "claims", "claims": 5})
        assert joined._lines.readline() == b""
        joined.end()

    assert capsys.readouterr().err.count("No listener knows of this session") == 1


def test_a_listener_that_cannot_even_be_begun_is_begun_at_the_next_try(
    running, monkeypatch, tmp_path
):
    """As where an upgrade has the package's files missing for a moment."""

    def begin(where):
        if missing:
            raise missing.pop()
        begun.put(where)

    missing = [ModuleNotFoundError("mcp_agentbus"), BadSetup("The working folder is gone.")]
    monkeypatch.setattr(member, "_STARTS_AT", (1, 1_000_000))
    begun = running(Place(str(tmp_path), os.environ), begin)

    assert begun.get(timeout=5).runtime_dir == str(tmp_path)


def test_one_that_has_left_while_it_was_not_taken_starts_no_listener(monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr(member, "LIVES_AFTER_S", 0.0)
    monkeypatch.setattr(member, "start_listener", begun.append)
    place = Place(str(tmp_path), os.environ)
    membership = Membership(place, Me("coder", "codex", "s1"), lambda *_: "")

    membership._try()
    membership.leave()
    membership._try()

    assert begun == [place]
