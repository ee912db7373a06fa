# SPDX-License-Identifier: Apache-2.0
"""A book of three accounts' agents, and what the gate's rule decides by it.

>>> asked("agentbus.coder.back", b"", by="laptop")
Say(subject='agentbus.coder.back', ...)
"""

from __future__ import annotations

import json
from datetime import timedelta

from mcp_agentbus.core.text import now, stamp
from mcp_agentbus.gate.book import Book, Registration, Standing
from mcp_agentbus.gate.rules import decide
from mcp_agentbus.gate.verdict import Request

# `planner` is laptop's, `coder` vps's, `mute` takes tasks of nobody; nobody has registered `new`.
# `gone` vps has forgotten.
BOOK = Book(
    {
        "planner": Registration("laptop", (), ("*",), 3),
        "coder": Registration("vps", ("review",), ("*",), 4),
        "mute": Registration("vps", (), ("coder",), 5),
        "old": Registration("", (), ("*",), 6),
        "gone": Registration("vps", (), (), 7, is_gone=True),
    },
    {
        "laptop": Standing(frozenset({"build"})),
        "vps": Standing(frozenset({"review"})),
    },
)
ID = "9d0c1f"
AT = {"Nats-Schedule": f"@at {stamp(now() + timedelta(hours=1))}"}
REVISION = {"Nats-Expected-Last-Subject-Sequence": "0"}


def asked(subject, data=b"{}", headers=None, *, by="laptop", wants_answer=True):
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return decide(Request(by, subject, headers or {}, body, wants_answer), BOOK)
