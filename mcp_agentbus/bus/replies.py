# SPDX-License-Identifier: Apache-2.0
"""What the server's answers say: acknowledgements, deliveries, messages, refusals.

    >>> api_answer(b'{"error":{"err_code":10059,"description":"stream not found"}}')
    ApiError: The bus server refused this, with its error 10059. Hint: ...

Pure: it reads bytes and headers, and turns the server's error codes into this package's errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import AgentbusError, InboxFull, Refused, StoreFull, TooLarge

# Error codes of JetStream (server/errors.json of nats-server 2.15).
NO_SUCH_STREAM: Final = 10059
NO_SUCH_CONSUMER: Final = 10014
WRONG_REVISION: Final = 10071
#: Of a batched direct get: over 1,024 subjects fit.
TOO_MANY_RESULTS: Final = 413
_CODE_MAX: Final = 99_999
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
# What each answer to these calls has: it is read without a look whether it is there.
_HAS: Final[Mapping[str, Any]] = {
    "STREAM.INFO": {
        "created": str, "ts": str, "config": dict,
        "state": {"messages": int, "bytes": int, "last_seq": int},
    },
    "CONSUMER.INFO": {
        "created": str, "config": dict, "num_pending": int, "num_ack_pending": int,
        "delivered": {"consumer_seq": int, "stream_seq": int}, "ack_floor": {"stream_seq": int},
    },
}  # fmt: skip
# What a cluster says while a write is under way there, or while it has no leader.
_NOT_NOW: Final = frozenset({10008, 10009, 10118, 10158, 10163, 10164})
# Of these what is said of a write that is not over yet.
_UNDER_WAY: Final = frozenset({10158, 10163, 10164})
#: Of a cluster's servers, for people.
LEADERLESS: Final = (
    "The bus's servers have no leader just now, as for some seconds after one of them was lost."
)
# JetStream does not run there, or not for the account.
_NOT_ENABLED: Final = frozenset({10039, 10076})
_ENABLE: Final = "See that it was started with JetStream, and that the login's account has it."
_TOO_LARGE: Final = 10054
_SEALED: Final = 10109
# Another stream keeps what one of ours is to: by the subject, or when that is to be made.
_OF_ANOTHER: Final = frozenset({10060, 10065})
_FULL: Final = 10077
#: Of a stream's `max_bytes`, when it is made.
NO_ROOM_TO_RESERVE: Final = 10047
#: What the system says of a write without room, which the server passes on, in English.
DISK_IS_FULL: Final = ("no space left on device", "disk quota exceeded")
_FREE_SOME: Final = "Free some disk space where the server runs, then call again."
# So any write or read of a consumer's state fails; its log says why of the first, see `own.torn`.
_NO_STORE: Final = ("error creating store", "read-only file system", "permission denied")
_DOCTOR: Final = "Run `agentbus doctor --fix` where the server runs, then call again: it says why."
_ASK: Final = "Tell whoever runs the server; `agentbus doctor` shows what its streams may take."
_NO_STORAGE: Final = frozenset({10002, 10023, 10028, NO_ROOM_TO_RESERVE, 10051})


@dataclass(frozen=True)
class Message:
    """A message as it came."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    reply: str = ""

    @property
    def status(self) -> str:
        """The server's status code, such as 404; empty for a message with content.

        Whoever sees a request can say it just as the server does. What is stored may begin so, too:
        it comes with a subject to answer to, or, read directly, with its sequence.
        """
        is_content = self.data or self.reply or "Nats-Sequence" in self.headers
        return "" if is_content else self.headers.get("Status", "")


class Conflict(Exception):
    """Somebody else has written the record since it was read."""


class HandedOut(AgentbusError):
    """Everything that may be handed out at once is handed out."""

    hint = "Finish some of it, or give it back."


class ApiError(Refused):
    """The server refused an administrative request.

    Its description is compared and never shown: others can answer in the server's place.
    """

    def __init__(self, code: int, description: str = "") -> None:
        self.code, self.description = code, description
        what, hint = f"The bus server refused this, with its error {code}.", ""
        if code in _NOT_ENABLED:
            what, hint = "The bus server answers, and has no JetStream for this login.", _ENABLE
        mend = "Run `agentbus doctor`: it names what is not as agentbus makes it."
        super().__init__(what, hint=hint or mend)


