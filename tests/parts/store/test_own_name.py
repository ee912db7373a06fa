# SPDX-License-Identifier: Apache-2.0
"""When the roster has a say in who a session is, and what it says of a name."""

from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.config import names
from mcp_agentbus.config.names import NameBook
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable, NameTaken
from mcp_agentbus.store import own_name, roster
from mcp_agentbus.store.own_name import Naming, _asks_roster, _is_new_person, _registered


def found(name="coder", *, host=None, is_settled=False, file=None):
    takes = host and SimpleNamespace(host=host)
    return SimpleNamespace(me=Agent(name), takes=takes, is_settled=is_settled, doubtful=file)


def of(*, url=None, account=None, agents=(), here=(), silent=()):
    settings = SimpleNamespace(url=url, account=account, agents=frozenset(agents))
    return Naming(SimpleNamespace(settings=settings), frozenset(here), lambda: frozenset(silent))


NEW = found(host=names.PERSON)
FILE = SimpleNamespace(agent="coder", changed_at=50.0)


def test_by_itself_no_id_is_known_to_be_here_and_no_session_is_silent():
    bare = Naming(None)

    assert (bare.here, bare.silent()) == (frozenset(), frozenset())


def test_a_person_is_new_who_takes_a_name_that_is_not_settled():
    assert _is_new_person(NEW) is True
    assert _is_new_person(found(host=names.PERSON, is_settled=True)) is False
    assert _is_new_person(found(host="codex")) is False
    assert _is_new_person(found()) is False


@pytest.mark.parametrize(
    ("who", "since", "asks"),
    [
        (found(), 1.0, False),
        (found(), None, True),
        (found(file=FILE), 1.0, True),
        (NEW, 1.0, True),
    ],
)
def test_the_roster_has_a_say_as_a_book_begins_and_of_a_files_or_a_persons_name(who, since, asks):
    assert _asks_roster(who, NameBook(since)) is asks


@pytest.mark.parametrize(("url", "ours"), [(None, "abcd"), ("nats://shared", "ab")])
def test_on_a_shared_server_those_are_ours_that_are_known_to_be_here(url, ours):
    known = of(url=url, agents="ax", here="by")

    assert known._ours(frozenset("abcd")) == frozenset(ours)


@pytest.fixture
def on_roster(monkeypatch):
    """What the roster says: of whom it is asked, registration and live sessions."""
    said = SimpleNamespace(registration=SimpleNamespace(last_seen=1, account=""), live=set())
    said.everybody = []

    async def registration(*_):
        if isinstance(said.registration, Exception):
            raise said.registration
        return said.registration

    async def account_of(*_):
        return getattr(await registration(), "account", "")

    async def live_sessions(*_):
        return frozenset(said.live)

    async def everybody(_):
        return said.everybody

    monkeypatch.setattr(roster, "registration", registration)
    monkeypatch.setattr(own_name, "account_of", account_of)
    monkeypatch.setattr(roster, "live_sessions", live_sessions)
    monkeypatch.setattr(roster, "everybody", everybody)
    monkeypatch.setattr(own_name, "_OURS", set())
    return said


@pytest.mark.parametrize(("account", "elsewhere"), [(None, {"others"}), ("laptop", set())])
async def test_a_new_person_has_no_name_that_is_registered_from_elsewhere(account, elsewhere):
    known = of(url="nats://shared", account=account, agents=["mine"])

    assert await known._elsewhere(None, frozenset({"mine", "others"}), NEW, NameBook()) == elsewhere


@pytest.mark.parametrize(
    ("book", "changed_at", "live", "is_elsewhere"),
    [
        (NameBook(100.0), 50.0, (), True),  # from after the book has begun
        (NameBook(100.0, before=frozenset({"coder"})), 50.0, (), False),
        (NameBook(100.0, before=frozenset({"coder"})), 50.0, ("s1",), True),
        (NameBook(100.0, before=frozenset({"coder"})), 50.0, ("silent",), False),
        (NameBook(100.0, before=frozenset({"coder"})), 100.0, (), True),
        (NameBook(100.0, before=frozenset({"coder"})), 150.0, (), True),
        (NameBook(), 50.0, (), False),
        (NameBook(), 50.0, ("s1",), True),
        (NameBook(), 1e12, (), True),
    ],
)
async def test_a_files_name_is_somebodys_elsewhere_but_of_one_from_before_the_book(
    on_roster, book, changed_at, live, is_elsewhere
):
    on_roster.live = set(live)
    file = SimpleNamespace(agent="coder", changed_at=changed_at)
    known = of(silent=["silent"])._elsewhere(None, frozenset({"coder"}), found(file=file), book)

    assert await known == ({"coder"} if is_elsewhere else frozenset())


