# SPDX-License-Identifier: Apache-2.0
"""A connection begins with one line: its handler answers it, or it is refused, in a line."""

import asyncio
import os
import stat
from pathlib import Path

import pytest
import pytest_asyncio

from mcp_agentbus.errors import BadInput
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
