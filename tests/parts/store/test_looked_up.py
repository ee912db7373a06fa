# SPDX-License-Identifier: Apache-2.0
"""Which results an agent has not seen: the oldest first, no more than are wanted, none of others."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from messages import read_record

from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, ApiError
from mcp_agentbus.core.text import now
from mcp_agentbus.store import roster, streams, subjects, unseen
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.records import write_record, write_sent
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import Sent
from mcp_agentbus.store.unseen import Looked, Unseen, look_up


class Results:
    """What became of the tasks of an agent that has no session, as it is stored."""

    def __init__(self, world):
        self.bus, self.me, self._count = world.bus, world.name("planner"), 0

    async def add(self, state="completed", *, session="", seen=False, kept=True, thread_id=""):
        """Store a record, and what its sender keeps; return it as it is looked up."""
        self._count += 1
        sent = Sent(
            task_id=f"t{self._count}", owner=self.me, inbox="coder", created_at=now(),
            expires_at=now(), owner_session=session, thread_id=thread_id,
        )  # fmt: skip
        record = step(first_record(sent), state, "coder", "s", now())
        revision = await write_record(self.bus, record, 0)
        if kept:
            seen_revision = revision if seen else 0
            await write_sent(self.bus, sent.model_copy(update={"seen_revision": seen_revision}), 0)
        return Unseen(record, revision)


@pytest.fixture
async def results(world):
    await streams.ensure_streams(world.bus)
    return Results(world)


def test_a_look_that_brought_nothing_is_empty():
    assert Looked() == Looked(results=[], elsewhere=0)


async def test_what_has_ended_and_was_not_seen_is_looked_up_and_no_more_than_is_wanted(
    world, results
):
    first = await results.add(thread_id="talk")
    await results.add("working")
    await results.add(seen=True)
    await world.bus.publish(subjects.record_subject(results.me, "coder", "t9"), b"no record")
    second, third = await results.add("needs_input"), await results.add("expired")

    assert await look_up(world.bus, results.me, 5) == Looked([first, second, third])
    assert await look_up(world.bus, results.me, 2) == Looked([first, second])
    assert await look_up(world.bus, results.me, 5, thread_id="talk") == Looked([first])


async def test_what_is_for_other_sessions_that_live_is_left_to_them_and_counted(world, results):
    mine, other = await world.session("planner"), await world.session("planner")
    ours = [await results.add(session=each) for each in ("", mine.id)]
    theirs = [await results.add(session=other.id) for _ in range(2)]

    looked = await look_up(world.bus, results.me, 5, session=mine.id)
    by_nobody = await look_up(world.bus, results.me, 5)

    assert looked == Looked(ours, elsewhere=2)
    assert by_nobody == Looked([*ours, *theirs])


async def test_what_is_for_one_that_was_killed_is_for_any_other(world, results):
    """It shows nothing more, whatever it may hold yet."""
    mine, killed = await world.session("planner"), await world.session("planner")
    await roster.beat(world.bus, killed.me, killed.id, gone=True)
    await world.bus.publish(subjects.heartbeat_subject("other", "s"), b"{}")  # both are stored
    theirs = await results.add(session=killed.id)

    assert await look_up(world.bus, results.me, 5, session=mine.id) == Looked([theirs])
    assert [each.task_id for each in await mine.outcomes.results(5)] == ["t1"]


async def test_once_there_are_as_many_as_are_wanted_no_page_more_is_read(
    world, results, monkeypatch
):
    monkeypatch.setattr(unseen, "_PAGE", 1)
    mine, other = await world.session("planner"), await world.session("planner")
    first = await results.add(session=mine.id)
    await results.add(session=other.id)

    assert await look_up(world.bus, results.me, 1, session=mine.id) == Looked([first])


async def test_no_more_is_gone_through_than_was_said(world, results, monkeypatch):
    monkeypatch.setattr(unseen, "_PAGE", 1)
    await results.add(seen=True)
    first = await results.add()
    await results.add()

    looked = [await look_up(world.bus, results.me, 5, search_max=most) for most in (1, 2)]

    assert looked == [Looked(), Looked([first])]


async def test_it_is_looked_for_behind_what_is_confirmed(world, results, monkeypatch):
    first, second = await results.add(), await results.add()

    async def confirmed(*_):
        at = {"stream_seq": first.revision}
        counts = {"num_pending": 1, "num_ack_pending": 0}
        return counts | {"delivered": at, "ack_floor": at}

    monkeypatch.setattr(world.bus, "api", confirmed)
    assert await look_up(world.bus, results.me, 5) == Looked([second])


async def test_a_result_of_a_task_of_which_nothing_is_kept_is_shown_as_such(
    world, results, monkeypatch
):
    await results.add(kept=False)
    assert (await look_up(world.bus, results.me, 5)).results == []  # it may be kept yet

    monkeypatch.setattr(unseen, "_RECORD_LATE", timedelta())
    [end] = (await look_up(world.bus, results.me, 5)).results
    assert end.record.unasked


@pytest.mark.parametrize(
    ("pending", "unconfirmed", "start"), [(0, 0, None), (1, 0, 8), (0, 1, 8), (2, 2, 8)]
)
async def test_where_an_agent_has_read_its_consumer_tells_from_where_on(
    pending, unconfirmed, start
):
    async def api(call):
        assert call == "CONSUMER.INFO.AGENTBUS_RESULTS.planner_results"
        counts = {"num_pending": pending, "num_ack_pending": unconfirmed}
        last = {"delivered": {"consumer_seq": 5, "stream_seq": 9}}
        return counts | last | {"ack_floor": {"consumer_seq": 3, "stream_seq": 7}}

    assert await unseen._first_unconfirmed(SimpleNamespace(api=api), "planner") == start


async def test_who_has_never_read_begins_at_the_first_and_what_is_refused_is_said():
    codes = [NO_SUCH_CONSUMER, 10008]

    async def refused(_):
        raise ApiError(codes.pop(0))

    assert await unseen._first_unconfirmed(SimpleNamespace(api=refused), "planner") == 1
    with pytest.raises(ApiError):
        await unseen._first_unconfirmed(SimpleNamespace(api=refused), "planner")


async def test_of_four_that_were_handed_out_those_that_were_seen_are_finished_at_once(
    world, results
):
    await consumers.ensure_sender(world.bus, results.me)
    consumer = consumers.results(results.me)
    for _ in range(3):
        await results.add(seen=True)
    three = await world.bus.pull(consumer.stream, consumer.name, 3)
    await results.add()
    four = [*three, *await world.bus.pull(consumer.stream, consumer.name, 1)]

    assert await unseen.finish_seen(world.bus, three) == three
    assert await unseen.finish_seen(world.bus, four) == four[3:]
    info = await world.bus.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
    assert info["num_ack_pending"] == 1


@pytest.mark.parametrize(("age_s", "may_be"), [(-0.1, True), (0, True), (0.9, True), (1, False)])
async def test_for_a_second_a_sender_may_be_about_to_keep_what_it_has_sent(
    monkeypatch, age_s, may_be
):
    at = now()

    async def has_come(bus, when):
        assert bus == "bus"
        return when <= at

    monkeypatch.setattr(unseen, "has_come", has_come)

    unasked = read_record().model_copy(update={"unasked": True})
    stored_at = at - timedelta(seconds=age_s)
    assert await unseen.may_be_asked_yet("bus", unasked, stored_at) is may_be
    assert not await unseen.may_be_asked_yet("bus", read_record(), stored_at)


async def test_the_first_results_are_given_that_are_told_as_so_many(results):
    """What was sent in one go and expired unread counts as one."""
    ends = [(await results.add(state)).record for state in ("expired", "completed", "expired")]
    together = [
        each.model_copy(update={"history": ends[0].history, "subject": "Count"})
        if each.state == "expired"
        else each
        for each in ends
    ]
    one, other = together[::2], together[1]

    assert unseen.at_most(1, [*one, other]) == one
    assert unseen.at_most(2, [*one, other]) == [*one, other]
    assert unseen.at_most(1, [other, *one]) == [other]
    assert unseen.at_most(0, [other]) == []
