# SPDX-License-Identifier: Apache-2.0
"""A user of this machine becomes an account of a shared server, by the line of an invitation.

    >>> await join(load_settings(), decode(typed))
    Joined(account='laptop', urls=('tls://bus.example.org:4222',), was_joined=False, ...)

The key is made here and never leaves: the server's lobby is told its public half, with a proof that
the other is here. Nothing of config.toml is changed until the server lets that key in. Whatever
ends early, the same line again goes on, with the same key.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import LOBBY
from mcp_agentbus.bus.login.nkey import Nkey
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.config import names
from mcp_agentbus.config.changes import editor
from mcp_agentbus.config.sections.server import IN_ENVIRON
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core import programs, text
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import (
    AgentbusError,
    BadInput,
    BadSetup,
    BusUnreachable,
    Crowded,
    CutOff,
    NameTaken,
    NoAnswer,
    NobodyListens,
    NotAllowed,
    Refused,
    Unconfirmed,
    Untrusted,
)
from mcp_agentbus.shared.membership.invitation import Line
from mcp_agentbus.shared.membership.place import JoinedFolder, JoinedRecord, staying

_VERSION: Final = 1
# The server writes its configuration, reads it twice and sees that the key gets in: with hundreds
# of accounts that takes it seconds.
_LOBBY_S: Final = 30.0
# A gate that was started together with its server is there within so long.
_STARTS_S: Final = 5.0
# Over a link that is slow and loses some, one try of several gets through; each takes seconds. What
# fails sooner fails for another reason.
_SLOW_S: Final = 20.0
_SOON_S: Final = 1.5
# A gate makes room for others where the lobby is full (`shared.accounts.crowd`), and a server that
# reads its configuration anew, over another's leave, ends connections for a moment.
_MAKES_ROOM_S: Final = 10.0
#: So long the server is tried with the new key, each try after a pause.
PROBE_S: Final = 10.0
_PAUSE_S: Final = 0.2
_ANOTHER: Final = "Ask whoever runs the server for another line: agentbus server invite {name}"
_AGAIN: Final = "Then run `agentbus join` again with the same line"
_SAME_KEY: Final = "Run `agentbus join` again with the same line: it goes on with the same key."
# By the lobby's word: what happened, and what to do.
_REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "used": (
        "This line was used already, by a key that is not here.",
        _ANOTHER + ". If none of you has used it, have them remove that account: agentbus server "
        "remove {name}",
    ),
    "expired": ("This line has expired.", f"{_ANOTHER}."),
    "revoked": ("This line was revoked by whoever runs the server.", f"{_ANOTHER}."),
    "unknown": ("The server does not know this line.", f"{_ANOTHER}."),
    "bad-request": (
        "The server does not understand how it was asked: it has another version of agentbus.",
        "Install the version that the server has: {upgrade}",
    ),
    "not-applied": (
        "This line is good, but the server does not take its own configuration just now.",
        f"Tell whoever runs it: the log of its gate says why. {_AGAIN}.",
    ),
    "too-many": (
        "The server is asked by too many at once.",
        f"Wait a minute. {_AGAIN}.",
    ),
}


@dataclass(frozen=True)
class Joined:
    """What has become of it."""

    account: str
    urls: tuple[str, ...]
    #: Whether this user was that account before, by this line or another.
    was_joined: bool
    #: How long the gate takes for an answer, in milliseconds.
    gate_ms: float
    #: What [server] of config.toml said before; empty if nothing.
    before: Mapping[str, Any]
    #: As config.toml has them now.
    settings: Settings


async def join(settings: Settings, line: Line) -> Joined:
    """Become the account that a line is for.

    Raises:
        BadInput: this user is another account, or a variable names a server.
        BadSetup: a file of this user's cannot be used.
        Refused: the server does not take the line; NameTaken: its name is another's by now.
        Untrusted: the server is not the one that the line is for.
        BusUnreachable: it cannot be reached, or lets nobody join just now.
        Unconfirmed: it was asked, and has not answered.
    """
    place = JoinedFolder(settings)
    with place.locked():
        return await _join(settings, place, line)


async def _join(settings: Settings, place: JoinedFolder, line: Line) -> Joined:
    kept = place.record()
    _check_free(settings, line, place, kept)
    key = place.prepare(line)
    try:
        await _ask(place, line, key, is_it=kept is not None and kept.account == line.name)
    finally:
        place.end_asking(line)
    gate_ms = await _probe(place, line)
    now = text.stamp(text.now())
    before = kept.before if kept else editor.server_in(settings)
    if "account" in before:  # of a key that is lost
        before = staying(before)
    place.keep(JoinedRecord(line.name, line.urls, line.id, now, before))
    editor.set_server(settings, _section(place, line, before))
    place.forget(but=line)
    settings = load_settings(settings.environ)
    # Else the first call asks the bus which names are whose, and fails where that is away.
    with suppress(BadSetup), names.writing(settings) as book:
        book.begin(settings.agents)
    return Joined(
        account=line.name,
        urls=line.urls,
        was_joined=kept is not None,
        gate_ms=gate_ms,
        before=before,
        settings=settings,
    )


def _check_free(
    settings: Settings, line: Line, place: JoinedFolder, kept: JoinedRecord | None
) -> None:
    """See that nothing speaks against joining before anybody is asked.

    A server may have another address by now, or be one of three: it is known by its authority, or
    by what its account's user has written into config.toml since.

    Raises:
        BadInput: something does.
    """
    given = sorted(name for name in IN_ENVIRON.values() if settings.environ.get(name))
    if given:
        raise BadInput(
            f"{' and '.join(given)} say which server counts here, before config.toml. "
            "Nothing was done.",
            hint=f"Run: unset {' '.join(given)}. {_AGAIN}.",
        )
    account = kept.account if kept else settings.account
    urls = place.urls(kept, settings) if kept else settings.urls
    is_known = bool(set(urls) & set(line.urls)) or (kept and place.is_authority(kept, line.ca_pem))
    if account and (account != line.name or not is_known):
        raise BadInput(
            f"This user of this machine is the account {account} of {_where(urls)} already. "
            "Nothing was done.",
            hint=f"Run `agentbus leave` first. {_AGAIN}: it is good until "
            f"{text.minute(text.stamp(line.expires_at))}.",
        )


def _section(place: JoinedFolder, line: Line, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what [server] of config.toml is to say."""
    authority = place.ca_file(line.name, line.id)
    return {
        **staying(before),
        "url": line.urls[0] if len(line.urls) == 1 else list(line.urls),
        **({"ca_file": str(authority)} if line.ca_pem else {}),
        "nkey_file": str(place.key_file(line.name, line.id)),
        "account": line.name,
    }