@pytest.mark.parametrize(
    ("who", "registered", "registration"),
    [
        (found(), {"coder"}, SimpleNamespace(last_seen=1)),
        (found(file=FILE), {"else"}, SimpleNamespace(last_seen=1)),
        (found(file=FILE), {"coder"}, SimpleNamespace(last_seen=None)),
        (found(file=FILE), {"coder"}, None),
    ],
)
async def test_a_name_that_nobody_has_used_is_free(on_roster, who, registered, registration):
    on_roster.registration = registration

    assert await of()._elsewhere(None, frozenset(registered), who, NameBook(100.0)) == frozenset()


OTHERS = {"coder": "vps", "mine": "laptop", "old": ""}


@pytest.mark.parametrize(
    ("account", "registration", "others", "is_known"),
    [
        (None, "vps", set(), False),
        ("laptop", "vps", {"coder"}, False),
        ("laptop", "laptop", set(), True),
        ("laptop", "", set(), False),
        ("laptop", None, set(), False),
        ("laptop", BusUnreachable(), set(), False),
    ],
)
async def test_whose_a_name_is_the_roster_tells_an_account(
    on_roster, account, registration, others, is_known
):
    if isinstance(registration, str):
        registration = SimpleNamespace(account=registration)
    on_roster.registration = registration
    # One that its account has forgotten is on the roster no more, and its name is theirs still.
    on_roster.everybody = [
        SimpleNamespace(id=each, account=OTHERS[each]) for each in OTHERS if each != "coder"
    ]
    known = of(url="nats://shared", account=account)

    assert await known._others(None, found()) == others
    assert ({("nats://shared", "laptop", "coder")} if is_known else set()) == own_name._OURS


async def test_what_is_known_to_be_this_accounts_is_not_asked_again(on_roster):
    own_name._OURS.add(("nats://shared", "laptop", "coder"))
    on_roster.registration = AssertionError("asked")

    assert await of(url="nats://shared", account="laptop")._others(None, found()) == frozenset()


def test_a_name_that_is_anothers_is_refused():
    known, me = of(account="laptop"), found()

    assert known._mine(me, frozenset({"else"})) is me
    with pytest.raises(NameTaken, match="coder is an agent of another account"):
        known._mine(me, frozenset({"coder"}))


async def test_a_roster_that_is_not_there_has_nobody_and_what_is_refused_is_said(monkeypatch):
    codes = [None, NO_SUCH_STREAM, 10008]

    class Server:
        async def api(self, call):
            assert call == "STREAM.INFO.AGENTBUS_AGENTS"
            if code := codes.pop(0):
                raise ApiError(code)
            return {}

    async def registered(_):
        return frozenset({"coder"})

    monkeypatch.setattr(roster, "registered", registered)
    bus = Server()

    assert [await _registered(bus) for _ in range(2)] == [{"coder"}, frozenset()]
    with pytest.raises(ApiError):
        await _registered(bus)


class Knowing(Naming):
    """Has found this already."""

    def _found(self):
        return self.asked.found, self.asked.book


@pytest.fixture
def roster_has(monkeypatch, on_roster):
    """Which ids are registered; and what is asked of the book, with which of them."""
    has = SimpleNamespace(registered=frozenset(), asked=[])

    async def registered(_):
        has.asked.append("roster")
        return has.registered

    def noted(what):
        def note(_, *more):
            has.asked.append((what, *more))
            return what

        return note

    monkeypatch.setattr(own_name, "_registered", registered)
    monkeypatch.setattr(own_name.identity, "take", noted("take"))
    monkeypatch.setattr(own_name.identity, "find", noted("find"))
    return has


def knowing(who, begin=None, since=1.0):
    settings = SimpleNamespace(url=None, account=None, agents=frozenset())
    book = SimpleNamespace(since=since, begin=begin, before=frozenset())
    return Knowing(SimpleNamespace(settings=settings, found=who, book=book))


@pytest.mark.parametrize("who", [found(is_settled=True, file=FILE), found(is_settled=True)])
async def test_of_who_is_settled_the_roster_is_not_asked(roster_has, who):
    assert (await knowing(who).look(None), await knowing(who).take(None)) == (who, who)
    assert roster_has.asked == []


async def test_where_the_roster_has_no_say_it_is_not_asked(roster_has):
    none = frozenset()

    assert await knowing(found()).look(None)
    assert await knowing(found()).take(None) == "take"
    assert roster_has.asked == [("take", none, none)]


async def test_who_is_new_is_found_and_takes_a_name_by_what_is_registered(roster_has):
    roster_has.registered, begun = frozenset({"coder"}), []
    who = found(is_settled=False)

    assert await knowing(who, begun.append, None).look(None) == "find"
    assert await knowing(who, begun.append, None).take(None) == "take"
    assert begun == [{"coder"}]
    find, take = roster_has.asked[1], roster_has.asked[3]
    assert find[2] == frozenset()
    assert take == ("take", {"coder"}, frozenset())
