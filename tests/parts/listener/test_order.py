# SPDX-License-Identifier: Apache-2.0
"""A command as it comes over the socket: taken whole or not at all, and how it is answered."""

import asyncio
from argparse import Namespace
from types import SimpleNamespace

import pytest

from mcp_agentbus.listener.carried import order
from mcp_agentbus.listener.carried.order import Order
from mcp_agentbus.listener.endpoint import Connection
from mcp_agentbus.relay.carried import words
from mcp_agentbus.relay.carried.words import Typed

TYPED = Typed(
    ["send", "coder", "Count"], "/work", {"HOME": "/me"},
    request_id="cli-1", terminal=[80, 24, 1], zone="Asia/Tokyo", is_hosted=True,
)  # fmt: skip


def connected(come, **request):
    """Return a connection that began with that, on which this comes, and then nothing more."""
    reader = asyncio.StreamReader()
    reader.feed_data(come)
    reader.feed_eof()
    said = []
    return Connection(request, 1, reader, SimpleNamespace(write=said.append)), said


def ordered(connection):
    return Order(Namespace(), TYPED, None, None, None, None, connection)


async def test_what_was_typed_is_read_to_its_end_and_no_further(monkeypatch):
    packed = TYPED.pack()
    monkeypatch.setattr(words, "MAX_BYTES", len(packed))
    connection, _ = connected(packed + b"go 0\n", size=len(packed))

    assert vars(await order.received(connection)) == vars(TYPED)
    assert await connection.reader.read() == b"go 0\n"


@pytest.mark.parametrize("size", [None, "80", 80.0, -1, 81])
async def test_what_says_no_size_or_one_beyond_all_is_no_command(monkeypatch, size):
    monkeypatch.setattr(words, "MAX_BYTES", 80)
    connection, _ = connected(TYPED.pack(), size=size)

    with pytest.raises(ValueError, match="That is no command"):
        await order.received(connection)


async def test_what_was_cut_off_is_no_command():
    packed = TYPED.pack()
    connection, _ = connected(packed[:-1], size=len(packed))

    with pytest.raises(ValueError, match="Not all of it has come"):
        await order.received(connection)


@pytest.mark.parametrize(("come", "text"), [(b"go 0\n", ""), (b"go 3\n\xc3\xa9!reached 0\n", "é!")])
async def test_a_command_goes_on_with_the_text_that_was_read_for_it(monkeypatch, come, text):
    monkeypatch.setattr(words, "MAX_BYTES", 3)
    connection, _ = connected(come)

    assert await order.told_to_go(connection) == text


@pytest.mark.parametrize("come", [b"", b"\n", b"go", b"go 0", b"no 0\n", b"go -1\n", b"go 4\n1234"])
async def test_of_whoever_does_not_say_so_nothing_is_begun(monkeypatch, come):
    monkeypatch.setattr(words, "MAX_BYTES", 3)
    connection, _ = connected(come)

    assert await order.told_to_go(connection) is None


@pytest.mark.parametrize("come", [b"go x\n", b"go \n", b"go 3\n12"])
async def test_a_text_that_was_cut_off_is_no_text(come):
    connection, _ = connected(come)

    with pytest.raises(ValueError, match=r"\w"):
        await order.told_to_go(connection)


async def test_with_a_text_comes_from_where_another_process_would_go_on():
    connection, said = connected(b"")
    one = ordered(connection)
    one.say("tell", "Näh")
    one.say("say", "{}", {"since": None, "behind": ["x", 2]})

    assert b"".join(said) == (
        b'tell 4\nN\xc3\xa4hchanged 10\nsince nullchanged 15\nbehind ["x", 2]say 2\n{}'
    )


async def test_what_was_printed_is_seen_once_its_process_says_so():
    one, other = ordered(connected(b"reached 0\n")[0]), ordered(connected(b"reached 0\nrea")[0])
    waits = [asyncio.ensure_future(each.reached()) for each in (one, other)]
    await order.hear(other)
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    seen = [each.done() for each in waits]
    waits[0].cancel()

    assert seen == [False, True]


async def test_a_process_is_asked_whether_it_has_printed_all():
    connection, said = connected(b"")
    one = ordered(connection)
    one.heard.put_nowait(b"reached 0\n")
    await one.reached()

    assert (said, one.heard.empty()) == ([b"reached 0\n"], True)
