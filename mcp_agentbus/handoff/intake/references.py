# SPDX-License-Identifier: Apache-2.0
"""By what a claim is found again: its delivery without the task, as JSON has it, or its number.

>>> reference_of(claim.delivery)
{'subject': 'agentbus.coder.tasks.normal.planner', 'token': '$JS.ACK.AGENTBUS_TASKS...', ...}
>>> delivery_of(reference).seq
4711
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from mcp_agentbus.bus.replies import Delivery
from mcp_agentbus.core import text
from mcp_agentbus.errors import BadInput
from mcp_agentbus.store.subjects import TASKS

# What a claim's token and its task's subject look like. Another session's word is checked: what it
# names is published to, again and again.
_TOKEN: Final = rf"(\$JS\.ACK\.([\w-]+\.)*{TASKS}\.[\w.-]+)?"
_SUBJECT: Final = r"agentbus\.[a-z0-9_-]+\.tasks\.[a-z]+\.[^\s.*>]+"

_CURSOR: Final = "Use the cursor of the answer before."
# By how it begins: what is asked with it, as the answer was that it is of.
_CURSORS: Final = {
    "peek": "It is of a look: give peek=true, and thread_id if that had one, with it.",
    "past": "It is of a list of earlier tasks: give view, and query if that had one, with it.",
}


def reference_of(
    delivery: Delivery, given_at: datetime | None = None, replies: str = ""
) -> dict[str, Any]:
    """Return what a claim can be found by again, as JSON has it, and whether its reader has it.

    With the mark of the `replies` to its question that an answer has given.
    """
    fields = {**asdict(delivery), "data": "", "headers": {}}
    reference = {**fields, "stored_at": delivery.stored_at.isoformat()}
    if given_at:
        reference["given_at"] = given_at.isoformat()
    return {**reference, "replies": replies} if replies else reference


def delivery_of(reference: Mapping[str, Any]) -> Delivery:
    """Return the delivery that a reference names.

    Raises:
        ValueError, LookupError, TypeError: it names none.
    """
    token, subject = str(reference["token"]), str(reference["subject"])
    stored_at = datetime.fromisoformat(str(reference["stored_at"]))
    if not re.fullmatch(_TOKEN, token) or not re.fullmatch(_SUBJECT, subject):
        raise ValueError("it names no delivery")
    seq, offered, waiting = (int(reference[key]) for key in ("seq", "offered", "waiting"))
    return Delivery(subject, b"", {}, token, TASKS, seq, offered, stored_at, waiting)


def number_of(cursor: str | None) -> int:
    """Return the number of the last claim that the answer before has named; -1 without one.

    Raises:
        BadInput: that is none of this inbox.
    """
    if cursor is None:
        return -1
    prefix, _, number = text.check_text(cursor, "cursor").partition("-")
    if prefix != "claim" or not text.is_count(number, 12):
        raise BadInput("The cursor is not one of this inbox.", hint=_CURSORS.get(prefix, _CURSOR))
    return int(number)
