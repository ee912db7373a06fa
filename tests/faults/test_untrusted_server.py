# SPDX-License-Identifier: Apache-2.0
"""A shared server that speaks TLS: what is said of one that is not to be trusted, or trusts nobody."""

import asyncio
import logging
import ssl
from contextlib import contextmanager
from pathlib import Path

import pytest
import served
from certificates import Authority
from doctors import report, shared_server
from listeners import listening
from local_server import configured

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.connection import Link
from mcp_agentbus.bus.login.login import Login
from mcp_agentbus.bus.login.trust import Trust
from mcp_agentbus.errors import BusUnreachable, Untrusted

ASKS_FOR_A_CERTIFICATE = 'ca_file: "{}", verify: true, '


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "Example CA")


@pytest.fixture
def bus(tmp_path, authority):
    """Starts a shared server with such a certificate; gives what config.toml says of it, and adds."""

    @contextmanager
    def started(*, more="", **certificate):
        files = authority.issued("bus", **certificate)
        with shared_server(tmp_path, *files, more=more) as settings:

            def saying(*lines, host="127.0.0.1"):
                url = settings.url.replace("127.0.0.1", host)
                text = [f'url = "{url}"', f'token_file = "{settings.token_file}"', *lines]
                return configured(tmp_path / "home", "\n".join(["[server]", *text]))

            yield saying

    return started


async def typed(settings):
    """Type `agentbus agents`; return the exit code and all that it printed, on both streams."""
    return await served.typed(settings.data_dir.parent, "agents")


async def self_tested(settings):
    """Type `agentbus doctor --self-test`; return as `typed`."""
    return await served.typed(settings.data_dir.parent, "doctor", "--self-test")


def ca(file):
    return f'ca_file = "{file}"'


async def test_a_server_of_a_private_ca_is_used_once_that_is_named(bus, authority):
    with bus() as saying:
        code, said = await typed(saying())
        assert (code, said.count("\n")) == (3, 2)
        assert "certificate of 127.0.0.1" in said
        assert "is signed by nobody whom this machine trusts" in said
        assert 'Hint: If it is of a private CA: ca_file = "/path' in said

        # And nothing besides: a library may have something to say of a server that goes.
        assert await typed(saying(ca(authority.file))) == (0, "No agent matches.\n")


async def test_who_was_not_trusted_is_by_the_session_that_runs_once_its_ca_is_named(bus, authority):
    with bus() as saying:
        async with Bus(saying()) as session:
            with pytest.raises(Untrusted):
                await session.api("INFO")

            saying(ca(authority.file))
            assert await session.api("INFO")


async def test_each_place_that_says_why_there_is_no_connection_says_the_same(bus, authority):
    silent = "and says nothing."
    with bus(more="handshake_first: true, ") as saying:
        settings = saying(ca(authority.file))
        async with listening(settings):
            standing = served.typed(settings.data_dir.parent, "listen", "--status")
            asked = (typed(settings), self_tested(settings), standing, report(settings))
            *printed, (_, checks) = await asyncio.gather(*asked)
        with pytest.raises(BusUnreachable, match=silent) as refused:
            await Link.open(settings.url, Login())

    assert [(silent in said, "take handshake_first out of" in said) for _, said in printed] == [
        (True, True)
    ] * 3
    assert silent in checks["server"]["said"]
    assert "handshake_first" in refused.value.hint


async def test_the_self_test_says_of_a_bad_certificate_that_there_is_no_server(bus):
    with bus() as saying:
        _, said = await self_tested(saying())

    assert "is signed by nobody whom this machine trusts" in said
    assert "Without a server no task can be stored." in said
    assert "streams cannot be used" not in said


@pytest.mark.parametrize(
    ("greeting", "said", "kind"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no NATS server, or ends", BusUnreachable),
        (b"", "is no NATS server, or ends at once", BusUnreachable),
        # It is not tried again: waiting changes nothing.
        (
            b'INFO {"max_payload":1048576,"tls_required":true}\r\n',
            "its URL does not say tls",
            Untrusted,
        ),
    ],
    ids=["web", "closed", "tls"],
)
async def test_what_listens_there_and_is_no_bus_for_us_is_told_from_nobody(greeting, said, kind):
    async def greet(reader, writer):
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        [listens] = server.sockets
        url = f"nats://127.0.0.1:{listens.getsockname()[1]}"
        with pytest.raises(BusUnreachable, match=said) as refused:
            await Link.open(url, Login())
        assert type(refused.value) is kind
    with pytest.raises(
        BusUnreachable, match=r"No server answers at 127\S+: Connection refused"
    ) as no:
        await Link.open(url, Login())
    assert "that AGENTBUS_URL, or url in config.toml, names the server" in no.value.hint