async def _ask(place: JoinedFolder, line: Line, key: Nkey, *, is_it: bool) -> None:
    """Have the server take the key for the line; `is_it`: by another this user is the account.

    Raises: as `join`.
    """
    proof = key.signed(f"agentbus-join:{line.id}:{key.public}").decode()
    request = {
        "v": _VERSION, "id": line.id, "secret": line.secret, "key": key.public, "proof": proof,
    }  # fmt: skip
    async with Bus(place.lobby_settings(line)) as bus:
        try:
            answer = await _heard(bus, json.dumps(request).encode())
        except NobodyListens:
            raise _nobody(line) from None
        except NoAnswer:
            raise Unconfirmed(
                f"The server at {_where(line.urls)} was asked and has not answered within "
                f"{_LOBBY_S:.0f} s: it is not known whether this machine has joined.",
                hint=_SAME_KEY,
            ) from None
        except NotAllowed:
            raise Refused(
                f"The server at {_where(line.urls)} does not know this line: it is of another "
                "server, or this one was made anew. Nothing was done.",
                hint=f"{_ANOTHER.format(name=line.name)}.",
            ) from None
        except Untrusted as error:
            raise _untrusted(error, line) from None
        except Crowded:
            raise _crowded(line) from None
        except CutOff as error:
            raise Unconfirmed(
                f"The server at {_where(line.urls)} ends each connection before it answers: it is "
                "not known whether this machine has joined.",
                hint=f"{_SAME_KEY} If it stays so, tell whoever runs the server.",
            ) from error
        except BusUnreachable as error:
            raise _away(error, line) from None
    _understood(answer.data, line, is_it=is_it)


async def _heard(bus: Bus, request: bytes) -> Message:
    """Ask in the lobby, until somebody is there to hear it or a gate has had the time to start.

    Raises:
        NobodyListens: nobody is.
        Crowded: the lobby is full, and stays so.
        CutOff: each connection was ended before an answer came.
        NoAnswer, NotAllowed, BusUnreachable: as `Bus.request`.
    """
    began = time.monotonic()
    while True:
        tried = time.monotonic()
        try:
            return await bus.request(LOBBY, request, _LOBBY_S)
        except NobodyListens:
            if time.monotonic() > began + _STARTS_S:
                raise
        except Untrusted:
            raise
        except CutOff:  # what was heard is done once, by the line and the key
            if time.monotonic() > began + _MAKES_ROOM_S:
                raise
        except BusUnreachable:
            now = time.monotonic()
            if now < tried + _SOON_S or now > began + _SLOW_S:
                raise
        await asyncio.sleep(_PAUSE_S)


