# SPDX-License-Identifier: Apache-2.0
"""Who may use a shared server, while it runs: a real one, with nothing but keys between."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest
from made_server import made_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import part, together
from mcp_agentbus.errors import GateAway, NotAllowed, Refused
from mcp_agentbus.shared.accounts import conf, store
from mcp_agentbus.shared.accounts.apply import apply
from mcp_agentbus.shared.accounts.record import AccountRecord


@pytest.fixture
def server(tmp_path):
    with made_server(tmp_path / "bus") as made:
        yield made


@pytest.fixture
async def owner(server):
    async with Bus.connect(server.owner) as bus:
        await store.ensure(bus)
        yield bus


@pytest.fixture
def machine(server, tmp_path):
    """Gives the settings of an account's machine, with its key or a new one."""

    def at(name, seed=None):
        home = tmp_path / f"{name}-{secrets.token_hex(4)}"
        home.mkdir()
        key = home / "key.nk"
        key.touch(mode=0o600)
        key.write_text(seed or new_seed())
        return server.account(home, name, key)

    return at


def public(settings):
    return Nkey(settings.nkey_file.read_text()).public


def record_of(name, settings, **more):
    now = text.now()
    return AccountRecord(name=name, key=public(settings), joined_at=now, since=now, **more)


async def is_in(settings):
    """Tell whether the server lets somebody in as far as to where the gate would be."""
    async with Bus(settings) as bus:
        try:
            await bus.api("INFO")
        except GateAway:
            return False  # it is let in, and nobody hears it
        except NotAllowed:
            return False
    return True


@pytest.fixture
async def gate(owner):
    """Answers in the gate's place what any account asks."""

    def arrived(message):
        if message:
            part(owner.send(message.reply, b'{"type": "io.nats.jetstream.api.x"}', {}))

    async with owner.subscribed("agentbus-gate.*.>", arrived):
        yield


@pytest.mark.promise(55)
async def test_who_has_joined_is_heard_at_once_and_who_goes_is_cut_at_once(
    server, owner, gate, machine
):
    laptop, pi = machine("laptop"), machine("pi")
    before = await is_in(laptop)
    await store.put(owner, record_of("laptop", laptop), 0)
    await store.put(owner, record_of("pi", pi), 0)
    let_in = await apply(owner, server.files.folder)
    together_ = await together(is_in(laptop), is_in(pi))
    async with Bus.connect(laptop) as bus, Bus.connect(pi) as other:
        cut = asyncio.Event()
        async with bus.subscribed("agentbus.a.back", lambda lost: lost is None and cut.set()):
            standing, revision = await store.account(owner, "laptop")
            await store.put(owner, replace(standing, state="removed"), revision)
            left = await apply(owner, server.files.folder)
            await cut.wait()
        await other.api("INFO")

    assert (before, together_) == (False, [True, True])
    assert (let_in, left) == ({"laptop", "pi"}, {"pi"})
    assert not await is_in(laptop)


@pytest.mark.promise(55)
async def test_another_key_counts_in_the_place_of_the_first(server, owner, gate, machine):
    first, second = machine("laptop"), machine("laptop")
    await store.put(owner, record_of("laptop", first), 0)
    await apply(owner, server.files.folder)
    standing, revision = await store.account(owner, "laptop")
    await store.put(owner, replace(standing, key=public(second)), revision)

    await together(*(apply(owner, server.files.folder) for _ in range(3)))

    assert [await is_in(first), await is_in(second)] == [False, True]


async def test_what_the_server_does_not_take_is_put_back(server, owner, gate, machine):
    laptop, pi = machine("laptop"), machine("pi")
    await store.put(owner, record_of("laptop", laptop), 0)
    await apply(owner, server.files.folder)
    before, conf_ = server.files.joined.read_text(), server.files.conf.read_text()
    server.files.conf.write_text(conf_ + "\nlisten: nowhere at all\n")
    await store.put(owner, record_of("pi", pi), 0)

    with pytest.raises(Refused, match="does not take its configuration") as refused:
        await apply(owner, server.files.folder)
    then = server.files.joined.read_text()
    server.files.conf.write_text(conf_)
    await apply(owner, server.files.folder)

    assert "nats.conf" in refused.value.hint
    assert then == before
    assert [await is_in(laptop), await is_in(pi)] == [True, True]


async def test_what_somebody_wrote_and_was_killed_is_loaded_all_the_same(
    server, owner, gate, machine
):
    laptop = machine("laptop")
    record = record_of("laptop", laptop)
    await store.put(owner, record, 0)
    keys = conf.Keys(*(Nkey(file.read_text()).public for file in server.files.keys))
    server.files.joined.write_text(conf.joined([record], keys))

    await apply(owner, server.files.folder)

    assert await is_in(laptop)


async def test_hundreds_join_and_each_is_heard(server, owner, gate, machine):
    seeds = {f"m{number}": new_seed() for number in range(120)}
    some = [machine(name, seeds[name]) for name in ("m0", "m119")]
    now = text.now()
    await together(
        *(
            store.put(
                owner,
                AccountRecord(name=name, key=Nkey(seed).public, joined_at=now, since=now),
                0,
            )
            for name, seed in seeds.items()
        )
    )

    let_in = await apply(owner, server.files.folder)
    one_more = machine("one-more")
    await store.put(owner, record_of("one-more", one_more), 0)
    await apply(owner, server.files.folder)

    assert let_in == set(seeds)
    assert await together(*map(is_in, (*some, one_more))) == [True] * 3


async def test_where_the_store_was_lost_nobody_is_let_in_and_that_is_said(
    server, owner, machine, caplog
):
    laptop = record_of("laptop", machine("laptop"))
    await store.put(owner, laptop, 0)
    await apply(owner, server.files.folder)
    await owner.api(f"STREAM.DELETE.{store.STREAM}")
    await store.ensure(owner)

    let_in = await apply(owner, server.files.folder)

    assert let_in == frozenset()
    assert "knows nothing of 1 accounts" in caplog.text


async def test_a_server_that_starts_anew_lets_in_who_has_joined(server, owner, gate, machine):
    laptop = machine("laptop")
    await store.put(owner, record_of("laptop", laptop), 0)
    await apply(owner, server.files.folder)
    server.kill()
    server.start()

    await owner.api("INFO")  # by a connection of its own to the new one
    assert await is_in(laptop)
    assert await apply(owner, server.files.folder) == {"laptop"}
