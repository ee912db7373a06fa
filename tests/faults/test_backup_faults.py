# SPDX-License-Identifier: Apache-2.0
"""A backup or its restoring that is kept from ending: one of two buses is there whole, or it says so."""

import asyncio
import os
import subprocess
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from backups import backed_up, held, restored
from local_server import kill, server_folder, server_pids, settings_at

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own import limits
from mcp_agentbus.core import locks, text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError, BadSetup, BusUnreachable, Refused, StoreFull
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.shared import backup, restore, second_server
from mcp_agentbus.store import streams, subjects

_SUBJECT = subjects.task_subject("coder", "low", "planner")


@pytest.fixture
def settings(tmp_path):
    with server_folder(tmp_path / "home") as settings:
        yield settings


@pytest.fixture
async def two(settings, tmp_path):
    """A bus with two messages, and a backup of it with one; the second is of many parts."""
    async with Bus.connect(settings) as bus:
        await streams.ensure_streams(bus)
        await bus.publish(_SUBJECT, b"first")
    await backed_up(settings, tmp_path / "backup")
    async with Bus.connect(settings) as bus:
        await bus.publish(_SUBJECT, os.urandom(400 << 10))
    return settings


async def test_of_a_backup_whose_server_dies_nothing_is_left_and_it_says_so(two, tmp_path):
    async with Bus(two) as bus:
        for _ in range(24):  # more than is under way at once
            await bus.publish(_SUBJECT, os.urandom(500 << 10))
        steps = backup.back_up(bus, tmp_path / "died")
        async for step in steps:
            if step.stream == subjects.TASKS:
                kill(embedded.find(two))
                break
        with pytest.raises(BusUnreachable, match="lost on the way"):
            [_ async for _ in steps]

    assert list(tmp_path.glob("*died*")) == []


async def test_a_server_that_all_want_back_at_once_is_replaced_all_the_same(two, tmp_path):
    done = threading.Event()

    def want():
        while not done.is_set():
            with suppress(BusUnreachable):  # it was stopped before it answered
                embedded.ensure(two)

    wanting = threading.Thread(target=want)
    wanting.start()
    try:
        *_, before = await restored(two, tmp_path / "backup", replace=True)
    finally:
        done.set()
        await asyncio.to_thread(wanting.join)
    there = await held(two)
    await restored(two, before.backup, replace=True)

    assert there[subjects.TASKS] == 1
    assert (await held(two))[subjects.TASKS] == 2


async def test_what_could_not_be_backed_up_is_kept_and_said_to_be(two, tmp_path, monkeypatch):
    (two.data_dir / "backups").write_bytes(b"in the way")

    with pytest.raises(BadSetup, match="could not be put away as a whole") as failed:
        await restored(two, tmp_path / "backup", replace=True)
    there = await held(two)
    embedded.stop(two)
    _, *moves = failed.value.hint.partition(": ")[2].split("; ")  # the first stops the server
    await asyncio.to_thread(subprocess.run, ["sh", "-c", "; ".join(moves)], check=True)

    assert there[subjects.TASKS] == 1
    assert (await held(two))[subjects.TASKS] == 2


async def test_the_next_one_ends_what_a_killed_one_has_left_and_backs_up_what_was_there(
    two, tmp_path
):
    other = await asyncio.to_thread(_killed_in_between, two)
    left = second_server.SecondServer(replace(two, data_dir=two.data_dir / "restoring-left"))
    embedded.ensure(left.settings)
    with locks.held(two.data_dir / "restoring-live" / "restoring.lock", wait=True):
        earlier, *_ = await restored(two, tmp_path / "backup")
        folders = [path.name for path in two.data_dir.glob("restoring-*")]
    pids = [server_pids(each.settings) for each in (left, other)]
    there = await held(two)
    await restored(two, earlier.backup, replace=True)

    assert pids == [[], []]
    assert folders == ["restoring-live"]
    assert there[subjects.TASKS] == 1
    assert (await held(two))[subjects.TASKS] == 2


def _killed_in_between(settings):
    """Leave what one leaves that is killed when its server has the files of the first."""
    other = second_server.SecondServer(
        replace(settings, data_dir=settings.data_dir / "restoring-killed")
    )
    embedded.ensure(other.settings)
    other.take_its_place(settings, text.now(), lambda: True)
    return other


async def test_what_has_no_room_or_is_in_use_is_refused_before_anything_goes(
    two, tmp_path, monkeypatch
):
    monkeypatch.setattr(limits, "store_limit", lambda _: 10)
    with pytest.raises(StoreFull, match="may take 10 B"):
        await restored(two, tmp_path / "backup", replace=True)
    monkeypatch.undo()
    # As one that is shared, of which somebody stores while it is backed up.
    async with Bus.connect(two) as bus:
        there = await restore.holds(bus)
        await bus.publish(_SUBJECT, b"meanwhile")
        steps = restore._in_place(bus, backup.find(tmp_path / "backup"), there)
        with pytest.raises(Refused, match="Somebody uses the bus: AGENTBUS_TASKS has changed"):
            [_ async for _ in steps]

    assert (await held(two))[subjects.TASKS] == 3


