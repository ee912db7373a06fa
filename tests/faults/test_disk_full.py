# SPDX-License-Identifier: Apache-2.0
"""A full disk: nothing is called stored that is not, and the error says what to do.

Needs the right to mount a small tmpfs; skipped where a person has it not.
"""

import asyncio
import shutil

import pytest
from doctors import report
from local_server import server_folder

from mcp_agentbus.bus import disk, embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import StoreFull, Unconfirmed
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session

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
