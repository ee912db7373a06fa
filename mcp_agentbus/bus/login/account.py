# SPDX-License-Identifier: Apache-2.0
"""How an account uses a bus whose servers keep a gate: by asking the gate for everything.

    >>> account = Account("laptop")
    >>> account.asked("$JS.API.STREAM.INFO.AGENTBUS_TASKS")
    'agentbus-gate.laptop.$JS.API.STREAM.INFO.AGENTBUS_TASKS'

An account is one user on one machine. Its server lets it say nothing but this, so that whoever has
its key cannot say anything in another's name; the gate, `gate`, asks the bus in its place,
where what is asked is its own to ask, and passes the answers on.

    agentbus-gate.<account>.<subject>   what an account asks: what it would else say on <subject>
    agentbus-for.<account>.<subject>    what it is to hear; in the account it is <subject> again
    agentbus-all.<agent>.heartbeat.*    in an account: each agent's signs of life
    agentbus-lobby                      how who was invited becomes an account
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_agentbus.bus.replies import Message, NotNow
from mcp_agentbus.core import ids
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import (
    AgentbusError,
    GateAway,
    NameTaken,
    NotAccepted,
    NotAllowed,
    SendLimit,
    StoreFull,
    UnknownAgent,
)

GATE: Final = "agentbus-gate"
FOR: Final = "agentbus-for"
ALL: Final = "agentbus-all"
LOBBY: Final = "agentbus-lobby"
#: What an account asks of the gate to be none any more: JSON, `{"give_back": false}`.
LEAVE: Final = "leave"
#: Of what the gate passes on: the subject that it has on the bus, and how it is acknowledged.
H_SUBJECT: Final = "Agentbus-Gate-Subject"
H_ACK: Final = "Agentbus-Gate-Ack"
#: Why the gate does not do it: one of `REFUSALS`.
H_REFUSED: Final = "Agentbus-Gate-Refused"

#: The words by which a gate refuses, and what each means to a caller; the message carries a JSON
#: object with what else is to be said.
REFUSALS: Final[Mapping[str, type[AgentbusError]]] = {
    "not-yours": NotAllowed,
    "not-granted": NotAllowed,
    "cut-off": NotAllowed,
    "name-taken": NameTaken,
    "not-accepted": NotAccepted,
    "unknown-agent": UnknownAgent,
    "too-many": SendLimit,
    "no-room": StoreFull,
    "too-wide": SendLimit,
}
#: Besides these: it did nothing, and may do it a moment later.
BUSY: Final = "busy"


_SHARE_TAKEN: Final = (
    "The bus has little room left, and this account has its share of it. Nothing was stored."
)
_SHARE_HINT: Final = (
    "Results go after 30 days, and tasks as they are done: try it again later, or ask the "
    "server's owner: the log of its gate says who has how much."
)

_TOO_WIDE: Final = (
    "This account has written to as many agents of others as a minute allows. Nothing was sent."
)
_WIDE_HINT: Final = (
    "Wait a minute, then send it again; or have the server's owner let this account write to all: "
    "agentbus server accounts NAME --all"
)


class NotGranted(NotAllowed):
    """A role is not granted to this account of the bus."""

    def __init__(self, role: str) -> None:
        self.role = role
        super().__init__(
            f"{ids.role_address(role)} is not granted to this account of the bus. "
            "Nothing was stored.",
            hint=f"Take {role} out of the agent's roles, or have the server's owner grant it: "
            f"agentbus server accounts NAME --role {role}",
        )


class Busy(NotNow):
    """The bus's gate has more to do than it can just now."""

    def __init__(self, code: int = 0, description: str = "") -> None:
        super().__init__(code, description)
        self.message = "The bus's gate has more to do than it can just now."


class Way:
    """The way of who may say all on the bus itself."""

    def asked(self, subject: str) -> str:
        """Return where to say what is meant for `subject`."""
        return subject

    def heard(self, subject: str) -> str:
        """Return where to hear what is said on `subject`, which may have wildcards."""
        return subject

    def answer(self, message: Message) -> Message:
        """Return what has come as it is on the bus.

        Raises:
            GateAway: no gate is there.
            Busy, and the errors of `REFUSALS`: the gate does not do it.
        """
        return message


class Account(Way):
    """The way of one account, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def asked(self, subject: str) -> str:
        """Return the gate's subject for it, but for what stays in the account."""
        first, _, rest = subject.partition(".")
        # What the sessions of an agent say to each other stays among them: they are one account's.
        is_among_them = first == "agentbus" and rest.partition(".")[2].startswith("succeed.")
        if first == "_INBOX" or is_among_them:
            return subject
        return f"{GATE}.{self.name}.{subject}"

    def heard(self, subject: str) -> str:
        """Return the subject that it has in the account."""
        first, _, rest = subject.partition(".")
        is_sign = rest.partition(".")[2].startswith("heartbeat.")
        return f"{ALL}.{rest}" if first == "agentbus" and is_sign else subject

    def answer(self, message: Message) -> Message:
        """Return what the gate passes on, as `Way.answer`."""
        headers = message.headers
        if code := headers.get(H_REFUSED):
            raise refused(code, message.data)
        if H_SUBJECT in headers:
            theirs = {k: v for k, v in headers.items() if k not in (H_SUBJECT, H_ACK)}
            ack = headers.get(H_ACK, "")
            return Message(headers[H_SUBJECT], message.data, theirs, ack)
        if message.status == "503":
            raise GateAway
        return message


def refused(code: str, data: bytes) -> AgentbusError:
    """Return the error that a gate's refusal means."""
    try:
        more: Any = from_json(data)
    except ValueError:
        more = {}
    said = more if isinstance(more, dict) else {}
    if code == "name-taken":
        free = said.get("free", "")
        hint = f"Run `agentbus agent --help`: it says how a folder takes another, such as {free}."
        return NameTaken(hint=hint)
    role = said.get("role")
    if code == "not-granted" and ids.is_role(role):
        return NotGranted(role)
    if code == BUSY:
        return Busy()
    if code == "too-wide":
        return SendLimit(_TOO_WIDE, hint=_WIDE_HINT)
    if code == "no-room":
        return StoreFull(_SHARE_TAKEN, hint=_SHARE_HINT)
    return REFUSALS.get(code, NotAllowed)()
