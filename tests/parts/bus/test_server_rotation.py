# SPDX-License-Identifier: Apache-2.0
"""Which server is spoken with: the one there is, or the next of several; and what is said of none."""

import asyncio
from dataclasses import replace

import pytest
from local_server import configured, settings_at

from mcp_agentbus.bus import address
from mcp_agentbus.bus.address import Address, Rotation
from mcp_agentbus.bus.connection import CONNECT_TIMEOUT_S
from mcp_agentbus.bus.login.account import Account, Way
from mcp_agentbus.bus.login.login import Login
from mcp_agentbus.errors import (
    BadSetup,
    BusUnreachable,
    CutOff,
    NotAllowed,
    OutOfReach,
    Untrusted,
)

SERVERS = [Address(f"nats://10.0.0.{number}:4222", Login("nothing")) for number in range(3)]


class Answers:
    """What the servers answer to each connection, in turn; and when, where, for how long asked."""

    def __init__(self, monkeypatch, *answers):
        self.answers, self.asked, self.ats = list(answers), [], []
        monkeypatch.setattr(address.Link, "open", self.open)

    async def open(self, *server, within_s):
        self.asked.append((SERVERS.index(Address(*server)), within_s))
        self.ats.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_the_first_that_answers_is_taken_and_the_next_time_the_one_after_it(monkeypatch):
    away = BusUnreachable("1 is away.")
    answers, rotation = Answers(monkeypatch, "a", away, "b", "c"), Rotation()

    found = [await rotation.open(SERVERS) for _ in range(3)]

    assert found == [("a", SERVERS[0]), ("b", SERVERS[2]), ("c", SERVERS[0])]
    assert answers.asked == [(0, 1.0), (1, 1.0), (2, 1.0), (0, 1.0)]


async def test_a_server_that_is_the_only_one_has_all_the_time_that_a_connection_takes(monkeypatch):
    answers = Answers(monkeypatch, "a")

    assert await Rotation().open(SERVERS[:1]) == ("a", SERVERS[0])
    assert answers.asked == [(0, CONNECT_TIMEOUT_S)]


@pytest.mark.parametrize("error", [NotAllowed("Not you."), CutOff("It ended.")])
async def test_who_is_not_let_in_tries_again_a_moment_later_and_then_no_more(monkeypatch, error):
    monkeypatch.setattr(address, "_READS_ANEW_S", 0.02)
    answers = Answers(monkeypatch, error, "a", error, error)

    assert await Rotation().open(SERVERS[:1]) == ("a", SERVERS[0])
    assert answers.ats[1] - answers.ats[0] >= 0.02
    with pytest.raises(type(error)):
        await Rotation().open(SERVERS[:1])
    assert answers.answers == []


@pytest.mark.parametrize(
    ("errors", "kind", "said"),
    [
        ((BusUnreachable("A.", hint="mend A"),), BusUnreachable, ("A.", "mend A")),
        ((BusUnreachable("A. Nothing was stored.", hint="mend A"),), BusUnreachable,
         ("A. Nothing was stored.", "mend A")),
        ((BusUnreachable("A. Nothing was stored.", hint="mend A"), BusUnreachable("B.", hint="b"),
          BusUnreachable("B.", hint="b")), BusUnreachable, ("A. B. Nothing was stored.", "mend A")),
        ((Untrusted("A.", hint="mend A"), Untrusted("B.")), Untrusted,
         ("A. B. Nothing was stored.", "mend A")),
        ((Untrusted("A.", hint="mend A"), BusUnreachable("B.")), BusUnreachable,
         ("A. B. Nothing was stored.", "mend A")),
        ((BusUnreachable("A."), NotAllowed("B.", hint="mend B")) * 2, NotAllowed,
         ("A. B. Nothing was stored.", "mend B")),
        ((NotAllowed("A.", hint="mend A"), NotAllowed("B.")) * 2, NotAllowed,
         ("A. B. Nothing was stored.", "mend A")),
    ],
)  # fmt: skip
async def test_of_servers_none_of_which_can_be_used_each_is_told_once(
    monkeypatch, errors, kind, said
):
    monkeypatch.setattr(address, "_READS_ANEW_S", 0)
    count = min(len(errors), 3) if kind is not NotAllowed else 2
    Answers(monkeypatch, *errors)
    rotation = Rotation()

    with pytest.raises(kind) as caught:
        await rotation.open(SERVERS[:count])

    assert rotation.some_away is any(isinstance(each, BusUnreachable) for each in errors)
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.hint) == said


URLS = ("nats://127.0.0.1:4000", "nats://127.0.0.1:4001")


