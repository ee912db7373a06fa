# SPDX-License-Identifier: Apache-2.0
"""What is kept of an account, and of an invitation to become one: JSON, and no secret in it.

    >>> record = AccountRecord("laptop", "UDXU...", joined_at=now, since=now)
    >>> account_in(record.subject, encoded(record)) == record
    True

    agentbus-accounts.<name>            one user on one machine, with the key that proves it
    agentbus-accounts-changed.<name>    (not stored) that it is another from now on
    agentbus-invitations.<id>           whom a line lets in, once, and until when

What was read is checked: a name becomes part of subjects and of the server's configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args

from mcp_agentbus.bus.login.nkey import is_public
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadInput

#: `cut-off`: by the gate, as it flooded the bus; `removed`: by the owner. The owner may let it in
#: again.
AccountState = Literal["joined", "cut-off", "removed"]
InvitationState = Literal["open", "used", "revoked"]

#: Where all accounts stand.
ACCOUNTS: Final = "agentbus-accounts.*"
#: Where each change of one is heard, once it is stored: before that others would read the old one.
CHANGED: Final = "agentbus-accounts-changed.*"
INVITATIONS: Final = "agentbus-invitations.*"
_ID: Final = re.compile("[0-9a-f]{16}")
_SHA256: Final = re.compile("[0-9a-f]{64}")
_VERSION: Final = 1


class UnreadableRecord(ValueError):
    """What is stored there is no record that this version reads."""


@dataclass(frozen=True, kw_only=True)
class AccountRecord:
    """One user on one machine."""

    name: str
    #: The public key by which the server knows it; empty: nobody gets in, until it has a new one.
    key: str
    #: The shared inboxes that it may read, by the owner's word.
    roles: tuple[str, ...] = ()
    #: Whether it may write to any number of others' agents at once, by the owner's word.
    to_all: bool = False
    state: AccountState = "joined"
    #: With its first key.
    joined_at: datetime
    #: When it came into its state.
    since: datetime

    @property
    def subject(self) -> str:
        """Where it stands."""
        return account_subject(self.name)

    @property
    def gets_in(self) -> bool:
        """Whether the server is to let it in."""
        return self.state == "joined" and bool(self.key)


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """Whom a line lets in."""

    #: 16 letters of hex.
    id: str
    #: The account that its bearer becomes.
    name: str
    #: Of the secret in the line, in hex.
    secret_sha256: str
    #: The public key of the lobby by whose other half its bearer asks; empty if unknown.
    lobby: str = ""
    #: What a new account gets.
    roles: tuple[str, ...] = ()
    #: Whether it gives an account that has joined another key; else it is for a new one.
    replaces: bool = False
    expires_at: datetime
    state: InvitationState = "open"
    #: The key that came in by it, and when.
    used_by: str = ""
    used_at: datetime | None = None

    @property
    def subject(self) -> str:
        """Where it stands."""
        return invitation_subject(self.id)

    def lets_in(self, now: datetime) -> bool:
        """Tell whether it may still be used."""
        return self.state == "open" and now < self.expires_at


def account_name(written: str) -> str:
    """Return what was written if it may name an account.

    Raises:
        BadInput: it may not.
    """
    if not ids.is_agent(written):
        raise BadInput(
            f"{written[:80]!r} is no name of an account.",
            hint="Use 1 to 63 of a-z, 0-9, '_' and '-', a letter or digit first, such as laptop.",
        )
    return written


def account_subject(name: str) -> str:
    """Where an account stands."""
    return ACCOUNTS.replace("*", name)


def invitation_subject(invitation: str) -> str:
    """Where an invitation stands."""
    return INVITATIONS.replace("*", invitation)


def is_invitation_id(written: str) -> bool:
    """Tell whether a text may be the id of an invitation."""
    return _ID.fullmatch(written) is not None


def encoded(record: AccountRecord | Invitation) -> bytes:
    """Return the bytes of a record."""
    fields = {
        name: text.stamp(value) if isinstance(value, datetime) else value
        for name, value in asdict(record).items()
    }
    return json.dumps({"v": _VERSION, **fields}).encode()


def account_in(subject: str, data: bytes) -> AccountRecord:
    """Return the account that stands on a subject.

    Raises:
        Unreadable: none does.
    """
    said = _object(data)
    name, key = subject.rpartition(".")[2], str(said.get("key"))
    if not ids.is_agent(name) or said.get("name") != name or (key and not is_public(key)):
        raise UnreadableRecord
    return AccountRecord(
        name=name,
        key=key,
        roles=_roles(said),
        to_all=said.get("to_all") is True,
        state=_one_of(said, AccountState),
        joined_at=_time(said, "joined_at"),
        since=_time(said, "since"),
    )


def invitation_in(subject: str, data: bytes) -> Invitation:
    """Return the invitation that stands on a subject.

    Raises:
        Unreadable: none does.
    """
    said = _object(data)
    id_, name, hashed = (str(said.get(field)) for field in ("id", "name", "secret_sha256"))
    used_by = str(said.get("used_by"))
    if subject != invitation_subject(id_) or not is_invitation_id(id_) or not ids.is_agent(name):
        raise UnreadableRecord
    if not _SHA256.fullmatch(hashed) or (used_by and not is_public(used_by)):
        raise UnreadableRecord
    return Invitation(
        id=id_,
        name=name,
        secret_sha256=hashed,
        lobby=str(said.get("lobby", "")),
        roles=_roles(said),
        replaces=said.get("replaces") is True,
        expires_at=_time(said, "expires_at"),
        state=_one_of(said, InvitationState),
        used_by=used_by,
        used_at=_time(said, "used_at") if said.get("used_at") else None,
    )


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        said = from_json(data)
    except (ValueError, RecursionError):
        raise UnreadableRecord from None
    if not isinstance(said, dict):
        raise UnreadableRecord
    return said


def _one_of(said: Mapping[str, Any], states: Any) -> Any:
    state = said.get("state")
    if state not in get_args(states):
        raise UnreadableRecord
    return state


def _roles(said: Mapping[str, Any]) -> tuple[str, ...]:
    roles = said.get("roles")
    if not isinstance(roles, list) or not all(map(ids.is_role, roles)):
        raise UnreadableRecord
    return tuple(roles)


def _time(said: Mapping[str, Any], field: str) -> datetime:
    try:
        at = datetime.fromisoformat(said[field])
    except (KeyError, TypeError, ValueError):
        raise UnreadableRecord from None
    if at.tzinfo is None:
        raise UnreadableRecord
    return at
