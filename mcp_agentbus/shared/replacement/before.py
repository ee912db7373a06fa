# SPDX-License-Identifier: Apache-2.0
"""What a restore has to know of a bus in whose place another comes, on the disk before that goes.

    >>> before = await note(bus, folder)
    >>> known = await noted(bus)              # also of restores that were killed
    >>> await let_go(bus, [*known.several, *known.unbegun, before])

So whoever has sent something is told, and every agent stays its account's, however often a restore
ends early.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core import text
from mcp_agentbus.core.files import read_whole, unusable, write_whole
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.shared.accounts import leader
from mcp_agentbus.shared.backup import ORDER
from mcp_agentbus.shared.replacement import carried
from mcp_agentbus.shared.replacement.since import LostTask, sent_since
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.records import record_in, record_key, sent_in, sent_key
from mcp_agentbus.store.registered.profile import decode_profile
from mcp_agentbus.store.subjects import AGENTS
from mcp_agentbus.store.task import Undecodable
from mcp_agentbus.store.upkeep.lost import RESTORED

_FILE: Final = "waiting.json"
# Set once the same is on the bus as well.
_CARRIED: Final = "carried"
_EVER: Final = datetime(2000, 1, 1, tzinfo=UTC)
# As many bytes as so many tasks take that somebody waits for.
_MOST: Final = 1 << 30
_Streams: TypeAlias = dict[str, list[str]]


class Owned(NamedTuple):
    """The registration of an account's agent."""

    stored_at: datetime
    account: str
    data: bytes


@dataclass(frozen=True)
class Before:
    """A bus as it was before it was replaced."""

    #: Where a backup of it lies.
    folder: Path
    #: All that its senders wait for.
    gone: tuple[LostTask, ...]
    #: By the agent's id.
    owned: dict[str, Owned]
    #: As `_streams`.
    streams: _Streams
    #: The machine that has the folder; empty for this one.
    host: str = ""
    #: The bus was given the same.
    is_carried: bool = False

    @property
    def place(self) -> str:
        """Where its backup is, as a sentence says it."""
        return f"on {self.host}, in {self.folder}" if self.host else f"in {self.folder}"


class Noted(NamedTuple):
    """What restores of a bus have noted that none of them has told."""

    #: The oldest first.
    several: list[Before]
    #: Of those that have removed nothing: all is there still, and one may be about to begin.
    unbegun: list[Before]


async def note(bus: Bus, folder: Path) -> Before:
    """Write down what is to be known of a bus, beside a backup of it.

    Raises:
        BadSetup: that cannot be written.
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.stored`.
    """
    gone = tuple(await sent_since(bus, _EVER))
    before = Before(folder, gone, await owned(bus), await _streams(bus))
    said = {
        "url": bus.settings.url,
        "host": platform.node(),
        "folder": str(folder),
        "streams": before.streams,
        "gone": [_gone(each) for each in before.gone],
        "owned": {
            agent: [text.stamp(each.stored_at), each.account, each.data.decode(errors="replace")]
            for agent, each in before.owned.items()
        },
    }
    await asyncio.to_thread(_write, folder, said)
    if await carried.put(bus, folder.name, json.dumps(said).encode()):
        await asyncio.to_thread(_write, folder, said | {_CARRIED: True})
    return before


def _write(folder: Path, said: Mapping[str, Any]) -> None:
    try:
        write_whole(folder / _FILE, json.dumps(said).encode())
    except OSError as error:
        raise unusable(error, folder, done="written") from None


async def let_go(bus: Bus, notes: Sequence[Before]) -> None:
    """Have it be known that all were told; the backups stay.

    Raises:
        BadSetup: a folder cannot be used.
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.api`.
    """
    await carried.forget(bus, [each.folder.name for each in notes])
    await asyncio.to_thread(_remove, [each.folder for each in notes if not each.host])


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        try:
            (folder / _FILE).unlink(missing_ok=True)
        except OSError as error:
            raise unusable(error, folder, done="written") from None


async def noted(bus: Bus) -> Noted:
    """Return what was noted of this bus and told to nobody yet, by another machine, too.

    Raises:
        BadSetup: it cannot be read.
        ApiError, BusUnreachable, NotAllowed: as `Bus.api`.
    """
    place, url, now = bus.settings.data_dir / "backups", bus.settings.url, await _streams(bus)
    there = await carried.all_of(bus)
    here = await asyncio.to_thread(_noted_here, place, url)
    ended = [each for each in here if _is_ended(each, now, there)]
    await asyncio.to_thread(_remove, [each.folder for each in ended])
    notes = [each for each in here if each not in ended]
    known = {carried.name_of(each.folder.name) for each in notes}
    for name, content in there.items():
        with suppress(ValueError, LookupError, TypeError, AttributeError):  # not as it was written
            if name not in known:
                notes.append(_elsewhere(text.from_json(content)))
    notes.sort(key=lambda each: each.folder.name)
    several = [each for each in notes if each.streams != now]
    return Noted(several, [each for each in notes if each.streams == now])


