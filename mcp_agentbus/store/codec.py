# SPDX-License-Identifier: Apache-2.0
"""The bytes on the bus: JSON, tolerant of older and newer writers.

    >>> encode_task(task)[:60]
    b'{"v":1,"type":"task.request","id":"9d0c...","from":"planner",'

A superset of the `task.request` and `task.result` of dantezhu/agentbus 0.1: `payload.content` is
the body. Unknown fields are kept; an unknown value is shown and treated as the default; what cannot
be decoded is an `Undecodable` with a reason, for the reader to park. The sender, the lane and the
ids of a record are taken from the subject, never from the body; whatever names somebody or stands
on one line is checked here. Summaries, bodies and artifacts are a peer's text: `framing` shows it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError

from mcp_agentbus.core import ids
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.core.text import stamp
from mcp_agentbus.store import subjects
from mcp_agentbus.store.task import (
    BODY_MAX_BYTES,
    EXPIRES_MAX_S,
    HOPS_MAX,
    NOTE_MAX_CHARS,
    REQUEST_MAX_CHARS,
    SUBJECT_MAX_CHARS,
    Expect,
    Notify,
    Record,
    Sent,
    State,
    Task,
    Undecodable,
    Wakes,
    utc,
)

VERSION: Final = 1
# Deeper than anybody nests on purpose; the serializer of records gives up at 250.
_DEPTH_MAX: Final = 32
# More than this program writes as a reason, and short enough for a line of a list.
_REASON_MAX_CHARS: Final = 500
_GIVEN_MAX_CHARS: Final = 40
# The clock of whoever writes is not the server's.
_CLOCKS_DIFFER: Final = timedelta(minutes=1)
_HOPS_DIGITS: Final = 3
_Model = TypeVar("_Model", bound=BaseModel)


def _dump(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def encode_task(task: Task) -> bytes:
    """Return the bytes of a task."""
    fields: dict[str, Any] = {
        "v": VERSION,
        "type": "task.request",
        "id": task.id,
        "from": task.sender,
        "to": task.to,
        "reply_to": task.reply_to or task.sender,
        "task_type": task.task_type,
        "subject": task.subject,
        "priority": task.priority_given or task.priority,
        "thread_id": task.thread_id,
        "created_at": stamp(task.created_at),
        "expires_at": stamp(task.expires_at),
        "notify": task.notify_given or task.notify,
        "payload": {"content": task.body},
    }
    if task.in_reply_to:
        fields["in_reply_to"] = task.in_reply_to
    if task.deliver_at:
        fields["deliver_at"] = stamp(task.deliver_at)
    if task.expect != "answer":
        fields["expect"] = task.expect
    if task.content_type != "text":
        fields["content_type"] = task.content_type
    return _dump(fields)


def task_headers(task: Task) -> dict[str, str]:
    """Return the headers of a task: what a listener may read without the body."""
    headers = {
        subjects.H_TASK: task.id,
        subjects.H_THREAD: task.thread_id,
        subjects.H_HOPS: str(task.hops),
        subjects.H_CHAIN: ",".join(task.chain),
    }
    if task.session:
        headers[subjects.H_SESSION] = task.session
    if task.request:
        headers[subjects.H_REQUEST] = task.request
    return headers


def decode_task(subject: str, headers: Mapping[str, str], data: bytes, stored_at: datetime) -> Task:
    """Return the task in a stored message.

    Raises:
        Undecodable: the bytes are no task of any version.
    """
    to, lane, sender = _route(subject)
    fields = _json_object(data)
    if fields.get("type", "task.request") != "task.request":
        raise Undecodable("its type is not task.request")
    payload = fields.get("payload")
    body = payload.get("content") if isinstance(payload, dict) else None
    if not isinstance(body, str):
        raise Undecodable("it has no payload.content text")
    if len(body.encode()) > BODY_MAX_BYTES:
        raise Undecodable(f"its body is over {BODY_MAX_BYTES:,} bytes")
    task_id = headers.get(subjects.H_TASK) or fields.get("id")
    if not isinstance(task_id, str) or not ids.is_task_id(task_id):
        raise Undecodable("it has no usable id")
    _, priority_given = _known(fields.get("priority"), LANES, lane)
    notify, notify_given = _known(fields.get("notify"), get_args(Notify), "live")
    return Task(
        id=task_id,
        sender=sender,
        to=to,
        subject=_line(fields.get("subject"), SUBJECT_MAX_CHARS) or _first_line(body),
        body=body,
        priority=lane,
        priority_given=priority_given,
        task_type=_label_or(fields.get("task_type"), "default"),
        thread_id=_label_or(headers.get(subjects.H_THREAD) or fields.get("thread_id"), task_id),
        in_reply_to=_task_id_or_none(fields.get("in_reply_to")),
        created_at=_time(fields.get("created_at")) or stored_at,
        # The age limit counts from the storing, whenever the sender says that it wrote the task.
        expires_at=_time(fields.get("expires_at")) or stored_at + timedelta(seconds=EXPIRES_MAX_S),
        deliver_at=_time(fields.get("deliver_at")),
        notify=cast("Notify", notify),
        notify_given=notify_given,
        chain=_chain(headers.get(subjects.H_CHAIN), sender),
        hops=_hops(headers.get(subjects.H_HOPS)),
        session=_label_or(headers.get(subjects.H_SESSION), ""),
        request=_label_or(headers.get(subjects.H_REQUEST), ""),
        expect=_expect(fields),
        reply_to="" if fields.get("reply_to") == sender else fields.get("reply_to"),
        content_type=_label_or(fields.get("content_type"), "text"),
    )


def _route(subject: str) -> tuple[str, Priority, str]:
    match subjects.parts(subject):
        case (to, _, (lane, sender)) if ids.is_inbox(to) and ids.is_agent(sender):
            return to, lane if lane in LANES else "normal", sender
        case _:
            raise Undecodable("its subject names no sender or no inbox")


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Undecodable("it is not JSON") from None
    if not isinstance(value, dict):
        raise Undecodable("it is not a JSON object")
    return cast("dict[str, Any]", _clean(value))


def _clean(value: Any, depth: int = 1) -> Any:
    """Return decoded JSON so that it can be written again; what cannot becomes readable text."""
    if depth > _DEPTH_MAX:
        raise Undecodable("it is nested too deeply")
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()  # half surrogate pairs
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item, depth + 1) for key, item in value.items()}
    return value


def _line(value: object, limit: int) -> str:
    """Return text that others wrote as one line; what is too long ends in an ellipsis."""
    line = " ".join(value.splitlines()).strip() if isinstance(value, str) else ""
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _start(value: object, limit: int) -> str:
    """Return the beginning of a text that others wrote, of which no more may be kept."""
    return value[:limit] if isinstance(value, str) else ""


def _first_line(body: str) -> str:
    return _line(body.strip().partition("\n")[0], SUBJECT_MAX_CHARS) or "(no subject)"


def _time(value: object) -> datetime | None:
    try:
        return utc(datetime.fromisoformat(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _known(value: object, known: Collection[str], default: str) -> tuple[str, str | None]:
    """Return the value to act on, and the one that was given if this version does not know it."""
    if value is None or (isinstance(value, str) and value in known):
        return (value or default), None
    given = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return default, _line(given, _GIVEN_MAX_CHARS) or None


_Default = TypeVar("_Default", str, None)


def _label_or(value: object, default: _Default) -> str | _Default:
    return value if isinstance(value, str) and ids.is_label(value) else default


def _expect(fields: Mapping[str, Any]) -> Expect:
    """Return what a sender wants; of a word that this version does not know, an answer."""
    return cast("Expect", _known(fields.get("expect"), get_args(Expect), "answer")[0])


def _task_id_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and ids.is_task_id(value) else None


def _chain(value: str | None, sender: str) -> tuple[str, ...]:
    agents = tuple(agent for agent in (value or "").split(",") if ids.is_agent(agent))
    if agents[-1:] != (sender,):
        agents += (sender,)  # whatever the header says, it came through the one that sent it
    return agents[-(HOPS_MAX + 1) :]


def _hops(value: str | None) -> int:
    if not value or not value.isascii() or not value.isdigit():
        return 0
    digits = value.lstrip("0")[:_HOPS_DIGITS]  # more of them are too many in any case
    return int(digits or "0")


def encode_record(record: Record) -> bytes:
    """Return the bytes of a worker's record: a `task.result` with the life of the task."""
    fields = record.model_dump(mode="json", exclude_defaults=True)
    fields |= {
        "v": VERSION,
        "type": "task.result",
        "id": record.task_id,
        "status": record.state,
        "task": {
            **fields.get("task", {}),
            "id": record.task_id,
            "from": record.owner,
            "to": record.inbox,
            "reply_to": record.owner,
            "type": "task.request",
        },
        "result": fields.pop("body", ""),
    }
    if record.ended:
        fields["completed_at"] = stamp(record.updated_at)
    return _dump(fields)


