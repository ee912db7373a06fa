# SPDX-License-Identifier: Apache-2.0
"""A bus is backed up and restored: every task goes on where it was, and nothing goes unseen."""

import asyncio
import json
import shutil
import stat
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from backups import backed_up, held, restored
from clusters import cluster
from doctors import report, shared_server
from local_server import server_folder
from test_shell import Shell

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError, BadInput, BadSetup, Refused
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.parked import parking
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.shared import backup, restore
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.streams import LAYOUT
from mcp_agentbus.store.upkeep import lost

_HANG_S = 30


@asynccontextmanager
async def sessions(settings, *agents):
    """Give a session of each agent on a bus, as a shell's: it comes back under its own id."""
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(Bus.connect(settings))
        opened = []
        for agent in agents:
            session = Session(bus, Agent(agent), id=f"{agent}-1", leased=True)
            opened.append(await stack.enter_async_context(session))
            await session.called()
            await session.can_read()
        yield opened


@pytest.fixture
def old(tmp_path):
    with server_folder(tmp_path / "old") as settings:
        yield settings


@pytest.fixture
def new(tmp_path):
    with server_folder(tmp_path / "new") as settings:
        yield settings


async def in_every_state(settings):
    """Leave a task in each state on a bus; return their ids."""
    ids = {}
    async with sessions(settings, "planner", "coder") as (planner, coder):

        async def sent(name, **options):
            [receipt] = await send_task(planner, "coder", name, "x", **options)
            ids[name] = receipt.task_id

        await sent("later", deliver_in_s=2)
        for name, status in (("done", "completed"), ("asks", "needs_input"), ("held", "working")):
            await sent(name)
            await read_inbox(coder, limit=1)
            await publish_result(coder, ids[name], status, summary="Said before.")
        await coder.bus.publish(subjects.task_subject("coder", "low", "planner"), b"{")
        assert "parked" in (await read_inbox(coder)).notes[0]
        for priority in ("low", "high"):
            await sent(priority, priority=priority)
    return ids


async def test_tasks_in_every_state_go_on_from_a_backup(old, new, tmp_path):
    ids = await in_every_state(old)
    taken = await backed_up(old, tmp_path / "backup")
    given = await restored(new, tmp_path / "backup")

    async with sessions(new, "planner", "coder") as (planner, coder):
        await publish_result(coder, ids["held"], "completed", summary="Held all along.")
        told = {each.task_id: each.state for each in (await read_inbox(planner)).results}
        await publish_result(planner, ids["asks"], "answered", body="main")
        read = await read_inbox(coder, limit=50)
        items = {item.task.id: item for item in read.tasks}
        while ids["later"] not in items:  # it comes in its time
            watched = await watch_inbox(coder, timeout_s=_HANG_S)
            items |= {item.task.id: item for item in watched.tasks}
        [parked] = await parking.parked(coder.bus, "coder")
        again = await read_inbox(planner)
        made = await lost.made(coder.bus)
    answers = {task_id: [each.body for each in item.answers] for task_id, item in items.items()}

    assert told == {ids["done"]: "completed", ids["asks"]: "needs_input", ids["held"]: "completed"}
    assert answers[ids["asks"]] == ["main"]
    assert set(answers) == {ids[name] for name in ("asks", "high", "low", "later")}
    assert "JSON" in parked.reason
    assert again.results == ()
    assert not made.anew
    assert [step for step in taken if step.is_complete] == [s for s in given if s.is_complete]


def test_a_backup_is_its_users_alone_and_holds_no_secret(old, tmp_path):
    asyncio.run(backed_up(old, tmp_path / "backup"))
    token = embedded.read_token(old).encode()
    files = list((tmp_path / "backup").iterdir())

    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert {file.suffix for file in files} == {".json", ".snapshot"}
    assert not any(token in file.read_bytes() for file in files)


async def test_what_a_bus_holds_stays_unless_it_is_to_go_and_can_be_brought_back(old, tmp_path):
    await in_every_state(old)
    await backed_up(old, tmp_path / "backup")
    async with sessions(old, "planner") as (planner,):
        [receipt] = await send_task(planner, "coder", "Since then", "x")
    before = await held(old)

    with pytest.raises(Refused, match=r"The bus holds .* in inboxes, .* Nothing was changed"):
        await restored(old, tmp_path / "backup")
    after_refusal = await held(old)
    *_, replaced = await restored(old, tmp_path / "backup", replace=True)
    without = await held(old)
    await restored(old, replaced.backup, replace=True)
    async with sessions(old, "coder") as (coder,):
        read = await read_inbox(coder, limit=50)

    assert before == after_refusal
    assert without[subjects.TASKS] == before[subjects.TASKS] - 1
    assert receipt.task_id in {item.task.id for item in read.tasks}
    # Nothing is left of the server that was used on the way.
    assert list(old.data_dir.glob("restoring-*")) == []