class NotNow(ApiError):
    """The server did nothing, and may do it when it is asked again."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(code, description)
        under_way = "The bus's servers are still at another write to the same place."
        self.message = under_way if code in _UNDER_WAY else LEADERLESS


class Garbled(TimeoutError):
    """What came is no answer of a server's: whoever sees a request may answer, too.

    It counts as none: the server's own is waited for.
    """


@dataclass(frozen=True)
class Stored:
    """The server's acknowledgement."""

    #: The message's sequence in its stream; a record's revision.
    seq: int
    #: The same message id had been stored before.
    duplicate: bool = False


@dataclass(frozen=True)
class Found:
    """A stored message, read without taking it."""

    subject: str
    seq: int
    stored_at: datetime
    headers: Mapping[str, str]
    data: bytes


#: Of one answer to a batched direct get, in bytes: far below what a shared server holds for a
#: connection that takes it slowly, which it ends where that is more (`server_conf`).
ANSWER_MAX_BYTES: Final = 4 << 20


def rest_of(request: Mapping[str, Any], end: Message, came: int) -> dict[str, Any] | None:
    """Return what to ask for the rest of a batched direct get; None if that was all.

    Args:
        request: what was asked.
        end: the status that ended the answer.
        came: as many messages as it had.

    Raises:
        ApiError, Garbled: the server refused, or says what none would.
    """
    if end.status not in {"204", "404"}:
        raise ApiError(int(end.status)) if end.status.isdecimal() else Garbled
    pending, last = (
        end.headers.get(f"Nats-{each}", "") for each in ("Num-Pending", "Last-Sequence")
    )
    left = int(request.get("batch", 1 + came)) - came
    if not came or left <= 0 or not last.isdecimal() or not pending.strip("0"):
        return None
    # What is written anew meanwhile is among the rest: so no sequence ends it.
    more = {name: value for name, value in request.items() if name != "start_time"}
    more["seq"] = int(last) + 1
    return {**more, "batch": left} if "batch" in request else more


@dataclass(frozen=True)
class Delivery:
    """A message that was taken from a consumer and is now ours to finish or to give back."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    #: The subject by which it is finished, extended or given back, from any connection; empty for
    #: one that the server has forgotten, and offers again.
    token: str
    stream: str
    seq: int
    #: How often it was offered, this time included.
    offered: int
    stored_at: datetime
    #: How many more wait behind it in its consumer.
    waiting: int

    @property
    def consumer(self) -> str:
        """Which one handed it out, as `STREAM.CONSUMER`."""
        # $JS.ACK.[domain.account.]stream.consumer.offered....
        _, _, rest = self.token.partition(f".{self.stream}.")
        return f"{self.stream}.{rest.partition('.')[0]}"


def api_answer(data: bytes) -> dict[str, Any]:
    """Return what JetStream's API answered.

    Raises:
        ApiError: it refused.
        StoreFull: its disk has no room for what this would keep, or what it had kept is damaged.
        NotNow: it is to be asked again.
        Garbled: it is no answer.
    """
    try:
        answer: dict[str, Any] = from_json(data)
        refused = answer.get("error")
        code = refused.get("err_code", 0) if refused is not None else 0
    except (ValueError, AttributeError):
        raise Garbled from None
    if not isinstance(code, int) or not 0 <= code <= _CODE_MAX:
        raise Garbled
    if refused is not None:
        description = str(refused.get("description", ""))
        if any(words in description for words in DISK_IS_FULL):
            raise StoreFull("The bus server's disk is full. Nothing was stored.", hint=_FREE_SOME)
        if any(words in description for words in _NO_STORE):
            what = "The bus server cannot write or read what it keeps of this. Nothing was stored."
            raise StoreFull(what, hint=_DOCTOR)
        raise (NotNow if code in _NOT_NOW else ApiError)(code, description)
    return answer


def api_result(call: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a call of JetStream's API, such as `STREAM.INFO.AGENTBUS_TASKS`.

    Raises:
        Garbled: it is none.
    """
    has = _HAS.get(".".join(call.split(".")[:2]), {})
    if not str(answer.get("type", "")).startswith("io.nats.jetstream.api.") or not _fits(
        answer, has
    ):
        raise Garbled
    return answer


