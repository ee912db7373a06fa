# SPDX-License-Identifier: Apache-2.0
"""Backups in tests: taken and restored as the commands do it, and what a bus holds.

>>> await backed_up(settings, tmp_path / "backup")
>>> await restored(settings, tmp_path / "backup", replace=True)
"""

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.shared import backup, restore


async def backed_up(settings, folder):
    """Take a backup; return all that was said of it."""
    async with Bus.connect(settings) as bus:
        return [step async for step in backup.back_up(bus, folder)]


async def restored(settings, folder, *, replace=False):
    """Restore a backup; return how far it was, and what became of what was there before."""
    steps = restore.restore(settings, backup.find(folder), replace=replace)
    return [step async for step in steps]


async def held(settings):
    """Return how many messages the streams of a bus hold, if they hold any."""
    async with Bus.connect(settings) as bus:
        return {name: state["messages"] for name, state in (await restore.holds(bus)).items()}
