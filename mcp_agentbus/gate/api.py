# SPDX-License-Identifier: Apache-2.0
"""What an account may ask of JetStream's API, and how what was handed out may be settled.

>>> decide(Request("laptop", "$JS.API.CONSUMER.MSG.NEXT.AGENTBUS_TASKS.coder_high", ...), book)
Refusal(code='not-yours', ...)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mcp_agentbus.core import ids
from mcp_agentbus.gate.book import Book
from mcp_agentbus.gate.verdict import (
    NOT_YOURS,
    Count,
    Delete,
    Kept,
    Names,
    Pull,
    Read,
    Refusal,
    Request,
    Say,
    Verdict,
    dumped,
    object_of,
)
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.registered import forgotten
from mcp_agentbus.store.subjects import AGENTS, DEAD, PRESENCE, RESULTS, SCHEDULE, TASKS

API: Final = "$JS.API."
ACK: Final = "$JS.ACK."
# Tokens of printable ASCII; a wildcard is one by itself.
_WORD: Final = r"[!-)+\-/-=?-~]{1,128}"
_FILTER: Final = re.compile(rf"agentbus(\.(\*|{_WORD})){{0,6}}\.(\*|>|{_WORD})")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)
_EARLIEST: Final = "2000-01-01T00:00:00Z"
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_NAK: Final = re.compile(rb'-NAK(?: \{"delay": ?[0-9]{1,19}\})?')
_SETTLES: Final = frozenset({b"+ACK", b"+WPI"})
# Of one pull, and of one read, in messages; the product takes at most so many at once.
_BATCH_MAX: Final = 1_000
_MULTI_MAX: Final = 1_024
_SEQ_MAX: Final = 1 << 63
# What an agent leaves when it is forgotten.
_OF_AGENTS: Final = {(AGENTS, "profile"), (PRESENCE, "heartbeat")}


def decide(asked: Request, book: Book) -> Verdict:
    """Return what is to be done about a request to the API."""
    call = asked.subject.removeprefix(API)
    if call == "INFO":
        return Say(asked.subject)
    if call == "STREAM.NAMES":
        fields = object_of(asked.data)
        subject = fields.get("subject") if fields else None
        return Names(subject) if isinstance(subject, str) and subject else NOT_YOURS
    if call.startswith("DIRECT.GET."):
        return _read(asked, call.removeprefix("DIRECT.GET."), book)
    kind, _, rest = call.partition(".")
    verb, _, stream = rest.rpartition(".")
    if kind == "STREAM" and stream in streams.STREAMS:
        return _stream(asked, verb, stream, book)
    if kind == "CONSUMER":
        return _of_consumer(asked, rest, book)
    return NOT_YOURS


def settle(asked: Request, book: Book) -> Verdict:
    """Decide about what is to become of a message that was handed out."""
    tokens = asked.subject.split(".")
    # $JS.ACK.stream.consumer.offered.seq.consumer-seq.nanoseconds.waiting
    if len(tokens) != 9 or not all(_NUMBER.fullmatch(token) for token in tokens[4:]):
        return NOT_YOURS
    consumer = _consumer(tokens[2], tokens[3])
    if consumer is None or not _is_ours(asked.account, consumer, book):
        return replace(NOT_YOURS, about=_whose(consumer))
    if asked.data not in _SETTLES and not _NAK.fullmatch(asked.data):
        return NOT_YOURS
    return Say(asked.subject, asked.data)


def _stream(asked: Request, verb: str, stream: str, book: Book) -> Verdict:
    fields = object_of(asked.data) if asked.data else {}
    if fields is None:
        return NOT_YOURS
    if verb == "INFO":
        wanted = fields.get("subjects_filter")
        if wanted is None:
            return Say(asked.subject)
        offset = fields.get("offset", 0)
        is_right = _is_filter(wanted) and _is_number(offset, _SEQ_MAX)
        return Count(stream, wanted, offset) if is_right else NOT_YOURS
    if verb == "MSG.DELETE" and stream in (TASKS, SCHEDULE, DEAD):
        seq = fields.get("seq", -1)
        return Delete(stream, seq) if _is_number(seq, _SEQ_MAX) else NOT_YOURS
    return _purge(asked, stream, fields, book) if verb == "PURGE" else NOT_YOURS


def _purge(asked: Request, stream: str, fields: Mapping[str, Any], book: Book) -> Verdict:
    wanted = str(fields.get("filter", ""))
    if not _is_filter(wanted) or fields.keys() - {"filter"}:
        return NOT_YOURS
    whose, kind, rest = subjects.parts(wanted)
    own = book.is_own(asked.account, whose)
    if stream == SCHEDULE and kind == "sched" and len(rest) == 3:
        own |= book.is_own(asked.account, rest[1])
    elif stream == DEAD and kind == "dead":
        own = book.is_own_inbox(asked.account, whose)
    elif (stream, kind) not in _OF_AGENTS and not (kind == ">" and not rest):
        return NOT_YOURS
    if not own:
        return replace(NOT_YOURS, about=(whose,))
    if stream == AGENTS:  # whoever had the name next would read what the bus keeps of the agent
        return Kept(subjects.profile_subject(whose), forgotten.kept(whose, asked.account))
    return Say(asked.subject, dumped({"filter": wanted}))


def _of_consumer(asked: Request, rest: str, book: Book) -> Verdict:
    if rest.startswith("MSG.NEXT."):
        verb, named = "MSG.NEXT", rest.removeprefix("MSG.NEXT.")
    else:
        verb, _, named = rest.partition(".")
    stream, _, named = named.partition(".")
    name, _, wanted = named.partition(".")
    consumer = _consumer(stream, name)
    if consumer is None or wanted != (consumer.subject if verb == "CREATE" else ""):
        return NOT_YOURS
    if verb == "INFO" and (stream == TASKS or _is_ours(asked.account, consumer, book)):
        return Say(f"{API}CONSUMER.INFO.{stream}.{name}")
    if not _is_ours(asked.account, consumer, book):
        return _not_ours(consumer)
    if verb == "CREATE":
        made = {"stream_name": stream, "config": consumers.config_of(consumer), "action": ""}
        call = f"{API}CONSUMER.CREATE.{stream}.{name}.{consumer.subject}"
        return Say(call, dumped(made), makes=name)
    if verb == "DELETE":
        return Say(f"{API}CONSUMER.DELETE.{stream}.{name}")
    return _pull(asked, stream, name) if verb == "MSG.NEXT" else NOT_YOURS


def _pull(asked: Request, stream: str, name: str) -> Verdict:
    fields = object_of(asked.data) or {}
    batch = fields.get("batch", 0)
    is_right = _is_number(batch, _BATCH_MAX) and batch and fields.get("no_wait") is True
    return Pull(stream, name, batch) if is_right else NOT_YOURS


def _read(asked: Request, place: str, book: Book) -> Verdict:
    stream, _, subject = place.partition(".")
    request = {} if subject else object_of(asked.data) or {}
    # How many bytes is the gate's to say; that some are said tells that parts are understood.
    said = {name: value for name, value in request.items() if name != "max_bytes"}
    is_right = _is_filter(subject) if subject else _is_request(said)
    if stream not in streams.STREAMS or not is_right:
        return NOT_YOURS
    for wanted in (subject, request.get("next_by_subj", ""), *request.get("multi_last", ())):
        if wanted and _is_of_others(asked.account, stream, wanted, book):
            whose, _, rest = subjects.parts(wanted)
            return replace(NOT_YOURS, about=(whose, *rest[:2]))
    return Read(stream, subject, request)


def _is_of_others(account: str, stream: str, wanted: str, book: Book) -> bool:
    """Tell whether what is wanted is others' by its subject, so that it is refused in words.

    Of what may be partly theirs the own part is read.
    """
    whose, kind, rest = subjects.parts(wanted)
    if stream in (AGENTS, PRESENCE) or whose in {"*", ">", ""}:
        return False
    if stream == RESULTS:
        if book.is_own(account, whose) or len(rest) < 2:
            return not book.is_own(account, whose)
        # Of a result that another gets a copy of, both may see what the other has written.
        is_copied = kind in {"sent", "results"} and "*" not in rest
        return not (rest[0] == "*" or is_copied or book.is_own_inbox(account, rest[0]))
    is_sender = len(rest) > 1 and book.is_own(account, rest[1])
    return not (is_sender or book.is_own_inbox(account, whose))


def _is_request(request: Mapping[str, Any]) -> bool:
    """Tell whether it names messages in one of the two ways, and not more than may be wanted."""
    if request.keys() == {"multi_last"}:
        several = request["multi_last"]
        is_list = isinstance(several, list) and 0 < len(several) <= _MULTI_MAX
        return is_list and all(map(_is_filter, several))
    begins = request.keys() - {"next_by_subj", "batch"}
    return (
        "batch" in request
        and begins in ({"seq"}, {"start_time"})
        and _is_number(request.get("seq", 0), _SEQ_MAX)
        and _TIME.fullmatch(str(request.get("start_time", _EARLIEST))) is not None
        and _is_number(request["batch"], _BATCH_MAX)
        and request["batch"] > 0
        and ("next_by_subj" not in request or _is_filter(request["next_by_subj"]))
    )


def _consumer(stream: str, name: str) -> consumers.Consumer | None:
    """Return the consumer of an inbox or agent that has this name; None if it is none of those."""
    whose, _, what = name.rpartition("_")
    if stream == TASKS and ids.is_inbox(whose) and what in ids.LANES:
        return next(consumers.lane(whose, lane) for lane in ids.LANES if lane == what)
    if stream == RESULTS and ids.is_agent(whose) and what in {"results", "sent"}:
        return consumers.results(whose) if what == "results" else consumers.sent(whose)
    return None


def _is_ours(account: str, consumer: consumers.Consumer, book: Book) -> bool:
    return book.is_own_inbox(account, subjects.parts(consumer.subject).whose)


def _not_ours(consumer: consumers.Consumer) -> Refusal:
    """Return why an account does not read what a consumer hands out: of a role which it lacks."""
    [whose] = about = _whose(consumer)
    role = whose.removeprefix(ids.ROLE_PREFIX)
    if role == whose:
        return replace(NOT_YOURS, about=about)
    return Refusal("not-granted", {"role": role}, about)


def _whose(consumer: consumers.Consumer | None) -> tuple[str, ...]:
    return (subjects.parts(consumer.subject).whose,) if consumer else ()


def _is_filter(wanted: object) -> bool:
    """Tell whether it is a subject of the bus, which may have wildcards where NATS takes them."""
    return isinstance(wanted, str) and _FILTER.fullmatch(wanted) is not None


def _is_number(value: object, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit
