# SPDX-License-Identifier: Apache-2.0
"""What other programs have made of the streams: set them up otherwise, or others in their place.

>>> (await foreign.look(bus)).changed
[Changed(name='AGENTBUS_TASKS', settings=['max_age'], is_newer=False)]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.core.aio import together
from mcp_agentbus.store import streams


class Changed(NamedTuple):
    """A stream of ours that is not as this version makes it."""

    name: str
    settings: list[str]
    #: A later version has set it up, or somebody says so.
    is_newer: bool


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
    looked = await together(*(_changed(bus, name) for name in streams.STREAMS))
    missing = [name for name, each in zip(streams.STREAMS, looked, strict=True) if each is None]
    others = await together(*(_others(bus, name) for name in missing))
    return Foreign(
        changed=[each for each in looked if each and each.settings],
        in_place=sorted({name for names in others for name in names}),
        missing=missing,
    )


async def _changed(bus: Bus, name: str) -> Changed | None:
    """Return how a stream of ours differs; None if there is none."""
    try:
        config = (await bus.admin.api(f"STREAM.INFO.{name}"))["config"]
    except ApiError as error:
        if error.code == NO_SUCH_STREAM:
            return None
        raise
    return Changed(name, streams.differences(config), streams.is_newer(config))


async def _others(bus: Bus, name: str) -> list[str]:
    """Return the streams that have a subject of one of ours."""
    answers = await together(
        *(
            bus.admin.api("STREAM.NAMES", {"subject": subject})
            for subject in streams.made_as(name)["subjects"]
        )
    )
    return [other for answer in answers for other in answer.get("streams") or ()]
