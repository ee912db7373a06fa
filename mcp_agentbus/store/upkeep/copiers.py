# SPDX-License-Identifier: Apache-2.0
"""Other programs' streams that copy a work queue of ours, by consumers that the server makes.

    >>> await look(bus, TASKS)
    Copying(owners={'JS_SRC_kViQJ85r': 'AUDIT'}, here=frozenset({'AUDIT'}))

The server makes such a consumer beside the lanes of inboxes, and anew where it is removed. What has
a lane stays for its reader, too; what has none goes into the copy alone.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, NamedTuple

from mcp_agentbus.bus.client import Bus

# Of a consumer's metadata, by which the server says for which stream it has made it.
_OWNERS: Final = ("_nats.src.stream", "_nats.mirror.stream")
# What a server has in no name of a stream: it would part a subject, or be a path.
_IN_NO_NAME: Final = re.compile(r"[\s.*>/\\]")


class Copying(NamedTuple):
    """By what one of our streams is copied."""

    #: The names of the streams that copy, by the consumers.
    owners: dict[str, str]
    #: Those of them that this account has.
    here: frozenset[str]


def owner(info: Mapping[str, Any]) -> str:
    """Return for which stream the server has made a consumer, as it says; empty if for none.

    Whoever may make a consumer can say the same of it, but not of a stream that no server has.
    """
    config = info["config"]
    metadata = config.get("metadata") or {}
    names = (str(metadata.get(each, "")) for each in _OWNERS)
    return next(filter(_can_be_a_streams, names), "") if config.get("sourcing") else ""


def _can_be_a_streams(name: str) -> bool:
    return bool(name) and name.isprintable() and not _IN_NO_NAME.search(name)


async def look(bus: Bus, stream: str) -> Copying:
    """Return who copies a stream of ours.

    Raises: as `Bus.api`.
    """
    consumers = pages(bus, f"CONSUMER.LIST.{stream}", "consumers")
    owners = {str(info["name"]): name async for info in consumers if (name := owner(info))}
    if not owners:
        return Copying(owners, frozenset())
    configs = [info["config"] async for info in pages(bus, "STREAM.LIST", "streams")]
    here = frozenset(str(config["name"]) for config in configs if stream in _copied(config))
    return Copying(owners, here)


def _copied(config: Mapping[str, Any]) -> set[str]:
    copied = [config.get("mirror") or {}, *(config.get("sources") or ())]
    return {str(each.get("name", "")) for each in copied}


async def pages(bus: Bus, call: str, of: str) -> AsyncGenerator[dict[str, Any], None]:
    """Yield what a call lists, of which the server tells some at a time.

    Raises: as `Bus.api`.
    """
    start, total = 0, 1
    while start < total:
        answer = await bus.api(call, {"offset": start})
        infos = answer.get(of) or []
        for info in infos:
            yield info
        start, total = start + max(1, len(infos)), int(answer.get("total", 0))
