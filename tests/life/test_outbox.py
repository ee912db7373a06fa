# SPDX-License-Identifier: Apache-2.0
"""A laptop that sleeps: what is sent while its bus is out of reach comes there later, once."""

import asyncio
import time
from datetime import datetime

import pytest
import pytest_asyncio
import served
from laptop import QUICK, laptop
from local_server import until

from mcp_agentbus.bus import embedded
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.outbox.outbox import read_outbox
from mcp_agentbus.store.outbox.own import own_server
from mcp_agentbus.store.records import read_record

HANG_S = 60  # only a hang takes as long
HERE = "stored here, not yet at the bus"


@pytest_asyncio.fixture
async def coder(world):
    """A live session at the bus itself."""
    return await world.session("coder")


@pytest.fixture
def me(world):
    """The agent at the laptop."""
    return world.name("planner")


@pytest_asyncio.fixture
async def away(home, coder, tmp_path):
    """A laptop whose link to the bus is cut."""
    async with laptop(tmp_path, home) as there:
        there.proxy.refuse()
        yield there


def say(session, tool, **arguments):
    return asyncio.to_thread(session.call, tool, **arguments)


async def sent(session, coder, subject, to="", **more):
    """Send by MCP; return the receipt as data."""
    to = to or coder.me.id
    answer = await say(session, "send_task", to=to, subject=subject, body="b", **more)
    assert HERE in answer["content"][0]["text"]
    [receipt] = answer["structuredContent"]["receipts"]
    return receipt


async def read_all(coder, count):
    """Read and claim so many tasks; return them in the order in which they were given."""
    tasks = []
    while len(tasks) < count:
        inbox = await watch_inbox(coder, timeout_s=HANG_S, limit=count - len(tasks))
        assert not inbox.timed_out, f"{len(tasks)} of {count} came"
        tasks += [item.task for item in inbox.tasks if item.new]
    return tasks


@pytest.mark.promise(49)
async def test_what_is_sent_while_the_bus_is_away_comes_there_once_and_in_order(
    away, me, coder, world, record_property
):
    other = world.name("deployer")
    async with away.listening(script=QUICK) as listener:
        with away.session(me) as planner:
            planner.greet(served.MODERN)
            by_mcp = [await sent(planner, coder, f"mcp {n}") for n in range(16)]
            by_command = [
                await away.json("send", coder.me.id, f"command {n}", "b", "--agent", other)
                for n in range(4)
            ]
            receipts = by_mcp + [one["receipts"][0] for one in by_command]
            assert {one["state"] for one in receipts} == {"stored_here"}
            assert away.waits()["waiting"] == 20

            away.proxy.accept()
            began = time.monotonic()
            await listener.logged("outbox", handed_on=20)
            record_property("seconds until 20 were at the bus", time.monotonic() - began)

        tasks = await read_all(coder, 20)
        await listener.logged("outbox", resting=True)
        until(lambda: embedded.find(own_server(away.settings)) is None, "its server was stopped")
        assert await read_outbox(away.settings) == ()

    assert [task.id for task in tasks] == [one["task_id"] for one in receipts]
    assert len(coder.claims) == 20


async def test_a_task_that_waits_here_is_found_by_all_that_look_for_it(away, me, coder):
    async with away.listening(script=QUICK):
        with away.session(me) as planner:
            planner.greet(served.MODERN)
            task_id = (await sent(planner, coder, "Count"))["task_id"]
            life = await say(planner, "read_inbox", task_id=task_id)
            inbox = await asyncio.to_thread(
                planner.ask,
                "tools/call",
                {"name": "read_inbox", "arguments": {}},
                era=served.MODERN,
            )
        typed = {
            " ".join(argv): await away.typed(*argv)
            for argv in (
                ("task", task_id[:8], "--agent", me),
                ("tasks", "--agent", me),
                ("why", task_id[:8]),
                ("status",),
                ("listen", "--status"),
            )
        }
        as_data = await away.json("task", task_id, "--agent", me)
        overview = await away.json("status")

    assert f"Task {task_id}: {HERE}" in life["content"][0]["text"]
    assert task_id in inbox["result"]["content"][0]["text"]
    assert all(HERE in printed for _, printed in typed.values()), typed
    assert as_data["state"] == "stored_here"
    assert overview["outbox"]["waiting"] == 1


