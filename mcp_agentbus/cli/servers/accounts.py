# SPDX-License-Identifier: Apache-2.0
"""The accounts of a shared server, as its owner types: `agentbus server invite`, `accounts`, ...

    $ agentbus server invite laptop | ssh laptop agentbus join
    An invitation to become the account laptop, good until 2026-11-27 15:04 ...

Of `invite` and `rotate` standard output has the line alone, for the next program; what it is goes
to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.cli.output import agreed, beforehand, show
from mcp_agentbus.cli.servers.folder import of_owner
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import text
from mcp_agentbus.core.feather.printer import say, tell
from mcp_agentbus.core.ids import PROBE
from mcp_agentbus.errors import BadInput
from mcp_agentbus.shared.accounts import admin, owner
from mcp_agentbus.shared.accounts.crowd import crowding
from mcp_agentbus.shared.accounts.lobby import is_answered
from mcp_agentbus.shared.accounts.owner import AccountListed, Invited
from mcp_agentbus.shared.typed import typed

_T = TypeVar("_T")
_NO_GATE: Final = (
    "The server's gate does not answer: until it does nobody joins, or uses the bus. See: "
    "systemctl --user status agentbus-gate (as root without --user), or run: {gate}"
)
# Each who has a line has the key by which one gets there.
_CROWDED: Final = (
    "Its gate ends the oldest of each address. If it goes on, keep those addresses out by a "
    "firewall; or by another lobby.nk: remove it, then {init}."
)


def invite(args: argparse.Namespace) -> int:
    """Print an invitation's line; return the exit code.

    Raises: as `owner.invite`.
    """
    folder = of_owner(args, load_settings())

    async def done(bus: Bus) -> tuple[Invited, bool]:
        given = {"roles": args.role or (), "for_s": args.expires}
        return await owner.invite(bus, folder, args.name, **given), await is_answered(bus)

    invited, has_gate = _done(folder, done)
    invitation = invited.invitation
    roles = f" with the roles {', '.join(invitation.roles)}" if invitation.roles else ""
    what = f"An invitation to become the account {invitation.name}{roles}"
    _print(args, invited, what, has_gate=has_gate)
    return 0


def rotate(args: argparse.Namespace) -> int:
    """Print the line by which an account gets another key; return the exit code.

    Raises: as `owner.rotate`.
    """
    folder = of_owner(args, load_settings())

    async def done(bus: Bus) -> tuple[Invited, bool]:
        given = {"now": args.now, "for_s": args.expires}
        return await owner.rotate(bus, folder, args.name, **given), await is_answered(bus)

    invited, has_gate = _done(folder, done)
    until = "counts no more" if args.now else "counts until then"
    what = f"Another key for the account {args.name}, whose key {until}"
    _print(args, invited, what, has_gate=has_gate)
    return 0


def remove(args: argparse.Namespace) -> int:
    """Let an account in no more; return the exit code.

    Raises: as `owner.remove`.
    """
    folder = of_owner(args, load_settings())
    admin.wanted_in(folder)  # before anybody is asked about a server that is not there
    if not (args.yes or args.json):
        waits = "would end as rejected, its senders told" if args.give_back else "would be kept"
        with beforehand():
            tell(f"{args.name} would be cut off the bus. What waits for its agents {waits}.")
    if not agreed(args, "Go on?"):
        say("Nothing was done.")
        return 0
    removed = _done(
        folder, lambda bus: owner.remove(bus, folder, args.name, give_back=args.give_back)
    )
    said = f"{args.name} is removed; its agents' names stay its own. "
    said += (
        f"Given back: {removed.given_back:,} tasks; their senders are told."
        if args.give_back
        else "What waits for them is kept; to end it: "
        + typed(f"remove {args.name} --give-back", folder)
    )
    if removed.offered:
        said += f" Others get what they held of roles: {text.many(removed.offered, 'task')}."
    if removed.still_in:
        names = " and ".join(removed.still_in)
        said += (
            f" Not seen to refuse it yet: {names}, which is away, or its gate is: see there that "
            "agentbus-gate runs."
        )
    data = {
        "removed": args.name,
        "given_back": removed.given_back,
        "offered": removed.offered,
        "still_in": list(removed.still_in),
    }
    show(args, said, data)
    return int(bool(removed.still_in))


def accounts(args: argparse.Namespace) -> int:
    """List the accounts, or change one; return the exit code.

    Raises: as `owner.standing`, `grant`, `readmit` and `revoke`.
    """
    is_granted = bool(args.role or args.no_role or args.all is not None)
    changes = is_granted + args.readmit + args.revoke
    if changes and not args.name:
        raise BadInput("Which account is to change?", hint="Give its NAME. Nothing was done.")
    if changes > 1:  # one may be refused when another is done already
        what = "Its rights, --readmit and --revoke are one at a time. Nothing was done."
        raise BadInput(what, hint="Type a command for each.")
    folder = of_owner(args, load_settings())

    async def changed(bus: Bus) -> tuple[list[AccountListed], bool, str]:
        if is_granted:
            given = {"roles": args.role or (), "no_roles": args.no_role or (), "to_all": args.all}
            await owner.grant(bus, folder, args.name, **given)
        if args.readmit:
            await owner.readmit(bus, folder, args.name)
        if args.revoke and not await owner.revoke(bus, args.name):
            what = f"No invitation to {args.name} is open. Nothing was done."
            raise BadInput(
                what, hint=f"Run `{typed('accounts', folder)}`: it lists those that are."
            )
        listed = await owner.standing(bus, folder)
        of_name = [each for each in listed if args.name in {None, each.name}]
        return of_name, await is_answered(bus), await crowding(folder)

    listed, has_gate, crowded = _done(folder, changed)
    if args.name and not listed and not args.revoke:
        hint = f"Run `{typed('accounts', folder)}`: it lists them."
        raise BadInput(f"There is no account {args.name}.", hint=hint)
    said = "\n".join(map(_line, listed)) or (
        f"{args.name}: nobody joins by its invitations any more"
        if args.revoke
        else f"Nobody has joined. To invite somebody: {typed('invite NAME', folder)}"
    )
    said += "" if has_gate else f"\n{_no_gate(folder)}"
    if crowded:
        anew = _CROWDED.format(init=typed("init --shared", folder))
        said += f"\nThe lobby is crowded: {crowded}. {anew}"
    data = {"gate": has_gate, "crowded": crowded or None}
    show(args, said, {**data, "accounts": [_data(each) for each in listed]})
    return 0


def _done(folder: Path, work: Callable[[Bus], Awaitable[_T]]) -> _T:
    """Do something on the bus of a folder's server, as its owner."""

    async def done() -> _T:
        async with Bus(admin.settings(folder)) as bus:
            return await work(bus)

    return asyncio.run(done())


