# SPDX-License-Identifier: Apache-2.0
"""What was stored is handed out at once, though its consumer may not have heard of it yet."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, ApiError, HandedOut
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import queues, streams, subjects
from mcp_agentbus.store.queries import consumers, pulls


@pytest.fixture
def behind(world, monkeypatch):
    """Have consumers hand out only so many of what is stored, in pull after pull; then all."""
    pull, firsts = world.bus.pull, []

    async def as_one_behind(stream, consumer, batch, **how):
        first = firsts.pop(0) if firsts else batch
        if isinstance(first, Exception):
            raise first
        return await pull(stream, consumer, min(batch, first), **how) if first else []

    monkeypatch.setattr(world.bus, "pull", as_one_behind)
    return firsts


async def _sent(world, count):
    planner, coder = await world.session("planner"), await world.session("coder")
    for number in range(count):
        await send_task(planner, coder.me.id, f"{number}", "x")
    return planner, coder


@pytest.mark.parametrize("firsts", [[0], [0, 0, 0], [1], [2, 0, 1], [1, 1, 0, 0]])
async def test_a_consumer_that_is_behind_hands_out_all_that_was_stored(world, behind, firsts):
    _, coder = await _sent(world, 3)
    behind += firsts

    taken = await pulls.pull(world.bus, consumers.lane(coder.me.id, "normal"), 5)

    assert [delivery.headers["Agentbus-Hops"] for delivery in taken] == ["0"] * 3
    assert sorted(delivery.seq for delivery in taken) == [delivery.seq for delivery in taken]


async def test_it_is_asked_again_after_longer_and_longer_pauses(world, behind, monkeypatch):
    _, coder = await _sent(world, 1)
    behind += [0, 0, 0]
    pauses = []

    async def noted(pause_s):
        pauses.append(pause_s)

    monkeypatch.setattr(pulls, "asyncio", SimpleNamespace(sleep=noted))

    assert len(await pulls.pull(world.bus, consumers.lane(coder.me.id, "normal"), 5)) == 1
    assert pauses == list(pulls._PAUSES_S[:3])


async def test_no_more_are_taken_than_were_asked_for_and_then_nothing_is_looked_for(
    world, behind, monkeypatch
):
    _, coder = await _sent(world, 4)
    consumer = consumers.lane(coder.me.id, "normal")
    behind += [1]
    first = await pulls.pull(world.bus, consumer, 2)
    monkeypatch.setattr(world.bus, "many", None)

    assert [len(first), len(await pulls.pull(world.bus, consumer, 2))] == [2, 2]


async def test_an_answer_names_what_was_stored_before_it_was_asked(world, behind):
    _, coder = await _sent(world, 2)
    behind += [0, 0]  # for what is urgent, and the others

    assert [item.task.subject for item in (await read_inbox(coder)).tasks] == ["0", "1"]


async def test_a_result_is_given_though_its_consumer_is_behind(world, behind):
    planner, coder = await _sent(world, 1)
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, item.task.id, "completed", summary="12")
    behind += [consumers.CLAIMS_MAX] * 3 + [0]  # each lane as it is

    assert [record.summary for record in (await read_inbox(planner)).results] == ["12"]


async def test_what_others_hold_is_nothing_to_wait_for(world, monkeypatch):
    _, coder = await _sent(world, 2)
    consumer = consumers.lane(coder.me.id, "normal")
    held = await pulls.pull(world.bus, consumer, 5)
    monkeypatch.setattr(pulls.asyncio, "sleep", None)  # nobody waits here

    assert (len(held), await pulls.pull(world.bus, consumer, 5)) == (2, [])


async def test_what_was_taken_is_returned_whatever_comes_after(world, behind):
    _, coder = await _sent(world, 3)
    consumer = consumers.lane(coder.me.id, "normal")
    behind += [1, BusUnreachable(), 1, HandedOut()]

    taken = [await pulls.pull(world.bus, consumer, 5) for _ in range(2)]

    assert [len(some) for some in taken] == [1, 1]


@pytest.mark.parametrize("firsts", [[], [0]], ids=["has handed it out", "was behind"])
async def test_a_consumer_that_is_lost_at_that_moment_is_made_anew_by_the_next_pull(
    world, behind, firsts
):
    _, coder = await _sent(world, 1)
    behind += firsts
    consumer = consumers.lane(coder.me.id, "normal")
    pull = world.bus.pull

    async def and_lose(*which, **how):
        taken = await pull(*which, **how)
        await world.bus.api(f"CONSUMER.DELETE.{consumer.stream}.{consumer.name}")
        return taken

    with pytest.MonkeyPatch.context() as lost:
        lost.setattr(world.bus, "pull", and_lose)
        first = await pulls.pull(world.bus, consumer, 5)
    again = await pulls.pull(world.bus, consumer, 5)

    assert (len(first), len(again)) == (1, 1)


async def test_what_waits_is_counted_though_its_consumer_is_behind(world, monkeypatch):
    _, coder = await _sent(world, 2)
    api = world.bus.api

    async def as_one_behind(call, *more, **how):
        info = await api(call, *more, **how)
        return info | {"num_pending": 0} if call.startswith("CONSUMER.INFO") else info

    monkeypatch.setattr(world.bus, "api", as_one_behind)
    looks = [
        await look(world.bus, coder.me.id, "normal") for look in (queues.look, queues.look_soon)
    ]

    assert [lane.count for lane in looks] == [2, 2]


class Scripted:
    """A bus whose consumer answers as it is told; notes what is done."""

    connections = 1

    def __init__(self, *answers, stored=(), handed_out=0):
        self.answers, self.stored, self.handed_out = list(answers), list(stored), handed_out
        self.done = []

    async def pull(self, stream, consumer, batch, **how):
        self.done.append(("pull", stream, consumer, batch, how))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def give_back(self, delivery):
        self.done.append(("give back", delivery.seq))

    async def many(self, stream, request):
        self.done.append(("many", stream, request))
        return self.stored

    async def api(self, call):
        if self.handed_out is None:
            raise BusUnreachable
        return {"delivered": {"consumer_seq": 99, "stream_seq": self.handed_out}}


CONSUMER = consumers.lane("coder", "normal")


def delivery(seq, **headers):
    return SimpleNamespace(seq=seq, headers=headers)


@pytest.mark.parametrize(
    ("answer", "before"),
    [
        (ApiError(NO_SUCH_CONSUMER), [("streams",)]),
        (
            [delivery(3), delivery(4, **{subjects.H_LEFT_OUT: "512"})],
            [("give back", 3), ("give back", 4)],
        ),
    ],
)
async def test_a_consumer_that_is_lost_or_leaves_out_what_is_said_is_made_anew(
    monkeypatch, answer, before
):
    bus, whole = Scripted(answer, [delivery(5)]), ("pull", CONSUMER.stream, CONSUMER.name, 2)

    async def made(bus, *consumer):
        bus.done.append(("consumer", *consumer) if consumer else ("streams",))

    monkeypatch.setattr(streams, "ensure_streams", made)
    monkeypatch.setattr(consumers, "ensure_consumer", made)

    pulls._handed_out[bus] = (1, {CONSUMER: 500})

    assert await pulls._pulled(bus, CONSUMER, 2) == [delivery(5)]
    assert pulls._known(bus) == {CONSUMER: 0}  # it counts anew where its stream was lost
    assert bus.done == [
        (*whole, {}), *before, ("consumer", CONSUMER), (*whole, {"is_made": True}),
    ]  # fmt: skip


async def test_what_the_server_refuses_besides_is_said():
    with pytest.raises(ApiError):
        await pulls._pulled(Scripted(ApiError(10008)), CONSUMER, 2)


@pytest.mark.parametrize(
    ("known", "taken", "answers", "start", "is_behind"),
    [
        (0, [], ([5], 4), 1, True),
        (0, [], ([5], 5), 1, False),  # others have taken it
        (2, [], ([], 2), 3, False),
        (2, [3], ([5], 4), 4, True),
        (4, [3], ([5], 4), 5, True),
    ],
)
async def test_a_consumer_is_behind_where_more_is_stored_than_it_has_handed_out(
    known, taken, answers, start, is_behind
):
    bus = Scripted(stored=map(delivery, answers[0]), handed_out=answers[1])
    pulls._handed_out[bus] = (1, {CONSUMER: known})

    assert await pulls._is_behind(bus, CONSUMER, list(map(delivery, taken))) is is_behind
    request = {"seq": start, "batch": 1, "next_by_subj": CONSUMER.subject}
    assert bus.done == [("many", CONSUMER.stream, request)]


async def test_what_was_handed_out_on_a_connection_that_is_lost_is_asked_anew_on_the_next():
    """Its server may have lost the stream since, which counts from 1 again."""
    bus = Scripted([], [], handed_out=500)
    await pulls.pull(bus, CONSUMER, 2)
    bus.connections, bus.handed_out = 2, 3
    await pulls.pull(bus, CONSUMER, 2)

    starts = [what[2]["seq"] for what in bus.done if what[0] == "many"]
    assert starts == [501, 4]


async def test_of_a_consumer_of_which_nothing_can_be_heard_nothing_is_known():
    assert await pulls._told(Scripted(handed_out=7), CONSUMER) == 7
    assert await pulls._told(Scripted(handed_out=None), CONSUMER) == 0
