# SPDX-License-Identifier: Apache-2.0
"""The local socket's lines, and what a process says of itself on it."""

from __future__ import annotations

import os
import socket
import sys
import threading

import pytest

from mcp_agentbus.core.places import Place
from mcp_agentbus.errors import NoListener
from mcp_agentbus.relay import door, local_socket


@pytest.mark.parametrize("cut", [b"", b"{}", b'{"op"', b'{"op": "join"}'])
def test_a_line_that_was_cut_is_no_message(cut):
    with pytest.raises(ValueError, match="no end"):
        local_socket.message(cut)


@pytest.mark.parametrize("wrong", [b"\n", b"[]\n", b"1\n", b"null\n", b"no\n", b"\xff\n"])
def test_a_line_that_is_no_object_is_no_message(wrong):
    with pytest.raises(ValueError):  # noqa: PT011  # of JSON, of UTF-8, and our own
        local_socket.message(wrong)


@pytest.mark.parametrize("message", [{}, {"op": "join", "text": "a\nb\u2028c", "n": [1, None]}])
def test_a_message_is_one_line_whatever_is_in_it(message):
    line = local_socket.line(message)

    assert (line.count(b"\n"), line.endswith(b"\n")) == (1, True)
    assert local_socket.message(line) == message


def test_who_asks_says_what_decides_who_he_is_and_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environ = {
        "AGENTBUS_HOME": "bus",
        "AGENTBUS_AGENT": "coder",
        "HOME": "/home/me",
        "XDG_DATA_HOME": "/data",
        "CLAUDECODE": "1",
        "ANTHROPIC_API_KEY": "s3cret",
        "OPENCLAW_GATEWAY_TOKEN": "s3cret",
        "PATH": "/bin",
    }

    assert local_socket.surroundings(environ) == {
        "folder": str(tmp_path),
        "environ": {
            "AGENTBUS_HOME": str(tmp_path / "bus"),
            "AGENTBUS_AGENT": "coder",
            "HOME": "/home/me",
            "XDG_DATA_HOME": "/data",
            "CLAUDECODE": "1",
        },
    }


def test_the_kernel_tells_who_is_at_the_other_end():
    one, other = socket.socketpair()
    with one, other:
        assert door.peer(one) == (os.getuid(), os.getpid())


def test_without_a_listener_that_is_said(tmp_path):
    with pytest.raises(NoListener) as told:
        local_socket.ask(Place(str(tmp_path / "run"), {}), {"op": "status"})
    assert not told.value.was_asked


def test_a_listener_that_ends_before_its_answer_may_have_done_what_was_asked(tmp_path):
    place = Place(str(tmp_path), {})

    def end():
        connection, _ = listening.accept()
        connection.close()

    ends = threading.Thread(target=end)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(local_socket.socket_path(place))
        listening.listen()
        ends.start()
        with pytest.raises(NoListener) as told:
            local_socket.ask(place, {"op": "approved"})
        ends.join()

    assert told.value.was_asked


@pytest.mark.skipif(sys.platform != "linux", reason="there the path must be short")
def test_a_place_that_is_too_deep_for_the_kernel_is_reached_all_the_same(tmp_path):
    folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
    folder.mkdir(parents=True)
    path = local_socket.socket_path(Place(str(folder), {}))
    with socket.socket(socket.AF_UNIX) as listener:
        with door.Address(path) as short:
            assert len(short) < len(path)
            listener.bind(short)
        listener.listen()
        with local_socket.connect(Place(str(folder), {})) as connection:
            server, _ = listener.accept()
            with server:
                server.sendall(local_socket.line({"error": "No.", "hint": "Ask later."}))
                answer = local_socket.exchange(connection, {"op": "status"})

    assert answer == {"error": "No.", "hint": "Ask later."}
