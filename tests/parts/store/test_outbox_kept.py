# SPDX-License-Identifier: Apache-2.0
"""What lies in the outbox, step by step, by all that its own server is asked for."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from exact_server import ExactServer
from planners_task import TASK
from server_stand_in import NOON

from mcp_agentbus.bus import budget, embedded
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Found, Stored
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, BusUnreachable, InboxFull, StoreFull, Unconfirmed
from mcp_agentbus.store.outbox import own as module
from mcp_agentbus.store.outbox.letter import EVERYTHING, Home, Letter
from mcp_agentbus.store.outbox.outbox import Envelope, Outbox, read_outbox
from mcp_agentbus.store.outbox.own import STREAM, own_server

ME = Agent("planner")
HOME = Home(("tls://a.example.org",), "laptop")
SAID = {"summary": "not any more", "body": "", "artifacts": (), "progress": None}
ELSEWHERE = Home(("tls://b.example.org",), "laptop")
HANG_S = 5  # only a hang takes as long
MADE = (f"STREAM.CREATE.{STREAM}", module._CONFIG)


def task(number=1, **changed):
    return TASK.model_copy(update={"id": f"t{number}", **changed})


def waits(number=1, seq=1, *, is_ours=True, is_over=False):
    """Return what is known of such a task that lies there."""
    return Envelope(task(number, body=""), seq, TASK.created_at, is_ours, is_over)


def deleted(seq):
    return f"STREAM.MSG.DELETE.{STREAM}", {"seq": seq}


class Own(ExactServer):
    """This user's own server, which is begun and asked, and keeps what it is given."""

    def __init__(self):
        super().__init__(infos={STREAM: ApiError(NO_SUCH_STREAM)})
        #: How often it was begun, and connected to, and with which patience that was looked at.
        self.begun, self.connected, self.looked = 0, 0, []
        self.is_there, self.left_s, self.last_seq = True, None, 0

    @asynccontextmanager
    async def connect(self, _):
        self.connected += 1
        yield self

    async def reconnected(self, within_s):
        self.looked.append(within_s)
        return self.is_there

    async def publish(self, subject, data, headers, *, stream=""):
        self.left_s = budget.current().left_s
        self.last_seq += 1
        self.messages.append(Found(subject, self.last_seq, NOON, headers, data))
        self.done.append((stream, subject))
        return Stored(self.last_seq)

    async def api(self, call, body=None):
        if "CREATE" in call:
            self.infos.clear()
        if "DELETE" in call:
            self.messages = [each for each in self.messages if each.seq != body["seq"]]
        return await super().api(call, body)

    def lay(self, number=1, *, home=HOME, is_over=False, **of_it):
        """Have a letter lie there from before."""
        letter = Letter(task(number, **of_it), ME, home, is_over)
        self.last_seq += 1
        self.messages.append(
            Found(letter.subject, self.last_seq, NOON, letter.headers, letter.data)
        )  # fmt: skip


@pytest.fixture
def own(monkeypatch):
    own = Own()

    def ensure(_):
        own.begun += 1

    monkeypatch.setattr(module, "Bus", own.connect)
    monkeypatch.setattr(embedded, "find", lambda _: None)
    monkeypatch.setattr(embedded, "ensure", ensure)
    monkeypatch.setattr(embedded, "end", lambda _: None)
    return own


@pytest.fixture
def shared(settings):
    settings.data_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
    return replace(settings, url=HOME.urls[0], account=HOME.account)


@pytest.fixture
def mark(shared):
    """The file that says that something lies there."""
    mark = shared.data_dir / "outbox"
    mark.write_text("started")
    mark.chmod(0o600)
    return mark


async def test_of_a_machine_whose_bus_is_its_own_no_account_is_left(shared, settings):
    assert own_server(shared) == replace(settings, url=None, account=None)


@pytest.mark.parametrize(("account", "told"), [("laptop", "laptop"), (None, "")])
def test_a_bus_is_that_which_the_settings_name(account, told):
    named = SimpleNamespace(urls=HOME.urls, account=account, ca_file=None)
    assert Home.of(named) == Home(HOME.urls, told)


async def test_what_is_put_there_is_stored_whole_and_known_without_its_body(own, shared):
    box = Outbox(shared)
    before = (box.seen, box.may_hold, box.may_hold_ours, box.is_locked_out, box.filled.is_set())
    await box.put(task(), ME)

    subject = "agentbus-outbox.planner.send.coder.high.t1"
    assert own.done == [MADE, (STREAM, subject)]
    assert before == ((), False, False, False, False)
    known = Envelope(task(body=""), 1, TASK.created_at, is_ours=True)
    assert (box.seen, box.may_hold, box.may_hold_ours) == ((known,), True, True)
    assert box.filled.is_set()
    assert await box.read(known) == Letter(task(), ME, HOME)
    assert own.asked[-1] == (STREAM, {"seq": 1, "batch": 1})
    assert (own.connected, own.begun, set(own.looked)) == (1, 1, {0})


