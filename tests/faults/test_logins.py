# SPDX-License-Identifier: Apache-2.0
"""Each way into somebody else's NATS: the right one opens, and of others is said what is wrong."""

import asyncio
import contextlib
import ssl
import time
from pathlib import Path

import pytest
import served
from certificates import Authority
from doctors import report
from local_server import configured
from nats_owner import Key, Operator, shared_server

from mcp_agentbus.bus import budget
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.connection import Link
from mcp_agentbus.bus.login.login import Login
from mcp_agentbus.bus.nats_client import MendedClient
from mcp_agentbus.errors import BusUnreachable, NotAllowed, Untrusted

# Of a word that is not waited for: whoever tries again and again takes the whole of a call's time.
AT_ONCE_S = budget.CALL_S / 2
CANARY = "canary-of-the-password"


class Way:
    """A way to log in: what the server is told of it, what config.toml, and what is wrong with one."""

    def __init__(self, conf, key, right, wrong, more=""):
        self.conf, self.key, self.right, self.wrong, self.more = conf, key, right, wrong, more


def by_password():
    users = f'users: [ {{ user: "laptop", password: "{CANARY}" }} ]'
    return Way(
        f"authorization {{ {users} }}", "password_file", CANARY, "another", 'user = "laptop"'
    )


def by_key():
    ours, other = Key("user"), Key("user")
    conf = f"authorization {{ users: [ {{ nkey: {ours.public} }} ] }}"
    return Way(conf, "nkey_file", f"# mine\n{ours.seed}\n", other.seed)


def by_credentials():
    operator = Operator()
    return Way(operator.conf, "creds_file", operator.credentials(), Operator().credentials())


def by_token():
    return Way(f'authorization {{ token: "{CANARY}" }}', "token_file", CANARY, "another")


def saying(folder, url, way, secret):
    """Return the settings of a machine whose config.toml names that way, with such a secret."""
    file = folder / way.key
    file.touch(mode=0o600)
    file.write_text(secret)
    lines = ["[server]", f'url = "{url}"', f'{way.key} = "{file}"', way.more]
    return configured(folder / "home", "\n".join(lines))


async def refused(settings):
    """Return what is said to who connects, and see that it takes no longer than it may."""
    async with Bus(settings) as bus:
        began = time.monotonic()
        with pytest.raises(NotAllowed) as refusal:
            await bus.api("INFO")
        assert time.monotonic() - began < AT_ONCE_S
    return str(refusal.value)


@pytest.mark.parametrize("make", [by_token, by_password, by_key, by_credentials])
async def test_the_right_login_opens_and_of_a_wrong_one_is_said_which_it_was(tmp_path, make):
    way = make()
    with shared_server(tmp_path, way.conf) as shared:
        nothing = await refused(shared)
        settings = saying(tmp_path, shared.url, way, way.right)
        async with Bus(settings) as bus:
            await bus.api("INFO")
        _, checks = await report(settings)
        said = await refused(saying(tmp_path, shared.url, way, way.wrong))
        typed = await served.typed(settings.data_dir.parent, "doctor")

    file = str(tmp_path / way.key)
    assert checks["server"]["state"] == "ok"
    assert file in checks["server"]["said"]
    assert "does not take" in said
    assert file in said
    assert "lets nobody in without a login, and none is set" in nothing
    shown = repr(settings) + repr(checks) + said + typed[1]
    assert not any(
        secret in shown for secret in (*way.right.split(), *way.wrong.split()) if len(secret) > 8
    )


async def test_of_credentials_that_have_expired_is_said_when(tmp_path):
    operator = Operator()
    way = Way(operator.conf, "creds_file", "", "")
    with shared_server(tmp_path, operator.conf) as shared:
        over = operator.credentials(exp=int(time.time()) - 3600)
        said = await refused(saying(tmp_path, shared.url, way, over))

        soon = operator.credentials(exp=int(time.time()) + 2)
        async with Bus(saying(tmp_path, shared.url, way, soon)) as bus:
            await bus.api("INFO")
            ended = asyncio.Event()
            bus._link.on_end(ended.set)
            await asyncio.wait_for(ended.wait(), 30)
            with pytest.raises(NotAllowed, match=r"expired on 20\d\d-"):
                await bus.api("INFO")
            # One that was put there meanwhile opens.
            saying(tmp_path, shared.url, way, operator.credentials())
            assert await bus.api("INFO")

    assert "expired on 20" in said
    assert f"Ask whoever runs it for new ones, and put them into {tmp_path / 'creds_file'}" in said


@pytest.fixture
def certified(tmp_path):
    """A server that knows its users by their certificates; how one is shown with its files."""
    authority = Authority(tmp_path, "Example CA")
    bus = authority.issued("bus")
    conf = (
        f'tls {{ cert_file: "{bus[0]}", key_file: "{bus[1]}", ca_file: "{authority.file}", '
        f'verify_and_map: true }}\nauthorization {{ users: [ {{ user: "CN=laptop" }} ] }}'
    )
    with shared_server(tmp_path, conf) as shared:
        url = shared.url.replace("nats:", "tls:")

        def shown(files):
            lines = [f'url = "{url}"', f'ca_file = "{authority.file}"']
            keys = zip(("cert_file", "key_file"), files, strict=True)
            lines += [f'{key} = "{file}"' for key, file in keys]
            return configured(tmp_path / "home", "\n".join(["[server]", *lines]))

        yield authority, shown


async def test_a_certificate_can_be_the_login_and_one_that_has_expired_is_told(certified):
    authority, shown = certified
    right, unknown = authority.issued("laptop"), authority.issued("stranger")
    over = authority.issued("late", days=(-9, -1))

    async with Bus(shown(right)) as ours:
        await ours.api("INFO")
    said = await refused(shown(unknown))
    _, expired = await served.typed(shown(over).data_dir.parent, "agents")

    assert f"does not take the certificate in {unknown[0]}" in said
    assert "does not let this machine in" in expired
    assert "expired" in expired


async def test_an_alert_that_the_system_has_dropped_is_listened_for_once_more(
    certified, monkeypatch
):
    authority, shown = certified
    over, enter = authority.issued("late", days=(-9, -1)), MendedClient.enter

    async def reset(*args, **options):
        with contextlib.suppress(ssl.SSLError, ConnectionResetError):
            await enter(*args, **options)
        raise ConnectionResetError

    monkeypatch.setattr(MendedClient, "enter", reset)
    async with Bus(shown(over)) as ours:
        with pytest.raises(Untrusted, match=r"does not let this machine in \(certificate expired"):
            await ours.api("INFO")


async def test_a_server_at_an_address_of_ipv6_is_used(tmp_path):
    with shared_server(tmp_path, "", listen="[::1]:-1") as shared:
        assert "[::1]" in shared.url
        async with Bus(shared) as bus:
            assert await bus.api("INFO")
        port = shared.url.rpartition(":")[2]
    with pytest.raises(BusUnreachable, match=rf"No server answers at \[::1\]:{port}"):
        await Link.open(f"nats://[::1]:{port}", Login())


def test_no_login_is_handed_to_a_process_but_by_the_name_of_its_file(tmp_path):
    settings = saying(tmp_path, "tls://bus.example.org", by_password(), CANARY)

    assert CANARY not in str(settings.environ)
    assert Path(settings.password_file).read_text() == CANARY
