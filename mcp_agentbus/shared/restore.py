# SPDX-License-Identifier: Apache-2.0
"""A backup becomes a bus again: this user's own, or a shared one.

    >>> held = await holds(settings)                # by streams, before anything is touched
    >>> async for step in restore(settings, backup.find(folder), replace=True):
    ...     print(step)

What is there is replaced as a whole, and only if that is said. Before it goes a backup of it is
taken, so that the same command brings it back; and whoever has sent something since is told.

This user's own server is replaced unseen: the backup is restored into a server that nobody else
knows, whose files then take the place of the others at one blow, while no server runs on either.
What waits there for a shared bus goes along.
Whoever dies in between, one of the two is there whole. A shared server keeps running, and what it
holds is removed stream by stream; so all who use it must have ended, or it is refused. Its accounts
stay as they stand, and a backup's come only where nobody has joined: so whoever was removed, or has
another key, does not come back in, however early a restore ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own import limits
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.bus.replies import NO_ROOM_TO_RESERVE, NO_SUCH_CONSUMER, NO_SUCH_STREAM, ApiError
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import text
from mcp_agentbus.core.files import shell_word
from mcp_agentbus.errors import AgentbusError, BusUnreachable, Refused, StoreFull
from mcp_agentbus.shared import second_server, snapshot
from mcp_agentbus.shared.accounts import store as accounts
from mcp_agentbus.shared.accounts.lobby import is_answered
from mcp_agentbus.shared.accounts.record import Invitation
from mcp_agentbus.shared.backup import ORDER, WHAT, Backup, Progress, Stream, back_up
from mcp_agentbus.shared.replacement.before import Before, let_go, note, noted, put_back
from mcp_agentbus.shared.replacement.outgoing import take_its_place
from mcp_agentbus.shared.replacement.since import is_since, sent_since, tell
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.upkeep.lost import RESTORED, end_lost

# Of JetStream's API: somebody else has made the stream meanwhile.
_THERE_ALREADY: Final = frozenset({streams.NAME_IN_USE, 10130})
# Of several servers too few have room for a stream, or are there.
_NO_PLACE: Final = 10005
_IN_USE: Final = (
    "End all that uses the bus (agentbus listen --stop, and every session), then run it again with "
    "--replace."
)


_STOP_GATE: Final = (
    "Run `systemctl --user stop agentbus-gate` (as root without --user) on each of its servers, "
    "then the same again; start it afterwards."
)
# A gigabyte takes a slow network a minute or two.
_CATCHES_UP_WITHIN_S: Final = 300.0
_LOOK_AGAIN_S: Final = 0.1
# So long room may count as reserved by a stream that was removed, in seconds.
_RESERVED_S: Final = 20.0


@dataclass(frozen=True)
class Replaced:
    """What was there before."""

    #: Where a backup of it lies.
    backup: Path
    #: So many tasks were sent since the restored one was taken; each has its end.
    told: int = 0
    #: The machine that has it; empty for this one.
    host: str = ""


async def holds(bus: Bus) -> dict[str, dict[str, Any]]:
    """Return how the streams stand that hold anything, by name, as `STREAM.INFO` says it.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    states = {name: await _state(bus, name) for name in ORDER}
    return {name: state for name, state in states.items() if state and state["messages"]}


async def restore(
    settings: Settings, backup: Backup, *, replace: bool
) -> AsyncGenerator[Progress | Replaced, None]:
    """Restore a backup; yield how far that is, and what became of what was there before.

    The same comes of each earlier restore that was killed.

    Args:
        settings: which bus.
        backup: as `backup.find` returned it.
        replace: whether what the bus holds goes.

    Raises:
        Refused: the bus holds something that is not to go, or is in use.
        StoreFull: there is no room for it. Nothing was changed.
        BadSetup: a file or folder cannot be used.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    async with Bus(settings) as bus:
        there = await holds(bus)
        if there and not replace:
            raise Refused(
                f"The bus holds {told(there)}. Nothing was changed.",
                hint="With --replace a backup of that is taken, and then it is replaced.",
            )
        if settings.url:
            async with aclosing(_in_place(bus, backup, there)) as steps:
                async for step in steps:
                    yield step
            return
    # Nobody joins this user's own.
    async with aclosing(_unseen(settings, changed(backup, streams=_of_tasks(backup)))) as steps:
        async for step in steps:
            yield step


def told(there: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what streams hold."""
    return ", ".join(f"{state['messages']:,} {WHAT[name]}" for name, state in there.items())