def _understood(answer: bytes, line: Line, *, is_it: bool) -> None:
    """See what the lobby has said.

    Raises:
        Refused: it does not take the line.
    """
    try:
        said: Any = from_json(answer)
        refused = said.get("refused", "")
        is_taken = said.get("ok") is True and said.get("account") == line.name
    except (ValueError, AttributeError):
        refused, is_taken = "bad-request", False
    if is_taken:
        return
    if refused == "name-taken" and is_it:
        raise NameTaken(
            f"This user of this machine is the account {line.name} already, by another line. "
            "Nothing was done.",
            hint="It needs no second one. For another key: agentbus server rotate "
            f"{line.name}, by whoever runs the server.",
        )
    if refused == "name-taken":
        raise NameTaken(
            f"{line.name} is another account's name by now. Nothing was done.",
            hint="Ask whoever runs the server for a line with another name: "
            "agentbus server invite NAME",
        )
    what, hint = _REFUSALS.get(str(refused), _REFUSALS["bad-request"])
    if refused == "expired" and text.now() < line.expires_at:
        hint += f" By this machine's clock it is good until {line.expires_at:%H:%M} UTC: see that "
        hint += "both clocks are right (date -u)."
    raise Refused(
        f"{what} Nothing was done.",
        hint=hint.format(name=line.name, upgrade=programs.install_line("upgrade")),
    )


async def _probe(place: JoinedFolder, line: Line) -> float:
    """Wait until the server lets the new key in; return how many ms its gate takes to answer.

    Raises:
        BusUnreachable: it does not, in `PROBE_S`.
    """
    settings = place.settings(line.name, line.id, line.urls)
    give_up = time.monotonic() + PROBE_S
    why: AgentbusError = _nobody(line)
    while time.monotonic() < give_up:
        try:
            async with asyncio.timeout(max(0.1, give_up - time.monotonic())), Bus(settings) as bus:
                await bus.api("INFO")
                began = time.perf_counter()
                await bus.api("INFO")
                return round((time.perf_counter() - began) * 1000, 1)
        except AgentbusError as error:
            why = error
        except TimeoutError:
            break
        await asyncio.sleep(_PAUSE_S)
    raise BusUnreachable(
        f"The server has taken this line, and does not let its key in after {PROBE_S:.0f} s. "
        f"{why.message}",
        hint=f"{_SAME_KEY} If it stays so, tell whoever runs the server.",
    )


def _nobody(line: Line) -> BusUnreachable:
    return BusUnreachable(
        f"The server at {_where(line.urls)} runs, and nobody is there who lets anybody join: its "
        "gate does not run. Nothing was done.",
        hint=f"Tell whoever runs it: agentbus server gate is to run beside it. {_AGAIN}.",
    )


def _untrusted(error: Untrusted, line: Line) -> Untrusted:
    """Say of a server that TLS does not know what that means to who wants to join."""
    message = error.cause
    if "is not signed by" in message:
        hint = f"Something else answers there, or its authority was made anew. {_ANOTHER}."
        return Untrusted(
            f"{message} Nothing was done, and nothing was told.", hint=hint.format(name=line.name)
        )
    return Untrusted(f"{message} Nothing was done, and nothing was told.", hint=error.hint)


def _crowded(line: Line) -> BusUnreachable:
    return BusUnreachable(
        f"The server at {_where(line.urls)} runs, and has as many connections of those who want to "
        "join as it lets in. Nothing was done.",
        hint=f"Wait a minute. {_AGAIN}: it is good until "
        f"{text.minute(text.stamp(line.expires_at))}. If it stays so, tell whoever runs the "
        "server: agentbus server accounts says who fills it.",
    )


def _away(error: BusUnreachable, line: Line) -> BusUnreachable:
    message = error.cause
    return BusUnreachable(
        f"{message} Nothing was done.",
        hint=f"See that this machine reaches {_where(line.urls)}, through its network and any "
        f"firewall. {_AGAIN}: it is good until {text.minute(text.stamp(line.expires_at))}.",
    )


def _where(urls: tuple[str, ...]) -> str:
    """Return HOST:PORT of each, for people."""
    return ", ".join(urlsplit(url).netloc for url in urls)
