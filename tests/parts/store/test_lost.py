# SPDX-License-Identifier: Apache-2.0
"""What went with a stream that was lost: when that was, what of it is ended, and what is not."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Found
from mcp_agentbus.store import roster
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.subjects import RESULTS, SCHEDULE, TASKS
from mcp_agentbus.store.task import Sent
from mcp_agentbus.store.upkeep import lost
from mcp_agentbus.store.upkeep.lost import Losses, Made

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND, WEEK = timedelta(seconds=1), timedelta(weeks=1)


def sent(**fields):
    times = {"created_at": NOON, "expires_at": NOON}
    return Sent(**{"task_id": "t1", "owner": "planner", "inbox": "coder", **times, **fields})


@pytest.mark.parametrize(
    ("after", "since", "anew"),
    [
        (6 * SECOND, timedelta(), True),
        (5 * SECOND, timedelta(), False),  # all of a new bus are made within that
        (6 * SECOND, 2 * WEEK - SECOND, True),
        (6 * SECOND, 2 * WEEK, False),
    ],
)
def test_a_stream_was_made_anew_that_is_younger_than_the_others(monkeypatch, after, since, anew):
    monkeypatch.setattr(lost.text, "now", lambda: NOON + after + since)
    later = NOON + after

    assert Made(later, NOON, NOON).anew is anew
    assert Made(NOON, later, NOON).anew is anew
    assert Made(NOON, NOON, later).anew is False  # it held no task
    assert lost.is_anew(later, NOON) is anew
    assert Made(later, later, NOON).anew is anew


@pytest.mark.parametrize(
    ("metadata", "at"),
    [
        (None, NOON),
        ({}, NOON),
        ({"agentbus-restored": "2026-11-21T13:00:00Z"}, NOON + 3600 * SECOND),
        ({"agentbus-restored": "soon"}, NOON),
    ],
)
async def test_a_stream_was_made_when_it_was_restored_if_it_was(metadata, at):
    info = {"created": "2026-11-21T12:00:00Z", "config": {"metadata": metadata}}
    calls = []

    async def api(call):
        calls.append(call)
        return info

    assert await lost.made(SimpleNamespace(api=api)) == Made(at, at, at)
    assert calls == [f"STREAM.INFO.{name}" for name in (TASKS, SCHEDULE, RESULTS)]


class Losing:
    """A bus whose stream is missing until it is made."""

    def __init__(self, code, on_missing):
        self.on_missing, self.made = self.make if on_missing else None, 0
        self._code = code

    async def make(self):
        self.made += 1

    async def api(self, _):
        if not self.made:
            raise ApiError(self._code)
        return {"created": "then"}


async def test_a_stream_that_is_missing_is_made_anew_where_that_can_be():
    bus = Losing(NO_SUCH_STREAM, on_missing=True)
    assert (await lost._info(bus, TASKS), bus.made) == ({"created": "then"}, 1)
    for bus in (Losing(NO_SUCH_STREAM, on_missing=False), Losing(10008, on_missing=True)):
        with pytest.raises(ApiError):
            await lost._info(bus, TASKS)


async def test_what_was_lost_is_looked_for_once_after_each_loss(monkeypatch):
    made, calls = [], []

    async def end_lost(_, agent, before):
        calls.append((agent, before))

    async def end_unknown(_, awaited, made_at):
        calls.append((awaited, made_at))

    async def now(_):
        return made.pop(0)

    monkeypatch.setattr(lost, "made", now)
    monkeypatch.setattr(lost, "end_lost", end_lost)
    monkeypatch.setattr(Losses, "_end_unknown", end_unknown)
    monkeypatch.setattr(lost.text, "now", lambda: NOON + 4000 * SECOND)
    later, latest = NOON + 20 * SECOND, NOON + 40 * SECOND
    made += [
        Made(NOON, NOON, NOON), Made(later, NOON, NOON), Made(later, NOON, NOON),
        Made(later, latest, NOON), Made(later, latest, latest),
    ]  # fmt: skip
    losses, told = Losses(None, "planner"), []
    for number in range(5):
        await losses.look({"t1": number})
        told.append(calls[:])
        calls.clear()

    assert told == [[], [("planner", later)], [], [("planner", latest)], [
        ("planner", latest), ({"t1": 4}, latest),
    ]]  # fmt: skip


@pytest.mark.parametrize(
    ("made_ago", "is_anothers", "looks"),
    [
        (3600 * SECOND, False, []),
        (3599 * SECOND, False, [{"t1": 1}]),
        (2 * WEEK, True, [{"t1": 1}]),  # another session has sent it, whenever that was
    ],
)
async def test_at_the_first_look_that_is_lost_whose_records_are_younger_than_what_was_sent(
    monkeypatch, made_ago, is_anothers, looks
):
    calls = []

    async def end_unknown(_, awaited, made_at):
        assert made_at == NOON - made_ago
        calls.append(awaited)

    async def now(_):
        return Made(*[NOON - made_ago] * 3)

    monkeypatch.setattr(lost, "made", now)
    monkeypatch.setattr(Losses, "_end_unknown", end_unknown)
    monkeypatch.setattr(lost.text, "now", lambda: NOON)
    losses = Losses(None, "planner")
    if is_anothers:
        losses.go_on()
    await losses.look({"t1": 1})
    await losses.look({"t1": 2})

    assert calls == looks


async def test_what_is_not_stored_any_more_is_ended_but_what_was_just_sent_or_has_ended(
    monkeypatch,
):
    ended, there = [], {"there"}
    kept = {
        "beside": sent(task_id="beside"),  # stored, and then kept, during this look
        "lost": sent(task_id="lost"),
        "there": sent(task_id="there"),
        "new": sent(task_id="new", created_at=NOON + SECOND),
        "closed": sent(task_id="closed", closed=True),
        "unasked": sent(task_id="unasked", unasked=True),
        "none": None,
    }

    async def stored(stream, subject):
        assert (stream, subject) == (RESULTS, "agentbus.planner.sent.*.*")
        there.add("beside")
        yield list(kept)

    async def ids(*_):
        return {*there}

    async def end(_, sent, what):
        ended.append((sent.task_id, what))

    monkeypatch.setattr(lost, "_there", ids)
    monkeypatch.setattr(lost, "sent_in", kept.get)
    monkeypatch.setattr(lost, "end", end)
    await lost.end_lost(SimpleNamespace(stored=stored), "planner", NOON + SECOND / 2)

    assert ended == [("lost", "and nobody can read it")]


async def test_what_is_stored_is_looked_up_also_where_it_waits_for_its_time():
    asked = []

    async def stored(stream, subject, *, page):
        asked.append((stream, subject, page))
        yield [Found(subject, 1, NOON, {"Agentbus-Task": f"t{len(asked)}"}, b"")]

    there = await lost._there(SimpleNamespace(stored=stored), "planner")

    assert there == {"t1", "t2", "t3"}
    assert asked == [
        (SCHEDULE, "agentbus.*.sched.*.planner.*", 100),
        (SCHEDULE, "agentbus.*.due.*.planner", 100),
        (TASKS, "agentbus.*.tasks.*.planner", 100),
    ]


async def test_of_what_was_awaited_and_is_gone_with_the_records_its_sender_is_told(monkeypatch):
    kept, ended = {"kept": sent(task_id="kept")}, []

    async def read_sent(_, owner, inbox, task_id):
        assert (owner, inbox) == ("planner", "coder")
        return kept.get(task_id), 0

    async def there(*_):
        return {"there", "kept"}

    async def end(_, gone, what):
        ended.append((gone, what))

    monkeypatch.setattr(lost, "read_sent", read_sent)
    monkeypatch.setattr(lost, "_there", there)
    monkeypatch.setattr(lost, "end", end)
    monkeypatch.setattr(lost.text, "now", lambda: NOON)
    deadline = NOON + WEEK
    awaited = dict.fromkeys(("gone", "there", "kept"), ("coder", deadline))
    await Losses(None, "planner")._end_unknown(awaited, NOON)
    assert ended == [(sent(task_id="gone", expires_at=deadline), "with all that was kept of it")]

    kept["since"] = sent(task_id="since", created_at=NOON)  # whose end went, or is on its way
    kept["late"] = sent(task_id="late", created_at=NOON - SECOND)  # kept after the loss
    ended.clear()
    of_both = dict.fromkeys(("since", "late"), ("coder", deadline))
    await Losses(None, "planner")._end_unknown(of_both, NOON)
    assert ended == [(kept["late"], "with all that was kept of it")]


@pytest.mark.parametrize(
    ("standing", "is_held", "is_ended"),
    [
        (None, False, True),
        ("claimed", False, True),
        ("claimed", True, False),
        ("completed", False, False),
    ],
)
async def test_what_is_lost_fails_but_what_has_ended_or_is_held(
    monkeypatch, standing, is_held, is_ended
):
    first, written = first_record(sent()), []
    record = step(first, standing, "coder", "s", NOON) if standing else None

    async def read_record(*_):
        return record, 5 if record else 0

    async def may_hold(*_):
        return is_held

    async def write_record(_, record, revision):
        written.append((record, revision))

    monkeypatch.setattr(lost, "read_record", read_record)
    monkeypatch.setattr(lost, "write_record", write_record)
    monkeypatch.setattr(roster, "may_hold", may_hold)
    monkeypatch.setattr(lost.text, "now", lambda: NOON)
    await lost.end(None, sent(), "and nobody can read it")

    reason = "the bus server has lost it, and nobody can read it: send it again if it is wanted"
    failed = step(record or first, "failed", "planner", "", NOON, reason=reason)
    assert written == ([(failed, 5 if record else 0)] if is_ended else [])
