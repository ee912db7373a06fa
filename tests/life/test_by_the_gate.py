# SPDX-License-Identifier: Apache-2.0
"""Agents of three accounts hand work to each other by the gate, in the product's own calls."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from gated import gate_of, gated, joined, ungated
from listeners import configure, listening, on_roster, recorder, send, starts

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.connection import Link
from mcp_agentbus.bus.login.account import GateAway
from mcp_agentbus.bus.login.login import login_of
from mcp_agentbus.core import aio
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NameTaken, NobodyListens, NotAccepted, NotAllowed, Refused
from mcp_agentbus.handoff.agents import page
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.intake import watches
from mcp_agentbus.handoff.intake.watches import Watch
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.patterns import events
from mcp_agentbus.store import records, roster, subjects
from mcp_agentbus.store.queues import stored_tasks
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import ATTEMPTS_MAX
from mcp_agentbus.tools.rename import rename


class Accounts:
    """Sessions of agents, each over the connection of its account."""

    def __init__(self, shared, stack):
        self.shared, self._stack = shared, stack
        self._buses = {}

    async def bus(self, account):
        if account not in self._buses:
            opened = Bus.connect(self.shared.settings(account))
            self._buses[account] = await self._stack.enter_async_context(opened)
        return self._buses[account]

    async def session(self, account, agent, **more):
        session = Session(await self.bus(account), Agent(agent, **more))
        await self._stack.enter_async_context(session)
        await session.called()
        await session.can_read()
        return session


@pytest_asyncio.fixture(loop_scope="function")
async def accounts(tmp_path):
    failed = len(aio.failures)
    async with (
        gated(tmp_path, laptop=["review"], vps=["review"], pi=[]) as shared,
        AsyncExitStack() as stack,
    ):
        yield Accounts(shared, stack)
    assert len(aio.failures) == failed


@pytest.mark.promise(57)
@pytest.mark.asyncio(loop_scope="function")
async def test_a_task_goes_over_and_its_result_comes_back(accounts):
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder")

    [receipt] = await send_task(planner, "coder", "Count the tests", "In the folder.")
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, receipt.task_id, "completed", summary="612")
    [record] = (await read_inbox(planner)).results

    assert (receipt.state, item.task.sender, record.summary) == ("stored", "planner", "612")


@pytest.mark.promise(52)
@pytest.mark.asyncio(loop_scope="function")
async def test_of_the_roster_an_account_reads_again_only_what_is_new(accounts, monkeypatch):
    planner = await accounts.session("laptop", "planner")
    await page(planner.bus)
    decode, read = roster.decode_profile, []

    def noted(stored):
        read.append(subjects.parts(stored.subject).whose)
        return decode(stored)

    monkeypatch.setattr(roster, "decode_profile", noted)
    await accounts.session("vps", "coder")
    read.clear()

    listed = {each.entry.id for each in (await page(planner.bus)).agents}

    assert listed >= {"planner", "coder"}
    assert set(read) == {"coder"}


@pytest.mark.asyncio(loop_scope="function")
async def test_a_name_is_the_account_s_that_had_it_first(accounts):
    await accounts.session("laptop", "planner")

    with pytest.raises(NameTaken) as refusal:
        await accounts.session("vps", "planner")

    assert "planner-vps" in refusal.value.hint


@pytest.mark.asyncio(loop_scope="function")
async def test_who_waits_hears_of_a_task_and_of_its_result_at_once(accounts, monkeypatch):
    wait, waits = Watch.wait, asyncio.Event()

    async def noted(watch):
        waits.set()
        return await wait(watch)

    monkeypatch.setattr(Watch, "wait", noted)
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder")
    waiting = aio.part(watch_inbox(coder, timeout_s=20))
    await waits.wait()

    began = time.monotonic()
    [receipt] = await send_task(planner, "coder", "Now", "At once.")
    [item] = (await waiting).tasks
    waits.clear()
    awaited = aio.part(watch_inbox(planner, timeout_s=20, task_id=receipt.task_id))
    await waits.wait()
    await publish_result(coder, item.task.id, "completed", summary="done")

    assert [record.summary for record in (await awaited).results] == ["done"]
    # By its notices, and not by the look that needs none.
    assert time.monotonic() - began < watches.LOOK_AGAIN_S


@pytest.mark.asyncio(loop_scope="function")
async def test_what_is_set_aside_is_offered_again_as_its_sender_s(accounts):
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder")
    bus = await accounts.bus("vps")
    await send_task(planner, "coder", "Five times", "And given back each time.")
    for _ in range(ATTEMPTS_MAX):
        [item] = (await read_inbox(coder)).tasks
        await publish_result(coder, item.task.id, "released")
    assert not (await read_inbox(coder)).tasks
    assert [len((await read_inbox(planner)).results) for _ in ("told", "seen")] == [1, 0]
    [set_aside] = await parking.parked(bus, "coder")
    await replay.replay(bus, ["coder"], str(set_aside.number))
    await read_inbox(planner)
    kept, _ = await records.read_sent(planner.bus, "planner", "coder", item.task.id)
    assert not kept.closed  # its deadline is looked at again
    [again] = (await read_inbox(coder)).tasks

    assert (again.task.id, again.task.sender) == (item.task.id, "planner")
    assert await parking.parked(bus, "coder") == []


@pytest.mark.asyncio(loop_scope="function")
async def test_a_task_waits_for_its_time_and_is_withdrawn_before_it(accounts):
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder")

    [soon] = await send_task(planner, "coder", "Soon", "In a second.", deliver_in_s=1)
    [later] = await send_task(planner, "coder", "Later", "Never.", deliver_in_s=600)
    await publish_result(planner, later.task_id, "cancelled")
    [item] = (await watch_inbox(coder, timeout_s=20)).tasks

    assert item.task.id == soon.task_id
    async with Bus.connect(accounts.shared.admin) as admin:
        info = await admin.api("STREAM.INFO.AGENTBUS_SCHED")
    assert info["state"]["messages"] == 1  # the one that fell due


@pytest.mark.asyncio(loop_scope="function")
async def test_a_role_is_read_by_the_accounts_to_which_it_was_granted(accounts):
    planner = await accounts.session("pi", "planner")
    reviewer = await accounts.session("vps", "reviewer", roles=("review",))

    await send_task(planner, "role:review", "Look at it", "All of it.")
    [item] = (await read_inbox(reviewer)).tasks
    await publish_result(reviewer, item.task.id, "completed", summary="good")
    [record] = (await read_inbox(planner)).results

    assert (record.summary, record.inbox) == ("good", "role-review")
    other = await accounts.session("pi", "other", roles=("review",))
    await send_task(planner, "role:review", "Again", "All of it.")
    read = await read_inbox(other)
    assert (read.tasks, "role:review is not read" in read.degraded) == ((), True)
    assert [item.task.subject for item in (await read_inbox(reviewer)).tasks] == ["Again"]


@pytest.mark.asyncio(loop_scope="function")
async def test_everybody_sees_who_is_there_and_how_much_waits_but_not_from_whom(accounts):
    planner = await accounts.session("laptop", "planner")
    await accounts.session("vps", "coder")
    third = await accounts.bus("pi")
    for priority in ("high", "low", "low"):
        await send_task(planner, "coder", "Work", "Some.", priority=priority)

    seen = await page(third)

    assert [entry.entry.id for entry in seen.agents] == ["coder", "planner"]
    assert seen.agents[0].waiting == {"high": 1, "low": 2}
    stored = await stored_tasks(third)
    assert stored == {"agentbus.coder.tasks.high.-": 1, "agentbus.coder.tasks.low.-": 2}
    wanted = {"seq": 1, "batch": 5, "next_by_subj": "agentbus.coder.tasks.*.*"}
    with pytest.raises(NotAllowed):
        await third.many("AGENTBUS_TASKS", wanted)


@pytest.mark.asyncio(loop_scope="function")
async def test_events_are_heard_and_answered_across_accounts(accounts):
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder")

    async with events.subscribe(coder, "build.*") as heard:
        await events.publish(planner, "build.done", "it is")
        told = await anext(heard)
        asking = aio.part(events.request(planner, "build.state", "how?"))
        asked = await anext(heard)
        await events.reply(coder, asked, "well")
        answer = await asking

    assert (told.sender, told.body) == ("planner", "it is")
    assert (answer.sender, answer.body) == ("coder", "well")
    with pytest.raises(NobodyListens):
        await events.request(planner, "build.state", "still?")


@pytest.mark.asyncio(loop_scope="function")
async def test_where_no_earlier_session_answers_in_an_account_its_gate_is_not_away(accounts):
    bus = await accounts.bus("vps")
    assert await bus.ask(subjects.succeed_subject("coder", "claude-code"), b"", 1) is None


@pytest.mark.asyncio(loop_scope="function")
async def test_a_stream_that_the_server_has_lost_is_made_anew_by_the_gate(accounts):
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder")
    async with Bus.connect(accounts.shared.admin) as admin:
        await admin.api("STREAM.DELETE.AGENTBUS_TASKS")

    [receipt] = await send_task(planner, "coder", "Count", "Anew.")
    [item] = (await read_inbox(coder)).tasks

    assert item.task.id == receipt.task_id


@pytest.mark.promise(57)
@pytest.mark.asyncio(loop_scope="function")
async def test_a_listener_of_another_account_is_woken_and_its_process_reads(accounts, tmp_path):
    planner = await accounts.session("laptop", "planner")
    settings = accounts.shared.settings("vps")
    settings.data_dir.parent.mkdir(exist_ok=True)
    worker = {"command": recorder(tmp_path), "wake_from": ["planner"]}
    configure(settings, tmp_path, worker=worker)

    async with listening(settings, **accounts.shared.environ("vps")) as listener:
        await on_roster(planner, "worker")
        receipt = await send(planner, "worker")
        await listener.logged("read", agent="worker")
        life = await task_life(planner, receipt.task_id)

    assert life.state == "claimed"
    assert len(starts(tmp_path)) == 1


@pytest.mark.asyncio(loop_scope="function")
async def test_an_agent_is_renamed_unless_others_have_addressed_tasks_to_it(accounts):
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder")
    bus = await accounts.bus("vps")
    [receipt] = await send_task(planner, "coder", "Wait", "for it")

    with pytest.raises(Refused, match="nobody but its sender"):
        await rename(bus, "coder", "coder2")
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, "completed", summary="done")
    await coder.close()
    await rename(bus, "coder", "coder2")

    assert [entry.entry.id for entry in (await page(bus)).agents] == ["coder2", "planner"]

    # The other way about nothing is in its way: what it has sent stays its own.
    await send_task(planner, "coder2", "Wait", "for more")
    await planner.close()
    moved = await rename(await accounts.bus("laptop"), "planner", "lead")

    assert (moved.results, moved.unseen, moved.awaited) == (0, 1, 1)
    again = await accounts.session("laptop", "planner")
    assert [record.summary for record in (await read_inbox(again)).results] == ["done"]


@pytest.mark.asyncio(loop_scope="function")
async def test_who_gets_a_copy_of_a_result_sees_that_its_sender_has_said_so(accounts):
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder")
    lead = await accounts.session("pi", "lead")

    [receipt] = await send_task(planner, "coder", "For both", "of us", reply_to="lead")
    [withdrawn] = await send_task(planner, "coder", "Withdrawn", "soon", reply_to="lead")
    await publish_result(planner, withdrawn.task_id, "cancelled")
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, "completed", summary="done")
    told = {record.task_id: record for record in (await read_inbox(lead)).results}

    assert told[receipt.task_id].summary == "done"
    assert told[withdrawn.task_id].state == "cancelled"
    assert {record.asked_by for record in told.values()} == {"planner"}
    assert not any(record.unasked for record in told.values())


@pytest.mark.promise(58)
@pytest.mark.asyncio(loop_scope="function")
async def test_a_gate_that_ends_is_told_from_a_bus_that_does_and_its_next_one_goes_on(tmp_path):
    with ungated(tmp_path, laptop=[], vps=[]) as shared:
        await joined(shared.admin, {"laptop": [], "vps": []})
        async with AsyncExitStack() as stack:
            accounts = Accounts(shared, stack)
            async with gate_of(shared.admin):
                planner = await accounts.session("laptop", "planner")
                coder = await accounts.session("vps", "coder")
            with pytest.raises(GateAway):
                await send_task(planner, "coder", "Nobody", "passes it on")

            async with gate_of(shared.admin):
                await send_task(planner, "coder", "Somebody", "does")
                [item] = (await read_inbox(coder)).tasks

    assert item.task.subject == "Somebody"


@pytest.mark.asyncio(loop_scope="function")
async def test_a_gate_whose_connections_the_server_ends_answers_again(accounts):
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder")
    system = await Link.open(accounts.shared.url, login_of(accounts.shared.system))

    told = await system.request("$SYS.REQ.SERVER.PING.CONNZ", b'{"auth":true}')
    server, connections = (json.loads(told.data)[key] for key in ("server", "data"))
    ended = [each["cid"] for each in connections["connections"] if each["account"] == "BUS"]
    for cid in ended:
        kick = json.dumps({"cid": cid}).encode()
        await system.request(f"$SYS.REQ.SERVER.{server['id']}.KICK", kick)
    await system.close()
    [receipt] = await send_task(planner, "coder", "Go on", "all the same")
    [item] = (await read_inbox(coder)).tasks

    assert len(ended) >= 5  # one of each account, and two of the gate's own
    assert item.task.id == receipt.task_id


@pytest.mark.asyncio(loop_scope="function")
async def test_what_is_pulled_and_read_at_once_comes_whole_and_each_is_settled(accounts):
    planner = await accounts.session("laptop", "planner")
    await accounts.session("vps", "coder")
    bus, body = await accounts.bus("vps"), "x" * 60_000
    for number in range(25):
        await send_task(planner, "coder", f"Number {number}", body)

    pulled = await bus.pull(TASKS, "coder_normal", 50)
    stored = [each async for page in bus.stored(TASKS, "agentbus.coder.tasks.*.*") for each in page]
    for each in pulled[:10]:
        await bus.finish(each)
    await bus.give_back(pulled[10])
    [again] = await bus.pull(TASKS, "coder_normal", 50)
    await bus.extend(again)

    assert [each.seq for each in pulled] == [each.seq for each in stored]
    assert all(len(each.data) > 60_000 for each in pulled)
    assert (again.seq, again.offered) == (pulled[10].seq, 2)
    assert sum((await stored_tasks(bus)).values()) == 15


@pytest.mark.asyncio(loop_scope="function")
async def test_what_the_gate_refuses_is_told_to_those_whose_agent_it_is_for(accounts):
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder", accept_from=("boss",))
    told = asyncio.Queue()
    task = subjects.task_subject("coder", "high", "planner")

    async with (
        coder.bus.subscribed(subjects.refused_subject("coder", "*"), told.put_nowait),
        planner.bus.subscribed(subjects.refused_subject("*", "planner"), told.put_nowait),
    ):
        with pytest.raises(NotAccepted):
            await planner.bus.publish(task, b"{}", stream=subjects.TASKS)
        assert (await told.get()).subject == subjects.refused_subject("coder", "planner")
        assert (await told.get()).subject == subjects.refused_subject("coder", "planner")
        with pytest.raises(NotAccepted):
            await send_task(planner, "coder", "Count", "All.")
        assert (await told.get()).subject == subjects.refused_subject("coder", "planner")
