# SPDX-License-Identifier: Apache-2.0
"""The package of a run, which its processes have from a folder of their own, and its upgrades.

>>> install(folder)
>>> await FAULTS["upgrade"](world, planned)
'56.0'

An upgrade is done as pip does it: the old files are put aside at once, and the new ones come one by
one. The code is the same but for the version, by which processes know whom they may give their work
to; so nothing is tried of what two versions would have to agree about.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

from actors import World
from choices import Planned
from faults import a_fault, start_listener
from voices import ROOT

# What a host reads of it.
_PLUGIN = (".claude-plugin", "bin", "hooks", "monitors", "skills")
# Between the old files and the first of the new ones, at most.
_MISSING_S = 0.5
# As `agentbus listen --status` tells after an upgrade; in half of them nobody has read that.
_REPLACES_FROM_S = 3.0


def install(folder: Path) -> None:
    """Have a run's processes take the package from the folder `site` of a run."""
    site = folder / "site"
    package = site / "mcp_agentbus"
    for source, target in (
        ("mcp_agentbus", package),
        ("installers", package / "installers"),
        *((part, package / "plugin" / part) for part in _PLUGIN),
        ("tests/soak/every_python", site),
    ):
        # With what Python has compiled: else all that begin at once would do that again.
        shutil.copytree(ROOT / source, target, dirs_exist_ok=True)


@a_fault
async def upgrade(world: World, planned: Planned) -> str:
    """Replace the package by another version; on some of these the listeners, too."""
    site, version = world.folder / "site", f"{int(world.clock())}.0"
    package, aside = site / "mcp_agentbus", site / "~cp_agentbus"
    await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)  # of the last one
    package.rename(aside)
    await asyncio.sleep(planned.which * _MISSING_S)
    await asyncio.to_thread(_place, aside, package, version)
    if planned.lasts_s > _REPLACES_FROM_S:
        for place in world.places:
            await start_listener(world, place, "--replace")
        version += ", and the listeners"
    return version


def _place(old: Path, new: Path, version: str) -> None:
    """Have each file of the old version be in the new one, too, but for that which says which."""
    said = shutil.ignore_patterns("version*")
    shutil.copytree(old, new, ignore=said, copy_function=_link, dirs_exist_ok=True)
    head = (old / "version.py").read_text().partition("__version__")[0]
    (new / "version.py").write_text(f'{head}__version__ = "{version}"\n')


def _link(old: str, new: str) -> None:
    with suppress(FileExistsError):  # a process that was quicker has compiled it
        Path(new).hardlink_to(old)
