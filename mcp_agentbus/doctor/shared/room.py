# SPDX-License-Identifier: Apache-2.0
"""Whether a shared server has room for the streams that it has yet to make.

    >>> short(info, infos)
    Check(name='store', state='wrong', said='the server lets this login store 10 MiB ...')

A server tells what a login may take; what it has itself, `max_file` and `max_mem`, it tells nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_agentbus.core.text import size
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.store import streams

# What is asked of each kind of room, in the server's words and in ours.
_KINDS: Final = (("file", "storage", "of its disk"), ("memory", "memory", "of its memory"))


def needed(infos: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return how much room a server has to have for what it has yet to make, as a clause."""
    rooms = (f"{size(_of_missing(infos, storage))} {where}" for storage, _, where in _KINDS)
    return f"for which the server needs {' and '.join(rooms)} to spare"


def short(
    info: Mapping[str, Any] | None, infos: Mapping[str, Mapping[str, Any] | None]
) -> Check | None:
    """Return what is wrong where a login may not have what is missing; None if that is unknown.

    Args:
        info: what the server says that the login has and may have; None: it says nothing.
        infos: the streams, as `store` takes them.
    """
    if info is None or all(infos.values()):
        return None
    lacks: list[str] = []
    for storage, name, where in _KINDS:
        left, wanted = _left(info, name), _of_missing(infos, storage)
        if left is not None and left < wanted:
            lacks.append(f"{size(left)} {where} of the {size(wanted)} that are needed")
    if not lacks:
        return None
    said = f"the server lets this login have {' and '.join(lacks)}; nothing can be stored"
    return Check("store", "wrong", said, streams.GIVE_ROOM)


def _of_missing(infos: Mapping[str, Mapping[str, Any] | None], storage: str) -> int:
    missing = [each for each in streams.SETTINGS if infos.get(each["name"]) is None]
    return sum(each["max_bytes"] for each in missing if each["storage"] == storage)


def _left(info: Mapping[str, Any], name: str) -> int | None:
    """Return what a login may still reserve of one kind; None if there is no limit."""
    limit = (info.get("limits") or {}).get(f"max_{name}")
    if not isinstance(limit, int) or limit < 0 or info.get("tiers"):
        return None
    return max(0, limit - int(info.get(f"reserved_{name}") or 0))