def encode_sent(sent: Sent) -> bytes:
    """Return the bytes of a sender's record."""
    fields = sent.model_dump(mode="json", exclude_defaults=True)
    return _dump({"v": VERSION, "type": "task.sent", **fields})


# What `encode_record` derives from other fields, and what therefore must not be kept as extra.
_DERIVED: Final = ("v", "type", "id", "status", "result", "completed_at")
_TASK_DERIVED: Final = frozenset({"id", "from", "to", "reply_to", "type"})


def decode_record(subject: str, data: bytes, stored_at: datetime | None = None) -> Record:
    """Return the worker's record in a stored message; its ids come from the subject.

    It was not written after it was `stored_at`: else it would be a claim for as long as it liked.

    Raises:
        Undecodable: the bytes are no record.
    """
    fields = _record_fields(subject, data, "task.result")
    derived = {key: fields.pop(key, None) for key in _DERIVED}
    for key in ("unasked", "chain", "hops"):  # those are its reader's word
        fields.pop(key, None)
    if fields.setdefault("state", derived["status"]) is None:
        raise Undecodable("it is no record: state")
    # Of a state that only a newer version knows, the task is not over for all that we know.
    _keep_known(fields, "state", get_args(State), "working")
    fields["agent"] = _by(fields)
    fields["session"] = _label_or(fields.get("session"), "")
    fields["body"] = "" if derived["result"] is None else derived["result"]
    fields["reason"] = _line(fields.get("reason"), _REASON_MAX_CHARS)
    fields.setdefault("updated_at", derived["completed_at"])
    _clean_history(fields.get("history"))
    task = fields.pop("task", None)
    if isinstance(task, dict) and task.keys() - _TASK_DERIVED:
        fields["task"] = {key: value for key, value in task.items() if key not in _TASK_DERIVED}
    record = _validated(Record, fields, "record")
    if stored_at and record.updated_at > stored_at + _CLOCKS_DIFFER:
        record = record.model_copy(update={"updated_at": stored_at})
    return record


