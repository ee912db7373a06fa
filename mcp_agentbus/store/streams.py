# SPDX-License-Identifier: Apache-2.0
"""What stands on the server: six streams; what reads them is in `queries.consumers`.

On a server with accounts its gate makes all of it, and an account's connection has none of these
rights.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from mcp_agentbus.bus import budget
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own import disk, limits
from mcp_agentbus.bus.replies import NO_ROOM_TO_RESERVE, NO_SUCH_STREAM, ApiError, refusal
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.aio import in_thread, together
from mcp_agentbus.core.text import size
from mcp_agentbus.errors import AgentbusError, NotAllowed, Refused, StoreFull
from mcp_agentbus.store.queries import clock
from mcp_agentbus.store.subjects import AGENTS, DEAD, PRESENCE, RESULTS, SCHEDULE, TASKS
from mcp_agentbus.store.task import EXPIRES_MAX_S
from mcp_agentbus.store.upkeep import anothers
from mcp_agentbus.store.upkeep.as_made import kept_settings, stream_differs

_S: Final = 1_000_000_000  # JetStream counts in nanoseconds
_DAY: Final = 24 * 3600 * _S
# How long a session counts as alive after its last sign of life; one comes every 5 s.
PRESENCE_S: Final = 15
# One addressee's inbox takes this many waiting tasks per sender and lane.
INBOX_MAX_PER_SENDER: Final = 20_000
# Of a sender's tasks in one lane so many stay parked, the latest.
PARKED_MAX_PER_SENDER: Final = 200

_FILE: Final = {"storage": "file", "num_replicas": 1, "allow_direct": True}

#: By which of our versions' `SETTINGS` a stream was set up: one more whenever these change.
LAYOUT: Final = 2

#: What each is created with; where the store has less room, `fitted` makes `max_bytes` less.
SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": SCHEDULE,
        "subjects": ["agentbus.*.sched.*.*.*", "agentbus.*.due.*.*"],
        "retention": "limits",
        # JetStream refuses discard=new here (10052), so `tasks.put` looks for room before.
        "discard": "old",
        "max_age": 30 * _DAY,
        "max_bytes": 64 << 20,
        "duplicate_window": 600 * _S,
        "allow_msg_schedules": True,
        "allow_rollup_hdrs": True,  # schedules need it
        "allow_msg_ttl": True,
        **_FILE,
    },
    {
        "name": TASKS,
        "subjects": ["agentbus.*.tasks.*.*"],
        "retention": "workqueue",
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": INBOX_MAX_PER_SENDER,
        "max_age": EXPIRES_MAX_S * _S,
        "max_bytes": 1 << 30,
        # A body of 64 KiB may take six times that in JSON.
        "max_msg_size": 512 << 10,
        "max_consumers": 100_000,
        "duplicate_window": 600 * _S,
        "allow_msg_ttl": True,
        "republish": {
            "src": "agentbus.*.tasks.*.*",
            "dest": "agentbus.{{wildcard(1)}}.wake.{{wildcard(2)}}.{{wildcard(3)}}",
            "headers_only": True,
        },
        "sources": [
            {
                "name": SCHEDULE,
                "subject_transforms": [
                    {
                        "src": "agentbus.*.due.*.*",
                        "dest": "agentbus.{{wildcard(1)}}.tasks.{{wildcard(2)}}.{{wildcard(3)}}",
                    }
                ],
            }
        ],
        **_FILE,
    },
    {
        "name": RESULTS,
        "subjects": ["agentbus.*.results.*.*", "agentbus.*.sent.*.*", "agentbus.*.wakes.*.*"],
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_age": 30 * _DAY,
        "max_bytes": 4 << 30,
        "max_msg_size": 1 << 20,
        "max_consumers": 100_000,
        "duplicate_window": 120 * _S,
        **_FILE,
    },
    {
        "name": DEAD,
        "subjects": ["agentbus.*.dead.*.*"],
        "retention": "limits",
        # Nobody's parked tasks make room for another's: of a sender's own the oldest go first, and
        # where the stream is full those of whoever has the most there, see `handoff.parked`.
        "discard": "new",
        "max_msgs_per_subject": PARKED_MAX_PER_SENDER,
        "max_age": 30 * _DAY,
        "max_bytes": 256 << 20,
        "duplicate_window": 120 * _S,
        **_FILE,
    },
    {
        "name": AGENTS,
        "subjects": ["agentbus.*.profile"],
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_bytes": 16 << 20,
        "duplicate_window": 120 * _S,
        **_FILE,
    },
    {
        "name": PRESENCE,
        "subjects": ["agentbus.*.heartbeat.*"],
        "retention": "limits",
        # A flood pushes nobody out: who is there says it anew in the place of what it said before.
        "discard": "new",
        "storage": "memory",
        "num_replicas": 1,
        "allow_direct": True,
        "max_age": PRESENCE_S * _S,
        "max_bytes": 16 << 20,
        "max_msg_size": 64 << 10,
        "max_msgs_per_subject": 1,
        "duplicate_window": 2 * _S,
        # No TTLs, so that nobody stays for ever, and no markers where one went: with them a message
        # may wipe all others off the stream.
    },
)

# Each of those who create a stream at once reserves its room, and where that is short the server
# refuses all but one, or all; and one of them may have counted another room, or restores it: so it
# is looked at again, for 3 s at most.
_BESIDE_OTHERS_S: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.6)

#: Of JetStream's API: a stream of that name is there with other settings, or is being restored.
NAME_IN_USE: Final = 10058

# So many servers of a cluster keep each, so that one may be lost; where there are fewer, one does.
_REPLICAS: Final = 3
_PRINTED: Final = "`agentbus server config --streams --for AGENT`"
_RESTORE: Final = (
    "Call again in a while. If it was broken off, have whoever runs the server begin it again: "
    "`agentbus server restore FOLDER --replace`."
)
#: What is to be done about what an agent's login may not make.
BY_OWNER: Final = f"Have whoever runs the server make what {_PRINTED} prints."

#: What a server reserves for all of them, in bytes: of its disk, and of its memory.
RESERVED: Final = {
    storage: sum(each["max_bytes"] for each in SETTINGS if each["storage"] == storage)
    for storage in ("file", "memory")
}
_NO_ROOM: Final = "The server gives agentbus too little room for its streams. Nothing was stored."
#: What is to be done about a shared server with less.
GIVE_ROOM: Final = (
    f"Have whoever runs it give JetStream at least {size(RESERVED['file'])} of its disk (max_file) "
    f"and {size(RESERVED['memory'])} of its memory (max_mem) for them, or make them with less room "
    f"each: {_PRINTED} prints them."
)
STREAMS: Final = tuple(stream["name"] for stream in SETTINGS)


async def ensure_streams(bus: Bus, *, newer: bool = False) -> None:
    """Create the streams that are missing, and set up anew what is not as this version makes it.

    From then on the bus makes anew what its server loses. What a later version has set up stays, or
    two side by side would take turns; unless `newer` says that there is none.

    Raises:
        StoreFull, Refused: the disk has no room for them, or another stream is in one's place.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    if bus.settings.account:  # its gate sees to that
        return
    try:
        await _ensure_all(bus, newer=newer)
    except StoreFull:
        if not await _is_widened(bus.settings):
            raise
        budget.renew()  # that took the server's time to start
        await _ensure_all(bus, newer=newer)
    bus.on_missing = bus.on_missing or partial(ensure_streams, bus)


