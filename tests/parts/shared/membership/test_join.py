# SPDX-License-Identifier: Apache-2.0
"""To be an account of a shared server: what is written, and what is told of each refusal.

The nats-server is real, and speaks TLS; behind its lobby is a stand-in.
"""

import asyncio
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from certificates import Authority
from lobbies import Server, lobby
from local_server import configured, settings_at

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.connection import Link, LinkLost
from mcp_agentbus.bus.login.account import LOBBY
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.config import names
from mcp_agentbus.errors import (
    BadInput,
    BusUnreachable,
    NameTaken,
    Refused,
    Unconfirmed,
    Untrusted,
)
from mcp_agentbus.shared.membership import join as joining
from mcp_agentbus.shared.membership.join import join
from mcp_agentbus.shared.membership.leave import leave
from mcp_agentbus.shared.membership.place import JoinedFolder

_OWN = '[server]\nbinary = "/usr/bin/nats-server" # mine\nurl = "nats://127.0.0.1:5"\n'


@pytest.fixture
def settings(tmp_path):
    return configured(tmp_path / "home", f"# mine\n{_OWN}")


def files(settings):
    folder = settings.config_file.parent / "joined"
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


async def test_who_joins_is_let_in_by_a_key_that_stays_here_and_gets_all_back_as_it_leaves(
    tmp_path, settings
):
    async with lobby(tmp_path) as server:
        line = server.line("laptop")
        joined = await join(settings, line)
        now = joined.settings

        assert (joined.account, joined.was_joined, now.account) == ("laptop", False, "laptop")
        assert names.read(now).since  # it sends before it has reached the bus once, too
        assert (now.urls, str(now.binary)) == (line.urls, "/usr/bin/nats-server")
        assert now.ca_file.read_text().split() == line.ca_pem.split()
        kind = line.id[:8]
        assert files(now) == ["joined.json", f"laptop-{kind}.crt", f"laptop-{kind}.nk"]
        modes = {file.stat().st_mode & 0o777 for file in now.nkey_file.parent.iterdir()}
        assert (modes, now.nkey_file.parent.stat().st_mode & 0o777) == ({0o600}, 0o700)
        assert now.config_file.read_text().startswith("# mine\n[server]\nbinary")
        kept = (now.nkey_file.parent / "joined.json").read_text()
        assert line.secret not in kept
        assert line.lobby_seed not in kept
        assert line.secret not in now.config_file.read_text()
        assert server.accounts == {"laptop": Nkey(now.nkey_file.read_text()).public}
        async with Bus(now) as bus:
            assert await bus.api("INFO")

        # The same line again: the same key.
        again = await join(now, line)
        assert again.was_joined
        assert server.accounts == {"laptop": Nkey(again.settings.nkey_file.read_text()).public}
        # Another line for this account: another key, and the one before goes.
        rotated = await join(now, server.line("laptop"))
        assert rotated.settings.nkey_file != now.nkey_file
        assert len(files(now)) == 3
        assert rotated.before == tomllib.loads(_OWN)["server"]

        left = await leave(rotated.settings, give_back=True)
        assert (left.told, server.left, server.accounts) == (
            True, [("laptop", {"give_back": True})], {},
        )  # fmt: skip
        assert files(now) == []
        assert tomllib.loads(now.config_file.read_text()) == tomllib.loads(_OWN)
        assert left.settings.account is None
        with pytest.raises(BadInput, match="is no account"):
            await leave(left.settings, give_back=False)
        with pytest.raises(Refused, match="used already"):
            await join(left.settings, line)
        assert tomllib.loads(now.config_file.read_text()) == tomllib.loads(_OWN)


async def test_an_answer_that_was_lost_is_had_by_the_same_line_again(
    tmp_path, settings, monkeypatch
):
    monkeypatch.setattr(joining, "_LOBBY_S", 0.3)
    async with lobby(tmp_path) as server:
        line = server.line("laptop")
        server.says[line.id] = None
        with pytest.raises(Unconfirmed, match="not known whether") as refusal:
            await join(settings, line)
        assert "same line" in refusal.value.hint
        assert "lobby" not in " ".join(files(settings))
        assert "account" not in settings.config_file.read_text()

        server.says.clear()
        monkeypatch.undo()
        joined = await join(settings, line)
        assert [asked["key"] for asked in server.asked] == [
            Nkey(joined.settings.nkey_file.read_text()).public
        ] * 2


