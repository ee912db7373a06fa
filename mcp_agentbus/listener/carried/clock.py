# SPDX-License-Identifier: Apache-2.0
"""Whose clock a command is typed by: a zone has many names, and none where the machine's is meant.

>>> is_same("", "Europe/Berlin")    # on a machine that stands there
True
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from mcp_agentbus.core.files import read_whole

#: By what the C library knows the time of a process for which TZ is not set.
LOCAL: Final = "/etc/localtime"
#: Where the C library finds what a zone's name means.
ZONES: Final = Path("/usr/share/zoneinfo")
# As the C library has it where nothing is named, or the machine's own is not there.
_UTC: Final = "UTC"


def is_same(one: str, other: str) -> bool:
    """Tell whether two zones show each time alike; of what cannot be told it is not.

    Each is as `relay.carried.words.zone` returns it.
    """
    return one == other or _rules(one) == _rules(other)


def _rules(zone: str) -> bytes:
    """Return what says each change of a zone: its file, else its name, which may be a rule."""
    name = zone.removeprefix(":") or (_UTC if zone else LOCAL)
    if name == LOCAL:
        with suppress(OSError):
            return read_whole(LOCAL)
        name = _UTC
    if not name.startswith("/") and ".." not in name:
        with suppress(OSError):
            return read_whole(ZONES / name)
    return name.encode(errors="surrogateescape")