async def _is_widened(settings: Settings) -> bool:
    """Have this user's own server take the room that its disk has by now; return if it did."""
    with suppress(AgentbusError, OSError):
        return settings.url is None and await in_thread(disk.widen, settings)
    return False


async def _ensure_all(bus: Bus, *, newer: bool) -> None:
    configs = None if bus.settings.url else await _all_here(bus)
    if configs is None:
        configs = await together(*(_config(bus, stream) for stream in SETTINGS))
    calls = [_call(*each, newer=newer) for each in zip(SETTINGS, configs, strict=True)]
    if any(calls):
        room = None if bus.settings.url else _room(bus.settings)
        for stream, call in zip(SETTINGS, calls, strict=True):  # in order: TASKS takes from SCHED
            if call:
                await _make(bus, call, fitted(stream, room))
    if not bus.settings.url:
        found = zip(configs, calls, strict=True)
        await _grow(bus, (has for has, call in found if has and not call))


async def ensure(bus: Bus, stream: Mapping[str, Any]) -> None:
    """As `ensure_streams`, of one that is none of those."""
    if call := await _needed(bus, stream):
        await _make(bus, call, stream)


async def info(bus: Bus, name: str) -> dict[str, Any] | None:
    """Ask how a stream stands, as `STREAM.INFO` says it; None if there is none.

    Raises: as `Bus.api`.
    """
    try:
        return await bus.api(f"STREAM.INFO.{name}")
    except ApiError as error:
        if error.code == NO_SUCH_STREAM:
            return None
        raise


