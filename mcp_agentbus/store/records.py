# SPDX-License-Identifier: Apache-2.0
"""The three records of a task: read, and written back only if nobody else wrote meanwhile.

    >>> record, revision = await read_record(bus, "planner", "coder", task_id)
    >>> await update(bus, record_key("planner", "coder", task_id), lambda standing: Write(...))
    Written(value=Record(...), revision=18)

The worker's record fences: JetStream's own acknowledgements do not, so a session that lost its
claim while it slept finds out here (`Conflict`) and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import TOO_MANY_RESULTS, ApiError, Conflict, Delivery, Found, Message
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import together
from mcp_agentbus.errors import AgentbusError, Refused, TooLarge
from mcp_agentbus.store import codec, steps, subjects
from mcp_agentbus.store.steps import Write, copied_for
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.store.task import Moment, Record, Sent, Undecodable, Wakes

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Else = TypeVar("_Else")
# So many subjects are named in one request: each has up to 220 bytes, and 1 MB is taken at once.
_FILTERS_MAX: Final = 1_000
# Steps of wakes: four wakes of a start and an end, and some holds.
_WAKES_MAX: Final = 20
#: More no record may have that goes on: each further step makes it longer, and has to be stored.
OPEN_MAX_BYTES: Final = (1 << 20) - (64 << 10)
# Of what else is kept of a task, what is added by a rewrite is a few hundred bytes.
_KEPT_MAX_BYTES: Final = (1 << 20) - (4 << 10)
# What a worker says may make it as long as leaves room for what is added until it says more.
_SAID_MAX_BYTES: Final = OPEN_MAX_BYTES - (64 << 10)


@dataclass(frozen=True)
class Key(Generic[_T_co]):
    """Where a record stands, and how it is spelled there."""

    stream: str
    #: May hold `*` for what a reader does not know; a writer knows all of it.
    subject: str
    decode: Callable[[Found], _T_co]
    encode: Callable[[Any], bytes]


def record_key(owner: str, inbox: str, task_id: str) -> Key[Record]:
    """Where the worker's record of a task stands."""
    subject = subjects.record_subject(owner, inbox, task_id)
    return Key(RESULTS, subject, _record, codec.encode_record)


def sent_key(owner: str, inbox: str, task_id: str) -> Key[Sent]:
    """Where the sender's record of a task stands."""
    subject = subjects.sent_subject(owner, inbox, task_id)
    return Key(RESULTS, subject, _sent, codec.encode_sent)


def wakes_key(owner: str, inbox: str, task_id: str) -> Key[Wakes]:
    """Where stands what listeners did about a task."""
    subject = subjects.wakes_subject(owner, inbox, task_id)
    return Key(RESULTS, subject, _wakes, codec.encode_wakes)


def _record(message: Delivery | Found | Message) -> Record:
    at = text.now() if isinstance(message, Message) else message.stored_at
    record = codec.decode_record(message.subject, message.data, at)
    if not record.ended:  # else whoever reads the inbox could claim nothing in it
        _check_room(message, OPEN_MAX_BYTES)
    return record


def _check_room(message: Delivery | Found | Message, most: int) -> None:
    """See that something can be added to a record: one that has no room for it counts as none."""
    if len(message.data) > most:
        raise Undecodable("it goes on, and leaves no room for its next step")


def with_room(outcome: _T) -> _T:
    """Return what is decided about a worker's step, if what it has said leaves room for the next.

    Raises:
        TooLarge: it does not; an end may fill the whole.
    """
    match outcome:
        case Write(Record(ended=False) as record):
            if len(codec.encode_record(record)) > _SAID_MAX_BYTES:
                said = "What is said of the task leaves no room for its end. Nothing was stored."
                raise TooLarge(said)
    return outcome


def _sent(message: Delivery | Found | Message) -> Sent:
    _check_room(message, _KEPT_MAX_BYTES)  # else nothing of it could be said to be seen
    return codec.decode_sent(message.subject, message.data)


def _wakes(message: Found) -> Wakes:
    _check_room(message, _KEPT_MAX_BYTES)  # else no end of a wake could be written any more
    return codec.decode_wakes(message.subject, message.data)


# More than sessions that race for a record lose in a row.
_LOST_MAX: Final = 100