async def _unseen(settings: Settings, backup: Backup) -> AsyncGenerator[Progress | Replaced, None]:
    """Restore into a server that nobody knows, and have it take the place of this user's."""
    room = await asyncio.to_thread(limits.store_limit, settings)
    needed = sum(stream.room for stream in backup.streams)
    if needed > room:
        raise StoreFull(
            f"The backup takes {text.size(needed)}, and a bus here may take {text.size(room)}, a "
            "quarter of what the disk has left for it. Nothing was changed.",
            hint="Free some disk space, then run it again.",
        )
    for earlier in await asyncio.to_thread(second_server.left, settings):
        if replaced := await _kept(settings, earlier):
            yield replaced
        await asyncio.to_thread(earlier.end)
    with second_server.server(settings) as other:
        async with Bus(other.settings) as bus, aclosing(_filled(bus, backup, room, 1)) as steps:
            async for step in steps:
                yield step
        await take_its_place(other, settings, backup.taken_at)
        if replaced := await _kept(settings, other):
            yield replaced
    await asyncio.to_thread(embedded.ensure, settings)


async def _kept(settings: Settings, other: second_server.SecondServer) -> Replaced | None:
    """Back up what was there before, to which nobody has added anything since; None if nothing.

    What was sent since the backup was taken has its end on the bus that took its place.
    """
    replaced = None
    try:
        async with Bus(other.settings) as before, Bus(settings) as bus:
            if await holds(before):
                folder = await _backed_up(before, settings)
                gone = await sent_since(before, other.since) if other.since else []
                replaced = Replaced(folder, await tell(bus, gone))
    except AgentbusError as error:
        first = Files(settings.data_dir).store
        here, aside = shell_word(first), shell_word(f"{first}-restored")
        raise error.saying(
            "A backup was restored, but what was there before could not be put away as a whole: it "
            f"is kept in {other.store}. {error.message}",
            hint=f"To have it back: agentbus server stop; mv {here} {aside}; "
            f"mv {shell_word(other.store)} {here}",
        ) from None
    other.let_go()
    return replaced


async def _backed_up(bus: Bus, settings: Settings) -> Path:
    """Take a backup of what is to be replaced; return where."""
    folder = settings.data_dir / "backups" / f"before-restore-{text.now():%Y-%m-%d-%H%M%S.%f}"
    async with aclosing(back_up(bus, folder)) as steps:
        async for _ in steps:
            pass
    return folder


async def _in_place(
    bus: Bus, backup: Backup, there: Mapping[str, Mapping[str, Any]]
) -> AsyncGenerator[Progress | Replaced, None]:
    """Restore on a server that others may use."""
    if await is_answered(bus):
        what = "The server's gate runs, by which others use the bus. Nothing was changed."
        raise Refused(what, hint=_STOP_GATE)
    several, unbegun = await noted(bus)
    if there:
        several.append(await note(bus, await _backed_up(bus, bus.settings)))
    try:
        async with aclosing(_anew(bus, backup, there, several)) as steps:
            async for step in steps:
                yield step
        told = 0
        for each in reversed(several):  # the latest has seen most
            since = [gone for gone in each.gone if is_since(gone.sent, backup.taken_at)]
            told += await tell(bus, since)
        await let_go(bus, [*several, *unbegun])
        if several:
            yield Replaced(several[0].folder, told, several[0].host)
    except _InUse:
        if there:
            await let_go(bus, several[-1:])
        raise
    except AgentbusError as error:
        kept = f"; what was there before is {several[0].place}" if several else ""
        raise error.saying(
            f"The bus is half restored. {error.message}",
            hint=f"Run it again with --replace{kept}.",
        ) from None


class _InUse(Refused):
    """Somebody uses the bus, and nothing was removed."""

    hint = _IN_USE


async def _anew(
    bus: Bus, backup: Backup, there: Mapping[str, Mapping[str, Any]], several: Sequence[Before]
) -> AsyncGenerator[Progress, None]:
    """Remove the streams, if they hold what they are known to hold, and make them of a backup."""
    for name in ORDER:
        now = await _state(bus, name)
        if now and now["messages"] and now["last_seq"] != there.get(name, {}).get("last_seq"):
            raise _InUse(f"Somebody uses the bus: {name} has changed. Nothing was removed.")
        if now is None:
            await _let_go(bus, name)
    # One that is missing is made first: it tells how many servers are to keep each.
    await streams.ensure_streams(bus)
    info = await bus.api(f"STREAM.INFO.{subjects.RESULTS}")
    replicas = int(info["config"]["num_replicas"])
    kept: list[Invitation] = []
    is_joined = False
    if any(stream.name == accounts.STREAM for stream in backup.streams):
        await accounts.ensure(bus)
        if is_joined := await accounts.has_joined(bus):
            backup = changed(backup, streams=_of_tasks(backup))
        else:
            kept = await accounts.invitations(bus)
    for stream in backup.streams:
        await bus.api(f"STREAM.DELETE.{stream.name}")
    async with aclosing(_filled(bus, backup, None, replicas)) as steps:
        async for step in steps:
            if step.stream == accounts.STREAM and step.is_complete:
                await accounts.put_over(bus, kept)
            if step.stream == subjects.AGENTS and step.is_complete and is_joined:
                await put_back(bus, several)
            yield step


