# SPDX-License-Identifier: Apache-2.0
"""Receipts as text: where a task is stored, whether its addressee is there, what its wake does.

>>> print(receipts_text([receipt]))
coder: stored as task 9d0c. coder is in a live session. wake: requested.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcp_agentbus.store.task import Receipt
from mcp_agentbus.tools.answers import layout, words
from mcp_agentbus.tools.answers.readers import MODEL, Reader


def receipts_text(receipts: Sequence[Receipt], reader: Reader = MODEL) -> str:
    """Return one line per addressee; of very many those that were refused first."""
    lines = [_receipt_line(receipt, reader) for receipt in layout.worst_first(receipts)]
    count = layout.fitting(map(len, lines), layout.ROOM - layout.MORE_CHARS)
    if count == len(lines):
        return "\n".join(_receipt_line(receipt, reader) for receipt in receipts)
    return "\n".join([*lines[:count], reader.hint(layout.more_receipts(receipts, count))])


def _receipt_line(receipt: Receipt, reader: Reader) -> str:
    if receipt.state == "refused":
        return f"{receipt.to}: refused, nothing stored. {reader.hint(receipt.reason)}"
    seen = f", last seen {words.when(receipt.last_seen)}" if receipt.last_seen else ""
    later = f" It is offered from {words.when(receipt.deliver_at)}." if receipt.deliver_at else ""
    if receipt.state == "stored_here":
        line = f"{receipt.to}: {words.HERE}, as task {receipt.task_id}.{later}"
        return f"{line} {reader.hint(receipt.reason)} {receipt.note}"
    is_there = words.whether_there(receipt.to, receipt.recipient)
    sentences = [
        f"{receipt.to}: stored as task {receipt.task_id}.{later} {is_there}{seen}.",
        _wake_text(receipt),
        receipt.note,
    ]
    return " ".join(filter(None, sentences))


def _wake_text(receipt: Receipt) -> str:
    if receipt.wake == "not_requested":
        return ""
    why = f" ({receipt.reason})" if receipt.reason else ""
    return f"wake: {receipt.wake}{why}."