async def test_each_refusal_says_what_happened_and_what_to_do_and_changes_nothing(
    tmp_path, settings
):
    before = settings.config_file.read_text()
    later = {"expires_at": datetime.now(UTC) - timedelta(minutes=1)}
    cases = [
        ("used", {}, Refused, "used already", "agentbus server invite laptop"),
        ("expired", later, Refused, "has expired", "agentbus server invite laptop"),
        ("expired", {}, Refused, "has expired", "date -u"),
        ("revoked", {}, Refused, "was revoked", "agentbus server invite laptop"),
        ("unknown", {}, Refused, "does not know this line", "agentbus server invite laptop"),
        ("name-taken", {}, NameTaken, "another account's name", "invite NAME"),
        ("bad-request", {}, Refused, "another version", "pip install --upgrade"),
        ("not-applied", {}, Refused, "This line is good", "same line"),
        ("too-many", {}, Refused, "too many", "Wait a minute"),
        ("what-not", {}, Refused, "another version", "pip install --upgrade"),
    ]
    async with lobby(tmp_path) as server:
        for word, other, kind, what, hint in cases:
            line = server.line("laptop", **other)
            server.says[line.id] = {"refused": word}
            with pytest.raises(kind) as refusal:
                await join(settings, line)
            assert what in refusal.value.message, word
            assert hint in refusal.value.hint, word
            assert "Nothing was done." in refusal.value.message
            assert line.secret not in str(refusal.value)
        foreign = server.line("laptop", lobby_seed=new_seed())
        with pytest.raises(Refused, match="of another server") as refusal:
            await join(settings, foreign)
        assert foreign.lobby_seed not in str(refusal.value)
    assert settings.config_file.read_text() == before


@pytest.mark.promise(54)
async def test_a_server_that_is_not_the_one_of_the_line_is_told_nothing(tmp_path, settings):
    other = Authority(tmp_path, "Other CA")
    for hosts, days, ca, what, hint in (
        (("127.0.0.1",), (-2, 30), other.file.read_text(), "not signed by", "invite laptop"),
        (("bus.example.org",), (-2, 30), None, "for another name", "Name the server"),
        (("127.0.0.1",), (-3, -1), None, "has expired", "clock here is right"),
        (("127.0.0.1",), (1, 3), None, "not valid yet", "clock"),
    ):
        name = f"{what.replace(' ', '-')}"
        with Server(
            tmp_path / name, Authority(tmp_path, name), hosts=hosts, days=days
        ).running() as server:
            line = server.line("laptop", **({"ca_pem": ca} if ca else {}))
            with pytest.raises(Untrusted, match=what) as refusal:
                await join(settings, line)
            assert hint in refusal.value.hint
            assert "nothing was told" in refusal.value.message


