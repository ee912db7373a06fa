# SPDX-License-Identifier: Apache-2.0
"""What an agent has registered of itself, as far as it can be read and be true.

>>> decode_profile(stored)
Profile(id='coder', roles=('review',), account='laptop', ...)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.config.tables import ROLES_MAX
from mcp_agentbus.config.values import ACCEPTED_MAX
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.ids import ANY_SENDER
from mcp_agentbus.store import subjects
from mcp_agentbus.store.task import Time, Undecodable

# Of the hosts of an agent's sessions so many are told of: it has one line of the roster.
_HOSTS_MAX: Final = 8


class Profile(BaseModel):
    """An agent's registration."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    description: str = ""
    roles: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    accept_from: tuple[str, ...] = (ANY_SENDER,)
    #: Whose it is, as a shared server's gate knows; empty without one.
    account: str = ""
    #: It is an agent no more: see `forgotten`.
    forgotten: bool = False
    #: Its account was removed from the bus, as whoever runs that has said, and it has not
    #: registered since.
    removed: bool = False
    registered_at: Time
    #: Start, touch or end of its latest session, or up to 30 s before; None if it never had one.
    last_seen: Time | None = None


def decode_profile(stored: Found) -> Profile:
    """Return the registration in a stored message, as far as it can be read and be true.

    Raises:
        Undecodable: it is nobody's.
    """
    whose = subjects.parts(stored.subject).whose
    if not ids.is_agent(whose):
        raise Undecodable("its subject names no agent")
    try:
        profile = Profile.model_validate_json(stored.data)
    except ValidationError:  # whatever was written over it, its agent has registered
        account = _account_in(stored.data)  # which a gate has written, whatever else is there
        return Profile(id=whose, account=account, registered_at=stored.stored_at)
    roles = filter(ids.is_role, profile.roles)
    # Who it is about is the subject's word; what else it says is only believed if it can be true.
    return profile.model_copy(
        update={
            "id": whose,
            "roles": tuple(roles)[:ROLES_MAX],
            "account": profile.account if ids.is_agent(profile.account) else "",
            "hosts": latest(filter(ids.is_inbox, profile.hosts)),
            "accept_from": tuple(filter(ids.is_sender, profile.accept_from))[:ACCEPTED_MAX],
            "description": profile.description[: ids.DESCRIPTION_MAX_CHARS],
            "last_seen": profile.last_seen and min(profile.last_seen, stored.stored_at),
        }
    )


def latest(hosts: Iterable[str]) -> tuple[str, ...]:
    """Return of some hosts, the latest last, those that are told of."""
    return tuple(dict.fromkeys(hosts))[-_HOSTS_MAX:]


def _account_in(data: bytes) -> str:
    try:
        said = text.from_json(data)
    except (ValueError, RecursionError):
        return ""
    account = said.get("account") if isinstance(said, dict) else None
    return account if isinstance(account, str) and ids.is_agent(account) else ""
