# SPDX-License-Identifier: Apache-2.0
"""Messages as they stand on the bus, and short ways to read them.

>>> read_task(priority="urgent").priority_given
'urgent'
"""

from datetime import UTC, datetime

import strategies

from mcp_agentbus.store import codec, subjects

STORED_AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)
TASK_SUBJECT = "agentbus.coder.tasks.high.planner"
RECORD_SUBJECT = "agentbus.planner.results.coder.t1"
SENT_SUBJECT = "agentbus.planner.sent.coder.t1"

# A well-formed message of each kind.
TASK = {"id": "t1", "type": "task.request", "payload": {"content": "Review it."}}
RECORD = {"type": "task.result", "state": "working", "agent": "coder", "updated_at": "2026-05-18"}
SENT = {"type": "task.sent", "created_at": "2026-05-18", "expires_at": "2026-05-25"}

# The two messages in the README of dantezhu/agentbus 0.1.
SEED_TASK = {
    "id": "task-20260518-0001",
    "from": "main",
    "to": "coder",
    "reply_to": "main",
    "type": "task.request",
    "task_type": "review_pr",
    "payload": {"content": "Review PR org/repo#123"},
}
SEED_RESULT = {
    "id": "result-uuid",
    "type": "task.result",
    "status": "completed",
    "task": {**SEED_TASK, "created_at": "2026-05-18T00:00:00+00:00"},
    "result": "...agent output...",
    "completed_at": "2026-05-18T00:00:00+00:00",
}
SEED_RESULT_SUBJECT = "agentbus.main.results.coder.task-20260518-0001"


def read_task(on=TASK_SUBJECT, headers=(), **fields):
    """Return the task in a well-formed message with some fields changed."""
    data = strategies.spelt({**TASK, **fields})
    return codec.decode_task(on, dict(headers), data, STORED_AT)


def read_record(on=RECORD_SUBJECT, **fields):
    """Return the worker's record in a well-formed message with some fields changed."""
    return codec.decode_record(on, strategies.spelt({**RECORD, **fields}))


def read_sent(on=SENT_SUBJECT, **fields):
    """Return the sender's record in a well-formed message with some fields changed."""
    return codec.decode_sent(on, strategies.spelt({**SENT, **fields}))


def task_again(one):
    """Return what is read once a task is written."""
    subject = subjects.task_subject(one.to, one.priority, one.sender)
    return codec.decode_task(subject, codec.task_headers(one), codec.encode_task(one), STORED_AT)


def record_again(one):
    """Return what is read once a worker's record is written."""
    subject = subjects.record_subject(one.owner, one.inbox, one.task_id)
    return codec.decode_record(subject, codec.encode_record(one))


def sent_again(one):
    """Return what is read once a sender's record is written."""
    subject = subjects.sent_subject(one.owner, one.inbox, one.task_id)
    return codec.decode_sent(subject, codec.encode_sent(one))


# Each kind: a well-formed message, how to read it with changes, and how to read any bytes.
KINDS = [(TASK, read_task), (RECORD, read_record), (SENT, read_sent)]
READERS = [
    lambda data: codec.decode_task(TASK_SUBJECT, {}, data, STORED_AT),
    lambda data: codec.decode_record(RECORD_SUBJECT, data),
    lambda data: codec.decode_sent(SENT_SUBJECT, data),
]


def without(fields, *dropped):
    """Return the fields but for some."""
    return {key: value for key, value in fields.items() if key not in dropped}


def is_one_line(text):
    """Tell whether nobody would see more than one line in `text`."""
    return text.splitlines() in ([], [text])