def _fits(value: Any, made: Any) -> bool:
    """Tell whether a value is of a kind, or an object that has so many of its kinds."""
    if isinstance(made, type):
        return isinstance(value, made)
    return isinstance(value, dict) and all(_fits(value.get(key), made[key]) for key in made)


def stored(ack: Mapping[str, Any]) -> Stored:
    """Return what the acknowledgement of a message says.

    Raises:
        Garbled: it is none.
    """
    seq = ack.get("seq")
    if not isinstance(seq, int):
        raise Garbled
    return Stored(seq, bool(ack.get("duplicate")))


def refusal(error: ApiError, *, is_shared: bool = False) -> AgentbusError:
    """Return the error that a refused publish means to its caller, also of a shared server."""
    if error.code == _FULL and "per subject" in error.description:
        return InboxFull()
    if error.code == _FULL or error.code in _NO_STORAGE:
        return StoreFull(hint=_ASK if is_shared else "")
    if error.code == _SEALED:
        return Refused(
            "Another program has sealed a stream of the bus: nothing can be stored there any more. "
            "What is stored can be read. Nothing was stored.",
            hint="Run `agentbus doctor --fix`: it says what to do.",
        )
    if error.code in _OF_ANOTHER:
        return Refused(
            "Another program has made a stream on the bus in the place of one of agentbus's. "
            "Nothing was stored.",
            hint="Run `agentbus doctor --fix`: it names that stream, and removes it.",
        )
    return TooLarge() if error.code == _TOO_LARGE else error


def found_if_any(answer: Message) -> Found | None:
    """Return the same as `found`; None where the server says that there is none."""
    return None if answer.status == "404" else found(answer)


def found(message: Message) -> Found:
    """Return the stored message in the answer to a direct get.

    Raises:
        Garbled: there is none in it.
    """
    headers = message.headers
    try:
        return Found(
            subject=headers["Nats-Subject"],
            seq=int(headers["Nats-Sequence"]),
            stored_at=server_time(headers["Nats-Time-Stamp"]),
            headers=headers,
            data=message.data,
        )
    except (KeyError, ValueError):
        raise Garbled from None


def server_time(text: str) -> datetime:
    """Return a time as the server writes it."""
    # Nanoseconds are more than fromisoformat reads before Python 3.14.
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}+00:00")


def delivery(stream: str, message: Message) -> Delivery:
    """Return what a pull brought.

    Raises:
        Garbled: it is no delivery.
    """
    # $JS.ACK.[domain.account.]stream.consumer.offered.seq.consumer-seq.nanoseconds.waiting[.random]
    tokens = message.reply.split(".")
    try:
        offered, seq, _, nanoseconds, waiting = tokens[4:9] if len(tokens) == 9 else tokens[6:11]
        return Delivery(
            subject=message.subject,
            data=message.data,
            headers=message.headers,
            token=message.reply,
            stream=stream,
            seq=int(seq),
            offered=int(offered),
            stored_at=_EPOCH + timedelta(microseconds=int(nanoseconds) // 1000),
            waiting=int(waiting),
        )
    except (ValueError, OverflowError, OSError):
        raise Garbled from None


def untaken(stream: str, message: Found, token: str = "", waiting: int = 0) -> Delivery:
    """Return the delivery of a message that was read, and not taken here."""
    return Delivery(
        subject=message.subject,
        data=message.data,
        headers=message.headers,
        token=token,
        stream=stream,
        seq=message.seq,
        offered=1,
        stored_at=message.stored_at,
        waiting=waiting,
    )


def has_forgotten(answer: Message, taken: Delivery) -> bool:
    """Tell by what a server says of a consumer whether it has forgotten what that handed out.

    Raises:
        Garbled: it says nothing of it.
    """
    try:
        info = api_result("CONSUMER.INFO", api_answer(answer.data))
    except ApiError as error:
        return error.code in {NO_SUCH_CONSUMER, NO_SUCH_STREAM}
    return bool(info["delivered"]["stream_seq"] < taken.seq)
