# SPDX-License-Identifier: Apache-2.0
"""Whatever lines come in by standard input or the local socket, the next proper one is answered."""

import asyncio
import contextlib
import os
import socket

import corpus
import pytest
import served
import strategies
from hypothesis import example, given, settings
from hypothesis import strategies as st
from listeners import listening

from mcp_agentbus.relay import local_socket
from mcp_agentbus.relay.carried import command, words
from mcp_agentbus.tools.catalog import TOOLS
from mcp_agentbus.version import __version__

LINES = corpus.read("lines").values()
METHODS = ["initialize", "ping", "tools/list", "tools/call", "resources/read", "completion/complete",
           "prompts/get", "notifications/cancelled", "notifications/initialized", "server/discover",
           "subscriptions/listen", "logging/setLevel"]  # fmt: skip
OPS = ["typed", "serve", "join", "mail", "status", "wake", "reload", "hangs", "called", "no such"]
FIELDS = ["version", "size", "agent", "host", "session", "pid", "environ", "folder", "era", "lines",
          "key", "young_s", "go", "claims", "left"]  # fmt: skip
PARAMS = ["name", "arguments", "uri", "_meta", "requestId", "ref", "argument", "protocolVersion",
          "capabilities", "clientInfo", "level"]  # fmt: skip


def objects(names, **fixed):
    """Return messages with some of these fields, each of any value, and with the fixed ones."""
    free = st.dictionaries(st.sampled_from(names), strategies.hostile_values, max_size=6)
    return st.tuples(st.fixed_dictionaries(fixed), free).map(lambda both: both[1] | both[0])


calls = objects(
    ["jsonrpc", "result", "error"],
    id=st.integers(10_000, 99_999) | strategies.hostile_values,
    method=st.sampled_from(METHODS) | strategies.hostile_values,
    params=objects(PARAMS, name=st.sampled_from(list(TOOLS)) | strategies.hostile_values)
    | strategies.hostile_values,
)
requests = objects(FIELDS, op=st.sampled_from(OPS) | strategies.hostile_values)
raw = st.binary(max_size=300).map(lambda line: line.replace(b"\n", b" "))
argv = st.tuples(
    st.sampled_from(command.COMMANDS),
    st.lists(st.sampled_from(["--json", "--limit", "5", "-h", "--"]) | strategies.hostile_texts),
).map(lambda both: [both[0], *(word.replace("\0", "") for word in both[1])])


@pytest.mark.parametrize("way", ["alone", "relayed"])
async def test_a_session_answers_after_any_line_of_its_host(house, way):
    environ = served.environ(house.data_dir.parent)
    if way == "relayed":
        del environ["AGENTBUS_LISTENER"]
    async with listening(house) as listener:
        with served.Pipes(environ) as server:
            await asyncio.to_thread(server.greet, served.MODERN)

            @given(st.lists(calls.map(strategies.spelt) | raw, max_size=10))
            @example(list(LINES))
            @settings(max_examples=12)
            def tried(lines):
                os.write(server.process.stdin.fileno(), b"".join(line + b"\n" for line in lines))
                answer = server.ask("tools/list", era=served.MODERN)
                assert len(answer["result"]["tools"]) == len(TOOLS)

            await asyncio.to_thread(tried)
            assert server.process.poll() is None
            assert "Traceback" not in server.said()
        assert await listener.end() == 0


async def test_the_listener_answers_after_any_line_on_its_socket(house):
    async with listening(house) as listener:

        @given(requests.map(strategies.spelt) | raw)
        @settings(max_examples=120)
        def tried(line):
            with local_socket.connect(house) as connection:
                connection.sendall(line + b"\n")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass
            status = local_socket.ask(house, {"op": "status"})
            assert status["pid"] == listener.process.pid

        for line in LINES:
            await asyncio.to_thread(tried.hypothesis.inner_test, line)
        await asyncio.to_thread(tried)
        assert await listener.end() == 0
    assert not [line for line in listener.log if line["event"] == "failed"]


async def test_the_listener_answers_after_anything_that_was_typed(house):
    environ = words.variables(served.environ(house.data_dir.parent))
    taken = set()
    async with listening(house) as listener:

        @given(argv, raw)
        @example(["status"], b"\n")
        @settings(max_examples=80)
        def tried(line, said):
            request = words.request(__version__, words.Typed(line, "/", environ).pack())
            with local_socket.connect(house) as connection:
                connection.sendall(request)
                taken.add(connection.recv(65_536).split()[0])
                with contextlib.suppress(OSError):  # it has left that, and hears no more
                    connection.sendall(said)  # which is not that it goes on
            status = local_socket.ask(house, {"op": "status"})
            assert (status["pid"], status["commands"]) == (listener.process.pid, 0)

        await asyncio.to_thread(tried)
        assert await listener.end() == 0
    assert taken >= {b"taken", b"left"}
    assert not [line for line in listener.log if line["event"] == "failed"]
