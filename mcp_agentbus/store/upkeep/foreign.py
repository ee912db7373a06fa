# SPDX-License-Identifier: Apache-2.0
"""What other programs have made of the streams: set them up otherwise, or others in their place.

>>> (await foreign.look(bus)).changed
[Changed(name='AGENTBUS_TASKS', settings=['max_age'], is_newer=False, is_anothers=False)]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import together
from mcp_agentbus.store import streams
from mcp_agentbus.store.upkeep import anothers
from mcp_agentbus.store.upkeep.as_made import stream_differs


class Changed(NamedTuple):
    """A stream of ours that is not as this version makes it."""

    name: str
    settings: list[str]
    #: A later version has set it up, or somebody says so.
    is_newer: bool
    #: It is another program's, which needs it as it is.
    is_anothers: bool


@dataclass(frozen=True)
class Foreign:
    """What was found."""

    changed: list[Changed]
    #: Names of streams that take what one of ours would keep, which cannot be made beside them.
    in_place: list[str]
    #: Which of ours are not there.
    missing: list[str]


async def look(bus: Bus) -> Foreign:
    """Look at every stream of ours, and for others where one is missing.

    Raises: as `Bus.api`.
    """
    looked = await together(*(_changed(bus, made) for made in streams.SETTINGS))
    missing = [made for made, each in zip(streams.SETTINGS, looked, strict=True) if each is None]
    others = await together(*(_others(bus, made["subjects"]) for made in missing))
    return Foreign(
        changed=[each for each in looked if each and each.settings],
        in_place=sorted({name for names in others for name in names}),
        missing=[made["name"] for made in missing],
    )


async def _changed(bus: Bus, made: Mapping[str, Any]) -> Changed | None:
    """Return how a stream of ours differs from what it is made as; None if there is none."""
    info = await streams.info(bus, made["name"])
    if info is None:
        return None
    config = info["config"]
    # This user's own server has no other program's.
    is_anothers = bool(bus.settings.url) and anothers.is_anothers(made, config)
    differs = stream_differs(made, config)
    return Changed(made["name"], differs, streams.is_newer(config), is_anothers)


async def _others(bus: Bus, kept: Sequence[str]) -> list[str]:
    """Return the streams that have one of these subjects."""
    looks = (bus.api("STREAM.NAMES", {"subject": subject}) for subject in kept)
    return [other for answer in await together(*looks) for other in answer.get("streams") or ()]
