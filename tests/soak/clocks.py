# SPDX-License-Identifier: Apache-2.0
"""Wall clocks that are wrong for a while, each of one process or of one shell's commands.

>>> await FAULTS["clock_step"](world, planned)
'cy, -90 s for 7 s'

The others' clocks stay, and so does the server's: what is promised is judged by that one. How a
process takes it, `every_python/sitecustomize.py` knows; see there what this cannot set.
"""

from __future__ import annotations

import random

from actors import World, until
from choices import Planned
from faults import a_fault
from machine import processes
from voices import Shell

# From what two machines differ by to what one does whose clock nobody sets.
_STEPS_S = (-600, -90, -5, 5, 90, 600)
# Longer than a deadline's or a schedule's way through one process, while other faults come.
_LASTS = 2.0
_CLOCKED = frozenset({"listener", "session", "python", "worker", "gate", "command"})


@a_fault
async def clock_step(world: World, planned: Planned) -> str:
    """Set one clock ahead or back, and right again."""
    there = {str(one.pid): one.kind for one in processes(world.folder) if one.kind in _CLOCKED}
    shells = (actor.voice.agent for actor in world.actors if isinstance(actor.voice, Shell))
    there |= dict.fromkeys(shells, "shell")
    whose, kind = list(there.items())[int(planned.which * len(there))]
    by = random.Random(planned.which).choice(_STEPS_S)
    _set(world, whose, by)
    await until(world.calm.is_set, planned.lasts_s * _LASTS)
    _set(world, whose, 0)
    return f"{kind} {whose}, {by:+} s for {planned.lasts_s * _LASTS:.0f} s"


def _set(world: World, whose: str, by: int) -> None:
    """Set a clock, in one step for whoever reads it at this moment."""
    world.clocks[whose] = by
    wrong = [f"{name} {by}\n" for name, by in world.clocks.items() if by]
    written = world.folder / "site/clocks.new"
    written.write_text("".join(wrong))
    written.replace(world.folder / "site/clocks")
