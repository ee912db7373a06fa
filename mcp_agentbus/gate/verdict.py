# SPDX-License-Identifier: Apache-2.0
"""What an account asks, and what is decided about it: the words that rules and doers share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from mcp_agentbus.core.text import from_json

#: Of what is stored: the account that has said it, where the subject does not tell. No reader gets
#: it.
H_ACCOUNT: Final = "Agentbus-Gate-Account"


class Request(NamedTuple):
    """What an account asks: what it would say on the bus itself."""

    account: str
    subject: str
    headers: Mapping[str, str]
    data: bytes
    #: Whether it waits for an answer.
    wants_answer: bool = True


@dataclass(frozen=True)
class Refusal:
    """It is not to be done."""

    #: A word of `account.REFUSALS`, or `account.BUSY`.
    code: str
    more: Mapping[str, str] = field(default_factory=dict)
    #: By what is known of these agents; they may have been registered since.
    about: tuple[str, ...] = ()


@dataclass(frozen=True)
class Say:
    """To be said on the bus; the answer, if there is one, to be passed on."""

    subject: str
    data: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Of a task: who sends it, so that it counts among what the account may send.
    sends: str = ""
    #: An inbox of others, where the account may write to so many a minute.
    reaches: str = ""
    #: Of what stays on the bus: in which stream.
    stores: str = ""
    #: A session that says that it lives, by its subject: another agent's of that id is another.
    session: str = ""
    #: A consumer, which is made if it is not there.
    makes: str = ""


@dataclass(frozen=True)
class Stored:
    """To be said if the message of that number has the same bytes, and is on that subject."""

    stream: str
    subject: str
    seq: int
    say: Say


@dataclass(frozen=True)
class Scheduled:
    """To be said if there is room for it: the stream that it goes to drops its oldest, unasked."""

    say: Say


@dataclass(frozen=True)
class Copied:
    """To be said if a sender's own record names who is to get a copy, and it is one of that."""

    #: The sender's record, whose that is, and what became of its task.
    sent: str
    sender: str
    original: str
    #: Who is to get a copy, and what record it would have if it had sent a task of that id itself.
    reply_to: str
    own: str
    say: Say


@dataclass(frozen=True)
class Pull:
    """To be taken from a consumer, if it waits."""

    stream: str
    consumer: str
    batch: int


@dataclass(frozen=True)
class Read:
    """To be read directly; what may not be read is to be left out."""

    stream: str
    #: The last on a subject, or what a request names.
    subject: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Count:
    """What is stored is to be counted by subject; what is others' by inbox and lane."""

    stream: str
    filter: str
    #: So many subjects were told before.
    offset: int = 0


@dataclass(frozen=True)
class Names:
    """The streams of a subject are to be named."""

    subject: str


@dataclass(frozen=True)
class Kept:
    """To be said in the place of a registration that is purged, and answered as a purge."""

    subject: str
    data: bytes


@dataclass(frozen=True)
class Delete:
    """A message is to be deleted, if it is in an own inbox or an own agent's."""

    stream: str
    seq: int


@dataclass(frozen=True)
class Event:
    """To be heard by whoever listens; answers to it come back."""

    say: Say


#: What something else is to be asked before.
Later = Stored | Scheduled | Copied | Count | Names | Kept | Delete
Verdict = Refusal | Say | Pull | Read | Event | Later
#: Of whatever is nobody else's business to say.
NOT_YOURS: Final = Refusal("not-yours")


def object_of(data: bytes) -> dict[str, Any] | None:
    """Return a JSON object; None if it is none."""
    try:
        value: Any = from_json(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def field_of(data: bytes, name: str) -> str:
    """Return a text that a JSON object has under a name; empty if it has none."""
    value = (object_of(data) or {}).get(name)
    return value if isinstance(value, str) else ""


def dumped(body: Mapping[str, Any]) -> bytes:
    """Return what JetStream is asked, or an account answered, as it is said."""
    return json.dumps(body).encode()
