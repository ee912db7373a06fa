# SPDX-License-Identifier: Apache-2.0
"""What waits on this user's own server for a shared bus, over a restore of that server."""

from __future__ import annotations

import asyncio
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from backups import backed_up, restored
from planners_task import TASK

from mcp_agentbus.bus import embedded
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import Refused
from mcp_agentbus.shared import snapshot
from mcp_agentbus.shared.replacement import outgoing
from mcp_agentbus.shared.second_server import SecondServer
from mcp_agentbus.store.outbox.outbox import Outbox, read_outbox
from mcp_agentbus.store.outbox.own import STREAM, own_server


@pytest.fixture
def shared(settings):
    """The settings of a machine whose bus is elsewhere."""
    settings.state_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
    return replace(settings, url="tls://bus.example.org", account="laptop")


async def put(shared, numbers):
    """Have tasks wait here; return all that waits."""
    outbox = Outbox(shared)
    for number in numbers:
        await outbox.put(TASK.model_copy(update={"id": f"t{number}"}), Agent("planner"))
    waits = await outbox.waits()
    await outbox.close()
    return waits


@pytest.mark.parametrize("kept", [0, 3])
async def test_what_waits_here_for_a_shared_bus_stays_where_ones_own_is_restored(
    settings, shared, tmp_path, kept
):
    before = await put(shared, range(kept))
    await backed_up(settings, tmp_path / "backup")

    await restored(settings, tmp_path / "backup", replace=True)

    assert await read_outbox(shared) == before
    assert len(before) == kept
    embedded.stop(own_server(shared))


@pytest.mark.parametrize("kept", [0, 1])
async def test_what_is_put_there_while_ones_own_is_about_to_be_replaced_stays_too(
    settings, shared, tmp_path, monkeypatch, kept
):
    await put(shared, range(kept))
    await backed_up(settings, tmp_path / "backup")
    puts = iter([[7, 8], [9]])
    waits, replaces, tries = [()], SecondServer.take_its_place, []

    def meanwhile(*given):
        tries.append(given)
        if numbers := next(puts, None):
            waits.append(asyncio.run(put(shared, numbers)))
        return replaces(*given)

    monkeypatch.setattr(SecondServer, "take_its_place", meanwhile)
    await restored(settings, tmp_path / "backup", replace=True)

    assert await read_outbox(shared) == waits[-1]
    assert (len(waits[-1]), len(tries)) == (kept + 3, 3)
    embedded.stop(own_server(shared))


async def test_what_waits_where_the_file_of_its_stream_is_damaged_stays_too(
    settings, shared, tmp_path
):
    before = await put(shared, range(3))
    await backed_up(settings, tmp_path / "backup")
    embedded.stop(settings)
    (outgoing._kept_in(settings) / "meta.inf").write_bytes(b"")

    await restored(settings, tmp_path / "backup", replace=True)

    assert await read_outbox(shared) == before
    embedded.stop(own_server(shared))


async def test_where_it_cannot_be_read_it_is_said_how_to_go_on_without_it(
    settings, shared, tmp_path, monkeypatch
):
    await put(shared, [1])
    await backed_up(settings, tmp_path / "backup")
    taken = snapshot.taken

    def refuses(bus, stream):
        if stream == STREAM:
            raise Refused("It cannot be read.", hint="Run it again.")
        return taken(bus, stream)

    monkeypatch.setattr(snapshot, "taken", refuses)
    with pytest.raises(Refused, match="cannot be read") as refused:
        await restored(settings, tmp_path / "backup", replace=True)
    assert "agentbus server stop; mv " in refused.value.hint
    embedded.stop(settings)
    _, folder, aside = shlex.split(re.search("mv [^;]+", refused.value.hint)[0])
    await asyncio.to_thread(Path(folder).rename, aside)
    await restored(settings, tmp_path / "backup", replace=True)

    assert await read_outbox(shared) == ()
    embedded.stop(own_server(shared))