def _no_gate(folder: Path) -> str:
    return _NO_GATE.format(gate=typed("gate", folder))


def _print(args: argparse.Namespace, invited: Invited, what: str, *, has_gate: bool) -> None:
    """Print a line alone, and beside it what it is."""
    invitation, folder = invited.invitation, of_owner(args, load_settings())
    until = text.minute(text.stamp(invitation.expires_at))
    if not args.json:
        print(
            f"{what}: good until {until}, for whoever has it first. It is a secret: give it to "
            "`agentbus join` there, and write it nowhere else. To withdraw it: "
            + typed(f"accounts {invitation.name} --revoke", folder),
            file=sys.stderr,
        )
    if not args.json and invited.had:
        print(
            f"{invitation.name} had more before it was removed. Once it has joined, this gives it "
            f"again: {typed(f'accounts {invitation.name} {invited.had}', folder)}",
            file=sys.stderr,
        )
    if not args.json and not has_gate:
        print(_no_gate(folder), file=sys.stderr)
    data = {
        "line": invited.line,
        "account": invitation.name,
        "roles": list(invitation.roles),
        "had": invited.had or None,
        "expires_at": text.stamp(invitation.expires_at),
        "gate": has_gate,
    }
    show(args, invited.line, data, verbatim=not args.json)


def _line(standing: AccountListed) -> str:
    account = standing.account
    words = []
    if account:
        since = text.minute(text.stamp(account.since))
        state = account.state if account.key else "without a key"
        words.append(f"{state} since {since}")
        # What doctor tries a bus by is nobody who works there.
        at_work = [agent for agent in standing.agents if not agent.startswith(PROBE)]
        agents = ", ".join(at_work) or "no agents yet"
        words.append(agents)
        if account.roles:
            words.append(f"roles {', '.join(account.roles)}")
        if account.to_all:
            words.append("writes to all")
        if account.gets_in:
            count = standing.connections
            words.append(text.many(count, "connection") if count else "not connected")
    for each in standing.invitations:
        until = text.minute(text.stamp(each.expires_at))
        words.append(f"{'another key' if each.replaces else 'invited'}, good until {until}")
    return f"{standing.name}: {'; '.join(words) or 'nothing of it is left'}"


def _data(standing: AccountListed) -> dict[str, Any]:
    account = standing.account
    return {
        "name": standing.name,
        "state": account.state if account else "invited",
        "key": (account.key or None) if account else None,
        "since": text.stamp(account.since) if account else None,
        "joined_at": text.stamp(account.joined_at) if account else None,
        "roles": list(account.roles) if account else [],
        "to_all": bool(account and account.to_all),
        "agents": list(standing.agents),
        "connections": standing.connections,
        "invitations": [
            {
                "id": each.id,
                "roles": list(each.roles),
                "replaces_key": each.replaces,
                "expires_at": text.stamp(each.expires_at),
            }
            for each in standing.invitations
        ],
    }