async def test_a_server_that_has_gone_is_begun_again_and_has_its_whole_time_after_that(
    own, shared, monkeypatch
):
    now = [100.0]
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def ensure(_):
        now[0] += budget.CALL_S
        own.begun += 1

    monkeypatch.setattr(embedded, "ensure", ensure)
    box = Outbox(shared)
    await box.put(task(), ME)
    own.is_there = False
    await box.put(task(2), ME)

    assert (own.begun, own.connected) == (2, 1)
    assert own.left_s == pytest.approx(budget.CALL_S)


@pytest.mark.usefixtures("mark")
async def test_what_lies_there_from_before_is_read_page_by_page_the_oldest_first(own, shared):
    own.lay()
    own.lay(2, home=ELSEWHERE)
    own.lay(3, is_over=True)
    box = Outbox(shared)
    before = (box.seen, box.may_hold, box.may_hold_ours)

    known = (waits(), waits(2, 2, is_ours=False), waits(3, 3, is_over=True))
    assert await box.waits() == known
    assert before == (None, True, True)
    assert (box.seen, box.filled.is_set()) == (known, True)
    assert (STREAM, EVERYTHING, 1, 100) in own.asked


async def test_what_an_earlier_version_has_marked_in_another_folder_is_found_and_ends_there(
    own, shared
):
    mark = shared.state_dir / "outbox"
    mark.parent.mkdir(parents=True, mode=0o700)
    mark.write_text("started")
    mark.chmod(0o600)
    own.lay()
    box = Outbox(shared)
    before = box.may_hold
    await box.take_out(*await box.waits())

    assert (before, await box.rest(), mark.exists(), box.may_hold) == (True, True, False, False)


@pytest.mark.usefixtures("mark")
async def test_where_nothing_is_found_nothing_may_lie_there_though_it_was_marked(own, shared):
    box = Outbox(shared)

    assert await box.waits() == ()
    assert (box.may_hold, box.may_hold_ours, box.seen, box.filled.is_set()) == (
        False, False, (), False,
    )  # fmt: skip


@pytest.mark.usefixtures("mark")
async def test_what_is_for_another_bus_alone_is_not_for_this_one(own, shared):
    own.lay(home=ELSEWHERE)
    box = Outbox(shared)
    await box.waits()

    assert (box.may_hold, box.may_hold_ours, await box.has("planner")) == (True, False, False)


@pytest.mark.usefixtures("mark")
async def test_a_task_is_found_by_the_beginning_of_its_id_if_that_is_of_one_that_stays(own, shared):
    for number in (11, 12, 2):
        own.lay(number)
    own.lay(3, is_over=True)
    box = Outbox(shared)

    found = [await box.find(written) for written in ("t11", "t1", "t2", "t3", "t4")]
    assert found == [waits(11), None, waits(2, 3), None, None]


@pytest.mark.usefixtures("mark")
async def test_what_was_seen_is_still_there_if_it_is_the_very_same(own, shared):
    own.lay()
    box = Outbox(shared)
    [seen] = await box.waits()

    assert await box.still(seen) == seen
    assert await box.still(replace(seen, seq=9)) is None
    assert await box.still(waits(2)) is None


@pytest.mark.usefixtures("mark")
async def test_what_is_withdrawn_stays_as_that_and_what_was_said_and_is_there_once(own, shared):
    own.lay(11)
    box = Outbox(shared)

    assert await box.withdraw("planner", "t11", SAID) is True
    over = "agentbus-outbox.planner.end.coder.high.t11"
    assert own.done == [MADE, (STREAM, over), deleted(1)]
    assert await box.waits() == (waits(11, 2, is_over=True),)
    said = Letter(task(11), ME, HOME, is_over=True, said=SAID)
    assert await box.read(waits(11, 2)) == said


@pytest.mark.usefixtures("mark")
@pytest.mark.parametrize(
    ("sender", "task_id", "gone"),
    [("other", "t11", False), ("planner", "t1", False), ("planner", "t2", False),
     ("planner", "t11", True)],
    ids=["of another", "the beginning of an id", "none that lies there", "gone meanwhile"],
)  # fmt: skip
async def test_what_is_not_there_to_be_withdrawn_is_said_not_to_be(
    own, shared, sender, task_id, gone
):
    own.lay(11)
    box = Outbox(shared)
    await box.waits()
    if gone:
        own.messages.clear()

    assert await box.withdraw(sender, task_id, SAID) is False
    assert own.done == [MADE]