def test_each_configured_server_has_the_account_that_is_configured_now(tmp_path, monkeypatch):
    plain = settings_at(tmp_path, AGENTBUS_URL=",".join(URLS))
    of_ann, elsewhere = (replace(plain, account="ann", url=url) for url in (plain.url, URLS[0]))

    def found(now):
        monkeypatch.setattr(address, "load_settings", lambda _: now)
        servers = address.find_servers(plain, may_start=True)
        assert [(each.url, each.trust) for each in servers] == [(url, None) for url in URLS]
        return [(type(each.way), vars(each.way)) for each in servers]

    assert found(plain) == [(Way, {})] * 2
    assert found(of_ann) == [(Account, {"name": "ann"})] * 2
    assert found(elsewhere) == [(Way, {})] * 2  # another bus: this process keeps to its own


def test_settings_that_cannot_be_read_any_more_stand_as_they_were(tmp_path):
    plain = configured(tmp_path, f'[server]\nurl = "{URLS[0]}"')
    (tmp_path / "config.toml").write_text("[server")

    assert [each.url for each in address.find_servers(plain, may_start=True)] == [URLS[0]]


class Own:
    """This user's own server: what is found, why it is away, and whether it was started."""

    def __init__(self, monkeypatch, found=None, away=None):
        self.found, self.away, self.asked = found, away, []
        monkeypatch.setattr(address.embedded, "ensure", lambda _: self._looked("ensure"))
        monkeypatch.setattr(address.embedded, "find", lambda _: self._looked("find"))
        monkeypatch.setattr(address.embedded, "absence", lambda _: self.away)
        monkeypatch.setattr(address.embedded, "read_token", lambda _: "secret")

    def _looked(self, how):
        self.asked.append(how)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def settings(tmp_path):
    return settings_at(tmp_path)


@pytest.mark.parametrize(("may_start", "how"), [(True, "ensure"), (False, "find")])
def test_the_own_server_is_started_if_it_may_be_and_opened_by_its_token(
    monkeypatch, settings, may_start, how
):
    own = Own(monkeypatch, found=SERVERS[1])

    login = Login("the token of the embedded server", token="secret")
    assert address.find_servers(settings, may_start=may_start) == [Address(SERVERS[1].url, login)]
    assert own.asked == [how]


async def test_what_nobody_has_asked_for_starts_no_server(monkeypatch, settings):
    own = Own(monkeypatch, found=SERVERS[1])

    async def unasked():
        address.start_no_server()
        address.find_servers(settings, may_start=True)

    await asyncio.create_task(unasked())
    address.find_servers(settings, may_start=True)

    assert own.asked == ["find", "ensure"]


@pytest.mark.parametrize(
    ("found", "away", "kind", "said"),
    [
        (None, None, BusUnreachable, "The bus server is not running. Nothing was stored."),
        (None, OutOfReach("It is elsewhere.", hint="go"), OutOfReach,
         "Nothing was stored. It is elsewhere."),
        (BusUnreachable("It did not start.", hint="go"), None, BusUnreachable,
         "Nothing was stored. It did not start."),
        (PermissionError(13, "Permission denied"), None, BadSetup, "cannot be used: Permission"),
    ],
)  # fmt: skip
def test_why_the_own_server_cannot_be_used_is_said(
    monkeypatch, settings, found, away, *, kind, said
):
    Own(monkeypatch, found, away)

    with pytest.raises(kind) as caught:
        address.find_servers(settings, may_start=True)

    assert type(caught.value) is kind
    assert said in caught.value.message
    assert caught.value.hint == "go" or not (away or isinstance(found, BusUnreachable))


@pytest.mark.parametrize(
    ("isolated", "away", "loopback", "why"),
    [
        (False, OutOfReach("x"), False, None),
        (True, OutOfReach("It is elsewhere."), True, "It is elsewhere."),
        (True, None, True, None),
        (True, BusUnreachable("It hangs."), True, None),
        (True, None, False, "This sandbox has no network, not even loopback"),
    ],
)
def test_a_listener_in_a_sandbox_is_of_no_use_unless_its_server_is_there_too(
    monkeypatch, settings, isolated, away, *, loopback, why
):
    Own(monkeypatch, away=away)
    monkeypatch.setattr(address.reach, "is_isolated", lambda: isolated)
    monkeypatch.setattr(address.reach, "loopback_works", lambda: loopback)

    found = address.stranded(settings)

    assert (found is None) == (why is None)
    assert why is None or (type(found) is OutOfReach and why in found.message)
    assert address.stranded(replace(settings, url="nats://10.0.0.1:4222")) is None
