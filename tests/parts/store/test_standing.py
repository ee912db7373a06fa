# SPDX-License-Identifier: Apache-2.0
"""How this user's own server stands, for a program, and that it is set up as it starts."""

from types import SimpleNamespace

from mcp_agentbus.store import status, streams


async def test_a_server_that_runs_says_where_it_is_and_what_it_holds(world, monkeypatch):
    await streams.ensure_streams(world.bus)
    settings, server = world.bus.settings, SimpleNamespace(url="nats://here", pid=7)
    monkeypatch.setattr(status.embedded, "find", lambda _: server)
    monkeypatch.setattr(status.shutil, "disk_usage", lambda _: SimpleNamespace(free=512))
    told = await status.standing(world.bus)
    held = told.data.pop("streams")

    assert told.data.pop("acknowledged_is_on_disk") in {True, False, None}
    assert told.data == {
        "running": True, "url": "nats://here", "pid": 7, "folder": str(settings.data_dir),
        "log": str(status.Files(settings.data_dir).log), "free_disk_bytes": 512,
    }  # fmt: skip
    assert list(held) == list(streams.STREAMS)
    assert told.text.startswith("running at nats://here (pid 7), on this machine only\n")


async def test_a_server_that_is_started_has_its_streams(world, monkeypatch):
    made = []

    async def ensure_streams(bus):
        made.append(bus.settings)

    monkeypatch.setattr(status.embedded, "ensure", lambda _: "started")
    monkeypatch.setattr(streams, "ensure_streams", ensure_streams)

    assert await status.start(world.bus.settings) == "started"
    assert made == [world.bus.settings]