async def test_what_was_sent_since_a_backup_ends_where_that_is_restored(old, tmp_path):
    async with sessions(old, "planner", "coder") as (planner, coder):
        [known] = await send_task(planner, "coder", "In the backup", "x")
        await backed_up(old, tmp_path / "backup")
        await read_inbox(coder)
        await publish_result(coder, known.task_id, "completed")
        [done] = await send_task(planner, "coder", "Done since", "x")
        await read_inbox(coder)
        await publish_result(coder, done.task_id, "completed", summary="It is done.")
        [waits] = await send_task(planner, "coder", "Sent since", "x")

    *_, replaced = await restored(old, tmp_path / "backup", replace=True)
    async with sessions(old, "planner", "coder") as (planner, coder):
        told = {each.task_id: each for each in (await read_inbox(planner)).results}
        [item] = (await read_inbox(coder)).tasks

    assert replaced.told == 2
    assert {task_id: each.state for task_id, each in told.items()} == {
        done.task_id: "completed",
        waits.task_id: "failed",
    }
    assert told[done.task_id].summary == "It is done."
    assert item.task.id == known.task_id  # it is as it was


async def test_a_task_that_went_between_two_streams_meanwhile_ends_once(old, new, tmp_path):
    """The cut is made as backups make it: a later stream knows more than an earlier one."""
    async with sessions(old, "planner", "coder") as (planner, coder):
        [done] = await send_task(planner, "coder", "Done meanwhile", "x")
        await read_inbox(coder)
        await backed_up(old, tmp_path / "early")
        await publish_result(coder, done.task_id, "completed", summary="Done.")
        [gone] = await send_task(planner, "coder", "Sent meanwhile", "x")
        await backed_up(old, tmp_path / "late")
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "late", cut)
    early = {each["name"]: each for each in listed(tmp_path / "early")["streams"]}
    shutil.copy(tmp_path / "early" / f"{subjects.TASKS}.snapshot", cut)
    whole = listed(cut)
    whole["streams"] = [
        early[each["name"]] if each["name"] == subjects.TASKS else each for each in whole["streams"]
    ]
    (cut / backup.LIST).write_text(json.dumps(whole))

    await restored(new, cut)
    async with sessions(new, "planner", "coder") as (planner, coder):
        told = {each.task_id: each.state for each in (await read_inbox(planner)).results}
        read = await watch_inbox(coder, timeout_s=0)

    assert told == {done.task_id: "completed", gone.task_id: "failed"}
    assert read.tasks == ()


def listed(folder):
    return json.loads((folder / backup.LIST).read_text())


async def test_a_backup_that_is_not_as_it_was_written_is_refused_untouched(old, tmp_path):
    await in_every_state(old)
    await backed_up(old, folder := tmp_path / "backup")
    before, file = await held(old), folder / f"{subjects.RESULTS}.snapshot"
    content, whole = file.read_bytes(), (folder / backup.LIST).read_bytes()

    async def said(error):
        with pytest.raises(error) as refused:
            await restored(old, folder, replace=True)
        return refused.value.message

    for damaged in (content[:-1], content[:-1] + b"?", b""):
        file.write_bytes(damaged)
        assert await said(BadSetup) == f"{file} is not as it was written."
    file.unlink()
    assert await said(BadSetup) == f"{file} is missing."
    file.write_bytes(content)
    for damaged in (b"", b"[]", b"[" * 100_000, whole.replace(b'"AGENTBUS_DEAD"', b'"OTHER"'),
                    whole.replace(b'"bytes"', b'"size"'), whole.replace(b'"last_seq": ', b'"last_seq": -')):  # fmt: skip
        (folder / backup.LIST).write_bytes(damaged)
        assert "is damaged" in await said(BadSetup)
    for later in (
        whole.replace(b'"format": 1', b'"format": 3'),
        whole.replace(f'"agentbus-layout": "{LAYOUT}"'.encode(), b'"agentbus-layout": "99"'),
    ):
        (folder / backup.LIST).write_bytes(later)
        assert "is of a later version" in await said(BadSetup)
    (folder / backup.LIST).unlink()
    assert "There is no backup in" in await said(BadInput)
    assert await held(old) == before


