# SPDX-License-Identifier: Apache-2.0
"""What a restore has to know of a bus in whose place another comes, on the disk before that goes.

    >>> before = await note(bus, folder)
    >>> for each in await noted(bus): ...     # also of restores that were killed

So whoever has sent something is told, and every agent stays its account's, however often a restore
ends early.
"""

from __future__ import annotations

import asyncio
import json
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Found
from mcp_agentbus.core import text
from mcp_agentbus.core.files import read_whole, unusable, write_whole
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.shared.accounts import leader
from mcp_agentbus.shared.backup import ORDER
from mcp_agentbus.shared.restoring import carried
from mcp_agentbus.shared.since import Gone, sent_since
from mcp_agentbus.store import subjects
from mcp_agentbus.store.records import record_in, record_key, sent_in, sent_key
from mcp_agentbus.store.registered.profile import decode_profile
from mcp_agentbus.store.subjects import AGENTS
from mcp_agentbus.store.task import Undecodable
from mcp_agentbus.store.upkeep.lost import RESTORED

_FILE: Final = "waiting.json"
_EVER: Final = datetime(2000, 1, 1, tzinfo=UTC)
# As many bytes as so many tasks take that somebody waits for.
_MOST: Final = 1 << 30


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
    gone: tuple[Gone, ...]
    #: By the agent's id.
    owned: dict[str, Owned]

    def let_go(self) -> None:
        """Have it be known that all were told; its backup stays.

        Raises:
            BadSetup: the folder cannot be used.
        """
        try:
            (self.folder / _FILE).unlink(missing_ok=True)
        except OSError as error:
            raise unusable(error, self.folder, done="written") from None


async def note(bus: Bus, folder: Path) -> Before:
    """Write down what is to be known of a bus, beside a backup of it.

    Raises:
        BadSetup: that cannot be written.
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.stored`.
    """
    before = Before(folder, tuple(await sent_since(bus, _EVER)), await owned(bus))
    said = {
        "url": bus.settings.url,
        "folder": f"{platform.node()}:{folder}",
        "streams": await _streams(bus),
        "gone": [_gone(each) for each in before.gone],
        "owned": {
            agent: [text.stamp(each.stored_at), each.account, each.data.decode(errors="replace")]
            for agent, each in before.owned.items()
        },
    }
    content = json.dumps(said).encode()
    try:
        await asyncio.to_thread(write_whole, folder / _FILE, content)
    except OSError as error:
        raise unusable(error, folder, done="written") from None
    await carried.put(bus, folder.name, content)
    return before


async def noted(bus: Bus) -> list[Before]:
    """Return what was noted of this bus and told to nobody yet, the oldest first.

    Also what another machine has noted, with that machine before its folder. Where a restore has
    ended before it removed anything, all is still there.

    Raises:
        BadSetup: it cannot be read.
        ApiError, BusUnreachable, NotAllowed: as `Bus.api`.
    """
    place, url, now = bus.settings.data_dir / "backups", bus.settings.url, await _streams(bus)
    found = await asyncio.to_thread(_noted, place, url, now)
    here = {carried.name_of(each.folder.name) for each in found}
    for note, content in (await carried.all_of(bus)).items():
        with suppress(ValueError, LookupError, TypeError, AttributeError):  # not as it was written
            said = text.from_json(content)
            if said["streams"] == now:
                await carried.forget(bus, note)
            elif note not in here:
                found.append(_read(Path(str(said["folder"])), said))
    return sorted(found, key=lambda each: each.folder.name)


def _noted(place: Path, url: str | None, now: Mapping[str, list[str]]) -> list[Before]:
    found: list[Before] = []
    for file in sorted(place.glob(f"before-restore-*/{_FILE}")):
        try:
            said = text.from_json(read_whole(file, _MOST))
            if said["url"] != url:
                continue
            before = _read(file.parent, said)
        except OSError as error:
            raise unusable(error, file, done="read") from None
        except (ValueError, LookupError, TypeError, AttributeError):
            what = f"{file} is damaged, which says who waits for a task since an earlier restore."
            raise BadSetup(what, hint="Move it away, then run it again.") from None
        if said["streams"] == now:
            before.let_go()
        else:
            found.append(before)
    return found


def _read(folder: Path, said: dict[str, Any]) -> Before:
    gone: list[Gone] = []
    for written, end in said["gone"]:
        if sent := sent_in(_stored(*written)):
            gone.append(Gone(sent, record_in(_stored(*end)) if end else None))
    known = {
        agent: Owned(datetime.fromisoformat(at), account, data.encode())
        for agent, (at, account, data) in said["owned"].items()
    }
    return Before(folder, tuple(gone), known)


def _stored(subject: str, said: str) -> Found:
    return Found(subject, 0, text.now(), {}, said.encode())


def _gone(gone: Gone) -> list[list[str] | None]:
    place = gone.sent.owner, gone.sent.inbox, gone.sent.task_id
    kept, over = sent_key(*place), record_key(*place)
    sent = [kept.subject, kept.encode(gone.sent).decode()]
    return [sent, [over.subject, over.encode(gone.end).decode()] if gone.end else None]


async def _streams(bus: Bus) -> dict[str, list[str]]:
    """Return by what each stream is known to be that of before; one that is missing by nothing."""
    known: dict[str, list[str]] = {}
    for name in ORDER:
        try:
            info = await bus.api(f"STREAM.INFO.{name}")
        except ApiError as error:
            if error.code != NO_SUCH_STREAM:
                raise
            continue
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
    """Have each agent be whose it was at last, where a restored bus says otherwise.

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
        if stored is None or decode_profile(stored).account != each.account:
            await bus.replace(AGENTS, subject, each.data, stored.seq if stored else 0)
