# SPDX-License-Identifier: Apache-2.0
"""Events: heard by whoever listens, at most once, and kept by nobody."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import SimpleNamespace

import pytest
from local_server import kill_servers

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, BusUnreachable, NoAnswer, NobodyListens, NotAllowed
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.patterns import command, events
from mcp_agentbus.patterns.events import publish, reply, request, subscribe
from mcp_agentbus.store import subjects
from mcp_agentbus.store.task import BODY_MAX_BYTES
from mcp_agentbus.tools.answers.layout import ANSWER_MAX_CHARS


async def test_whoever_listens_hears_the_topics_that_fit_in_order_with_their_sender(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    topic = world.name("build")
    async with subscribe(coder, f"{topic}.*") as some, subscribe(coder, f"{topic}.>") as more:
        await publish(planner, f"{topic}.state.now", "deeper")
        await publish(planner, f"{topic}.done", "214 tests pass")
        await publish(coder, f"{topic}.seen")

        heard = [await anext(some) for _ in range(2)]
        assert [(event.topic, event.sender, event.body) for event in heard] == [
            (f"{topic}.done", planner.me.id, "214 tests pass"),
            (f"{topic}.seen", coder.me.id, ""),
        ]
        assert [(await anext(more)).topic for _ in range(3)] == [
            f"{topic}.state.now", f"{topic}.done", f"{topic}.seen",
        ]  # fmt: skip


async def test_of_a_group_one_hears_each_event_and_what_nobody_hears_is_gone(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    topic = world.name("job")
    await publish(planner, topic, "before anybody listens")
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(subscribe(coder, topic, group="workers"))
            for _ in range(3)
        ]
        every = await stack.enter_async_context(subscribe(coder, topic))
        for number in range(20):
            await publish(planner, topic, f"{number}")
        assert [(await anext(every)).body for _ in range(20)] == [f"{n}" for n in range(20)]

        bodies = [event.body for member in members for event in member._waiting]
        assert sorted(map(int, bodies)) == list(range(20))


@pytest.mark.parametrize(
    ("body", "some"),
    [("x" * 2_000, ""), ("\n" * BODY_MAX_BYTES, "5,200 of 65,536"), ("\u202e" * 20_000, "4,333 of 20,000")],
)  # fmt: skip
async def test_of_an_event_so_much_is_printed_as_one_answer_has_room_for(world, body, some):
    planner, coder = await world.session("planner"), await world.session("coder")
    topic, printed, listening = world.name("build"), [], asyncio.Event()

    def print_(said, data):
        printed.append((said, data))
        listening.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(command.subscribe(coder, topic, print_, limit=1, say=print))
        await listening.wait()
        await publish(planner, topic, body)
    [_, (said, data)] = printed

    assert data["body"] == body
    assert len(said) < ANSWER_MAX_CHARS
    last = f"{some} characters shown; `agentbus events subscribe --json` prints each event whole"
    assert said.splitlines()[-1] == last if some else said.splitlines()[-1].endswith(">>>")


@pytest.mark.parametrize(
    ("limit", "within_s", "until"),
    [
        (None, None, "until you press Ctrl-C"),
        (None, 5.0, "for 5s"),
        (1, None, "for 1 event"),
        (2, 90.0, "for 2 events, 90s at most"),
    ],
)
async def test_who_listens_is_told_for_how_long(monkeypatch, limit, within_s, until):
    async def none():
        for each in ():
            yield each

    @asynccontextmanager
    async def heard(*_, **__):
        yield none()

    printed = []
    monkeypatch.setattr(command.events, "subscribe", heard)
    with suppress(StopAsyncIteration):  # none is heard
        await command.subscribe(
            SimpleNamespace(me=Agent("page")), "build.*", lambda said, _: printed.append(said),
            say=print, limit=limit, within_s=within_s,
        )  # fmt: skip

    assert printed[0].startswith(f"Listening to build.* as page, {until}. Each event")


async def test_no_event_reaches_an_inbox_or_a_record_and_nothing_of_it_is_stored(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    for topic in (f"{coder.me.id}.tasks.high.{planner.me.id}", "agentbus", "JS.API.STREAM.DELETE"):
        await publish(planner, topic, "do it")

    assert (await read_inbox(coder)).empty
    streams = (await own_world.bus.api("STREAM.NAMES"))["streams"]
    subjects_ = [
        subject
        for stream in streams
        for subject in (await own_world.bus.api(f"STREAM.INFO.{stream}"))["config"]["subjects"]
    ]
    assert [kept for kept in subjects_ if not kept.startswith("agentbus.")] == []


async def test_a_request_is_answered_or_is_told_at_once_that_nobody_listens(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    topic = world.name("state")
    with pytest.raises(NobodyListens):
        await request(planner, topic, within_s=60)

    async with subscribe(coder, topic) as asked, asyncio.TaskGroup() as group:
        answer = group.create_task(request(planner, topic, "which tests fail?"))
        event = await anext(asked)
        await reply(coder, event, f"none of those to '{event.body}'")
        answered = await answer
        assert (answered.topic, answered.sender) == (topic, coder.me.id)
        assert answered.body == "none of those to 'which tests fail?'"

        with pytest.raises(NoAnswer) as silent:
            await request(planner, topic, within_s=0.05)
        assert not isinstance(silent.value, NobodyListens)
        await publish(planner, topic)
        assert (await anext(asked)).wants_answer
        with pytest.raises(BadInput, match="Nobody waits"):
            await reply(coder, await anext(asked))


async def test_a_request_cannot_have_its_answer_written_anywhere_else(world):
    """Else whoever answers would send a task, or call the server, for whoever asks."""
    planner, coder = await world.session("planner"), await world.session("coder")
    topic = world.name("state")
    link = await planner.bus._live()
    async with subscribe(coder, topic) as asked:
        for to in (f"agentbus.{coder.me.id}.tasks.high.boss", "$JS.API.STREAM.NAMES", "_INBOX.*"):
            await link._publish(subjects.event_subject("boss", topic), b"", to, None)
            assert not (await anext(asked)).wants_answer


async def test_what_is_no_event_and_what_a_slow_reader_cannot_take_counts_as_missed(
    world, monkeypatch
):
    monkeypatch.setattr(events, "WAITING_MAX", 2)
    planner, coder = await world.session("planner"), await world.session("coder")
    topic = world.name("build")
    async with subscribe(coder, ">") as heard:
        for subject, data in (
            (f"agentbus-events.Not-An-Agent.{topic}", b""),
            (f"agentbus-events.boss.{topic}.\u202e", b""),
            (f"agentbus-events.boss.{topic}", b"x" * (BODY_MAX_BYTES + 1)),
        ):
            heard.heard(Message(subject, data, {}, ""))
        for number in range(4):
            await publish(planner, topic, f"{number}")
        first, second = [await anext(heard) for _ in range(2)]
        await publish(planner, topic, "4")
        third = await anext(heard)

    assert [(event.body, event.missed) for event in (first, second, third)] == [
        ("0", True), ("1", False), ("4", True),
    ]  # fmt: skip


async def test_it_hears_again_after_the_server_was_killed_and_says_that_some_may_be_missed(
    own_world,
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    async with subscribe(coder, "build.*") as heard:
        waiting = asyncio.ensure_future(anext(heard))
        await publish(planner, "build.begun")
        assert not (await waiting).missed
        waiting = asyncio.ensure_future(anext(heard))
        kill_servers(own_world.bus.settings)
        await asyncio.to_thread(embedded.ensure, own_world.bus.settings)
        assert await own_world.bus.reconnected(20)
        await publish(planner, "build.done")

        event = await waiting
        assert (event.topic, event.missed) == ("build.done", True)


async def test_whoever_waits_on_a_bus_that_is_closed_is_told(home, world):
    async with Bus.connect(home) as bus:
        coder = await world.session("coder")
        coder.bus = bus
        async with subscribe(coder, "build.*") as heard:
            waiting = asyncio.ensure_future(anext(heard))
            await bus.close()
            with pytest.raises(BusUnreachable, match="closed"):
                await waiting


@pytest.mark.parametrize(
    "topic", ["", "a..b", ".a", "a b", "a.*", "a.>", "$JS.API", "a" * 129, "é"]
)
async def test_a_topic_is_checked_before_anything_is_sent(world, topic):
    planner = await world.session("planner")

    with pytest.raises(BadInput, match="no topic"):
        await publish(planner, topic)
    with pytest.raises(BadInput, match="no topic"):
        await request(planner, topic)


@pytest.mark.parametrize("topic", ["", "a.>.b", "a.>.*", "a*", ">a", "a.*."])
async def test_wildcards_stand_for_whole_words(world, topic):
    with pytest.raises(BadInput, match="no topic"):
        async with subscribe(await world.session("planner"), topic):
            pass


async def test_other_values_are_checked_too(world):
    planner = await world.session("planner")

    with pytest.raises(BadInput, match="the limit is 65,536"):
        await publish(planner, "a", "x" * (BODY_MAX_BYTES + 1))
    with pytest.raises(BadInput, match="The body is of type int, and no text"):
        await publish(planner, "a", 5)
    with pytest.raises(BadInput, match="The topic is of type int"):
        await publish(planner, 5)
    with pytest.raises(BadInput, match="The subject is of type int"):
        await send_task(planner, planner.me.id, 5, "b")
    with pytest.raises(BadInput, match="within_s"):
        await request(planner, "a", within_s=0)
    with pytest.raises(BadInput, match="group"):
        async with subscribe(planner, "a", group="a.b"):
            pass


async def test_a_connection_that_ends_again_as_it_is_back_is_waited_for_again():
    waits = []

    async def reconnected(_):
        waits.append(len(waits))
        if len(waits) == 1:
            raise asyncio.CancelledError  # whoever waited gave up
        heard.heard(None if len(waits) == 2 else said)
        return True

    said = Message("agentbus-events.planner.build", b"", {}, "")
    heard = events.Events(SimpleNamespace(bus=SimpleNamespace(reconnected=reconnected)))
    heard.heard(None)
    with pytest.raises(asyncio.CancelledError):
        await anext(heard)

    async with asyncio.timeout(1):
        event = await anext(heard)

    assert (event.topic, event.missed, waits) == ("build", True, [0, 1, 2])


async def test_who_listens_is_told_of_a_server_that_is_away_and_of_one_that_locks_out():
    said, looks = [], [False, False, True]

    async def reconnected(_):
        is_back = bool(looks) and looks.pop(0)
        if is_back:
            heard.heard(None)  # it goes once more
        bus.is_locked_out = not looks
        return is_back

    bus = SimpleNamespace(reconnected=reconnected, is_locked_out=False, away_says="No server.")
    heard = events.Events(SimpleNamespace(bus=bus), said.append)
    heard.heard(None)
    with pytest.raises(NotAllowed, match=r"No server\."):
        await anext(heard)

    away = "The bus is away, and looked for again and again: No server."
    assert said == [away, "The bus is back."]