async def test_on_a_full_disk_no_backup_is_there_and_no_bus_is_replaced(small_disk, tmp_path):
    with server_folder(small_disk / "home") as settings:
        async with Bus.connect(settings) as bus:
            await streams.ensure_streams(bus)
            await bus.publish(_SUBJECT, os.urandom(400 << 10))
        await backed_up(settings, tmp_path / "backup")
        ballast = small_disk / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass

        with pytest.raises(BadSetup, match="cannot be written: No space left") as unwritten:
            await backed_up(settings, small_disk / "backup")
        with pytest.raises(AgentbusError) as unrestored:
            await restored(settings, tmp_path / "backup", replace=True)
        ballast.unlink()

        assert "Free some disk space" in unwritten.value.hint
        assert "Free some disk space" in unrestored.value.hint
        assert [path.name for path in small_disk.iterdir()] == ["home"]
        assert (await held(settings))[subjects.TASKS] == 1


async def test_sessions_go_on_over_a_restore_and_are_told_what_went(settings, tmp_path):
    async with (
        Bus.connect(settings) as bus,
        Session(bus, Agent("planner")) as planner,
        Session(bus, Agent("coder")) as coder,
    ):
        for session in (planner, coder):
            await read_inbox(session)
        [kept] = await send_task(planner, "coder", "Kept", "x")
        await backed_up(settings, tmp_path / "backup")
        [gone] = await send_task(planner, "coder", "Gone", "x")
        await restored(settings, tmp_path / "backup", replace=True)

        told = {each.task_id: each.state for each in (await read_inbox(planner)).results}
        [new] = await send_task(planner, "coder", "New", "x")
        items = (await read_inbox(coder)).tasks
        await publish_result(coder, kept.task_id, "completed")
        [result] = (await read_inbox(planner)).results

    assert told == {gone.task_id: "failed"}
    assert [item.task.id for item in items] == [kept.task_id, new.task_id]
    assert result.task_id == kept.task_id


async def test_where_a_shared_server_dies_meanwhile_it_says_where_what_was_there_is(two, tmp_path):
    server = embedded.find(two)
    token = str(embedded.Files(two.data_dir).token)
    shared = settings_at(
        tmp_path / "user", AGENTBUS_URL=server.url, AGENTBUS_TOKEN_FILE=token
    )  # fmt: skip
    steps = restore.restore(shared, backup.find(tmp_path / "backup"), replace=True)
    await anext(steps)
    kill(server)
    with pytest.raises(BusUnreachable, match="half restored") as died:
        [_ async for _ in steps]
    folder = Path(died.value.hint.partition(" is in ")[2].rstrip("."))
    await restored(two, folder, replace=True)

    assert (await held(two))[subjects.TASKS] == 2


def test_two_folders_take_each_others_place_where_the_system_cannot_do_it_at_once(
    tmp_path, monkeypatch
):
    one, other = tmp_path / "one", tmp_path / "other"
    for at_once in (True, False):
        for folder in (one, other):
            folder.mkdir(exist_ok=True)
        (one / "mine").touch()
        if not at_once:
            monkeypatch.setattr(second_server, "_exchanged", lambda *_: False)
        second_server._exchange(one, other)
        assert [path.name for path in other.iterdir()] == ["mine"]
        assert list(one.iterdir()) == []
        (other / "mine").unlink()
    monkeypatch.undo()
    with pytest.raises(OSError, match="No such file"):
        second_server._exchange(tmp_path / "missing", other)


@pytest.mark.parametrize("fails", ["one", "other.before"])
def test_a_folder_that_was_put_aside_comes_back_where_the_next_one_cannot_be_moved(
    tmp_path, monkeypatch, fails
):
    one, other, rename = tmp_path / "one", tmp_path / "other", Path.rename
    for folder in (one, other):
        folder.mkdir()
        (folder / f"of {folder.name}").touch()

    def renamed(path, to):
        if path.name == fails and to.name in {"one", "other"} - {path.name.partition(".")[0]}:
            raise PermissionError
        return rename(path, to)

    monkeypatch.setattr(second_server, "_exchanged", lambda *_: False)
    monkeypatch.setattr(Path, "rename", renamed)
    with pytest.raises(PermissionError):
        second_server._exchange(one, other)

    assert {path.name for path in tmp_path.rglob("*")} == {"one", "of one", "other", "of other"}
    assert (other / "of other").exists()


def test_what_was_there_before_is_found_where_it_was_put_aside_as_its_process_was_killed(tmp_path):
    settings = settings_at(tmp_path)
    other = second_server.SecondServer(
        replace(settings, data_dir=settings.data_dir / "restoring-killed")
    )
    other.settings.data_dir.mkdir(parents=True)
    other.lock.touch()
    (other.settings.data_dir / "has-what-was-there-before").touch()
    aside = settings.data_dir / "store.before"
    aside.mkdir()

    [left] = second_server.left(settings)

    assert (left.store.is_dir(), aside.exists()) == (True, False)