@pytest.mark.usefixtures("mark")
@pytest.mark.parametrize("is_over", [False, True])
async def test_what_is_taken_out_is_forgotten_and_of_what_was_withdrawn_both(own, shared, is_over):
    own.lay(is_over=is_over)
    own.lay(2)
    box = Outbox(shared)
    first, second = await box.waits()
    await box.take_out(first)

    both = f"STREAM.PURGE.{STREAM}", {"filter": "agentbus-outbox.planner.send.coder.high.t1"}
    assert own.done == [MADE, deleted(1), *([both] if is_over else [])]
    assert await box.waits() == (second,)


@pytest.mark.usefixtures("mark")
async def test_whoever_waits_for_tasks_is_told_once_all_of_them_are_out_or_at_the_end(own, shared):
    for number in (1, 2, 3):
        own.lay(number)
    box = Outbox(shared)
    first, second, _ = await box.waits()
    waiting = asyncio.create_task(box.handed_on(["t1", "t2"], HANG_S))
    for each in (first, second):
        await asyncio.wait([waiting], timeout=0.01)
        assert not waiting.done()
        await box.take_out(each)

    assert await waiting is True
    assert await box.handed_on(["t1", "t2"], 0) is True
    assert await box.handed_on(["t2", "t3"], 0.01) is False


@pytest.mark.usefixtures("mark")
@pytest.mark.parametrize("is_over", [False, True])
async def test_what_is_kept_for_another_bus_is_not_waited_for_and_keeps_its_id(
    own, shared, is_over
):
    own.lay(home=ELSEWHERE, is_over=is_over)
    box = Outbox(shared)

    assert await box.handed_on(["t1"], HANG_S) is True
    with pytest.raises(BadInput, match="for another bus") as refused:
        await box.put(task(), ME)
    assert ("withdraw that one" in refused.value.hint) is not is_over
    assert own.done == [MADE]


@pytest.mark.parametrize("found", [None, SimpleNamespace(pid=1)], ids=["begun for it", "found"])
async def test_once_nothing_lies_there_the_server_is_stopped_if_it_was_begun_for_that(
    own, shared, monkeypatch, found
):
    stopped, mark = [], shared.data_dir / "outbox"

    def stop(which):
        stopped.append(which)
        mark.unlink()  # as whoever clears the folder at this moment

    monkeypatch.setattr(embedded, "find", lambda _: found)
    monkeypatch.setattr(embedded, "end", stop)
    box = Outbox(shared)
    await box.put(task(), ME)
    before = await box.rest()
    await box.take_out(*await box.waits())

    assert (before, await box.rest(), mark.exists()) == (False, True, False)
    assert stopped == ([own_server(shared)] if found is None else [])
    assert await box.rest() is False


@pytest.mark.usefixtures("mark")
@pytest.mark.parametrize(
    ("letter", "hours", "rests"),
    [
        ({"home": ELSEWHERE, "is_over": True}, -1, True),
        ({"home": ELSEWHERE, "is_over": True}, 1, False),  # an earlier try of it may live there
        ({"home": ELSEWHERE}, -1, False),
        ({"is_over": True}, -1, False),
    ],
)
async def test_what_was_withdrawn_of_a_bus_that_was_left_goes_once_it_is_over_there(
    own, shared, letter, hours, rests
):
    own.lay(**letter, expires_at=text.now() + timedelta(hours=hours))
    box = Outbox(shared)

    assert await box.rest() is rests
    assert len(await box.waits()) == 1 - rests


@pytest.mark.usefixtures("mark")
@pytest.mark.parametrize(
    ("error", "is_known"),
    [
        (StoreFull(), True),
        (BusUnreachable(), True),
        (InboxFull(), False),  # another lies there under its id
        (Unconfirmed(), False),
        (TimeoutError(), False),
    ],
)
async def test_what_lies_there_is_read_again_where_it_is_not_known_whether_one_was_stored(
    own, shared, monkeypatch, error, is_known
):
    async def refused(*_, **__):
        raise error

    own.lay()
    box = Outbox(shared)
    await box.waits()
    monkeypatch.setattr(own, "publish", refused)
    with pytest.raises(Unconfirmed if isinstance(error, TimeoutError) else type(error)):
        await box.put(task(2), ME)

    assert (box.seen is not None) is is_known


@pytest.mark.usefixtures("mark")
async def test_what_was_withdrawn_is_said_to_lie_there_if_that_is_asked_for(own, shared):
    own.lay(is_over=True)
    own.lay(2)

    assert [each.task.id for each in await read_outbox(shared)] == ["t2"]
    assert [each.task.id for each in await read_outbox(shared, with_over=True)] == ["t1", "t2"]


def test_a_letter_waits_since_it_was_sent_and_stays_unless_it_is_said_to_be_over():
    at = NOON - timedelta(hours=1)
    assert Envelope(task(), 1, at, is_ours=True) == Envelope(
        task(), 1, at, is_ours=True, is_over=False
    )
    assert Letter(task(), ME, HOME).said == {}
