# SPDX-License-Identifier: Apache-2.0
"""When a person may be told: not twice in a minute, not in quiet hours, more rarely if in vain."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.config import names
from mcp_agentbus.config.sections.human import Human
from mcp_agentbus.config.values import Hours
from mcp_agentbus.config.watcher import Watcher
from mcp_agentbus.core import files
from mcp_agentbus.core.notices import Reason
from mcp_agentbus.human import needs
from mcp_agentbus.human.book import Tap, TapBook
from mcp_agentbus.human.needs import Need
from mcp_agentbus.human.tap import Tapped
from mcp_agentbus.human.teller import Teller
from mcp_agentbus.store import codec
from mcp_agentbus.store.steps import step
from mcp_agentbus.store.task import Moment, Record
from mcp_agentbus.wakes.facts import Waiting

RING = Human(command=("ring",))


@pytest.fixture
def teller(settings):
    settings.state_dir.mkdir(parents=True)

    def make(human=RING):
        return Teller(None, Watcher(replace(settings, human=human)), None, print, frozenset)

    return make


def told(teller, ago, failures=0):
    at = datetime.now(UTC) - ago
    teller._book.taps, teller._book.failures = [Tap(at, "", not failures, "")], failures


def test_the_first_thing_is_told_at_once(teller):
    assert teller()._pause_s() <= 0


@pytest.mark.parametrize(
    ("ago", "failures", "minutes"),
    [(0, 0, 1), (2, 0, 0), (0, 1, 2), (0, 3, 8), (0, 30, 60), (-600, 0, 0)],
)
def test_the_next_waits_a_minute_and_longer_after_failures(teller, ago, failures, minutes):
    one = teller()
    told(one, timedelta(minutes=ago), failures)

    assert max(0, one._pause_s()) == pytest.approx(60 * minutes, abs=5)


def test_in_quiet_hours_it_waits_for_their_end(teller):
    now = datetime.now().astimezone()
    end = (now + timedelta(hours=2)).replace(second=0, microsecond=0)
    begin = (now - timedelta(hours=1)).time().replace(second=0, microsecond=0, tzinfo=None)
    quiet = replace(RING, quiet_hours=Hours(begin, end.time()))

    assert teller(quiet)._pause_s() == pytest.approx((end - now).total_seconds(), abs=5)
    over = replace(RING, quiet_hours=Hours(end.time(), begin if begin != end.time() else time(0)))
    assert teller(over)._pause_s() <= 0


@pytest.fixture
def lines(monkeypatch):
    """The lines that a person is told."""
    lines = asyncio.Queue()

    async def noted(_, line, __):
        lines.put_nowait(line)
        return Tapped(is_told=True, said="")

    monkeypatch.setattr("mcp_agentbus.human.teller.tap", noted)
    return lines


async def test_what_waits_is_told_with_what_came_while_no_listener_ran(teller, lines):
    one = teller()
    one._book.add(Need("needs_approval", "coder", "9d0c2f1e", "before"))

    async def read():
        one._book.add(Need("needs_approval", "coder", "17aa2f1e", "meanwhile"))

    one._is_read = SimpleNamespace(wait=read)
    telling = asyncio.ensure_future(one._tell())
    async with asyncio.timeout(5):
        assert await lines.get() == "2 approvals are needed: agentbus status"
    telling.cancel()


async def test_what_waits_is_told_though_the_bus_is_away(teller, lines, monkeypatch):
    monkeypatch.setattr("mcp_agentbus.human.teller._READS_WITHIN_S", 0)
    one = teller()
    one._book.add(Need("held", "coder", "9d0c2f1e", "before"))
    telling = asyncio.ensure_future(one._tell())
    async with asyncio.timeout(5):
        assert await lines.get() == "a wake of coder is held: agentbus task 9d0c2f1e"
    telling.cancel()


async def test_what_was_settled_before_it_could_be_told_is_told_to_nobody(teller, lines):
    one, at = teller(), datetime(2026, 11, 27, 10, tzinfo=UTC)
    asked = Record(
        task_id="t1", owner="planner", inbox="coder", state="needs_input", agent="coder",
        updated_at=at, history=(Moment(state="needs_input", at=at, by="coder"),),
    )  # fmt: skip
    gone_on = step(asked, "completed", "coder", "", at + timedelta(minutes=1))

    async def stored(*_, **__):
        data = (codec.encode_record(asked), codec.encode_record(gone_on))
        subject = "agentbus.planner.results.coder.t1"
        yield [Found(subject, n, at, {}, each) for n, each in enumerate(data, 1)]

    async def read():
        of_record = partial(needs.of_record, users={"*"}, named={"coder"})
        await one._read_from("*", 1, None, of_record)

    class New(asyncio.Event):
        """Wakes the first time for what is settled by then."""

        is_first = True

        async def wait(self):
            if self.is_first:
                self.is_first = False
                return True
            one._add(Need("held", "coder", "9d0c2f1e", "since"))
            return await super().wait()

    one._bus, one._new = SimpleNamespace(stored=stored), New()
    one._is_read = SimpleNamespace(wait=read)
    telling = asyncio.ensure_future(one._tell())
    async with asyncio.timeout(5):
        assert await lines.get() == "a wake of coder is held: agentbus task 9d0c2f1e"
    telling.cancel()


def test_a_failed_tap_is_told_of_for_as_long_as_anything_is_to_be_told(teller):
    one = teller()
    one._book.add(Need("held", "coder", "9d0c2f1e", "held coder coder t1"))
    told(one, timedelta(), failures=1)
    assert one.says

    claimed = {"state": "claimed", "agent": "coder", "updated_at": datetime.now(UTC)}
    one._book.settle(Record(task_id="t1", owner="planner", inbox="coder", **claimed))
    assert one.says == ""


@pytest.mark.parametrize("ends_by", [None, OSError(24, "Too many open files")])
async def test_what_is_broken_off_as_it_is_told_waits_to_be_told(teller, monkeypatch, ends_by):
    begun = asyncio.Event()

    async def broken_off(*_):
        begun.set()
        if ends_by:
            raise ends_by
        await asyncio.Event().wait()

    monkeypatch.setattr("mcp_agentbus.human.teller.tap", broken_off)
    one = teller()
    one._is_read.set()
    one._book.add(Need("held", "coder", "9d0c2f1e", "1"))
    telling = asyncio.ensure_future(one._tell())
    await begun.wait()
    telling.cancel()
    await asyncio.wait([telling])

    assert one.says == "It was broken off. 1 thing to be told of."
    assert TapBook(one._watcher.settings.taps_file).waiting == one._book.waiting


async def test_where_the_book_of_names_cannot_be_read_holds_are_told_and_the_status_says_why(
    settings, lines, monkeypatch
):
    monkeypatch.setattr("mcp_agentbus.human.teller._READS_WITHIN_S", 0)
    settings.state_dir.mkdir(parents=True)
    files.write_whole(names.file_of(settings), b"no book")
    elsewhere = replace(settings, human=RING, url="nats://127.0.0.1:1")
    one = Teller(None, Watcher(elsewhere), None, print, frozenset)
    running = asyncio.ensure_future(one.run())
    waits = Waiting("task coder 9d0c2f1e", "task", "9d0c2f1e", "planner", "planner", "coder")
    one.held(Reason.PROFILE, "coder", waits)
    async with asyncio.timeout(5):
        assert (await lines.get()).startswith("a wake of coder is held: ")
    running.cancel()

    assert one.says.startswith(f"{names.file_of(settings)}, the book of names, cannot be read.")
