# SPDX-License-Identifier: Apache-2.0
"""What a host and its server have said that the next server of the session has to know.

    >>> conversation = Conversation()
    >>> conversation.asked(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
    >>> conversation.under_way
    frozenset({1})

It keeps the handshake and the requests without an answer, nothing else, and refuses no line: what
is no JSON is the server's to answer. Nothing but the standard library, and little of that: a relay
keeps one beside each session.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Any


class Conversation:
    """The state of one MCP session, as far as the next server needs it.

    One thread tells it what the host asks and another what the server answers. A request's id is
    kept as JSON, in which 1 and "1" are not the same.
    """

    def __init__(self) -> None:
        #: The host's handshake: `initialize`, and the notification that ends it.
        self._initialize = b""
        self._initialized = b""
        #: The requests under way, as they came, by id.
        self._unanswered: dict[str, bytes] = {}
        #: Ids of which the host has had the answer from an earlier server.
        self._answered_before: set[str] = set()
        self._lock = threading.Lock()

    @property
    def under_way(self) -> frozenset[str | int]:
        """The ids of the requests without an answer."""
        with self._lock:
            return frozenset(json.loads(request) for request in self._unanswered)

    def asked(self, line: bytes) -> None:
        """Note what the host said."""
        message = _object(line)
        method, request = message.get("method"), json.dumps(message.get("id"))
        with self._lock:
            if method == "initialize":
                self._initialize = line
            elif method == "notifications/initialized":
                self._initialized = line
            elif method == "notifications/cancelled":
                cancelled = message.get("params") or {}
                self._unanswered.pop(json.dumps(cancelled.get("requestId")), None)
            if method and "id" in message:
                self._unanswered[request] = line

    def answered(self, line: bytes) -> bool:
        """Note what the server said; return whether the host is to hear it."""
        message = _object(line)
        if "id" not in message or "method" in message:
            return True
        request = json.dumps(message["id"])
        with self._lock:
            self._unanswered.pop(request, None)
            if request in self._answered_before:
                self._answered_before.remove(request)
                return False
        return True

    def so_far(self) -> bytes:
        """Return what the next server has to be told: the handshake, and what has no answer yet.

        Its answer to a handshake that an earlier server has answered is not for the host.
        """
        with self._lock:
            requests = list(self._unanswered.values())
            if self._initialize and self._initialize not in requests:
                self._answered_before.add(json.dumps(_object(self._initialize).get("id")))
                requests = [self._initialize, self._initialized, *requests]
            return b"".join(requests)


def _object(line: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        message = json.loads(line)
        if isinstance(message, dict):
            return message
    return {}