async def read(bus: Bus, key: Key[_T]) -> tuple[_T | None, int]:
    """Return a record and its revision; (None, 0) if there is none.

    What is stored there and cannot be read counts as none: whoever writes next replaces it.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    message = await bus.last(key.stream, key.subject)
    if not message:
        return None, 0
    with suppress(Undecodable):
        return key.decode(message), message.seq
    return None, message.seq


async def as_asked(bus: Bus, record: Record, kept: Sent | None) -> Record:
    """Return a worker's record with the word of who asked for it, as `steps.as_asked`.

    A copy for another agent counts as asked for if the task's sender has kept that it gets one.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    if record.asked_by and (kept is None or kept.unasked):
        theirs, _ = await read_sent(bus, record.asked_by, record.inbox, record.task_id)
        if theirs and theirs.reply_to == record.owner:
            copied = {"owner_session": "", "notify": "live", "reply_to": ""}
            asked = steps.as_asked(record, theirs.model_copy(update=copied))
            return asked.model_copy(update={"chain": theirs.chain, "hops": theirs.hops})
    return steps.as_asked(record.model_copy(update={"asked_by": ""}), kept)


async def copy(bus: Bus, record: Record) -> None:
    """Write the copy of a record that its sender's side is told of, unless it is there.

    Of one that nobody else is to have, or that is nothing to tell, none is written.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed, StoreFull: as `Bus.publish`.
    """
    if not (record.reply_to and record.is_told) or record.reply_to == record.owner:
        return
    theirs = copied_for(record)

    def newer(standing: Record | None) -> Write[Record] | None:
        return None if standing and standing.updated_at >= theirs.updated_at else Write(theirs)

    await update(bus, record_key(theirs.owner, theirs.inbox, theirs.task_id), newer)


async def write(bus: Bus, key: Key[_T], value: _T, revision: int) -> int:
    """Store a record if its revision is still `revision`; return the new one.

    Raises:
        Conflict: somebody else has written it.
        BusUnreachable, Unconfirmed, NotAllowed, StoreFull: as `Bus.publish`.
    """
    written = await bus.replace(key.stream, key.subject, key.encode(value), revision)
    if isinstance(value, Record):
        with suppress(AgentbusError):  # its sender's side does so when it is told
            await copy(bus, value)
    return written


@dataclass(frozen=True)
class Written(Generic[_T]):
    """What `update` has stored."""

    value: _T
    revision: int


async def update(
    bus: Bus,
    key: Key[_T],
    change: Callable[[_T | None], Write[_T] | _Else],
    known: tuple[_T | None, int] | None = None,
) -> Written[_T] | _Else:
    """Store what `change` makes of the record that stands, decided anew if somebody else wrote.

    Args:
        bus: where it stands.
        key: which record.
        change: gets the record, None if there is none, and returns `Write` with the new one;
            whatever else it returns is returned here, and nothing is written.
        known: a record and its revision as the caller has them; it is read if not given.

    Raises:
        Refused: each time another had written it meanwhile.
        BusUnreachable, Unconfirmed, NotAllowed, StoreFull: as `Bus.publish`.
    """
    latest: tuple[_T | None, int] = known or await read(bus, key)
    for _ in range(_LOST_MAX):
        standing, revision = latest
        outcome = change(standing)
        if not isinstance(outcome, Write):
            return outcome
        try:
            return Written(outcome.value, await write(bus, key, outcome.value, revision))
        except Conflict:
            latest = await read(bus, key)
    raise Refused(
        "Another client of the bus writes the same record again and again, or keeps it from being "
        f"found: {_LOST_MAX} tries have failed. Nothing was stored.",
        hint="Run `agentbus doctor`, then call again.",
    )


async def read_record(bus: Bus, owner: str, inbox: str, task_id: str) -> tuple[Record | None, int]:
    """Return the worker's record of a task and its revision, as `read`.

    `owner` and `inbox` may be `*`, since a task's id is unique.
    """
    return await read(bus, record_key(owner, inbox, task_id))


async def write_record(bus: Bus, record: Record, revision: int) -> int:
    """Store the worker's record of a task, as `write`."""
    key = record_key(record.owner, record.inbox, record.task_id)
    return await write(bus, key, record, revision)


