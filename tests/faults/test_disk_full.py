# SPDX-License-Identifier: Apache-2.0
"""A full disk: nothing is called stored that is not, and the error says what to do.

Needs the right to mount a small tmpfs; skipped where a person has it not.
"""

import asyncio
import json
import shutil

import pytest
from doctors import printed, report
from local_server import server_folder

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own import disk, limits
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import StoreFull, Unconfirmed
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import streams, subjects

PROMISED_S = 5


@pytest.mark.promise(1)
async def test_on_a_full_disk_nothing_is_called_stored_and_with_room_the_next_call_heals(
    small_disk,
):
    with server_folder(small_disk / "home") as settings:
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            Session(bus, Agent("coder")) as coder,
        ):
            assert (await read_inbox(coder)).empty
            stored = [(await send_task(planner, "coder", "Before", "x"))[0].task_id]
            before = embedded.find(settings).pid
            ballast = small_disk / "ballast"
            fill(ballast)

            error = None
            for number in range(200):
                try:
                    async with asyncio.timeout(PROMISED_S):
                        [receipt] = await send_task(
                            planner, "coder", f"{number}", "x" * 60_000, request_id=f"r{number}"
                        )
                    stored.append(receipt.task_id)
                except (Unconfirmed, StoreFull) as full:
                    error = full
                    break
            assert error is not None
            told = {StoreFull: "The bus has no room left. Nothing was stored.", Unconfirmed: "disk"}
            assert told[type(error)] in str(error)
            _, full = await report(settings)
            assert "stores nothing until it is started anew" in full["server"]["said"]
            assert "Free some disk space" in full["server"]["fix"]

            ballast.unlink()
            _, freed = await report(settings)
            assert "agentbus server stop" in freed["server"]["fix"]
            [again] = await send_task(
                planner, "coder", f"{number}", "x" * 60_000, request_id=f"r{number}"
            )
            stored.append(again.task_id)
            assert embedded.find(settings).pid != before
            assert not disk.revive(settings)  # one that lives is left alone
            _, healed = await report(settings)
            assert healed["server"]["state"] == "ok"
            read = [item.task.id for item in (await read_inbox(coder, limit=50)).tasks]
            assert sorted(read) == sorted(stored)


async def test_a_server_that_a_full_disk_has_left_dead_is_started_anew_by_a_fix(small_disk):
    with server_folder(small_disk / "home") as settings:
        async with Bus.connect(settings) as bus, Session(bus, Agent("coder")) as coder:
            await read_inbox(coder)
            await send_task(coder, "coder", "Before", "x")
            before = embedded.find(settings).pid
            ballast = small_disk / "ballast"
            fill(ballast)
            with pytest.raises((Unconfirmed, StoreFull)):
                await send_many(coder)
            full = await fixed(settings)
            ballast.unlink()

            planned = await fixed(settings, dry_run=True)
            untouched = embedded.find(settings).pid
            done = await fixed(settings)
            left = await fixed(settings)

    assert (full, left) == ([("none", "")], [("none", "")])
    assert planned == [("would", "start the server anew")]
    # Presence was in the memory of the one before.
    assert done == [
        ("done", "start the server anew"), ("done", f"make the streams {subjects.PRESENCE}"),
    ]  # fmt: skip
    assert untouched == before


@pytest.mark.parametrize("by_a_fix", [True, False])
async def test_a_server_that_began_on_a_nearly_full_disk_takes_more_once_others_leave_some(
    tmp_path, monkeypatch, by_a_fix
):
    """It was told a limit for good, and so were streams: nothing was stored until a stop."""
    with server_folder(tmp_path / "home") as settings:
        if by_a_fix:  # then its streams have their room
            async with Bus.connect(settings) as bus:
                await streams.ensure_streams(bus)
            embedded.stop(settings)
        with monkeypatch.context() as full:
            full.setattr(limits, "store_limit", lambda _: 3 << 20)
            before = embedded.ensure(settings).pid
            async with Bus.connect(settings) as bus, Session(bus, Agent("coder")) as coder:
                with pytest.raises(StoreFull):
                    await send_many(coder)
        _, told = await report(settings)
        steps = await fixed(settings) if by_a_fix else []
        async with Bus.connect(settings) as bus, Session(bus, Agent("coder")) as coder:
            await send_many(coder, 60)
            after = embedded.find(settings).pid
            room = (await streams.info(bus, subjects.TASKS))["config"]["max_bytes"]
        _, healed = await report(settings)

    assert steps[:1] == ([("done", "start the server anew")] if by_a_fix else [])
    assert told["server"]["state"] == "warning"
    assert "started while its disk was nearly full" in told["server"]["said"]
    assert "agentbus server stop" in told["server"]["fix"]
    assert (healed["server"]["state"], after != before, room > 1 << 24) == ("ok", True, True)


async def fixed(settings, **options):
    """Return what `agentbus doctor --fix` has done."""
    _, said = await printed(settings, fix=True, **options)
    return [(each["state"], each["step"]) for each in json.loads(said)["steps"]]


async def send_many(session, count=200):
    """Send more than fits."""
    for _ in range(count):
        async with asyncio.timeout(PROMISED_S):
            await send_task(session, session.me.id, "Count", "x" * 60_000)


def fill(file):
    """Take all the room that is left on the disk."""
    left = shutil.disk_usage(file.parent).free
    with file.open("wb") as ballast:
        try:
            while left > 0:
                ballast.write(b"\0" * 65_536)
                left -= 65_536
            ballast.flush()
        except OSError:
            ballast.truncate()