async def test_a_server_that_is_away_or_has_no_gate_is_told_apart(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(joining, "_STARTS_S", 0.3)
    with Server(tmp_path / "server", Authority(tmp_path, "CA")).running() as server:
        with pytest.raises(BusUnreachable, match="its gate does not run") as refusal:
            await join(settings, server.line("laptop"))
        assert "agentbus server gate" in refusal.value.hint
        line = server.line("laptop")
    with pytest.raises(BusUnreachable, match="Nothing was done") as refusal:
        await join(settings, line)
    assert "firewall" in refusal.value.hint
    assert "same line" in refusal.value.hint


async def test_a_key_that_the_server_took_and_does_not_let_in_is_kept_for_the_same_line(
    tmp_path, settings, monkeypatch
):
    monkeypatch.setattr(joining, "PROBE_S", 0.5)
    async with lobby(tmp_path) as server:
        line = server.line("laptop")
        server.says[line.id] = {"ok": True, "account": "laptop"}
        with pytest.raises(BusUnreachable, match="does not let its key in"):
            await join(settings, line)
        assert "account" not in settings.config_file.read_text()
        server.says.clear()
        monkeypatch.undo()
        assert (await join(settings, line)).account == "laptop"


async def test_who_is_an_account_or_has_a_server_in_a_variable_is_told_before_anybody_is_asked(
    tmp_path, settings
):
    line = Server(tmp_path / "server", Authority(tmp_path, "CA")).line("laptop")
    line = replace(line, urls=("tls://bus.example.org:4222",))
    url = "tls://other.example.org:4222"
    with pytest.raises(BadInput, match="AGENTBUS_URL say") as refusal:
        await join(settings_at(tmp_path / "other", AGENTBUS_URL=url), line)
    assert "unset AGENTBUS_URL" in refusal.value.hint

    seed = tmp_path / "vps.nk"
    seed.touch(mode=0o600)
    text = f'[server]\nurl = "{url}"\nnkey_file = "{seed}"\naccount = "vps"\n'
    with pytest.raises(BadInput, match=r"account vps of other\.example\.org:4222") as refusal:
        await join(configured(tmp_path / "vps", text), line)
    assert "agentbus leave" in refusal.value.hint


async def test_an_account_that_the_server_has_removed_or_cannot_be_told_goes_all_the_same(
    tmp_path, settings
):
    async with lobby(tmp_path) as server:
        joined = await join(settings, server.line("laptop"))
        server.accounts.clear()
        await server._reload()
        left = await leave(joined.settings, give_back=False)
        assert (left.told, server.left) == (True, [])

        joined = await join(settings, server.line("laptop"))
    left = await leave(joined.settings, give_back=False)
    assert not left.told
    assert left.why_not
    assert files(joined.settings) == []
    with pytest.raises(BadInput):
        await leave(left.settings, give_back=False)


async def test_of_two_who_type_the_same_line_at_once_both_have_the_key_that_is_let_in(
    tmp_path, settings
):
    async with lobby(tmp_path) as server:
        line = server.line("laptop")
        both = [asyncio.to_thread(asyncio.run, join(settings, line)) for _ in range(2)]
        joined = await asyncio.gather(*both)
        assert [each.account for each in joined] == ["laptop"] * 2
        kept = joined[0].settings.nkey_file.read_text()
        assert server.accounts == {"laptop": Nkey(kept).public}


async def test_an_account_leaves_by_its_own_key_whatever_config_toml_says_since(tmp_path, settings):
    async with lobby(tmp_path) as server:
        joined = await join(settings, server.line("laptop"))
        now = configured(tmp_path / "home", _OWN)
        left = await leave(now, give_back=False)
        assert (left.told, server.accounts) == (True, {})
        assert joined.settings.config_file.read_text() == _OWN
        assert files(now) == []

        server.says["leave"] = {"ok": False}
        joined = await join(now, server.line("laptop"))
        left = await leave(joined.settings, give_back=False)
        assert (left.told, left.why_not) == (False, "it could not remove the account")


async def test_a_server_at_another_address_is_known_by_its_authority_or_by_config_toml(
    tmp_path, settings
):
    async with lobby(tmp_path) as server:
        before = server.url
        joined = await join(settings, server.line("laptop"))
        server.url = before.replace("127.0.0.1", "localhost")
        joined = await join(joined.settings, server.line("laptop"))
        assert joined.settings.urls == (server.url,)

        # Of an account whose server is elsewhere its user has written that down.
        place = JoinedFolder(joined.settings)
        place.keep(replace(place.record(), urls=("tls://127.0.0.1:1",)))
        foreign = server.line("laptop", ca_pem=Authority(tmp_path, "Other").file.read_text())
        with pytest.raises(Untrusted):
            await join(joined.settings, foreign)
        with pytest.raises(BadInput, match="the account laptop of"):
            await join(joined.settings, replace(foreign, urls=("tls://other.example.org:4222",)))
        left = await leave(joined.settings, give_back=False)
        assert (left.told, server.accounts) == (True, {})


async def test_who_is_the_account_already_is_told_so_by_a_second_line(tmp_path, settings):
    async with lobby(tmp_path) as server:
        joined = await join(settings, server.line("laptop"))
        second = server.line("laptop")
        server.says[second.id] = {"refused": "name-taken"}

        with pytest.raises(NameTaken, match="the account laptop already, by another line"):
            await join(joined.settings, second)


async def test_a_gate_that_starts_just_now_is_waited_for(tmp_path, settings):
    with Server(tmp_path / "server", Authority(tmp_path, "CA")).running() as server:
        joins = asyncio.ensure_future(join(settings, server.line("laptop")))
        async with server.gate(delay_s=0.5):
            assert (await joins).account == "laptop"


async def test_a_server_with_a_certificate_of_a_public_authority_is_known_as_any(
    tmp_path, settings, monkeypatch
):
    async with lobby(tmp_path) as server:
        with pytest.raises(Untrusted, match="nobody whom this machine trusts"):
            await join(settings, server.line("laptop", ca_pem=""))
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority.file))
        joined = await join(settings, server.line("laptop", ca_pem=""))
        assert joined.settings.ca_file is None
        assert [name.rpartition(".")[2] for name in files(joined.settings)] == ["json", "nk"]


@pytest.fixture
def cuts(monkeypatch):
    """Have so many connections end in the middle of a request, as when the server reads anew."""
    left, request = [0], Link.request

    async def cut(link, subject, *how, **more):
        if subject == LOBBY and left[0]:
            left[0] -= 1
            await link.close()
            raise LinkLost
        return await request(link, subject, *how, **more)

    monkeypatch.setattr(Link, "request", cut)
    return left


async def test_who_asks_as_the_server_reads_its_configuration_anew_asks_again(
    tmp_path, settings, cuts
):
    async with lobby(tmp_path) as server:
        cuts[0] = 2
        joined = await join(settings, server.line("laptop"))

    assert (joined.account, cuts) == ("laptop", [0])


async def test_of_a_server_that_ends_each_connection_nothing_is_known(
    tmp_path, settings, cuts, monkeypatch
):
    monkeypatch.setattr(joining, "_MAKES_ROOM_S", 0.3)
    async with lobby(tmp_path) as server:
        cuts[0] = 1_000
        with pytest.raises(Unconfirmed, match="not known whether this machine has joined") as said:
            await join(settings, server.line("laptop"))

    assert "again with the same line" in said.value.hint