async def read_sent(bus: Bus, owner: str, inbox: str, task_id: str) -> tuple[Sent | None, int]:
    """Return what the sender of a task keeps of it, and the revision, as `read_record`.

    What stands there of a task that its owner has only seen a result of counts as none.
    """
    kept, revision = await read_kept(bus, owner, inbox, task_id)
    return (None if kept and kept.unasked else kept), revision


async def read_kept(bus: Bus, owner: str, inbox: str, task_id: str) -> tuple[Sent | None, int]:
    """Return what an owner keeps of a task, sent or only seen, and the revision, as `read_record`.

    Where several keep something under that id, it is the one who has sent it.
    """
    key = sent_key(owner, inbox, task_id)
    if inbox != "*":
        return await read(bus, key)
    return kept_among(await lasts(bus, [key.subject]))


def kept_among(messages: Iterable[Found]) -> tuple[Sent | None, int]:
    """Return the same as `read_kept`, among the records of a task."""
    sents = [each for each in messages if subjects.parts(each.subject).kind == "sent"]
    kept = [(sent, message.seq) for message in sents if (sent := sent_in(message))]
    return max(kept, key=lambda each: (not each[0].unasked, each[1]), default=(None, 0))


async def lasts(bus: Bus, filters: Sequence[str]) -> list[Found]:
    """Return all records under subjects that fit one of some filters, undecoded.

    Where more fit than the server names at once, as after a flood, they are gone through.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.many`.
    """
    some = (filters[at : at + _FILTERS_MAX] for at in range(0, len(filters), _FILTERS_MAX))
    found = await together(*(_lasts(bus, each) for each in some))
    return [message for messages in found for message in messages]


async def _lasts(bus: Bus, filters: Sequence[str]) -> list[Found]:
    try:
        return await bus.many(RESULTS, {"multi_last": list(filters)})
    except ApiError as error:
        if error.code != TOO_MANY_RESULTS:
            raise
    pages = [page for each in filters async for page in bus.stored(RESULTS, each)]
    return [message for page in pages for message in page]


async def write_sent(bus: Bus, sent: Sent, revision: int) -> int:
    """Store the sender's record of a task, as `write`."""
    return await write(bus, sent_key(sent.owner, sent.inbox, sent.task_id), sent, revision)


async def read_wakes(bus: Bus, owner: str, inbox: str, task_id: str) -> tuple[Wakes | None, int]:
    """Return what listeners did about a task, and the revision, as `read_record`."""
    return await read(bus, wakes_key(owner, inbox, task_id))


async def add_wake(bus: Bus, owner: str, inbox: str, task_id: str, moment: Moment) -> None:
    """Write down one step of a wake, unless it says the same as the last one.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed, StoreFull: as `Bus.publish`.
    """

    def added(standing: Wakes | None) -> Write[Wakes] | None:
        before = standing.moments if standing else ()
        if before and before[-1].model_copy(update={"at": moment.at}) == moment:
            return None
        moments = (*before, moment)[-_WAKES_MAX:]
        return Write(Wakes(task_id=task_id, owner=owner, inbox=inbox, moments=moments))

    await update(bus, wakes_key(owner, inbox, task_id), added)


def decode(message: Found) -> Record | Sent | Wakes:
    """Return the record in a stored message, whichever its subject says that it is.

    Raises:
        Undecodable: it is not that.
    """
    kind = subjects.parts(message.subject).kind
    if kind == "results":
        return _record(message)
    return _sent(message) if kind == "sent" else _wakes(message)


def latest(messages: Iterable[Found], kind: str) -> Record | Sent | Wakes | None:
    """Return the latest record of a kind, as `subjects.parts` names it, among some.

    What is stored there and cannot be read counts as none, whatever was stored before it.
    """
    of_kind = (each for each in messages if subjects.parts(each.subject).kind == kind)
    with suppress(Undecodable):
        newest = max(of_kind, key=lambda each: each.seq, default=None)
        return decode(newest) if newest else None
    return None


def record_in(message: Delivery | Found | Message) -> Record | None:
    """Return the worker's record in a message; None if it cannot be read."""
    with suppress(Undecodable):
        return _record(message)
    return None


def sent_in(message: Delivery | Found | Message) -> Sent | None:
    """Return the sender's record in a message; None if it cannot be read."""
    with suppress(Undecodable):
        return _sent(message)
    return None
