# SPDX-License-Identifier: Apache-2.0
"""A shared server reads its configuration anew, as it does for each that joins: who connects then?"""

import asyncio
import contextlib
import os
import signal
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from certificates import Authority
from lobbies import Server
from local_server import settings_at, until
from nats_owner import shared_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.errors import BusUnreachable, NotAllowed

_USERS = 'authorization {{ users: [ {{ user: "laptop", password: "x" }} {} ] }}'
_ANOTHER = '{ user: "pi", password: "y" }'


@contextlib.asynccontextmanager
async def read_anew(folder, settings, rounds):
    """Have the server read its configuration anew while each of the first connections begins.

    Gives the settings of a user who is connected so, and how many connections there were.
    """
    where, begun = urlsplit(settings.url), []
    [ports] = (folder / "ports").glob("*.ports")
    pid = int(ports.stem.rpartition("_")[2])

    async def accepted(reader, writer):
        begun.append(writer)
        far_reader, far_writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(await far_reader.readline())
        said = await reader.readline()
        if len(begun) <= rounds:
            conf, log = folder / "nats.conf", folder / "log"
            conf.write_text(conf.read_text().replace(" ] }", f", {_ANOTHER} ] }}"))
            before = log.read_text().count("Reloaded server")
            os.kill(pid, signal.SIGHUP)
            await asyncio.to_thread(
                until, lambda: log.read_text().count("Reloaded server") > before, "it has read it"
            )
        far_writer.write(said)
        await asyncio.gather(_passed(reader, far_writer), _passed(far_reader, writer))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text("x")
    url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield replace(settings, url=url, user="laptop", password_file=password), begun
    finally:
        server.close()
        for writer in begun:
            writer.close()


async def _passed(reader, writer):
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
    writer.close()


async def test_who_connects_at_that_moment_is_let_in_all_the_same(tmp_path):
    with shared_server(tmp_path, _USERS.format("")) as settings:
        async with read_anew(tmp_path, settings, 1) as (through, begun), Bus(through) as bus:
            await bus.request("$JS.API.INFO", b"", 2)

    assert len(begun) == 2


async def test_who_is_not_let_in_is_told_so_at_the_second_try(tmp_path):
    with shared_server(tmp_path, _USERS.format("").replace("laptop", "nobody")) as settings:
        async with read_anew(tmp_path, settings, 0) as (through, begun):
            with pytest.raises(NotAllowed):
                async with Bus(through) as bus:
                    await bus.request("$JS.API.INFO", b"", 2)

    assert len(begun) == 2


@contextlib.asynccontextmanager
async def cut_off(server, rounds):
    """End each of the first connections as TLS begins; give the URL, and those that have begun."""
    where, begun = urlsplit(server.url), []

    async def accepted(reader, writer):
        begun.append(writer)
        far_reader, far_writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(await far_reader.readline())
        hello = await reader.read(1 << 16)
        if len(begun) <= rounds:
            far_writer.close()
            writer.close()
            return
        far_writer.write(hello)
        await asyncio.gather(_passed(reader, far_writer), _passed(far_reader, writer))

    front = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield f"tls://127.0.0.1:{front.sockets[0].getsockname()[1]}", begun
    finally:
        front.close()
        for writer in begun:
            writer.close()


@pytest.mark.parametrize(("cut", "is_let_in"), [(1, True), (9, False)])
async def test_who_is_cut_off_as_tls_begins_tries_once_more(tmp_path, cut, is_let_in):
    authority = Authority(tmp_path, "Example CA")
    with Server(tmp_path / "server", authority).running() as server:
        async with cut_off(server, cut) as (url, begun):
            settings = replace(settings_at(tmp_path / "home"), url=url, ca_file=authority.file)
            async with Bus(replace(settings, nkey_file=server.admin_file)) as bus:
                if is_let_in:
                    await bus.send("x", b"", {}, taken=True)
                else:
                    with pytest.raises(BusUnreachable, match="ended the connection as TLS began"):
                        await bus.send("x", b"", {}, taken=True)

    assert len(begun) == 2