async def _let_go(bus: Bus, stream: str) -> None:
    """Have a cluster forget a stream whose restoring was broken off.

    For ten seconds it has none of that name and takes none, then it makes an empty one.
    """
    try:
        await bus.api(f"STREAM.DELETE.{stream}")
    except ApiError as error:
        if error.code != NO_SUCH_STREAM:
            raise


def _of_tasks(backup: Backup) -> tuple[Stream, ...]:
    """Return the streams of a backup but for that of who may use a server."""
    return tuple(stream for stream in backup.streams if stream.name in ORDER)


async def _filled(
    bus: Bus, backup: Backup, room: int | None, replicas: int
) -> AsyncGenerator[Progress, None]:
    """Give a server without our streams those of a backup, and mend what lies between them."""
    settings = (*streams.SETTINGS, accounts.SETTINGS)
    made = {each["name"]: streams.fitted(each, room) for each in settings}
    # One is made minutes after another, where that is large; none was lost in between.
    at_once = {RESTORED: text.stamp(text.now())}
    for stream in backup.streams:
        config = made[stream.name]
        config["metadata"] |= at_once
        config["num_replicas"] = replicas
        async with aclosing(_given(bus, backup, stream, config)) as steps:
            async for step in steps:
                yield step
    await streams.ensure_streams(bus)
    for stream in backup.streams if replicas > 1 else ():
        await _caught_up(bus, stream.name)
        await _forget_consumers(bus, stream.name)
    await end_lost(bus, "*", text.now())


async def _caught_up(bus: Bus, stream: str) -> None:
    """Wait until each server of several has all of a stream: what is read there would lack some.

    Raises:
        BusUnreachable: one does not catch up in time.
    """
    give_up = time.monotonic() + _CATCHES_UP_WITHIN_S
    while time.monotonic() < give_up:
        cluster = (await bus.api(f"STREAM.INFO.{stream}")).get("cluster", {})
        others = cluster.get("replicas", ())
        if all(each.get("current") and not each.get("lag") for each in others):
            return
        await asyncio.sleep(_LOOK_AGAIN_S)
    what = f"{stream} is restored, and not yet on each of the servers."
    raise BusUnreachable(what, hint="Look whether all of them run, then run it again.")


async def _forget_consumers(bus: Bus, stream: str) -> None:
    """Have the consumers of a stream made anew by whoever misses them.

    On several servers nats-server 2.15 restores some that believe for good that nothing waits. A
    new one hands out all that is stored, and the records tell what is held or over.
    """
    while names := (await bus.api(f"CONSUMER.NAMES.{stream}"))["consumers"]:
        for name in names:
            try:
                await bus.api(f"CONSUMER.DELETE.{stream}.{name}")
            except ApiError as error:
                if error.code != NO_SUCH_CONSUMER:  # it has gone, and is listed for a while
                    raise


async def _begun(bus: Bus, stream: Stream, config: Mapping[str, Any]) -> snapshot.Given:
    """Have the server take a stream's snapshot.

    Of several the one that leads counts for a while what a stream had reserved that was removed.
    """
    give_up = time.monotonic() + (_RESERVED_S if config["num_replicas"] > 1 else 0)
    while True:
        try:
            return await snapshot.given(bus, config, stream.state)
        except ApiError as error:
            if error.code != _NO_PLACE or time.monotonic() > give_up:
                raise
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _given(
    bus: Bus, backup: Backup, stream: Stream, config: Mapping[str, Any]
) -> AsyncGenerator[Progress, None]:
    count = 0
    try:
        given = await _begun(bus, stream, config)
        for part in backup.parts(stream, snapshot.GIVEN):
            await given.put(part)
            count += len(part)
            yield Progress(stream.name, stream.messages, count)
        info = await given.complete()
    except ApiError as error:
        if error.code == NO_ROOM_TO_RESERVE:
            raise StoreFull from None
        if error.code == _NO_PLACE:
            what = f"Too few of the servers have room for {stream.name}, or are there."
            raise Refused(what, hint="See that all of them run, then run it again.") from None
        if error.code in _THERE_ALREADY:
            what = f"Somebody uses the bus: {stream.name} was made anew while it was restored."
            raise Refused(what, hint=_IN_USE) from None
        raise
    # What is too old by now has gone already.
    if info["state"]["last_seq"] < stream.last_seq:
        what = f"{stream.name} was not restored as a whole."
        raise Refused(what, hint="Run it again with --replace.")
    yield Progress(stream.name, stream.messages, count, is_complete=True)


async def _state(bus: Bus, stream: str) -> dict[str, Any] | None:
    info = await streams.info(bus, stream)
    return dict(info["state"]) if info else None
