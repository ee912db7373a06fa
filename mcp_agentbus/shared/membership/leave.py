# SPDX-License-Identifier: Apache-2.0
"""An account goes from a shared server, and its user has again what config.toml said before.

    >>> await leave(load_settings(), give_back=True)
    Left(account='laptop', told=True, ...)

The server is told first, as only the key that goes can say so; a server that is away is left all
the same, and its owner has to remove the account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import LEAVE
from mcp_agentbus.config.changes import editor
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import AgentbusError, BadInput, NotAllowed
from mcp_agentbus.shared.membership.place import JoinedFolder, staying

# The server writes its configuration and reads it twice before it answers.
_WITHIN_S: Final = 30.0
_TRIES: Final = 2
_NOT_DONE: Final = "it could not remove the account"


@dataclass(frozen=True)
class Left:
    """What has become of it."""

    account: str
    #: Whether the server has removed the account.
    told: bool
    #: Why it has not; empty if it has.
    why_not: str
    #: What [server] of config.toml says again; empty if nothing.
    before: Mapping[str, Any]
    #: As config.toml has them now.
    settings: Settings


async def leave(settings: Settings, *, give_back: bool) -> Left:
    """Be no account any more.

    Args:
        settings: the user's.
        give_back: whether what waits for its agents ends as rejected, for its senders to send
            elsewhere; else it waits for the account to be let in again.

    Raises:
        BadInput: this user is no account.
        BadSetup: a file of this user's cannot be used.
    """
    place = JoinedFolder(settings)
    with place.locked():
        kept = place.record()
        account = kept.account if kept else settings.account
        if not account:
            raise BadInput(
                "This user of this machine is no account of a shared server.",
                hint="Nothing is to be done: what config.toml names is used.",
            )
        # By its own key, whatever config.toml says by now.
        ours = settings
        if kept:
            ours = place.settings(account, kept.invitation, place.urls(kept, settings))
        why_not = await _tell(ours, give_back=give_back)
        before = kept.before if kept else staying(editor.server_in(settings))
        if settings.account == account:  # else its user has written another server there since
            editor.set_server(settings, before)
        place.forget()
    return Left(account, not why_not, why_not, before, load_settings(settings.environ))


async def _tell(settings: Settings, *, give_back: bool) -> str:
    """Have the server remove the account; return why it has not, empty if it has."""
    why_not = ""
    for _ in range(_TRIES):
        try:
            async with Bus.connect(settings) as bus:
                why_not = await _ask(bus, give_back=give_back)
        except NotAllowed:
            return ""  # it lets this key in no more
        except AgentbusError as error:
            return _said(error)
        if not why_not:
            break
    return why_not


async def _ask(bus: Bus, *, give_back: bool) -> str:
    """Ask the gate; return why the account is not removed, as far as is known.

    With an account goes its connection, and the answer with that: then only who tries to come in
    again knows.
    """
    body = json.dumps({"give_back": give_back}).encode()
    try:
        said: Any = from_json((await bus.request(LEAVE, body, _WITHIN_S)).data)
        return "" if said["ok"] is True else _NOT_DONE
    except AgentbusError as error:
        return _said(error)
    except (ValueError, TypeError, LookupError):
        return _NOT_DONE


def _said(error: AgentbusError) -> str:
    return error.cause.rstrip(".")
