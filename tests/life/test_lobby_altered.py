# SPDX-License-Identifier: Apache-2.0
"""What is asked in the lobby by an altered line, and what a gate leaves that is killed meanwhile."""

from __future__ import annotations

import json

import pytest
from local_server import settings_at
from made_server import let_in, made_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import in_background
from mcp_agentbus.errors import BusUnreachable, Refused, Unconfirmed
from mcp_agentbus.shared.accounts import lobby, owner, store
from mcp_agentbus.shared.accounts.apply import host
from mcp_agentbus.shared.accounts.doorkeeper import keep_door
from mcp_agentbus.shared.membership import join as joining
from mcp_agentbus.shared.membership.invitation import decode
from mcp_agentbus.shared.membership.join import join

# Of each class of bytes one, in the place of a letter, before, behind or within.
_OTHERS = {
    "a letter": "b", "a capital": "B", "a digit": "7", "a sign": "-", "a dot": ".", "a star": "*",
    "an arrow": ">", "a space": " ", "a line": "\n", "nothing": "\0", "an escape": "\x1b",
    "a quote": '"', "a brace": "}", "a euro": "\u20ac", "half a letter": "\ud800",
    "a wide digit": "\uff11", "a turn": "\u202e",
}  # fmt: skip


@pytest.fixture
def server(tmp_path):
    with made_server(tmp_path / "bus") as made:
        yield made


@pytest.fixture
async def bus(server):
    async with Bus.connect(server.owner) as bus:
        await store.ensure(bus)
        yield bus


async def request_of(bus, folder):
    """Return what asks rightly to join as laptop, with a key of its own."""
    line, mine = decode((await owner.invite(bus, folder, "laptop")).line), Nkey(new_seed())
    proof = mine.signed(lobby.asked_for(line.id, mine.public)).decode()
    said = {"v": 1, "id": line.id, "secret": line.secret, "key": mine.public, "proof": proof}
    return line, said


def altered(word):
    """Yield a word as it is not to be, by each class of bytes in three places."""
    middle = len(word) // 2
    for other in _OTHERS.values():
        yield from (other + word[1:], word[:middle] + other + word[middle + 1 :], word + other)
    yield from ("", word[:-1], word * 2, word.swapcase(), word[::-1], None, 7, [word], {"a": word})


async def test_by_a_line_that_is_altered_anywhere_nobody_joins(bus, server, monkeypatch):
    monkeypatch.setattr(lobby, "_WRONG_MAX", 10_000)  # or most of them are not looked at
    line, said = await request_of(bus, server.files.folder)
    door = lobby.Lobby(bus, server.files.folder)
    accepted = []
    for field in ("id", "secret", "key", "proof", "v"):
        for other in altered(str(said[field])):
            if other == said[field]:
                continue
            asked = {**said, field: other}
            answer = await door.answer(json.dumps(asked).encode())
            if set(answer) != {"refused"} or answer["refused"] not in {"unknown", "bad-request"}:
                accepted.append((field, other, answer))
    whole = json.dumps(said).encode()
    for cut in (whole[:-1], whole[1:], whole + b"}", whole.replace(b":", b";"), whole.upper()):
        assert await door.answer(cut) == {"refused": "bad-request"}

    assert accepted == []
    assert await store.accounts(bus) == []
    assert (await store.invitation(bus, line.id))[0].state == "open"


async def test_who_was_written_down_by_a_gate_that_was_killed_then_is_let_in_by_the_next(
    bus, server, tmp_path, monkeypatch
):
    monkeypatch.setattr(joining, "PROBE_S", 0.1)  # what answers accounts does not run here
    folder = server.files.folder
    line, said = await request_of(bus, folder)
    await lobby.Lobby(bus, folder)._joined(lobby.read(json.dumps(said).encode()))
    async with host(folder) as there:
        before = await there.hears("laptop")
        door = in_background(keep_door(folder), "a gate's door")
        await let_in(there, "laptop")
    again = await bus.request("agentbus-lobby", json.dumps(said).encode(), 10)
    with pytest.raises(Refused, match="used already"):
        await join(settings_at(tmp_path / "machine"), line)
    door.cancel()

    assert not before
    assert json.loads(again.data) == {"ok": True, "account": "laptop"}


async def test_who_asks_a_gate_that_is_killed_at_that_moment_joins_by_the_same_line(
    bus, server, tmp_path, monkeypatch
):
    """Its machine hears nothing, and has the same key the next time."""
    monkeypatch.setattr(joining, "PROBE_S", 0.1)
    folder, machine = server.files.folder, settings_at(tmp_path / "machine")
    line = decode((await owner.invite(bus, folder, "laptop")).line)
    killed = lobby.Lobby(bus, folder)
    written = []

    def heard(message):
        asked = lobby.read(message.data)
        written.append(in_background(killed._joined(asked), "a gate that is killed"))

    async with bus.subscribed("agentbus-lobby", heard):
        with monkeypatch.context() as impatient:
            impatient.setattr(joining, "_LOBBY_S", 0.3)
            with pytest.raises(Unconfirmed, match="has not answered within"):
                await join(machine, line)
    door = in_background(keep_door(folder), "a gate's door")
    with pytest.raises(BusUnreachable, match="has taken this line"):
        await join(machine, line)
    door.cancel()

    assert [await each for each in written] == ["laptop"]
    account, _ = await store.account(bus, "laptop")
    assert account.state == "joined"
    assert account.joined_at <= text.now()
