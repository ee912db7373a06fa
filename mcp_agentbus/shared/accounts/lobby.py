# SPDX-License-Identifier: Apache-2.0
"""Where whoever has an invitation becomes an account: asked in the lobby, answered by a gate.

    >>> async with opened(bus, folder):
    ...     await stop.wait()

What is asked there is JSON, on a connection that may say nothing else:

    {"v": 1, "id": ..., "secret": ..., "key": "U...", "proof": ...}
    {"ok": true, "account": "laptop"}  or  {"refused": "expired"}

The proof is the key's own signature of `asked_for`. Whoever is answered that it is in is in: the
server has said so. The same once more, as after a lost answer, is answered the same, and by another
key it is `used`. Refused as `unknown` is what is no invitation, and one of another secret; of each
invitation only some are looked at in a second, so that nobody finds one by trying, and who tries
keeps no other line from being used.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import LOBBY
from mcp_agentbus.bus.login.nkey import is_public, proves
from mcp_agentbus.bus.replies import Conflict, Message
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import in_background
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.shared.accounts import admin, apply, store
from mcp_agentbus.shared.accounts.departures import mark_removed, take_roles
from mcp_agentbus.shared.accounts.record import AccountRecord, Invitation, is_invitation_id

#: Why nobody joins: of these a bearer can do nothing about but `too-many`, which passes, and
#: `not-applied`, which the server's owner has to mend.
Refusal = Literal[
    "used", "expired", "revoked", "unknown", "name-taken", "bad-request", "too-many", "not-applied"
]
_VERSION: Final = 1
# Of a secret, and of a proof.
_WORD_MAX_CHARS: Final = 128
# Of all gates one answers each.
_GROUP: Final = "lobby"
# Looked at in a second, of those of one invitation that are `unknown`. A secret has 256 bits.
_WRONG_MAX: Final = 5
# Invitations of which such are known at a time; beyond, those are forgotten.
_TRIED_MAX: Final = 1_000
_A_SECOND: Final = 1.0
# Each that joins has the server read its configuration; those who wait for that are few.
_AT_ONCE_MAX: Final = 20
# Of more in a second nothing is heard for a second: a flood, which costs the gate beside it little.
_HEARD_MAX: Final = 50
# What is no request is answered at once.
_ANSWERS_WITHIN_S: Final = 2.0
# Of those that are decided anew, as another gate answers the same at the same time.
_TRIES_MAX: Final = 10

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applicant:
    """Who asks to join, by which invitation."""

    id: str
    secret: str
    #: Its own, public; that it has it is proven.
    key: str


def asked_for(invitation: str, key: str) -> str:
    """Return what a key signs that asks to join."""
    return f"agentbus-join:{invitation}:{key}"


def read(data: bytes) -> Applicant | None:
    """Return what is asked; None if that is not as it must be, or the key is not theirs."""
    try:
        said = from_json(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("v") != _VERSION:
        return None
    id_, secret, key, proof = (said.get(name) for name in ("id", "secret", "key", "proof"))
    if not all(isinstance(each, str) for each in (id_, secret, key, proof)):
        return None
    is_spelled = is_invitation_id(str(id_)) and is_public(str(key))
    if not is_spelled or max(len(str(secret)), len(str(proof))) > _WORD_MAX_CHARS:
        return None
    signature = str(proof).encode(errors="replace")  # half a letter is none
    proven = proves(str(key), asked_for(str(id_), str(key)), signature)
    return Applicant(str(id_), str(secret), str(key)) if proven else None


class Lobby:
    """Decides who joins."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        self._bus, self._folder = bus, folder
        self._own = frozenset(vars(admin.keys(folder)).values())
        #: By invitation, when those were looked at that were `unknown`, the latest last.
        self._wrong: dict[str, list[float]] = {}

    async def answer(self, data: bytes) -> Mapping[str, Any]:
        """Return what is answered; who joins is in then.

        Raises:
            AgentbusError: the bus is away.
        """
        asked = read(data)
        # By one of the server's own keys, of which each bearer has the lobby's, nobody joins.
        if asked is None or asked.key in self._own:
            return _refused("bad-request")
        now = asyncio.get_running_loop().time()
        wrong = [at for at in self._wrong.get(asked.id, ()) if now - at < _A_SECOND]
        if len(wrong) >= _WRONG_MAX:
            return _refused("too-many")
        for _ in range(_TRIES_MAX):
            try:
                name = await self._joined(asked)
            except Conflict:
                continue
            except _Not as why:
                if why.code == "unknown":
                    if len(self._wrong) >= _TRIED_MAX:
                        self._wrong.clear()
                    self._wrong[asked.id] = [*wrong, now]
                return _refused(why.code)
            return await self._let_in(name)
        return _refused("too-many")

    async def _joined(self, asked: Applicant) -> str:
        """Write down that who asks has joined; return as whom.

        Raises:
            _Not: it may not.
            Conflict: somebody else has written meanwhile.
        """
        invitation, marked = await store.invitation(self._bus, asked.id)
        hashed = hashlib.sha256(asked.secret.encode(errors="replace")).hexdigest()
        known = invitation.secret_sha256 if invitation else ""
        if not hmac.compare_digest(hashed, known) or invitation is None:
            raise _Not("unknown")
        account, written = await store.account(self._bus, invitation.name)
        if invitation.state == "used" and invitation.used_by != asked.key:
            raise _Not("used")
        if invitation.state == "used" and written > marked:
            if account and account.key == asked.key and account.state == "joined":
                return account.name
            raise _Not("used" if account and account.state == "joined" else "revoked")
        # One that is used by now was marked so, and whoever did that ended before the account was
        # written: it goes on here.
        _check(invitation, account)
        await self._check_key(asked.key, invitation.name)
        if invitation.replaces:  # an earlier line may lie where somebody finds it
            await store.revoke(self._bus, invitation.name, but=invitation.id)
        now = text.now()
        if invitation.state == "open":
            used = replace(invitation, state="used", used_by=asked.key, used_at=now)
            await store.put(self._bus, used, marked)
        joined = _rekeyed(account, asked.key, now) if account and invitation.replaces else None
        joined = joined or _new(invitation, asked.key, now)
        if account and (lost := set(account.roles).difference(joined.roles)):
            await take_roles(self._bus, joined.name, lost)
        await store.put(self._bus, joined, written)
        return joined.name

    async def _check_key(self, key: str, name: str) -> None:
        """See that no other account has a key: the server takes one once.

        Raises:
            _Not: another has.
        """
        for each in await store.accounts(self._bus):
            if each.key == key and each.name != name:
                raise _Not("bad-request")

    async def _let_in(self, name: str) -> Mapping[str, Any]:
        try:
            is_in = name in await apply.apply(self._bus, self._folder)
        except AgentbusError as error:
            _log.error("the account %s cannot be let in: %s", name, error.message)
            is_in = False
        if is_in:  # of agents of an account that was removed before, which register late or never
            try:
                await mark_removed(self._bus, name, removed=False)
            except AgentbusError as error:
                _log.warning("agents of %s stand as removed still: %s", name, error.message)
        return {"ok": True, "account": name} if is_in else _refused("not-applied")


