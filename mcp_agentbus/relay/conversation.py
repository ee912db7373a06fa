# SPDX-License-Identifier: Apache-2.0
"""What a host and its server have said that the next server of the session has to know.

    >>> said = Conversation()
    >>> said.asked(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
    >>> said.under_way
    frozenset({1})

Nothing but the standard library, and little of that: a relay keeps one beside each session.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Any


class Conversation:
    """What a host and its server have said that the next server has to know."""

    def __init__(self) -> None:
        self._hello = b""
        self._greeted = b""
        self._unanswered: dict[str, bytes] = {}
        self._mute: set[str] = set()
        self._lock = threading.Lock()

    @property
    def under_way(self) -> frozenset[str | int]:
        """The ids of the requests without an answer."""
        with self._lock:
            return frozenset(json.loads(one) for one in self._unanswered)

    def asked(self, line: bytes) -> None:
        """Note what the host said."""
        said = _object(line)
        method, number = said.get("method"), json.dumps(said.get("id"))
        with self._lock:
            if method == "initialize":
                self._hello = line
            elif method == "notifications/initialized":
                self._greeted = line
            elif method == "notifications/cancelled":
                about = said.get("params") or {}
                self._unanswered.pop(json.dumps(about.get("requestId")), None)
            if method and "id" in said:
                self._unanswered[number] = line

    def answered(self, line: bytes) -> bool:
        """Note what the server said; tell whether the host is to hear it."""
        said = _object(line)
        if "id" not in said or "method" in said:
            return True
        number = json.dumps(said["id"])
        with self._lock:
            self._unanswered.pop(number, None)
            if number in self._mute:
                self._mute.remove(number)
                return False
        return True

    def so_far(self) -> bytes:
        """Return what the next server has to be told: the handshake, and what has no answer yet."""
        with self._lock:
            again = list(self._unanswered.values())
            if self._hello and self._hello not in again:
                # The host has heard the answer already.
                self._mute.add(json.dumps(_object(self._hello).get("id")))
                again = [self._hello, self._greeted, *again]
            return b"".join(again)


def _object(line: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        said = json.loads(line)
        if isinstance(said, dict):
            return said
    return {}
