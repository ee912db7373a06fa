# SPDX-License-Identifier: Apache-2.0
"""What a listener says of its archive: why nothing is kept, for as long as that is so."""

import asyncio
from dataclasses import replace

import pytest
from local_server import settings_at

from mcp_agentbus.archive import keeper as module
from mcp_agentbus.archive.keeper import Keeper
from mcp_agentbus.config.settings import Keeps


class Watcher:
    """Settings that are other ones each time they are looked at; behind the last it ends."""

    def __init__(self, *settings):
        self._settings = list(settings)

    @property
    def settings(self):
        if not self._settings:
            raise asyncio.CancelledError
        return self._settings.pop(0)


async def test_one_that_its_user_has_switched_off_is_no_longer_broken(tmp_path, monkeypatch):
    """As its error says to do: doctor went on saying that no history is kept."""
    monkeypatch.setattr(module, "_OPEN_AGAIN_S", 0)
    settings, said = settings_at(tmp_path / "bus"), []
    settings.archive_file.parent.mkdir(parents=True, exist_ok=True)
    settings.archive_file.touch(0o600)
    settings.archive_file.write_bytes(b"no database at all" * 100)
    off = replace(settings, archive=Keeps(enabled=False))

    def keeper(*each):
        return Keeper(None, Watcher(*each), None, emit=lambda about: said.append(about["error"]))

    still, switched_off = keeper(settings, settings), keeper(settings, off)
    for each in (still, switched_off):
        with pytest.raises(asyncio.CancelledError):
            await each.run()

    assert "not a database" in still.says
    assert "Hint:" not in still.says  # whoever shows it says what mends it
    assert switched_off.says == ""
    assert said == [still.says] * 2