class _Not(Exception):
    """Who asks does not join."""

    def __init__(self, code: Refusal) -> None:
        self.code = code


def _check(invitation: Invitation, account: AccountRecord | None) -> None:
    """See that an invitation lets somebody in who is not in by it.

    Raises:
        _Not: it does not.
    """
    if invitation.state == "revoked":
        raise _Not("revoked")
    if invitation.state == "open" and not invitation.lets_in(text.now()):
        raise _Not("expired")
    state = account.state if account else "removed"
    if state == "joined" and not invitation.replaces:
        raise _Not("name-taken")
    if state == "cut-off" or (state == "removed" and invitation.replaces):
        raise _Not("revoked")


def _new(invitation: Invitation, key: str, now: datetime) -> AccountRecord:
    return AccountRecord(
        name=invitation.name, key=key, roles=invitation.roles, joined_at=now, since=now
    )


def _rekeyed(account: AccountRecord, key: str, now: datetime) -> AccountRecord:
    return replace(account, key=key, since=now)


def _refused(code: Refusal) -> dict[str, str]:
    return {"refused": code}


async def is_answered(bus: Bus) -> bool:
    """Tell whether a gate is there that lets anybody join.

    Raises:
        BusUnreachable, NotAllowed: as `Bus.ask`.
    """
    return await bus.ask(LOBBY, b"", _ANSWERS_WITHIN_S) is not None


@asynccontextmanager
async def opened(bus: Bus, folder: Path) -> AsyncGenerator[None, None]:
    """Answer whoever asks to join, until the block ends.

    Args:
        bus: as its owner's.
        folder: of the server on this machine, which lets them in.

    Raises:
        BusUnreachable, NotAllowed, BadInput, BadSetup: it cannot be heard there.
    """
    lobby, answering = Lobby(bus, folder), set[asyncio.Task[None]]()

    async def answer(message: Message) -> None:
        with suppress(AgentbusError):  # the bus is away, and who asks hears nothing
            said = await lobby.answer(message.data)
            await bus.send(message.reply, json.dumps(said).encode(), {})

    def arrived(message: Message | None) -> None:
        # What is too much is not answered: who asks hears nothing, and asks again.
        if message and message.reply and len(answering) < _AT_ONCE_MAX:
            task = in_background(answer(message), "the lobby")
            answering.add(task)
            task.add_done_callback(answering.discard)

    async with bus.subscribed(LOBBY, arrived, group=_GROUP, most=_HEARD_MAX):
        yield
