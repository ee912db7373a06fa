# SPDX-License-Identifier: Apache-2.0
"""A connection begins with one line: its handler answers it, or it is refused, in a line."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from mcp_agentbus.errors import BadInput
from mcp_agentbus.listener import endpoint as endpoints
from mcp_agentbus.listener.endpoint import Endpoint, listening_socket
from mcp_agentbus.relay import local_socket


async def echo(connection):
    connection.say({"pid": connection.pid, "heard": connection.request["word"]})


async def refuse(_):
    raise BadInput("It cannot be done.", hint="Ask for something else.")


@pytest_asyncio.fixture
async def endpoint(settings):
    endpoint = Endpoint({"echo": echo, "refuse": refuse})
    await endpoint.accept(listening_socket(settings))
    yield endpoint
    endpoint.close()
    await endpoint.ended()


async def asked(settings, line):
    """Send a line; return all that comes back."""
    path = local_socket.socket_path(settings)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ({"op": "echo", "word": "hello"}, {"pid": os.getpid(), "heard": "hello"}),
        ({"op": "refuse"}, {"error": "It cannot be done.", "hint": "Ask for something else."}),
    ],
)
async def test_the_op_of_the_first_line_says_who_answers(settings, endpoint, request_, answer):
    assert await asked(settings, local_socket.line(request_)) == local_socket.line(answer)


@pytest.mark.parametrize("request_", [{}, {"op": "unknown"}, {"op": ["echo"]}])
async def test_what_nobody_answers_is_refused(settings, endpoint, request_):
    answer = local_socket.message(await asked(settings, local_socket.line(request_)))

    assert answer["error"] == "The listener knows no such question."
    assert answer["hint"]


@pytest.mark.parametrize("line", [b"", b"\n", b"no JSON\n", b"[]\n", b'{"op":"echo"'])
async def test_what_is_no_line_of_json_is_not_answered(settings, endpoint, line):
    assert await asked(settings, line) == b""


def test_nobody_else_can_reach_it(settings):
    listening_socket(settings).close()

    path = Path(local_socket.socket_path(settings))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


# As little as a socket takes at once, in bytes, and far less than what is written here.
_LITTLE = 1
_MUCH = 40_000
# Only a hang takes as long, in seconds.
_HANG_S = 20


async def reached(settings, op):
    """Connect and ask, as one that reads next to nothing unless it is told to."""
    path = local_socket.socket_path(settings)
    reader, writer = await asyncio.open_unix_connection(path, limit=1)
    writer.write(local_socket.line({"op": op}))
    return reader, writer


class Held:
    """A handler that ends when it is let go, or when it has been written to its end."""

    def __init__(self):
        self.began, self.go = asyncio.Event(), asyncio.Event()
        self.is_over = False

    async def __call__(self, connection):
        try:
            self.began.set()
            await self.go.wait()
            connection.say({"heard": "all"})
        finally:
            self.is_over = True

    async def reads_nothing(self, connection):
        try:
            self.began.set()
            connection.writer.write(bytes(10_000_000))
            await connection.writer.drain()
        finally:
            self.is_over = True

    async def little_at_once(self, connection):
        its = connection.writer.get_extra_info("socket")
        its.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LITTLE)
        connection.writer.write(bytes(_MUCH))
        self.began.set()


@pytest_asyncio.fixture
async def held(settings):
    """A handler, and its endpoint."""
    held = Held()
    ops = {"held": held, "reads nothing": held.reads_nothing, "little": held.little_at_once}
    endpoint = Endpoint(ops)
    await endpoint.accept(listening_socket(settings))
    yield held, endpoint
    endpoint.close()


async def test_those_that_are_here_are_answered_while_nobody_is_let_in_any_more(settings, held):
    held, endpoint = held
    reader, writer = await reached(settings, "held")
    await held.began.wait()
    endpoint.close()
    ending = asyncio.ensure_future(endpoint.ended())
    with pytest.raises(ConnectionError):
        await reached(settings, "held")
    held.go.set()
    async with asyncio.timeout(_HANG_S):
        answer = await reader.read()
        await ending
    writer.close()

    assert answer == local_socket.line({"heard": "all"})
    assert held.is_over


async def test_what_was_said_has_been_written_when_all_have_ended(settings, held):
    held, endpoint = held
    reader, writer = await reached(settings, "little")
    await held.began.wait()
    ending = asyncio.ensure_future(endpoint.ended())
    done, _ = await asyncio.wait([ending], timeout=0.1)
    async with asyncio.timeout(_HANG_S):
        said = await reader.read()
        await ending
    writer.close()

    assert not done
    assert said == bytes(_MUCH)


async def test_whoever_reads_nothing_is_cut_off(settings, held, monkeypatch):
    monkeypatch.setattr(endpoints, "_CLOSE_TIMEOUT_S", 0.1)
    held, endpoint = held
    _, writer = await reached(settings, "reads nothing")
    await held.began.wait()
    async with asyncio.timeout(_HANG_S):
        await endpoint.ended()
    writer.close()

    assert held.is_over


async def test_whoever_does_not_end_either_is_waited_for_no_longer(settings, held, monkeypatch):
    monkeypatch.setattr(endpoints, "_CLOSE_TIMEOUT_S", 0.1)
    held, endpoint = held
    _, writer = await reached(settings, "held")
    await held.began.wait()
    async with asyncio.timeout(_HANG_S):
        await endpoint.ended()
        was_over = held.is_over
        held.go.set()
        await endpoint.ended()
    writer.close()

    assert (was_over, held.is_over) == (False, True)


async def test_of_a_connection_that_has_ended_nothing_is_kept(settings, endpoint):
    """A listener runs for weeks, and each turn of a session asks it."""

    def streams():
        gc.collect()
        return sum(isinstance(each, asyncio.StreamWriter) for each in gc.get_objects())

    await asked(settings, local_socket.line({"op": "echo", "word": "hello"}))
    before = streams()
    for _ in range(3):
        await asked(settings, local_socket.line({"op": "echo", "word": "hello"}))
    await endpoint.ended()

    assert streams() <= before


async def test_who_takes_another_socket_answers_on_the_one_before_no_more(
    settings, endpoint, tmp_path
):
    another = replace(settings, runtime_dir=tmp_path / "another")
    await endpoint.accept(listening_socket(another))
    line = local_socket.line({"op": "echo", "word": "hello"})

    assert local_socket.message(await asked(another, line))["heard"] == "hello"
    with pytest.raises(ConnectionError):
        await asked(settings, line)


async def test_of_what_is_no_line_of_json_the_log_has_its_kind_alone(settings, endpoint, caplog):
    with caplog.at_level(logging.DEBUG, logger=endpoints.__name__):
        await asked(settings, b"s3cret\n")

    assert caplog.messages == ["a connection ended: JSONDecodeError"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_without_descriptors_it_rests_says_so_once_and_lets_in_who_waits_later(
    settings, endpoint, caplog, monkeypatch, number
):
    tries, accepted, rested = [], endpoints._accepted, asyncio.Event()

    def fails(listening):
        tries.append(listening)
        if len(tries) < 3:
            raise OSError(number, os.strerror(number))
        return accepted(listening)

    monkeypatch.setattr(endpoints, "_accepted", fails)
    monkeypatch.setattr(endpoints, "_REST_S", 0.0)
    async with asyncio.timeout(_HANG_S):
        answer = await asked(settings, local_socket.line({"op": "echo", "word": "hello"}))
    assert local_socket.message(answer)["heard"] == "hello"
    assert len(tries) == 3
    [told] = caplog.messages
    assert "no file descriptor was left" in told
    assert "ulimit -n" in told

    tries.clear()
    monkeypatch.setattr(endpoints, "_REST_S", 3600.0)
    waiting = asyncio.ensure_future(asked(settings, b"\n"))
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, rested.set)
    await rested.wait()
    assert (len(tries), waiting.done()) == (1, False)
    endpoint.close()
    with contextlib.suppress(OSError):
        await waiting
