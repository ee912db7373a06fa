# SPDX-License-Identifier: Apache-2.0
"""What lies in the outbox: a task, who sent it, and the bus that it is for.

    agentbus-outbox.<sender>.<kind>.<inbox>.<lane>.<task>

    >>> letter_in(message).task.subject
    'Count the tests'

`kind` is `send`, or `end` once its sender has withdrawn it: then the bus is told of both, as an
earlier try may have come there. Bytes in, bytes out; of a home a certificate is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids
from mcp_agentbus.core.files import read_whole
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import from_json
from mcp_agentbus.store import codec, subjects
from mcp_agentbus.store.task import Task, Undecodable

Kind = Literal["send", "end"]
#: All that the outbox holds.
EVERYTHING: Final = "agentbus-outbox.>"
# Who sends it, and to which bus; as JSON.
_H_ABOUT: Final = "Agentbus-Outbox"
_TOKENS: Final = 6


@dataclass(frozen=True)
class Home:
    """Which bus it is: that is told by the account, and by its servers, or who has signed them.

    Servers may become more, and may move to other addresses: the authority stays.
    """

    urls: tuple[str, ...]
    account: str
    #: A digest of the certificate of the one authority of an account's servers, if they have one.
    authority: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Home:
        """Return the bus that settings name."""
        return cls(settings.urls, settings.account or "", _authority(settings))

    def is_same(self, other: Home) -> bool:
        """Tell whether both are one bus: reached at an address of both, or known by one authority.

        And by one account.
        """
        is_known = self.authority == other.authority != ""
        is_there = is_known or not set(self.urls).isdisjoint(other.urls)
        return self.account == other.account and is_there


@dataclass(frozen=True)
class Letter:
    """One task of the outbox."""

    task: Task
    #: Who sends it, for a bus that does not know them yet.
    sender: Agent
    #: For which bus.
    home: Home
    #: It was withdrawn.
    is_over: bool = False
    #: What its sender said with that, by the fields of a record.
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """Where it lies."""
        return _subject(self.task, "end") if self.is_over else sent_at(self.task)

    @property
    def headers(self) -> dict[str, str]:
        """Its headers; those of the task among them."""
        sender = self.sender
        about = {
            **asdict(self.home), "host": sender.host, "description": sender.description,
            "roles": sender.roles, "accept_from": sender.accept_from,
        }  # fmt: skip
        return {**codec.task_headers(self.task), _H_ABOUT: json.dumps(about)}

    @property
    def data(self) -> bytes:
        """The task as it is written on the bus, and what was said with its end."""
        data = codec.encode_task(self.task)
        return json.dumps({**from_json(data), "said": self.said}).encode() if self.said else data


def sent_at(task: Task) -> str:
    """Return where a task lies that was not withdrawn."""
    return _subject(task, "send")


def _subject(task: Task, kind: Kind) -> str:
    return f"agentbus-outbox.{task.sender}.{kind}.{task.to}.{task.priority}.{task.id}"


def letter_in(message: Found) -> Letter:
    """Return what lies in a message of the outbox.

    Raises:
        Undecodable: it is none.
    """
    tokens = message.subject.split(".")
    if len(tokens) != _TOKENS:
        raise Undecodable("its subject is none of the outbox")
    _, sender, kind, inbox, lane, _ = tokens
    subject = subjects.task_subject(inbox, lane, sender)
    task = codec.decode_task(subject, message.headers, message.data, message.stored_at)
    about = _about(message.headers)
    account, authority = (str(about.get(key, "")) for key in ("account", "authority"))
    home = Home(_strings(about.get("urls")), account, authority)
    me = Agent(
        sender,
        host=str(about.get("host", "")) or Agent(sender).host,
        description=str(about.get("description", ""))[: ids.DESCRIPTION_MAX_CHARS],
        roles=_strings(about.get("roles")),
        accept_from=_strings(about.get("accept_from")) or (ids.ANY_SENDER,),
    )
    said = from_json(message.data).get("said")
    if said is None and (reason := about.get("said")):  # so an older agentbus writes it
        said = {"summary": reason}
    return Letter(task, me, home, is_over=kind == "end", said=_said(said))


def _authority(settings: Settings) -> str:
    """Return by what the authority of an account's servers is known; empty if by nothing here.

    That of an invitation signs the servers of one bus; any other, as a company's, may have signed
    those of several, on each of which the account has the same name.
    """
    if not (settings.account and settings.ca_file):
        return ""
    try:
        if not settings.ca_file.parent.samefile(settings.joined_folder):
            return ""
        return hashlib.sha256(b"".join(read_whole(settings.ca_file).split())).hexdigest()
    except OSError:  # who connects says so
        return ""


def _about(headers: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        about = from_json(headers.get(_H_ABOUT, "{}"))
    except ValueError:
        about = {}
    return about if isinstance(about, dict) else {}


def _said(said: object) -> Mapping[str, Any]:
    """Return what was said with an end, as far as its record can have it."""
    if not isinstance(said, dict):
        return {}
    progress = said.get("progress")
    is_share = isinstance(progress, int | float) and 0 <= progress <= 100
    return {
        "summary": str(said.get("summary", "")),
        "body": str(said.get("body", "")),
        "artifacts": _strings(said.get("artifacts")),
        "progress": progress if is_share else None,
    }


def _strings(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Collection) else ()
