# SPDX-License-Identifier: Apache-2.0
"""Where accounts and invitations are kept: a stream of the bus that no account may read.

    >>> await ensure(bus)
    >>> laptop, revision = await account(bus, "laptop")
    >>> await put(bus, replace(laptop, state="cut-off"), revision)

Each change is by compare and set, so that of two who change the same one finds out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Found
from mcp_agentbus.shared.accounts import leader
from mcp_agentbus.shared.accounts.record import (
    ACCOUNTS,
    CHANGED,
    INVITATIONS,
    AccountRecord,
    Invitation,
    UnreadableRecord,
    account_in,
    account_subject,
    encoded,
    invitation_in,
    invitation_subject,
)
from mcp_agentbus.store import streams
from mcp_agentbus.store.subjects import overlap

_T = TypeVar("_T")
# A server of several that lags longer than this is as one that is away.
_LAGS_S: Final = 2.0
_LOOK_AGAIN_S: Final = 0.05
# More than tries that lose in a row.
_LOST_MAX: Final = 20
_log = logging.getLogger(__name__)

STREAM: Final = "AGENTBUS_ACCOUNTS"
#: What it is made with. Some 400 bytes each: room for tens of thousands.
SETTINGS: Final[dict[str, Any]] = {
    "name": STREAM,
    "subjects": [ACCOUNTS, INVITATIONS],
    "retention": "limits",
    "discard": "new",
    "storage": "file",
    "num_replicas": 1,
    "allow_direct": True,
    "max_msgs_per_subject": 1,
    "max_msg_size": 64 << 10,
    "max_bytes": 16 << 20,
    "republish": {
        "src": ACCOUNTS,
        "dest": CHANGED.replace("*", "{{wildcard(1)}}"),
        "headers_only": True,
    },
}


async def ensure(bus: Bus) -> None:
    """Have the stream, beside those of the bus, kept as often.

    Raises: as `streams.ensure_streams`.
    """
    await streams.ensure_streams(bus)
    await streams.ensure(bus, SETTINGS)


async def account(bus: Bus, name: str) -> tuple[AccountRecord | None, int]:
    """Return an account and its revision; (None, 0) if there is none.

    One that cannot be read counts as none; whoever writes next replaces it.

    Raises:
        BusUnreachable, NotAllowed: as `Bus.last`.
    """
    return await _read(bus, account_subject(name), account_in)


async def invitation(bus: Bus, id_: str) -> tuple[Invitation | None, int]:
    """Return an invitation and its revision, as `account`; `id_` is one by its spelling."""
    return await _read(bus, invitation_subject(id_), invitation_in)


async def accounts(bus: Bus) -> list[AccountRecord]:
    """Return all accounts, in whatever state.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.stored`.
    """
    return [record for record, _ in await revised_accounts(bus)]


async def revised_accounts(bus: Bus) -> list[tuple[AccountRecord, int]]:
    """Return the same, each with its revision."""
    return await _all(bus, ACCOUNTS, account_in)


async def invitations(bus: Bus) -> list[Invitation]:
    """Return all invitations, as `accounts`."""
    return [record for record, _ in await _all(bus, INVITATIONS, invitation_in)]


async def exist(bus: Bus) -> bool:
    """Tell whether a bus has accounts: one whose server has no gate has none.

    Raises:
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.api`.
    """
    return await streams.info(bus, STREAM) is not None


async def has_joined(bus: Bus) -> bool:
    """Tell whether anybody ever has: an account is kept for good, in whatever state.

    Raises:
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.api`.
    """
    # Not by reading them: one that a later version has written counts as well.
    info = await bus.api(f"STREAM.INFO.{STREAM}", {"subjects_filter": ACCOUNTS})
    return bool(info["state"].get("subjects"))


async def put_over(bus: Bus, invitations: Iterable[Invitation]) -> None:
    """Have these stand, in the place of whatever does; what they do not name stays.

    Raises: as `put`.
    """
    for each in invitations:
        _, revision = await _read(bus, each.subject, lambda _, data: data)
        await put(bus, each, revision)


async def put(bus: Bus, record: AccountRecord | Invitation, revision: int) -> int:
    """Store a record if what stands there is still of `revision`; 0: nothing. Return the new one.

    Raises:
        Conflict: somebody else has changed it.
        BusUnreachable, Unconfirmed, NotAllowed, StoreFull: as `Bus.publish`.
    """
    return await bus.replace(STREAM, record.subject, encoded(record), revision)


async def revoke(bus: Bus, name: str, *, but: str = "") -> int:
    """Have the open invitations to an account, `but` one, open nothing any more; return how many.

    Raises: as `accounts`, and `put` but for Conflict.
    """
    count = 0
    for each in await invitations(bus):
        if each.name == name and each.state == "open" and each.id != but:
            count += await _revoked(bus, each.id)
    return count


async def _revoked(bus: Bus, id_: str) -> bool:
    for _ in range(_LOST_MAX):
        there, revision = await invitation(bus, id_)
        if there is None or there.state != "open":
            return False  # somebody has used it just now
        with suppress(Conflict):
            await put(bus, replace(there, state="revoked"), revision)
            return True
    return False


async def forget(bus: Bus, record: AccountRecord | Invitation) -> None:
    """Remove a record, so that its place is free.

    Raises:
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.api`.
    """
    await bus.api(f"STREAM.PURGE.{STREAM}", {"filter": record.subject})


async def _read(bus: Bus, subject: str, read: Callable[[str, bytes], _T]) -> tuple[_T | None, int]:
    message = await leader.last(bus, STREAM, subject)
    if message is None:
        return None, 0
    with suppress(UnreadableRecord):
        return read(message.subject, message.data), message.seq
    return None, message.seq


async def _all(bus: Bus, subject: str, read: Callable[[str, bytes], _T]) -> list[tuple[_T, int]]:
    messages = await _latest(bus)
    records: list[tuple[_T, int]] = []
    for message in messages:
        if overlap(subject, message.subject):
            try:
                records.append((read(message.subject, message.data), message.seq))
            except UnreadableRecord:  # of a later version: it is left out, and not unseen
                _log.warning("what is kept under %s cannot be read here", message.subject)
    return records


async def _latest(bus: Bus) -> list[Found]:
    """Return all that is stored, as the leader has it, from whichever server.

    One that lags does not have what was stored last; where that was removed since, nobody has it.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _LAGS_S
    while True:
        messages: list[Found] = []
        async with aclosing(bus.stored(STREAM, ">")) as pages:
            async for page in pages:
                messages += page
        state = (await bus.api(f"STREAM.INFO.{STREAM}"))["state"]
        known = max((message.seq for message in messages), default=0)
        if known >= int(state["last_seq"]) or loop.time() > give_up:
            return messages
        await asyncio.sleep(_LOOK_AGAIN_S)
