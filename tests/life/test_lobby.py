# SPDX-License-Identifier: Apache-2.0
"""Who joins a shared server: once by each line, and by no other; a real server says who is in."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest
from local_server import settings_at
from made_server import made_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import LOBBY
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import in_background, together
from mcp_agentbus.errors import BusUnreachable, NoAnswer, NotAllowed
from mcp_agentbus.shared.accounts import bus_conf, crowd, lobby, owner, store
from mcp_agentbus.shared.accounts.apply import host
from mcp_agentbus.shared.membership import join as joining
from mcp_agentbus.shared.membership.invitation import decode
from mcp_agentbus.shared.membership.join import join
from mcp_agentbus.store import roster
from mcp_agentbus.store.subjects import profile_subject

_WITHIN_S = 10


# So many may be in the lobby here.
_FULL = 6


@pytest.fixture
def server(tmp_path, monkeypatch):
    for module in (bus_conf, crowd):
        monkeypatch.setattr(module, "INVITED_MAX", _FULL)
    with made_server(tmp_path / "bus") as made:
        yield made


@pytest.fixture
def folder(server):
    return server.files.folder


@pytest.fixture
async def bus(server, folder):
    async with Bus.connect(server.owner) as bus:
        await store.ensure(bus)
        async with lobby.opened(bus, folder):
            yield bus


@pytest.fixture
def invited(bus, folder):
    """Gives what a new line says."""

    async def invite(name="laptop", **given):
        return decode((await owner.invite(bus, folder, name, **given)).line)

    return invite


def in_lobby(server):
    """Return the settings of whoever has a line, and nothing else."""
    return load_settings({**server.owner.environ, "AGENTBUS_NKEY_FILE": str(server.files.lobby)})


@pytest.fixture
async def outside(server, bus):
    async with Bus.connect(in_lobby(server)) as outside:
        yield outside


@pytest.fixture
def asks(outside):
    """Asks to join by a line; gives the answer."""

    async def ask(line, mine, **changed):
        said = {"v": 1, "id": line.id, "secret": line.secret, "key": mine.public} | changed
        signed = mine.signed(lobby.asked_for(said["id"], said["key"])).decode()
        request = json.dumps({"proof": signed} | said).encode()
        return json.loads((await outside.request(LOBBY, request, _WITHIN_S)).data)

    return ask


def key():
    return Nkey(new_seed())


async def heard(folder, name):
    async with host(folder) as server:
        return await server.hears(name)


@pytest.mark.promise(53)
async def test_a_line_lets_one_key_in_and_the_same_again_is_answered_alike(
    bus, folder, invited, asks
):
    line, mine = await invited(roles=["review"]), key()
    heard_before = await heard(folder, "laptop")
    first = await asks(line, mine)
    again = await asks(line, mine)
    another = await asks(line, key())
    joined, _ = await store.account(bus, "laptop")

    assert first == again == {"ok": True, "account": "laptop"}
    assert another == {"refused": "used"}
    assert (joined.key, joined.roles) == (mine.public, ("review",))
    assert (heard_before, await heard(folder, "laptop")) == (False, True)


@pytest.mark.promise(53)
async def test_of_two_who_have_the_same_line_one_gets_in(bus, invited, asks):
    line, keys = await invited(), [key() for _ in range(4)]
    answers = await together(*(asks(line, each) for each in keys))
    joined, _ = await store.account(bus, "laptop")

    [winner] = [each for each, answer in zip(keys, answers, strict=True) if "ok" in answer]
    assert joined.key == winner.public


@pytest.mark.promise(53)
async def test_whoever_is_refused_is_told_why(bus, invited, asks, elapse):
    used, revoked, late = [await invited(name) for name in ("a", "b", "c")]
    taken = await invited("a")
    await asks(used, key())
    await owner.revoke(bus, "b")

    refused = {
        "used": await asks(used, key()),
        "revoked": await asks(revoked, key()),
        "unknown": await asks(replace(late, secret="x" * 43), key()),
        "name-taken": await asks(taken, key()),
    }
    elapse(3601)
    refused["expired"] = await asks(late, key())

    assert {code: answer["refused"] for code, answer in refused.items()} == dict(
        zip(refused, refused, strict=True)
    )


async def test_a_key_joins_that_is_proven_and_is_nobody_elses(folder, invited, asks):
    first, second = await invited("a"), await invited("b")
    mine = key()
    await asks(first, mine)

    refused = [
        await asks(second, key(), proof="AAAA"),
        await asks(second, key(), key=key().public),
        await asks(second, mine),
        # Each who has a line has this seed, too.
        await asks(second, Nkey((folder / "lobby.nk").read_text())),
    ]

    assert refused == [{"refused": "bad-request"}] * 4
    assert not await heard(folder, "b")
    assert (await asks(second, key()))["ok"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"\xff", b'{"v": 2}', b'{"v": 1, "id": 5}', b"[" * 3000, b'{"v":1e999}'],
)
async def test_what_is_no_request_is_answered_and_does_nothing(outside, data):
    answer = await outside.request(LOBBY, data, _WITHIN_S)

    assert json.loads(answer.data) == {"refused": "bad-request"}


async def test_secrets_that_are_tried_are_looked_at_five_times_a_second(bus, invited, asks):
    line = await invited()
    wrong = replace(line, secret="x" * 43)
    answers = [(await asks(wrong, key()))["refused"] for _ in range(8)]

    assert answers == ["unknown"] * 5 + ["too-many"] * 3


async def test_a_flood_of_the_lobby_is_rested_from_and_who_joins_after_it_does(
    bus, invited, asks, outside
):
    line = await invited()
    for _ in range(5_000):
        await outside.send(LOBBY, b"{}", {})

    answer = None
    while answer is None:
        with suppress(NoAnswer):
            answer = await asks(line, key())

    assert answer["ok"]


async def test_who_tries_secrets_keeps_no_other_line_from_being_used(bus, invited, asks):
    line, wrong = await invited(), await invited("pi")
    for number in range(8):
        await asks(replace(wrong, secret="x" * 43), key())
        await asks(replace(wrong, id=f"{number:016x}"), key())

    assert (await asks(line, key()))["ok"]


@pytest.mark.promise(53)
async def test_where_the_lobby_is_full_who_joins_is_told_so_and_its_owner_by_whom(
    server, invited, tmp_path, monkeypatch
):
    monkeypatch.setattr(joining, "_MAKES_ROOM_S", 0.1)
    monkeypatch.setattr(joining, "PROBE_S", 0.1)
    monkeypatch.setattr(crowd, "_OF_ONE", 1)
    line, machine = await invited(), settings_at(tmp_path / "machine")
    folder = server.files.folder
    async with AsyncExitStack() as stack:
        for _ in range(_FULL):
            await stack.enter_async_context(Bus.connect(in_lobby(server)))
        with pytest.raises(BusUnreachable, match="want to join") as full:
            await join(machine, line)
        said = await crowd.crowding(folder)

        keeping = in_background(crowd.keep_free(folder), "the room of the lobby")
        monkeypatch.setattr(joining, "_MAKES_ROOM_S", 10)
        with pytest.raises(BusUnreachable, match="has taken this line"):  # there is no gate here
            await join(machine, line)
        keeping.cancel()

    assert "agentbus server accounts" in full.value.hint
    assert said == "6 of 6 connections of who wants to join are taken: 127.0.0.1 (6)"
    assert await heard(folder, "laptop")


async def test_in_the_lobby_nothing_else_is_said_or_heard(outside):
    for subject in ("agentbus.a.tasks.high.b", "agentbus-gate.laptop.x", "$SYS.REQ.SERVER.PING"):
        with pytest.raises(NotAllowed):
            await outside.request(subject, b"", 1)
    async with outside.subscribed(LOBBY, lambda _: None) as is_allowed:
        assert not is_allowed


async def test_what_was_marked_as_used_and_then_interrupted_goes_on_with_the_same_key(
    bus, invited, asks
):
    line, mine = await invited(), key()
    made, revision = await store.invitation(bus, line.id)
    used = replace(made, state="used", used_by=mine.public, used_at=text.now())
    await store.put(bus, used, revision)

    another = await asks(line, key())
    went_on = await asks(line, mine)

    assert another == {"refused": "used"}
    assert went_on["ok"]


async def test_a_line_of_before_opens_nothing_after_the_key_was_replaced(
    bus, folder, invited, asks
):
    line, first, second = await invited(), key(), key()
    await asks(line, first)
    rotated = decode((await owner.rotate(bus, folder, "laptop")).line)
    still = await heard(folder, "laptop")
    await asks(rotated, second)
    by_the_first = await asks(line, first)
    joined, _ = await store.account(bus, "laptop")
    await owner.remove(bus, folder, "laptop")
    removed = await asks(rotated, second)

    assert still
    assert by_the_first == {"refused": "used"}
    assert joined.key == second.public
    assert removed == {"refused": "revoked"}


async def test_who_comes_back_stands_as_removed_no_more_and_with_fewer_roles_has_no_more_of_them(
    bus, folder, invited, asks
):
    await asks(await invited(roles=["lead", "qa"]), key())
    had = roster.Profile(
        id="planner", account="laptop", roles=("lead", "qa"), registered_at=text.now()
    )
    await bus.publish(profile_subject("planner"), had.model_dump_json().encode())
    await owner.remove(bus, folder, "laptop")
    kept = await roster.registration(bus, "planner")

    await asks(await invited(roles=["qa"]), key())

    back = had.model_copy(update={"roles": ("qa",)})
    assert kept == had.model_copy(update={"removed": True})
    assert await roster.registration(bus, "planner") == back


@pytest.mark.parametrize("at_once", [False, True])
async def test_an_earlier_line_for_another_key_opens_nothing_once_there_is_a_later_one(
    bus, folder, invited, asks, at_once
):
    second, third = key(), key()
    await asks(await invited(), key())
    earlier = decode((await owner.rotate(bus, folder, "laptop")).line)
    later = await owner.rotate(bus, folder, "laptop", now=at_once)
    beside = replace(later.invitation, id="0" * 16)  # of an owner who typed it at the same time
    await store.put(bus, beside, 0)

    found = await asks(earlier, third)
    joined = await asks(decode(later.line), second)
    at_the_same_time = await asks(replace(decode(later.line), id=beside.id), third)

    [listed] = await owner.standing(bus, folder)
    assert (joined, found, at_the_same_time) == (
        {"ok": True, "account": "laptop"}, *[{"refused": "revoked"}] * 2,
    )  # fmt: skip
    assert (listed.account.key, listed.invitations) == (second.public, ())