@pytest.mark.parametrize(
    ("certificate", "host", "said"),
    [
        ({"days": (-9, -1)}, "127.0.0.1", "has expired. Nothing was read, and no token was sent"),
        ({"days": (5, 9)}, "127.0.0.1", "is not valid yet"),
        ({"hosts": ["bus.example.org"]}, "localhost", "for another name: Hostname mismatch"),
        ({"hosts": ["bus.example.org"]}, "127.0.0.1", "for another name: IP address mismatch"),
    ],
    ids=["expired", "too early", "another name", "another address"],
)
async def test_a_certificate_that_is_no_good_is_said_to_be_so(
    bus, authority, certificate, host, said
):
    with bus(**certificate) as saying:
        code, printed = await typed(saying(ca(authority.file), host=host))

    assert (code, printed.count("\n")) == (3, 2)
    assert said in printed


async def test_a_server_of_another_ca_than_the_one_named_is_not_used(bus, tmp_path):
    other = Authority(tmp_path, "Other CA")
    with bus() as saying:
        _, said = await typed(saying(ca(other.file)))
        code, checks = await report(saying(ca(other.file)))

    assert f"is not signed by whom {other.file} names" in said
    assert (code, checks["server"]["state"]) == (1, "wrong")
    assert "is not signed by whom" in checks["server"]["said"]


async def test_a_server_that_asks_for_a_certificate_is_shown_the_one_that_is_named(
    bus, authority, tmp_path
):
    ours, other = authority.issued("ours"), Authority(tmp_path, "Other CA").issued("other")

    def shown(files):
        return [
            f'{name} = "{file}"'
            for name, file in zip(("cert_file", "key_file"), files, strict=True)
        ]

    with bus(more=ASKS_FOR_A_CERTIFICATE.format(authority.file)) as saying:
        _, none = await typed(saying(ca(authority.file)))
        _, foreign = await typed(saying(ca(authority.file), *shown(other)))
        right = await typed(saying(ca(authority.file), *shown(ours)))

    assert "name cert_file and key_file under [server]" in none
    assert f"one that it takes, in the place of {other[0]}" in foreign
    assert right == (0, "No agent matches.\n")


async def test_a_server_without_tls_is_told_nothing_by_who_was_to_speak_tls(tmp_path):
    told = []

    async def plain(reader, writer):
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576}\r\n')
        told.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        [listens] = server.sockets
        port = listens.getsockname()[1]
        token = tmp_path / "token"
        token.touch(mode=0o600)
        await asyncio.to_thread(Path.write_text, token, "of-the-bus")
        settings = configured(
            tmp_path / "home",
            f'[server]\nurl = "tls://127.0.0.1:{port}"\ntoken_file = "{token}"\n',
        )
        code, said = await typed(settings)

    assert (code, said.count("\n")) == (3, 2)
    assert "offers no TLS, and its URL says tls. Nothing was read, and no token" in said
    assert set(told) == {b""}


@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_a_server_that_greets_and_hangs_is_said_to_be_so_and_not_tried_at_once_again(scheme):
    async def greet(reader, writer):
        writer.write(b'INFO {"max_payload":1048576,"tls_required":%s}\r\n' % tls)
        await reader.read()
        writer.close()

    tls = b"true" if scheme == "tls" else b"false"
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        trust = Trust(ssl.create_default_context(), f"127.0.0.1:{port}", None, None)
        with pytest.raises(BusUnreachable, match="greets, and does not go on in time") as hangs:
            await Link.open(
                f"{scheme}://127.0.0.1:{port}",
                Login(),
                trust if scheme == "tls" else None,
                within_s=0.2,
            )

    assert type(hangs.value) is BusUnreachable


async def test_a_server_that_goes_is_no_news_for_standard_error(bus, authority, caplog):
    with bus() as saying:
        session = Bus(saying(ca(authority.file)))
        await session.api("INFO")
        ended = asyncio.Event()
        session._link.on_end(ended.set)
    await asyncio.wait_for(ended.wait(), 30)
    await session.close()

    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
