# SPDX-License-Identifier: Apache-2.0
"""What whoever runs a server does about its accounts: invite, look, grant, remove, let in again.

    >>> invited = await invite(bus, folder, "laptop")
    >>> invited.line
    'agentbus-join-1-A7vnXn5x...'
    >>> await remove(bus, folder, "laptop", give_back=True)
    Removed(given_back=2, still_in=())

On the server's machine, beside its gate or without it. Whatever is to count at once has counted at
this server when it returns; the gates of others have theirs go by it, a moment later.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.files import read_whole, unusable
from mcp_agentbus.errors import BadInput, Refused
from mcp_agentbus.shared.accounts import admin, store
from mcp_agentbus.shared.accounts.apply import apply, hosts
from mcp_agentbus.shared.accounts.departures import (
    agents_of,
    give_back_all,
    mark_removed,
    offer_again,
    take_roles,
)
from mcp_agentbus.shared.accounts.record import (
    AccountRecord,
    AccountState,
    Invitation,
    account_name,
)
from mcp_agentbus.shared.membership.invitation import Line, encode
from mcp_agentbus.shared.server_files import Files
from mcp_agentbus.shared.typed import typed

#: An invitation is good for so long, in seconds, if nobody says otherwise.
EXPIRES_S: Final = 3600
# So long whoever has a line that opens nothing any more is told why; then it is forgotten.
_TOLD_WHY: Final = timedelta(days=30)
# Others' gates hear of a change at once, and their servers take it within a second.
_CUT_WITHIN_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.1
_LOST_MAX: Final = 20


@dataclass(frozen=True)
class Invited:
    """An invitation that is open."""

    #: A secret: whoever has it first joins.
    line: str = field(repr=False)
    invitation: Invitation
    #: What gives again what the account had before it was removed; empty if it had no more.
    had: str = ""


@dataclass(frozen=True)
class AccountListed:
    """How an account stands, or one to be."""

    name: str
    #: None: nobody has joined yet.
    account: AccountRecord | None
    #: Its agents' ids, sorted.
    agents: tuple[str, ...]
    #: To the servers that answer.
    connections: int
    #: Those that are open.
    invitations: tuple[Invitation, ...]


@dataclass(frozen=True)
class Removed:
    """What became of an account that was removed."""

    #: Tasks of others that its agents had not done, which have their end now.
    given_back: int
    #: Servers that have not been seen to refuse it: they are away, or their gate is.
    still_in: tuple[str, ...]
    #: Tasks of roles that its agents held, which others get.
    offered: int = 0


async def invite(
    bus: Bus, folder: Path, name: str, *, roles: Collection[str] = (), for_s: float = EXPIRES_S
) -> Invited:
    """Invite somebody to become a new account, or again one that was removed.

    Args:
        bus: as its owner's.
        folder: the server's, on this machine.
        name: of the account.
        roles: what it gets.
        for_s: how long the invitation is good, in seconds.

    Raises:
        BadInput: the name or a role is none.
        Refused: there is such an account.
        BusUnreachable, NotAllowed, BadSetup: the bus or a file cannot be used.
    """
    account_name(name)
    for role in roles:
        ids.role_name(role)
    await store.ensure(bus)
    account, _ = await store.account(bus, name)
    if account and account.state == "joined":
        raise Refused(
            f"There is an account {name} already. Nothing was done.",
            hint=f"For another machine or user take another name, such as {name}-2; for another "
            f"key of the same: {typed(f'rotate {name}', folder)}",
        )
    if account and account.state == "cut-off":
        raise Refused(
            f"The account {name} was cut off, as it flooded the bus. Nothing was done.",
            hint=_let_in_by(account, folder),
        )
    given = tuple(dict.fromkeys(roles))
    invited = await _invited(bus, folder, name, given, for_s, replaces=False)
    return replace(invited, had=_had(account, given)) if account else invited


def _had(account: AccountRecord, given: Collection[str]) -> str:
    """Return the options by which an account has again what an invitation does not give it."""
    options = [f"--role {role}" for role in account.roles if role not in given]
    if account.to_all:
        options.append("--all")
    return " ".join(options)


async def rotate(
    bus: Bus, folder: Path, name: str, *, now: bool = False, for_s: float = EXPIRES_S
) -> Invited:
    """Invite an account to another key; the one that it has counts until then, or no more `now`.

    Of earlier such lines none opens anything any more.

    Raises:
        Refused: there is no such account that gets in.
        BusUnreachable, NotAllowed, BadSetup: as `invite`.
    """
    account = await _known(bus, folder, name)
    if account.state != "joined":
        raise _not_in(account, folder)
    await revoke(bus, name)
    if now:
        await _change(bus, name, lambda account: replace(account, key="", since=text.now()))
        await apply(bus, folder)
    return await _invited(bus, folder, name, account.roles, for_s, replaces=True)


async def _invited(
    bus: Bus, folder: Path, name: str, roles: tuple[str, ...], for_s: float, *, replaces: bool
) -> Invited:
    files, wanted, now = Files(folder), admin.wanted_in(folder), text.now()
    try:
        seed = read_whole(files.lobby).decode(errors="replace").strip()
        authority = "" if wanted.cert else read_whole(files.ca).decode(errors="replace")
    except OSError as error:
        raise unusable(error, folder, done="read") from None
    secret, expires_at = secrets.token_urlsafe(32), now + timedelta(seconds=for_s)
    invitation = Invitation(
        id=secrets.token_hex(8),
        name=name,
        lobby=admin.keys(folder).lobby,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        roles=roles,
        replaces=replaces,
        expires_at=expires_at,
    )
    line = Line(
        tuple(wanted.urls), authority, seed, invitation.id, secret, name, expires_at
    )  # fmt: skip
    for old in await store.invitations(bus):
        if old.expires_at < now - _TOLD_WHY:
            await store.forget(bus, old)
    await store.put(bus, invitation, 0)
    return Invited(encode(line), invitation)


async def revoke(bus: Bus, name: str) -> int:
    """Have the open invitations to an account open nothing any more; return how many.

    Raises:
        BusUnreachable, NotAllowed: as `Bus.publish`.
    """
    await store.ensure(bus)
    return await store.revoke(bus, name)


async def standing(bus: Bus, folder: Path) -> list[AccountListed]:
    """Return how each account stands, and who was invited and has not come, by name.

    Raises:
        BusUnreachable, NotAllowed, BadSetup: as `invite`.
    """
    await store.ensure(bus)
    now, agents = text.now(), await agents_of(bus)
    accounts = {each.name: each for each in await store.accounts(bus)}
    lobby = admin.keys(folder).lobby  # of another one, as of one that was replaced, nobody gets in
    invitations = [
        each
        for each in await store.invitations(bus)
        if each.lets_in(now) and each.lobby in {"", lobby}
    ]
    async with hosts(folder) as servers:
        answering = [server for server in servers.values() if server]
        listed = []
        for name in sorted({*accounts, *(each.name for each in invitations)}):
            account = accounts.get(name)
            may = answering if account and account.gets_in else []
            listed.append(
                AccountListed(
                    name=name,
                    account=account,
                    agents=tuple(sorted(agents.get(name, ()))),
                    connections=sum([await server.connections(name) for server in may]),
                    invitations=tuple(each for each in invitations if each.name == name),
                )
            )
    return listed


async def grant(
    bus: Bus,
    folder: Path,
    name: str,
    *,
    roles: Collection[str] = (),
    no_roles: Collection[str] = (),
    to_all: bool | None = None,
) -> AccountRecord:
    """Let an account read the inboxes of roles, and of others no more; return how it stands.

    Its agents have those no more on the roster either, by which others take tasks of a role's.

    `to_all` says whether it may write to any number of others' agents at once; None: as before.

    Raises:
        BadInput: a role is none, or there is no such account.
        BusUnreachable, NotAllowed: as `Bus.publish`.
    """
    for role in roles:
        ids.role_name(role)

    def granted(account: AccountRecord) -> AccountRecord:
        kept = [role for role in account.roles if role not in no_roles]
        may = account.to_all if to_all is None else to_all
        return replace(account, roles=tuple(dict.fromkeys((*kept, *roles))), to_all=may)

    await _known(bus, folder, name)
    stands = await _change(bus, name, granted)
    await take_roles(bus, name, frozenset(no_roles).difference(stands.roles))
    return stands


async def readmit(bus: Bus, folder: Path, name: str) -> AccountRecord:
    """Let an account in again that was cut off or removed, by the key that it had.

    Raises:
        BadInput: there is no such account.
        Refused: its key was withdrawn.
        BusUnreachable, NotAllowed, BadSetup: as `invite`.
    """
    account = await _known(bus, folder, name)
    if not account.key:
        another = f"Give it another: {typed(f'rotate {name}', folder)}"
        raise Refused(
            f"The account {name} has no key that counts. Nothing was done.",
            hint=another if account.state == "joined" else _let_in_by(account, folder),
        )
    let_in = await _change(bus, name, lambda account: _as(account, "joined"))
    await apply(bus, folder)
    await mark_removed(bus, name, removed=False)
    return let_in


async def remove(bus: Bus, folder: Path, name: str, *, give_back: bool = False) -> Removed:
    """Let an account in no more; its open connections end at once.

    The names of its agents stay its own, and what they have sent goes on. What they hold of a role
    is offered again.

    Args:
        bus: as its owner's.
        folder: the server's, on this machine.
        name: of the account.
        give_back: whether what waits for its agents ends as rejected, and its senders are told;
            else it waits, should the account come back.

    Raises:
        BadInput: there is no such account.
        BusUnreachable, NotAllowed, BadSetup: as `invite`.
    """
    await _known(bus, folder, name)
    await revoke(bus, name)
    await _change(bus, name, lambda account: _as(account, "removed"))
    await apply(bus, folder)
    still_in = await _still_in(folder, name)
    await mark_removed(bus, name, removed=True)
    agents, given_back = (await agents_of(bus)).get(name, {}), 0
    if give_back:
        for agent in sorted(agents):
            given_back += await give_back_all(bus, agent, name)
    offered = await offer_again(bus, agents, name)
    return Removed(given_back, still_in, offered)


async def _still_in(folder: Path, name: str) -> tuple[str, ...]:
    """Wait until each server of the bus knows an account no more; return those that still do."""
    give_up = asyncio.get_running_loop().time() + _CUT_WITHIN_S
    async with hosts(folder) as servers:
        while True:
            left = [
                called
                for called, server in servers.items()
                if server is None or await server.lets_in(name)
            ]
            is_over = asyncio.get_running_loop().time() > give_up
            if not any(servers[called] for called in left) or is_over:
                return tuple(left)
            await asyncio.sleep(_LOOK_AGAIN_S)


def _as(account: AccountRecord, state: AccountState) -> AccountRecord:
    return account if account.state == state else replace(account, state=state, since=text.now())


async def _known(bus: Bus, folder: Path, name: str) -> AccountRecord:
    account_name(name)
    await store.ensure(bus)
    account, _ = await store.account(bus, name)
    if account is None:
        raise BadInput(
            f"There is no account {name}. Nothing was done.",
            hint=f"Run `{typed('accounts', folder)}`: it lists them.",
        )
    return account


async def _change(
    bus: Bus, name: str, change: Callable[[AccountRecord], AccountRecord]
) -> AccountRecord:
    """Store an account as `change` makes it, of how it stands; return it."""
    for _ in range(_LOST_MAX):
        account, revision = await store.account(bus, name)
        if account is None:
            break
        changed = change(account)
        if changed == account:
            return account
        try:
            await store.put(bus, changed, revision)
        except Conflict:
            continue
        return changed
    raise Refused(f"The account {name} changes again and again.", hint="Run the same again.")


def _not_in(account: AccountRecord, folder: Path) -> Refused:
    what = "was removed" if account.state == "removed" else "was cut off"
    return Refused(
        f"The account {account.name} {what}. Nothing was done.", hint=_let_in_by(account, folder)
    )


def _let_in_by(account: AccountRecord, folder: Path) -> str:
    """Return what lets in again whoever was removed or cut off, of which one may have no key."""
    how = typed(f"invite {account.name}", folder)
    if account.state == "cut-off":
        readmitted = typed(f"accounts {account.name} --readmit", folder)
        removed = typed(f"remove {account.name}", folder)
        how = readmitted if account.key else f"{removed} && {how}"
    return f"To let it in again: {how}"