def _noted_here(place: Path, url: str | None) -> list[Before]:
    found: list[Before] = []
    for file in sorted(place.glob(f"before-restore-*/{_FILE}")):
        try:
            said = text.from_json(read_whole(file, _MOST))
            if said["url"] == url:
                found.append(_read(file.parent, said))
        except OSError as error:
            raise unusable(error, file, done="read") from None
        except (ValueError, LookupError, TypeError, AttributeError):
            what = f"{file} is damaged, which says who waits for a task since an earlier restore."
            raise BadSetup(what, hint="Move it away, then run it again.") from None
    return found


def _is_ended(before: Before, now: _Streams, there: Collection[str]) -> bool:
    """Tell whether the restore that has noted this here was ended elsewhere, which told all.

    A bus that has lost what it was given, with all else, was not restored since.
    """
    if not before.is_carried or carried.name_of(before.folder.name) in there:
        return False
    then = {restored for _, restored in before.streams.values()}
    return any({restored for _, restored in now.values()} - then)


def _elsewhere(said: dict[str, Any]) -> Before:
    folder, host = Path(str(said["folder"])), str(said["host"])
    # One of another user's, as of sudo's, is as good as elsewhere.
    is_here = host == platform.node() and os.access(folder, os.W_OK | os.X_OK)
    return replace(_read(folder, said), host="" if is_here else host)


def _read(folder: Path, said: dict[str, Any]) -> Before:
    gone: list[LostTask] = []
    for written, end in said["gone"]:
        if sent := sent_in(_stored(*written)):
            gone.append(LostTask(sent, record_in(_stored(*end)) if end else None))
    known = {
        agent: Owned(datetime.fromisoformat(at), account, data.encode())
        for agent, (at, account, data) in said["owned"].items()
    }
    streams = {name: [made, restored] for name, (made, restored) in said["streams"].items()}
    return Before(folder, tuple(gone), known, streams, is_carried=bool(said.get(_CARRIED)))


def _stored(subject: str, said: str) -> Found:
    return Found(subject, 0, text.now(), {}, said.encode())


def _gone(gone: LostTask) -> list[list[str] | None]:
    place = gone.sent.owner, gone.sent.inbox, gone.sent.task_id
    kept, over = sent_key(*place), record_key(*place)
    sent = [kept.subject, kept.encode(gone.sent).decode()]
    return [sent, [over.subject, over.encode(gone.end).decode()] if gone.end else None]


async def _streams(bus: Bus) -> _Streams:
    """Return by what each stream is known to be that of before; one that is missing by nothing."""
    known: _Streams = {}
    for name in ORDER:
        if info := await streams.info(bus, name):
            restored = (info["config"].get("metadata") or {}).get(RESTORED, "")
            known[name] = [str(info["created"]), str(restored)]
    return known


async def owned(bus: Bus) -> dict[str, Owned]:
    """Return the registrations of accounts' agents, and of those that were forgotten.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.stored`.
    """
    known: dict[str, Owned] = {}
    async for page in bus.stored(AGENTS, subjects.profile_subject("*")):
        for stored in page:
            with suppress(Undecodable):
                profile = decode_profile(stored)
                if profile.account:
                    known[profile.id] = Owned(stored.stored_at, profile.account, stored.data)
    return known


async def put_back(bus: Bus, several: Iterable[Before]) -> None:
    """Have each agent be whose it was at last, and stand as that account does.

    Accounts are as no backup has them.

    Raises:
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    latest: dict[str, Owned] = {}
    for before in several:
        for agent, each in before.owned.items():
            latest[agent] = max(latest.get(agent, each), each)
    for agent, each in latest.items():
        subject = subjects.profile_subject(agent)
        stored = await leader.last(bus, AGENTS, subject)
        if stored is None or _stands(stored) != _stands(replace(stored, data=each.data)):
            await bus.replace(AGENTS, subject, each.data, stored.seq if stored else 0)


def _stands(stored: Found) -> tuple[str, bool]:
    """Return by a registration whose agent it is, and whether that account was removed."""
    profile = decode_profile(stored)
    return profile.account, profile.removed