def decode_sent(subject: str, data: bytes) -> Sent:
    """Return the sender's record in a stored message; its ids come from the subject.

    Raises:
        Undecodable: the bytes are no record.
    """
    fields = _record_fields(subject, data, "task.sent")
    for key in ("v", "type"):
        fields.pop(key, None)
    fields["request"] = _label_or(fields.get("request"), "")
    fields["task_type"] = _label_or(fields.get("task_type"), "default")
    fields["in_reply_to"] = _task_id_or_none(fields.get("in_reply_to"))
    fields["body"] = _start(fields.get("body"), REQUEST_MAX_CHARS)
    return _validated(Sent, fields, "sender's record")


def encode_wakes(wakes: Wakes) -> bytes:
    """Return the bytes of a record of wakes."""
    return _dump({"v": VERSION, "type": "task.wakes", **wakes.model_dump(mode="json")})


def decode_wakes(subject: str, data: bytes) -> Wakes:
    """Return the record of wakes in a stored message; its ids come from the subject.

    Raises:
        Undecodable: the bytes are no such record.
    """
    fields = {**_json_object(data), **_record_route(subject)}
    _clean_history(fields.get("moments"))
    kept = {key: fields[key] for key in Wakes.model_fields if key in fields}
    return _validated(Wakes, kept, "record of wakes")


def _record_fields(subject: str, data: bytes, kind: str) -> dict[str, Any]:
    """Return the fields of either record, with those that both have checked."""
    ids = _record_route(subject)
    fields = _json_object(data)
    if fields.get("type", kind) != kind:
        raise Undecodable(f"its type is not {kind}")
    fields |= ids
    fields["subject"] = _line(fields.get("subject"), SUBJECT_MAX_CHARS)
    for key in ("thread_id", "owner_session"):
        fields[key] = _label_or(fields.get(key), "")
    _keep_known(fields, "priority", LANES, "normal")
    _keep_known(fields, "notify", get_args(Notify), "live")
    fields["expect"] = _expect(fields)
    return fields


def _record_route(subject: str) -> dict[str, str]:
    match subjects.parts(subject):
        case (owner, _, (inbox, task_id)) if (
            ids.is_agent(owner) and ids.is_inbox(inbox) and ids.is_task_id(task_id)
        ):
            return {"owner": owner, "inbox": inbox, "task_id": task_id}
        case _:
            raise Undecodable("its subject names no owner, no inbox or no task")


def _keep_known(fields: dict[str, Any], key: str, known: Collection[str], default: str) -> None:
    """Make a field one of the `known`; what it was instead stays beside it, until it is changed."""
    value, given = _known(fields.get(key), known, default)
    if given is None and value == default:
        given = _line(fields.get(f"{key}_given"), _GIVEN_MAX_CHARS) or None
    fields |= {key: value, f"{key}_given": given}


def _clean_history(history: object) -> None:
    for step in history if isinstance(history, list) else ():
        if isinstance(step, dict):
            step["state"] = _label_or(step.get("state"), "")
            step["by"] = _label_or(step.get("by"), "")
            step["reason"] = _line(step.get("reason"), _REASON_MAX_CHARS)
            step["note"] = _start(step.get("note"), NOTE_MAX_CHARS)


def _by(fields: Mapping[str, Any]) -> str:
    """Return who took a record's last step: only a role's inbox leaves that open."""
    inbox, given = str(fields["inbox"]), str(fields.get("agent"))
    may = inbox.startswith(ids.ROLE_PREFIX) or given in (fields["owner"], fields.get("asked_by"))
    return given if not given or (may and ids.is_agent(given)) else inbox


def _validated(model: type[_Model], fields: dict[str, Any], what: str) -> _Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        fields_named = sorted({str(fault["loc"][0]) for fault in error.errors() if fault["loc"]})
        raise Undecodable(f"it is no {what}: {', '.join(fields_named)}") from None