def fitted(stream: Mapping[str, Any], room: int | None) -> dict[str, Any]:
    """Return the stream's configuration, made smaller in proportion if the store has less room.

    JetStream reserves `max_bytes` of every stream when it creates it (10047 if it cannot).
    """
    made = {**stream, "metadata": {anothers.MARK: str(LAYOUT)}}
    wanted = RESERVED["file"]
    if room is None or room >= wanted or stream["storage"] != "file":
        return made
    return {**made, "max_bytes": stream["max_bytes"] * room // wanted}


async def _grow(bus: Bus, configs: Iterable[Mapping[str, Any]]) -> None:
    """Give more room to what this user's own server was given while its disk was nearly full."""
    known = [*configs]
    if _grown(known, limits.given_limit(bus.settings)):  # else the disk need not be looked at
        for config in _grown(known, _room(bus.settings)):
            with suppress(ApiError):  # the others have reserved more than their part: it stays
                await bus.api(f"STREAM.UPDATE.{config['name']}", config)


def _grown(configs: Iterable[Mapping[str, Any]], room: int | None) -> list[dict[str, Any]]:
    """Return with their part of the room those that have much less; a later version's stay."""
    parts = {each["name"]: fitted(each, room)["max_bytes"] for each in SETTINGS}
    return [
        {**has, "max_bytes": parts[has["name"]]}
        for has in configs
        if 0 < has.get("max_bytes", -1) * disk.MUCH_MORE <= parts[has["name"]] and not is_newer(has)
    ]


def _room(settings: Settings) -> int:
    """Return what this user's own server can reserve: what it was told, or less on a full disk."""
    room, given = limits.store_limit(settings), limits.given_limit(settings)
    return room if given is None else min(room, given)


async def _make(bus: Bus, call: str, stream: Mapping[str, Any]) -> None:
    """Create or update a stream, beside whoever does the same at this moment."""
    for pause_s in (*_BESIDE_OTHERS_S, None):
        try:
            await _set_up(bus, call, stream)
        except ApiError as error:
            if call == "UPDATE" and error.code != NAME_IN_USE:
                return  # it stays as it is, and doctor tells of it
            if error.code not in {NO_ROOM_TO_RESERVE, NAME_IN_USE}:
                raise _unmade(bus, refusal(error)) from None
            if pause_s is None and error.code == NAME_IN_USE:
                what = f"{stream['name']} is being restored from a backup, or that was broken off."
                raise Refused(f"{what} Nothing was stored.", hint=_RESTORE) from None
            if pause_s is None:
                raise _unmade(bus, StoreFull()) from None
        else:
            return
        spread = random.uniform(0.5, 1.5)  # noqa: S311  # so that a crowd does not come back as one
        await asyncio.sleep(pause_s * spread)
        # The other one's is there, or the room that its attempt had taken is free again.
        call = await _needed(bus, stream)
        if not call:
            return


def _unmade(bus: Bus, error: AgentbusError) -> AgentbusError:
    """Return the error of a stream that is not made; of a shared server it is not ours to look."""
    if isinstance(error, StoreFull) and bus.settings.url:
        return StoreFull(_NO_ROOM, hint=GIVE_ROOM)
    return error


async def _set_up(bus: Bus, call: str, stream: Mapping[str, Any]) -> None:
    config = dict(stream)
    if call == "UPDATE":  # with what it has that cannot be taken back
        has = (await bus.api(f"STREAM.INFO.{stream['name']}"))["config"]
        config |= kept_settings(stream, has)
    elif bus.settings.url:  # this user's own server is alone
        with suppress(ApiError, NotAllowed):
            await bus.api(f"STREAM.CREATE.{stream['name']}", config | {"num_replicas": _REPLICAS})
            return
    try:
        await bus.api(f"STREAM.{call}.{stream['name']}", config)
    except NotAllowed:
        if call == "CREATE":
            raise NotAllowed(hint=BY_OWNER) from None


async def _needed(bus: Bus, stream: Mapping[str, Any]) -> str:
    """Return what has to be called for a stream to be as this version makes it."""
    return _call(stream, await _config(bus, stream))


def _call(stream: Mapping[str, Any], has: Mapping[str, Any] | None, *, newer: bool = False) -> str:
    """Return CREATE, UPDATE for a stream of an older version or of somebody else's, or nothing."""
    if has is None:
        return "CREATE"
    may = newer or not is_newer(has)
    return "UPDATE" if may and stream_differs(stream, has) else ""


async def _config(bus: Bus, stream: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return as what a stream was set up; None if it is missing."""
    # A repeated STREAM.CREATE checks the room again and may fail on a full disk.
    said = await info(bus, stream["name"])
    if said is None:
        return None
    clock.note(bus, said)
    config: Mapping[str, Any] = said["config"]
    if bus.settings.url:  # this user's own server has no other program's
        anothers.check(stream, config)
    return config


async def _all_here(bus: Bus) -> list[Mapping[str, Any] | None] | None:
    """Return the same of each stream by one request; None if it does not name all.

    For this user's own server: three that are one would ask each other for each.
    """
    answer = await bus.api("STREAM.LIST", {"offset": 0})
    with suppress(TypeError, LookupError):  # whoever sees a request can answer it
        infos = answer["streams"] or ()
        by_name = {each["config"]["name"]: each["config"] for each in infos}
        for each in infos[:1]:
            clock.note(bus, each)
        if answer["total"] == len(by_name):
            return [by_name.get(name) for name in STREAMS]
    return None


def is_newer(config: Mapping[str, Any]) -> bool:
    """Tell whether a later version than this one has set a stream up, as it says itself."""
    layout = str((config.get("metadata") or {}).get(anothers.MARK, ""))
    return layout.isdecimal() and layout.isascii() and len(layout) < 9 and int(layout) > LAYOUT
