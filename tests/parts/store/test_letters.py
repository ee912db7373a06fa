# SPDX-License-Identifier: Apache-2.0
"""The outbox: what is put there lies there, once, and is what was put."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, BusUnreachable, StoreFull
from mcp_agentbus.store.outbox import outbox as module
from mcp_agentbus.store.outbox.letter import Home, Letter, letter_in
from mcp_agentbus.store.outbox.outbox import Outbox, read_outbox
from mcp_agentbus.store.outbox.own import Own, own_server
from mcp_agentbus.store.task import Task, Undecodable

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
HOME = Home(("tls://a.example.org", "tls://b.example.org"), "laptop", "ca")


def task(number=1, **changed):
    fields = {
        "id": f"{number:032x}", "sender": "planner", "to": "role-review", "subject": "Zähle",
        "body": "Zeile\nund 🚂", "priority": "high", "thread_id": "t", "in_reply_to": "ab" * 8,
        "created_at": NOW, "deliver_at": NOW + timedelta(hours=1),
        "expires_at": NOW + timedelta(days=1), "notify": "wake", "chain": ("lead", "planner"),
        "hops": 2, "session": "5e55", "request": "r" * 32, "reply_to": "lead",
        "content_type": "markdown", "task_type": "review",
    }  # fmt: skip
    return Task(**fields | changed)


SAID = {"summary": "not any\nmore", "body": "ä" * 131_072, "artifacts": ("a.md",), "progress": 40.5}


@pytest.mark.parametrize(("is_over", "said"), [(False, {}), (True, {}), (True, SAID)])
def test_what_is_read_is_what_was_written(is_over, said):
    me = Agent("planner", "claude-code", 'Says "ä"\n', ("review",), accept_from=("lead", "role:x"))
    letter = Letter(task(), me, HOME, is_over=is_over, said=said)

    found = Found(letter.subject, 7, NOW, letter.headers, letter.data)
    assert letter_in(found) == letter


def test_a_letter_of_a_sender_that_says_more_of_itself_than_is_kept_says_what_is():
    letter = Letter(task(), Agent("planner", description="x" * 301), HOME)

    read = letter_in(Found(letter.subject, 7, NOW, letter.headers, letter.data))
    assert read.sender.description == "x" * 300


@pytest.mark.parametrize("said", ["no", {"artifacts": 7, "progress": "much", "state": "failed"}])
def test_what_others_wrote_of_an_end_is_told_as_far_as_a_record_can_have_it(said):
    letter = Letter(task(), Agent("planner"), HOME, is_over=True, said=said)

    read = letter_in(Found(letter.subject, 7, NOW, letter.headers, letter.data))
    nothing = {"summary": "", "body": "", "artifacts": (), "progress": None}
    assert read.said == (nothing if isinstance(said, dict) else {})


def test_what_an_older_agentbus_has_written_of_an_end_is_told():
    letter = Letter(task(), Agent("planner"), HOME, is_over=True)
    headers = {**letter.headers, "Agentbus-Outbox": '{"said": "not any more"}'}

    read = letter_in(Found(letter.subject, 7, NOW, headers, letter.data))
    assert read.said["summary"] == "not any more"


def test_what_is_no_letter_is_said_to_be_none():
    with pytest.raises(Undecodable):
        letter_in(Found("agentbus-outbox.planner.send.coder", 7, NOW, {}, b"{}"))
    with pytest.raises(Undecodable):
        letter_in(Found("agentbus-outbox.planner.send.coder.high.ab", 7, NOW, {}, b"no JSON"))


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (Home(("tls://b.example.org", "tls://c.example.org"), "laptop"), True),
        (Home(("tls://c.example.org",), "laptop"), False),
        # Its server has moved to another address.
        (Home(("tls://c.example.org",), "laptop", "ca"), True),
        (Home(("tls://c.example.org",), "laptop", "another"), False),
        (Home(("tls://c.example.org",), "pi", "ca"), False),
        (Home(("tls://a.example.org",), "pi"), False),
        (Home((), ""), False),
    ],
)
def test_a_bus_is_known_by_the_account_and_one_of_its_addresses_or_its_authority(other, is_same):
    assert HOME.is_same(other) is other.is_same(HOME) is is_same


def test_what_no_authority_is_known_of_is_not_one_bus_for_that():
    assert not Home(("tls://a.example.org",), "x").is_same(Home(("tls://b.example.org",), "x"))


def test_an_authority_is_that_of_an_account_by_what_its_certificate_says(settings, tmp_path):
    ca = settings.joined_folder / "laptop-1.crt"
    ca.parent.mkdir(parents=True)
    joined = replace(settings, url="tls://a.example.org", account="laptop", ca_file=ca)
    assert not Home.of(joined).authority  # it cannot be read
    ca.write_text("A\nB\n")
    known = Home.of(joined).authority
    assert known
    assert not Home.of(replace(joined, account=None)).authority
    ca.write_text("A\r\nB")
    assert Home.of(joined).authority == known

    # One of a company's may have signed several, on each of which there is an account laptop.
    company = tmp_path / "company.crt"
    company.write_text("A\nB\n")
    assert not Home.of(replace(joined, ca_file=company)).authority


async def test_on_a_bus_of_ones_own_what_another_has_left_is_looked_after_and_no_server_ended(
    shared, settings, monkeypatch
):
    async def none(_):
        return {}

    assert Outbox.of(settings) is None
    assert Outbox.of(shared)
    settings.data_dir.mkdir(parents=True)
    (settings.data_dir / "outbox").write_text("started")
    left = Outbox.of(settings)
    monkeypatch.setattr(Outbox, "_read_all", none)
    monkeypatch.setattr(module.embedded, "end", lambda _: pytest.fail("It is the bus."))

    assert await left.rest()
    assert Outbox.of(settings) is None


@pytest.fixture
def shared(settings):
    """The settings of a machine whose bus is elsewhere."""
    return replace(settings, url="tls://a.example.org", account="laptop")


@pytest_asyncio.fixture
async def box(shared):
    outbox = Outbox(shared)
    yield outbox
    await outbox.close()


async def test_nothing_is_started_for_an_outbox_in_which_nothing_lies(box, shared, settings):
    assert box.seen == ()
    assert await box.waits() == ()
    assert not await box.has("planner")
    assert not box.may_hold
    assert not await box.rest()
    assert embedded.find(settings) is None
    assert await read_outbox(shared, may_start=False) == ()


async def test_the_same_is_put_there_once_and_another_under_its_id_is_refused(box, monkeypatch):
    assert not (await box.put(task(), Agent("planner"))).duplicate
    assert box.filled.is_set()  # by it the listener knows without a look
    assert (await box.put(task(), Agent("planner"))).duplicate
    with pytest.raises(BadInput):
        await box.put(task(request="s" * 32), Agent("planner"))
    monkeypatch.setattr(module, "LETTERS_MAX", 1)
    with pytest.raises(StoreFull):
        await box.put(task(2), Agent("planner"))

    [waits] = await box.waits()
    assert (await box.read(waits)).task == task()
    assert await box.has("planner")
    assert not await box.has("coder")


async def test_what_was_stored_as_its_call_was_cancelled_lies_there_and_is_known(box, monkeypatch):
    asked = box._own.asked

    async def cancelled(ask):
        await asked(ask)
        raise asyncio.CancelledError

    assert await box.waits() == ()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(box._own, "asked", cancelled)
        with pytest.raises(asyncio.CancelledError):
            await box.put(task(), Agent("planner"))
    is_told = box.filled.is_set()

    assert (await box.put(task(), Agent("planner"))).duplicate
    assert not await box.rest()
    assert is_told  # the listener hands it on at once


async def test_its_server_is_stopped_once_nothing_lies_there_and_not_before(box, shared, settings):
    await box.put(task(), Agent("planner"))
    assert not await box.rest()
    [waits] = await box.waits()
    await box.take_out(waits)
    assert await box.rest()
    assert embedded.find(settings) is None
    assert not embedded.Files(settings.data_dir).stopped.exists()  # nobody has asked for that
    # And a server that ran before stays.
    embedded.ensure(settings)
    await box.put(task(), Agent("planner"))
    [waits] = await box.waits()
    await box.take_out(waits)
    assert await box.rest()
    assert embedded.find(settings)


def test_its_server_is_begun_before_it_is_asked_so_that_no_call_pays_for_that(shared, monkeypatch):
    own, begun = Own(shared), []
    monkeypatch.setattr(embedded, "ensure", begun.append)

    own._begin()

    assert begun == [own_server(shared)]
    assert (own.is_marked, own.was_started) == (True, True)
    # A copy of the folder with the letters in it has the mark, whatever else is lost.
    assert (shared.data_dir / "outbox").read_bytes() == b"started"


async def test_whoever_only_looks_starts_no_server(box, shared, settings):
    await box.put(task(), Agent("planner"))
    await box.close()
    embedded.stop(own_server(shared))

    with pytest.raises(BusUnreachable, match="does not run"):
        await read_outbox(shared, may_start=False)
    before = asyncio.all_tasks()
    assert [waits.task.id for waits in await read_outbox(shared)] == [task().id]
    assert asyncio.all_tasks() == before  # it has left the server alone again


async def test_what_was_withdrawn_is_so_though_a_crash_left_both(box, shared, settings):
    await box.put(task(), Agent("planner"))
    [waits] = await box.waits()
    letter = await box.read(waits)
    await box._store(replace(letter, is_over=True))  # and killed before the other was deleted

    anew = Outbox(shared)
    assert anew.seen is None  # not: nothing
    [left] = await anew.waits()
    assert anew.seen == (left,)
    assert left.is_over
    assert await anew.find(task().id) is None
    await anew.take_out(left)
    await anew.close()
    assert await read_outbox(shared) == ()