async def test_a_backup_is_written_whole_or_not_at_all(old, tmp_path):
    await in_every_state(old)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with pytest.raises(BadInput, match="no backup is written over it"):
        await backed_up(old, tmp_path / "there")
    async with Bus.connect(old) as bus:
        steps = backup.back_up(bus, tmp_path / "ended")
        await anext(steps)
        begun = [path.name for path in tmp_path.glob(".ended.*")]
        await steps.aclose()  # as by Ctrl-C

    assert len(begun) == 1
    assert [path.name for path in tmp_path.glob("*ended*")] == []


async def test_a_shared_bus_is_restored_in_its_place(old, tmp_path):
    ids = await in_every_state(old)
    await backed_up(old, tmp_path / "backup")
    with shared_server(tmp_path) as shared:
        await restored(shared, tmp_path / "backup")
        async with sessions(shared, "planner", "coder") as (planner, coder):
            await publish_result(coder, ids["held"], "completed")
            [new] = await send_task(planner, "coder", "Since then", "x")
        with pytest.raises(Refused, match="The bus holds"):
            await restored(shared, tmp_path / "backup")
        *_, replaced = await restored(shared, tmp_path / "backup", replace=True)
        async with sessions(shared, "planner", "coder") as (planner, coder):
            await publish_result(coder, ids["held"], "failed")
            told = {each.task_id: each for each in (await read_inbox(planner)).results}
        _, checks = await report(shared)
        await restored(shared, replaced.backup, replace=True)
        async with sessions(shared, "coder") as (coder,):
            read = await read_inbox(coder, limit=50)

    assert (told[ids["held"]].state, replaced.told) == ("failed", 1)
    assert "send it again if it is wanted" in told[new.task_id].reason
    assert new.task_id in {item.task.id for item in read.tasks}
    assert "losses" not in checks


def test_both_are_typed(old, tmp_path):
    embedded.ensure(old)
    shell = Shell(old.data_dir.parent, tmp_path)
    shell("inbox", agent="coder")
    shell("send", shell.name("coder"), "Count", "all", agent="planner")

    told = shell("server", "backup", "backup")
    refused = shell("server", "restore", "backup", code=1)
    unasked = shell("server", "restore", "backup", "--replace", code=2)
    done = shell.json("server", "restore", "backup", "--replace", "--yes")
    again = shell("server", "restore", "--replace", "--yes", done["before"][0]["backup"])

    assert "1 in inboxes" in told
    assert f"The backup is in {tmp_path / 'backup'}." in " ".join(told.split())
    assert "With --replace a backup of that is taken" in " ".join(refused.split())
    assert "Nobody is there to be asked" in unasked
    assert done["streams"][subjects.TASKS]["messages"] == 1
    assert "The bus holds what it did at" in again


async def test_one_server_becomes_three(old, tmp_path):
    ids = await in_every_state(old)
    await backed_up(old, tmp_path / "backup")
    with cluster(tmp_path) as three:
        await three_are_ready(three.settings)
        await restored(three.settings, tmp_path / "backup")
        async with sessions(three.settings, "planner", "coder") as (planner, coder):
            await publish_result(coder, ids["held"], "completed")
            told, read = set(), set()
            # A consumer that is made anew on three servers takes a moment to know what waits.
            while not told >= {ids["done"], ids["asks"], ids["held"]}:
                answer = await watch_inbox(planner, timeout_s=_HANG_S)
                told |= {each.task_id for each in answer.results}
            while not read >= {ids["high"], ids["low"]}:
                answer = await watch_inbox(coder, timeout_s=_HANG_S)
                read |= {item.task.id for item in answer.tasks}
            kept = [await coder.bus.api(f"STREAM.INFO.{name}") for name in streams.STREAMS]
        again = await backed_up(three.settings, tmp_path / "of-three")

    assert told == {ids["done"], ids["asks"], ids["held"]}
    assert ids["done"] not in read
    assert {info["config"]["num_replicas"] for info in kept} == {3}
    assert sum(step.messages for step in again if step.is_complete) > 0


async def three_are_ready(settings):
    """Wait until they have chosen who of them answers for all."""
    while True:
        with suppress(AgentbusError):
            async with Bus.connect(settings) as bus:
                await restore.holds(bus)
                return
