# SPDX-License-Identifier: Apache-2.0
"""The files by which this machine logs in: what is read, and what is said of one that is of no use."""

import base64
import binascii
import socket
from pathlib import Path

import pytest
from local_server import settings_at
from nats_owner import Key, Operator

from mcp_agentbus.bus.connection import Link
from mcp_agentbus.bus.login.login import Login, login_of
from mcp_agentbus.bus.login.nkey import Nkey, NoSeed
from mcp_agentbus.errors import BadSetup, BusUnreachable, Untrusted

FILE = Path("/etc/agentbus/key")
# The pair of NATS's own documentation.
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


def test_a_seed_has_the_public_key_that_nats_has_for_it():
    assert Nkey(SEED).public == PUBLIC
    ours = Key("user")
    assert Nkey(ours.seed).public == ours.public


@pytest.mark.parametrize(
    "seed",
    [
        "",
        "SU",
        PUBLIC,
        SEED[:-1],
        f"{SEED}AA",
        SEED.replace("Y", "Z"),
        SEED.lower(),
        "SÜ" * 29,
        pytest.param(Key("account").seed, id="an account's"),
    ],
)
def test_what_is_no_seed_of_a_user_is_refused(seed):
    with pytest.raises(NoSeed) as refusal:
        Nkey(seed)
    assert str(refusal.value) == ""


def test_a_seed_with_a_wrong_check_sum_is_refused():
    raw = base64.b32decode(SEED + "=" * (-len(SEED) % 8))
    assert binascii.crc_hqx(raw[:-2], 0).to_bytes(2, "little") == raw[-2:]
    with pytest.raises(NoSeed):
        Nkey(base64.b32encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode().rstrip("="))


@pytest.mark.parametrize(
    ("login", "hint"),
    [
        (Login("the token of the embedded server", token="t"), "Run `agentbus server start`."),
        (Login("the key of laptop", key=Nkey(SEED), file=FILE, account="laptop"), "whoever runs"),
        (
            Login("an owner's", key=Nkey(SEED), file=Path("/bus/admin.nk")),
            "systemctl --user status",
        ),
        (Login("an owner's", key=Nkey(SEED), file=Path("/bus/system.nk")), "--shared --dir /bus`"),
        (Login("the token in it", token="t", file=FILE), "whoever runs it"),
        (Login(), "whoever runs it"),
    ],
    ids=[
        "one's own",
        "an account's",
        "of its owner",
        "of its owner, for itself",
        "a shared one's",
        "one without a login",
    ],
)
async def test_where_no_server_answers_it_is_started_by_whoever_keeps_it(login, hint):
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(BusUnreachable, match="No server answers") as refused:
            await Link.open(f"nats://127.0.0.1:{unheard.getsockname()[1]}", login)

    assert hint in refused.value.hint
    assert ("server start" in refused.value.hint) == ("server start" in hint)


@pytest.fixture
def named(tmp_path):
    """Gives the settings of a machine that has such a file."""

    def settings(key, content, mode=0o600, **more):
        file = tmp_path / "secret"
        file.write_bytes(content)
        file.chmod(mode)
        return settings_at(tmp_path, **{f"AGENTBUS_{key.upper()}": str(file)}, **more)

    return settings


@pytest.mark.parametrize(
    ("key", "content", "said"),
    [
        ("nkey_file", b"", "holds no seed of a user's key"),
        ("nkey_file", PUBLIC.encode(), "holds no seed of a user's key"),
        ("creds_file", b"", "holds no NATS credentials"),
        ("creds_file", SEED.encode(), "holds no NATS credentials"),
        pytest.param(
            "creds_file", Operator().credentials().replace("\nSU", "\nSA").encode(), "holds no seed",
            id="an account's",
        ),
        ("creds_file", b"\xff" * 100, "holds no NATS credentials"),
    ],
)  # fmt: skip
def test_a_file_that_holds_something_else_is_refused_by_its_key(named, key, content, said):
    with pytest.raises(BadSetup, match=said) as refusal:
        login_of(named(key, content))

    assert key in refusal.value.hint
    assert SEED not in str(refusal.value)


@pytest.mark.parametrize("key", ["token_file", "password_file", "creds_file", "nkey_file"])
def test_a_secret_that_others_may_read_or_that_is_not_there_is_not_used(named, key, tmp_path):
    more = {"AGENTBUS_USER": "me"} if key == "password_file" else {}
    with pytest.raises(BadSetup, match="open to other users"):
        login_of(named(key, SEED.encode(), 0o644, **more))
    settings = named(key, b"", **more)
    (tmp_path / "secret").unlink()
    with pytest.raises(BadSetup, match="secret cannot be read") as refusal:
        login_of(settings)
    assert f"Correct {key}" in refusal.value.hint


def test_a_login_that_is_printed_shows_no_secret(named):
    content = Operator().credentials()
    shown = repr(login_of(named("creds_file", content.encode())))

    assert not any(word in shown for word in content.split() if len(word) > 40)


async def test_a_name_that_leads_off_all_private_networks_is_not_spoken_to_in_plain_text():
    with pytest.raises(Untrusted, match=r"203.0.113.7:4222 is at 203.0.113.7, in no private"):
        await Link.open("nats://203.0.113.7", Login())


@pytest.mark.parametrize("said", ["Authorization Violation", "expired", "revoked"])
@pytest.mark.parametrize(
    "login", [Login(), Login(token="t"), Login(file=FILE), Login(file=FILE, account="laptop")]
)
def test_what_a_login_that_is_not_taken_has_to_do_is_a_sentence_that_others_may_follow(login, said):
    assert login.refused("bus.example.org:4222", said).hint.endswith(".")


@pytest.mark.parametrize(
    ("url", "named"),
    [("", "token_file, creds_file"), ("nats://127.0.0.1:4222", "AGENTBUS_TOKEN_FILE")],
)
def test_whom_a_server_lets_in_by_nothing_is_told_where_to_name_what_opens_it(tmp_path, url, named):
    """Of the server that a variable names, what config.toml names may open another."""
    settings = settings_at(tmp_path, AGENTBUS_URL=url)

    assert named in login_of(settings).refused("127.0.0.1:4222", "").hint
