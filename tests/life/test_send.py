# SPDX-License-Identifier: Apache-2.0
"""Sending a task: what a receipt says, and what is refused."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
import small_lanes

from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, HopLimit, InboxFull, UnknownAgent
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.store import codec, roster, subjects
from mcp_agentbus.store import streams as topology
from mcp_agentbus.store.records import read_sent
from mcp_agentbus.store.task import HOPS_MAX
from mcp_agentbus.tools.answers import render


@pytest.mark.promise(1)
async def test_a_receipt_says_stored_and_the_task_is_on_the_server(world):
    planner, coder = await world.session("planner"), await world.session("coder")

    [receipt] = await send_task(planner, coder.me.id, "Count", "the tests", priority="high")

    found = await world.bus.last(
        subjects.TASKS, subjects.task_subject(coder.me.id, "high", planner.me.id)
    )
    assert receipt.state == "stored"
    assert codec.decode_task(found.subject, found.headers, found.data, found.stored_at).id == (
        receipt.task_id
    )


@pytest.mark.promise(4)
async def test_a_task_to_an_agent_that_never_ran_is_stored_and_says_so(world):
    planner = await world.session("planner")
    absent = Agent(world.name("absent"))
    await roster.register(world.bus, absent, None)

    [receipt] = await send_task(planner, absent.id, "Later", "when you come")

    assert (receipt.state, receipt.recipient, receipt.last_seen) == ("stored", "never seen", None)
    reader = await world.session("absent")
    assert [item.task.subject for item in (await read_inbox(reader)).tasks] == ["Later"]


@pytest.mark.promise(4)
async def test_a_task_to_an_agent_that_left_names_when_it_was_last_seen(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    # Its first call said that it was seen, too, which would do for half a minute.
    await roster.register(world.bus, coder.me, text.now() - timedelta(hours=1))
    before = text.now()
    await coder.close()

    [receipt] = await send_task(planner, coder.me.id, "Later", "when you are back")

    assert receipt.state == "stored"
    assert before <= receipt.last_seen <= text.now()


@pytest.mark.promise(4)
async def test_an_unknown_name_is_refused_with_the_nearest(world):
    planner, coder = await world.session("planner"), await world.session("coder")

    with pytest.raises(UnknownAgent) as refused:
        await send_task(planner, coder.me.id.replace("coder", "codr"), "x", "y")

    assert coder.me.id in refused.value.hint


@pytest.mark.promise(5)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"to": "Not An Id"}, "not an agent id"),
        ({"to": "a.b"}, "not an agent id"),
        ({"to": "coder "}, "not an agent id"),
        ({"to": "*"}, "not an agent id"),
        ({"to": []}, "0 addressees"),
        ({"to": ["all", "coder"]}, "'all' stands among"),
        ({"subject": "x" * 201}, "201 characters"),
        ({"subject": " "}, "empty"),
        ({"subject": "two\nlines"}, "more than one line"),
        ({"body": "x" * 65_537}, "65,537 bytes"),
        ({"body": "\N{SNOWMAN}" * 21_846}, "65,538 bytes"),
        ({"expires_in_s": 0}, "expires_in_s is 0"),
        ({"expires_in_s": -5}, "expires_in_s is -5"),
        ({"expires_in_s": 604_801}, "expires_in_s is 604801"),
        ({"deliver_in_s": 0}, "deliver_in_s is 0"),
        ({"priority": "urgent"}, "no priority"),
        ({"notify": "scream"}, "no way to notify"),
        ({"thread_id": "a b"}, "not a thread id"),
        ({"in_reply_to": "a/b"}, "not a task id"),
        ({"request_id": ""}, "not a request id"),
    ],
)
async def test_a_broken_rule_is_refused_before_any_network_traffic(change, said):
    session = Unconnected()
    given = {"to": "coder", "subject": "x", "body": "y", **change}

    with pytest.raises(BadInput) as refused:
        await send_task(session, given.pop("to"), given.pop("subject"), given.pop("body"), **given)

    assert said in refused.value.message
    assert refused.value.hint


class Unconnected:
    """A session whose bus must not be used."""

    me = Agent("planner")
    id = "s"
    claims: ClassVar = {}

    def cause(self):
        return (), -1

    async def called(self):
        raise AssertionError("the bus was touched")


async def test_a_list_of_addressees_gets_one_task_each(world):
    planner = await world.session("planner")
    readers = [await world.session("coder"), await world.session("tester")]

    receipts = await send_task(planner, [one.me.id for one in readers], "Look", "both of you")

    read = [(await read_inbox(one)).tasks[0].task.id for one in readers]
    assert read == [one.task_id for one in receipts]
    assert len(set(read)) == 2


async def test_one_unknown_name_in_a_list_sends_nothing_to_anybody(world):
    planner, coder = await world.session("planner"), await world.session("coder")

    with pytest.raises(UnknownAgent):
        await send_task(planner, [coder.me.id, world.name("nobody")], "x", "y")

    assert (await read_inbox(coder)).empty


async def test_all_reaches_every_registered_agent_but_the_sender(own_world):
    planner = await own_world.session("planner")
    others = [await own_world.session("coder"), await own_world.session("tester")]

    receipts = await send_task(planner, "all", "News", "for everybody")

    assert {one.to for one in receipts} == {one.me.id for one in others}
    assert (await read_inbox(planner)).empty
    for one in others:
        assert [item.task.subject for item in (await read_inbox(one)).tasks] == ["News"]


async def test_all_is_who_was_there_in_the_last_30_days(own_world):
    planner = await own_world.session("planner")
    here, days = await own_world.session("here"), timedelta(days=1)
    for name, ago in (("lately", 29 * days), ("long-ago", 31 * days)):
        await roster.register(own_world.bus, Agent(name), datetime.now(UTC) - ago)
    await roster.register(own_world.bus, Agent("set-up"), None)

    receipts = await send_task(planner, "all", "News", "for everybody")
    [receipt] = await send_task(planner, "long-ago", "News", "for you")

    assert {one.to for one in receipts} == {here.me.id, "lately", "set-up"}
    assert receipt.state == "stored"


async def test_a_notice_that_many_let_expire_comes_back_as_one_result(own_world):
    planner = await own_world.session("planner")
    names = [f"away-{number}" for number in range(9)]
    for name in names:
        await roster.register(own_world.bus, Agent(name), datetime.now(UTC))
    await send_task(planner, "all", "News", "for everybody", expires_in_s=1)
    await send_task(planner, names[:1], "Else", "for one", expires_in_s=1)

    told, heads = [], []
    while len(told) < len(names) + 1:
        answer = await watch_inbox(planner, timeout_s=30, limit=3)
        told += answer.results
        heads.append(render.inbox_text(answer, planner.me.id))
    shown = "\n".join(heads)

    assert sorted(record.inbox for record in told) == sorted([*names, names[0]])
    assert {record.told_with[-1] for record in told} >= {"News"}
    assert len({record.told_with for record in told}) == 2
    assert shown.count("Result") <= len(heads) + 1


async def test_a_role_is_one_inbox_whose_tasks_go_to_one_holder_each(world):
    role = f"review{world.name('')[-4:]}"
    planner = await world.session("planner")
    ann = await world.session("ann", roles=(role,))
    bob = await world.session("bob", roles=(role,))

    for number in range(4):
        await send_task(planner, f"role:{role}", f"Review {number}", "please")

    first = await read_inbox(ann, limit=2)
    second = await read_inbox(bob, limit=4)
    subjects = [item.task.subject for item in (*first.tasks, *second.tasks)]
    assert sorted(subjects) == [f"Review {number}" for number in range(4)]
    done = first.tasks[0].task
    await publish_result(ann, done.id, "completed", summary="fine")
    [result] = (await watch_inbox(planner, task_id=done.id)).results
    assert (result.inbox, result.agent) == (f"role-{role}", ann.me.id)


async def test_a_role_that_nobody_holds_is_refused(world):
    planner = await world.session("planner")

    with pytest.raises(UnknownAgent, match="holds 'role:nobody'"):
        await send_task(planner, "role:nobody", "x", "y")


@pytest.mark.promise(6)
async def test_a_full_inbox_refuses_and_keeps_the_old_tasks(own_world, monkeypatch):
    small_lanes.settle(monkeypatch, 3)
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    other = await own_world.session("other")
    for number in range(3):
        await send_task(planner, coder.me.id, f"Task {number}", "x")

    with pytest.raises(InboxFull) as refused:
        await send_task(planner, coder.me.id, "One too many", "x")

    assert "Nothing was stored" in refused.value.message
    await send_task(other, coder.me.id, "From somebody else", "x")
    await send_task(planner, coder.me.id, "In another lane", "x", priority="high")
    read = [item.task.subject for item in (await read_inbox(coder, limit=50)).tasks]
    assert read == ["In another lane", "Task 0", "Task 1", "Task 2", "From somebody else"]


@pytest.mark.promise(6)
async def test_among_several_addressees_a_full_inbox_is_one_refused_receipt(own_world, monkeypatch):
    small_lanes.settle(monkeypatch, 1)
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    tester = await own_world.session("tester")
    await send_task(planner, coder.me.id, "Fills the inbox", "x")

    full, stored = await send_task(planner, [coder.me.id, tester.me.id], "To both", "x")

    assert (full.state, stored.state) == ("refused", "stored")
    assert "takes no more tasks" in full.reason
    assert (await read_sent(own_world.bus, planner.me.id, "*", full.task_id))[0] is None


@pytest.mark.promise(8)
async def test_tasks_are_read_in_the_order_in_which_they_were_sent(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    for number in range(20):
        await send_task(planner, coder.me.id, f"{number}", "x")

    read = await read_inbox(coder, limit=20)

    assert [item.task.subject for item in read.tasks] == [f"{number}" for number in range(20)]


async def test_a_later_delivery_is_offered_when_its_time_comes_and_not_before(world):
    planner, coder = await world.session("planner"), await world.session("coder")

    [receipt] = await send_task(planner, coder.me.id, "Later", "x", deliver_in_s=1)

    assert receipt.deliver_at is not None
    assert (await read_inbox(coder)).empty
    [item] = (await watch_inbox(coder, timeout_s=20)).tasks
    assert item.task.id == receipt.task_id
    assert item.task.sender == planner.me.id

    due = subjects.due_subject(coder.me.id, "normal", planner.me.id)
    assert await world.bus.last(subjects.SCHEDULE, due)
    await publish_result(coder, item.task.id, "completed")
    assert await world.bus.last(subjects.SCHEDULE, due) is None  # it no longer takes room there


@pytest.mark.promise(36)
async def test_work_handed_round_in_a_circle_stops_loudly(world):
    """Nobody passes in_reply_to; the chain follows from what each session holds."""
    ring = [await world.session(name) for name in ("a", "b", "c")]
    await send_task(ring[0], ring[1].me.id, "Pass it on", "x")

    for hop in range(1, HOPS_MAX + 1):
        holder, following = ring[hop % 3], ring[(hop + 1) % 3]
        [item] = (await read_inbox(holder)).tasks
        assert item.task.hops == hop - 1
        await send_task(holder, following.me.id, "Pass it on", "x")
        await publish_result(holder, item.task.id, "completed")
    last = ring[(HOPS_MAX + 1) % 3]
    await read_inbox(last)

    with pytest.raises(HopLimit) as refused:
        await send_task(last, ring[0].me.id, "Pass it on", "x")

    assert "Nothing was sent" in refused.value.message
    assert "->" in refused.value.message


@pytest.mark.promise(36)
@pytest.mark.parametrize("by_shell", ["sends", "reads"])
async def test_a_circle_of_agents_that_read_in_one_way_and_send_in_the_other_stops(world, by_shell):
    """By a session of their host, and by commands that it types in a shell."""
    agents = [(await world.session(name)).me for name in ("a", "b")]
    state = world.bus.settings.state_dir
    async with AsyncExitStack() as open_:
        served = [await open_.enter_async_context(Session(world.bus, me)) for me in agents]
        typed = [
            await open_.enter_async_context(shell_session(world.bus, me, state)) for me in agents
        ]
        readers, senders = (served, typed) if by_shell == "sends" else (typed, served)
        await send_task(senders[0], agents[1].id, "Pass it on", "x")
        for hop in range(1, HOPS_MAX + 2):
            [item] = (await read_inbox(readers[hop % 2])).tasks
            assert item.task.hops == hop - 1
            with pytest.raises(HopLimit) if hop > HOPS_MAX else nullcontext():
                await send_task(senders[hop % 2], agents[(hop + 1) % 2].id, "Pass it on", "x")
            await publish_result(readers[hop % 2], item.task.id, "completed")


@pytest.mark.promise(36)
async def test_a_task_sent_just_after_finishing_another_still_counts_as_caused_by_it(world):
    ann, bob = await world.session("ann"), await world.session("bob")
    await send_task(ann, bob.me.id, "First", "x")
    [item] = (await read_inbox(bob)).tasks
    await publish_result(bob, item.task.id, "completed")

    await send_task(bob, ann.me.id, "Thank you", "x")

    [thanks] = (await read_inbox(ann)).tasks
    assert thanks.task.hops == 1
    assert thanks.task.chain == (ann.me.id, bob.me.id)


async def test_a_reply_inherits_the_thread_of_the_task_that_is_held(world):
    ann, bob = await world.session("ann"), await world.session("bob")
    await send_task(ann, bob.me.id, "Question", "x", thread_id="talk-1")
    [item] = (await read_inbox(bob)).tasks

    await send_task(bob, ann.me.id, "Which one?", "x", in_reply_to=item.task.id)

    [question] = (await read_inbox(ann)).tasks
    assert (question.task.thread_id, question.task.in_reply_to) == ("talk-1", item.task.id)


async def test_high_is_held_where_nobody_listens_and_normal_asks_for_no_wake(world):
    planner, coder = await world.session("planner"), await world.session("coder")

    [high] = await send_task(planner, coder.me.id, "Now", "x", priority="high")
    [normal] = await send_task(planner, coder.me.id, "Soon", "x")

    assert (high.wake, normal.wake) == ("held", "not_requested")
    assert "no listener" in high.reason


async def test_the_headers_that_wake_somebody_hold_no_text_of_the_sender(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    heard: asyncio.Queue = asyncio.Queue()

    async with world.bus.subscribed(subjects.wake_subject(coder.me.id), heard.put_nowait):
        await send_task(planner, coder.me.id, "secret subject", "secret body", priority="high")
        async with asyncio.timeout(10):
            message = await heard.get()

    assert message.data == b""
    assert "secret" not in repr(message)


async def test_a_stream_is_made_smaller_where_the_store_has_less_room():
    streams = [topology.fitted(one, 1 << 30) for one in topology.SETTINGS]

    on_disk = [one["max_bytes"] for one in streams if one["storage"] == "file"]
    assert sum(on_disk) <= 1 << 30
    assert all(size > 0 for size in on_disk)