@pytest.mark.promise(49)
async def test_what_the_bus_refuses_then_is_its_senders_result_whatever_was_restarted(
    away, me, coder
):
    async with away.listening(script=QUICK) as listener:
        with away.session(me) as planner:
            planner.greet(served.MODERN)
            unknown = await sent(planner, None, "To nobody", to="nobody")
            late = await sent(planner, coder, "Too late", expires_in_s=1)
            timed = await sent(planner, coder, "Later", deliver_in_s=3600)
            fine = await sent(planner, coder, "Fine")
        await listener.end()
    expires_at = text.now()
    until(lambda: (text.now() - expires_at).total_seconds() > 1, "the deadline has passed")
    await asyncio.to_thread(embedded.stop, own_server(away.settings))

    away.proxy.accept()
    async with away.listening(script=QUICK) as listener:
        await listener.logged("outbox", handed_on=4)
        with away.session(me) as planner:
            planner.greet(served.MODERN)
            told = (await say(planner, "watch_inbox", timeout_s=HANG_S))["content"][0]["text"]
    [task] = await read_all(coder, 1)

    assert f"Result of task {unknown['task_id']} to nobody: rejected" in told
    assert "which refused it: No agent 'nobody' is registered." in told
    assert f"Result of task {late['task_id']} to {coder.me.id}: expired" in told
    assert task.id == fine["task_id"]
    async with Session(coder.bus, Agent(me)) as sender:
        scheduled = await task_life(sender, timed["task_id"])
    assert scheduled.state == "stored"
    assert text.stamp(scheduled.sent.deliver_at) == text.stamp(
        datetime.fromisoformat(timed["deliver_at"])
    )


async def test_a_task_that_waits_here_is_withdrawn_and_never_offered(away, me, coder):
    async with away.listening(script=QUICK) as listener:
        with away.session(me) as planner:
            planner.greet(served.MODERN)
            task_id = (await sent(planner, coder, "Not any more"))["task_id"]
            kept = (await sent(planner, coder, "Still"))["task_id"]
            done = {"task_id": task_id, "status": "cancelled", "summary": "found it"}
            assert (
                "cancelled" in (await say(planner, "publish_result", **done))["content"][0]["text"]
            )

            away.proxy.accept()
            await listener.logged("outbox", handed_on=2)
    [task] = await read_all(coder, 1)
    record, _ = await read_record(coder.bus, me, coder.me.id, task_id)

    assert task.id == kept
    assert (record.state, record.summary) == ("cancelled", "found it")


async def test_a_listener_that_ends_leaves_it_for_the_next_and_says_so(away, me, coder):
    argv = ("send", coder.me.id, "Count", "b", "--agent", me, "--request-id", "r1")
    async with away.listening(script=QUICK):
        first = (await away.json(*argv))["receipts"][0]
        _, stopped = await away.typed("listen", "--stop")
    _, status = await away.typed("status")
    # The same once more, as a command does whose listener has ended under it, finds it there.
    again = (await away.json(*argv))["receipts"][0]
    code, other = await away.typed(*argv[:2], "Another", *argv[3:])

    assert f"1 task {HERE}: the next one hands that on." in stopped
    assert f"1 task {HERE}" in status
    assert "Only a listener hands it on" in status
    assert (again["task_id"], again["state"]) == (first["task_id"], "stored_here")
    assert (code, "Nothing was stored." in other) == (3, True)


async def test_who_waits_for_a_result_is_told_how_it_stands_or_the_result(away, me, coder):
    argv = ("send", coder.me.id, "Count", "b", "--agent", me, "--wait")
    async with away.listening(script=QUICK):
        code, printed = await away.typed(*argv, "0.1")
        assert code == 4
        assert f"is {HERE}, without a result." in printed
        waiting = asyncio.create_task(away.typed(*argv, "60"))
        await asyncio.to_thread(until, lambda: away.waits()["waiting"] == 2, "both are kept")
        away.proxy.accept()
        for _ in range(2):
            [task] = await read_all(coder, 1)
            await publish_result(coder, task.id, "completed", summary="214")
        code, printed = await waiting

    assert (code, "Summary: 214" in printed) == (0, True)


async def test_without_a_listener_a_send_fails_and_says_what_would_keep_it(away, me, coder):
    code, printed = await away.typed("send", coder.me.id, "Count", "b", "--agent", me)

    assert code == 3
    assert "Nothing was stored." in printed
    assert "a listener keeps what is sent until the bus is reached" in printed
    assert await read_outbox(away.settings) == ()
