# SPDX-License-Identifier: Apache-2.0
"""What restores have noted of one bus, on several machines, and at the same time."""

from __future__ import annotations

import platform
from copy import copy
from dataclasses import replace
from functools import partial

import pytest

from mcp_agentbus.shared.replacement import carried
from mcp_agentbus.shared.replacement.before import let_go, note, noted
from mcp_agentbus.store import streams
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.store.upkeep.lost import RESTORED


class Machine:
    """One of those that run a server, with folders of its own: what it notes, and finds noted."""

    def __init__(self, name, bus, folder, monkeypatch):
        self.bus = copy(bus)
        self.bus.settings = replace(bus.settings, data_dir=folder)
        self._is_here = partial(monkeypatch.setattr, platform, "node", lambda: name)

    async def note(self, number):
        self._is_here()
        folder = self.bus.settings.data_dir / "backups" / f"before-restore-{number}"
        folder.mkdir(parents=True)
        return await note(self.bus, folder)

    async def noted(self):
        self._is_here()
        return await noted(self.bus)


@pytest.fixture
async def machines(own_world, tmp_path, monkeypatch):
    await streams.ensure_streams(own_world.bus)
    return [Machine(name, own_world.bus, tmp_path / name, monkeypatch) for name in "ab"]


async def removed(bus):
    """Have a restore remove something, and be broken off."""
    await bus.api(f"STREAM.DELETE.{RESULTS}")


async def made_anew(bus):
    """Have a restore get to its end."""
    await streams.ensure_streams(bus)
    config = (await bus.api(f"STREAM.INFO.{RESULTS}"))["config"]
    config["metadata"] = {**config.get("metadata", {}), RESTORED: "2026-11-29T10:00:00Z"}
    await bus.api(f"STREAM.UPDATE.{RESULTS}", config)


async def test_what_another_machine_has_ended_is_told_on_none_of_them_again(own_world, machines):
    a, b = machines
    first = await a.note(1)
    await removed(own_world.bus)

    [found] = (await b.noted()).several
    assert (found.host, found.folder, found.place) == (
        "a",
        first.folder,
        f"on a, in {first.folder}",
    )
    await made_anew(own_world.bus)
    await let_go(b.bus, [found])

    assert await a.noted() == await b.noted() == ([], [])
    assert not [*first.folder.iterdir()]


async def test_what_a_bus_has_lost_with_all_else_is_yet_to_be_told(own_world, machines):
    a, _ = machines
    first = await a.note(1)
    await removed(own_world.bus)
    await own_world.bus.api(f"STREAM.DELETE.{carried.STREAM}")

    [found] = (await a.noted()).several

    assert (found.folder, found.host) == (first.folder, "")


async def test_what_is_on_this_machine_in_another_folder_is_of_no_other(
    own_world, machines, tmp_path, monkeypatch
):
    a, _ = machines
    first = await a.note(1)

    [found] = (await Machine("a", own_world.bus, tmp_path / "other", monkeypatch).noted()).unbegun

    assert (found.folder, found.host) == (first.folder, "")


@pytest.mark.parametrize("has_room", [True, False])
async def test_what_another_restore_is_about_to_remove_stays_noted(
    own_world, machines, monkeypatch, has_room
):
    a, b = machines
    if not has_room:

        async def full(*_):
            return False

        monkeypatch.setattr(carried, "put", full)
    theirs = await a.note(1)
    assert (await a.noted()).several == []
    begun = await b.noted()
    ours = await b.note(2)
    latest = await a.note(3)  # since ours has begun

    await let_go(b.bus, [*begun.several, ours])
    await removed(own_world.bus)

    assert [each.folder for each in (await a.noted()).several] == [theirs.folder, latest.folder]
    await let_go(a.bus, [theirs, latest])
    assert carried.STREAM not in (await own_world.bus.api("STREAM.NAMES"))["streams"]


async def test_what_has_removed_nothing_is_let_go_of_by_whoever_ends_one(machines):
    a, b = machines
    theirs = await a.note(1)

    found = (await b.noted()).unbegun
    await let_go(b.bus, found)

    assert [each.folder for each in found] == [theirs.folder]
    assert await carried.all_of(a.bus) == {}
