# SPDX-License-Identifier: Apache-2.0
r"""What a host and its server have said that the next server of the session has to know.

    >>> conversation = Conversation()
    >>> conversation.asked(messages.read(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n'))
    True
    >>> conversation.is_answered
    False

It keeps the handshake and the requests without an answer, nothing else. Nothing but the standard
library, and little of that: a relay keeps one beside each session.
"""

# No `annotations` of __future__: see `member`.
import json
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from mcp_agentbus.core import lines
from mcp_agentbus.relay import messages
from mcp_agentbus.relay.messages import HostMessage

_INTERNAL_ERROR = -32603


class _Asked(NamedTuple):
    """A request without an answer."""

    message: HostMessage
    #: Monotonic.
    at: float
    #: A server may have it, and have done it.
    is_said: bool = True

    def again(self, *, maybe_done: bool) -> bytes:
        """Return it as the next server is told it."""
        ago_s = round(time.monotonic() - self.at, 3)
        told = {lines.SAID_BEFORE: ago_s, lines.MAYBE_DONE: maybe_done and self.is_said}
        return messages.dump(messages.with_meta(self.message.content, told))


# What a request is known by: 1 and "1" are two ids, and so are 1 and true.
_Key = tuple[type, object]


class Conversation:
    """The state of one MCP session, as far as the next server needs it.

    One thread tells it what the host asks and another what the server answers.
    """

    def __init__(self) -> None:
        #: The host's handshake, once it was accepted: `initialize`, and what ends it.
        self._initialize: HostMessage | None = None
        self._initialized = b""
        #: The requests under way, of each id as they came.
        self._unanswered: dict[_Key, deque[_Asked]] = {}
        #: Those of them that have waited for another of their id.
        self._due: list[HostMessage] = []
        #: How many answers to the handshake the host is not to hear: it has had one.
        self._answered_before = 0
        #: What the server has said last of its own end, as `lines` names it.
        self.server_says = ""
        self._lock = threading.Lock()

    @property
    def is_answered(self) -> bool:
        """Whether no request is under way."""
        return not self._unanswered

    @property
    def has_due(self) -> bool:
        """Whether `due` has any."""
        return bool(self._due)

    def asked(self, message: HostMessage) -> bool:
        """Note what the host said; return whether the server is to hear it now.

        A request with the id of one that is under way has to wait: a server would answer one of
        them only.
        """
        content = message.content
        with self._lock:
            if "id" in content:
                of_it = self._unanswered.setdefault(_key(content["id"]), deque())
                of_it.append(_Asked(message, time.monotonic(), is_said=not of_it))
                return len(of_it) == 1
            if content["method"] == "notifications/initialized":
                self._initialized = message.line
            elif content["method"] == "notifications/cancelled":
                self._pop((content.get("params") or {}).get("requestId"))
        return True

    def due(self) -> list[HostMessage]:
        """Return, once, the requests that have waited for another of their id, and need no more."""
        with self._lock:
            due, self._due = self._due, []
            self._note(due, is_said=True)
            return due

    def not_taken(self, message: HostMessage) -> None:
        """Note that the server did not take a whole message: a request it cannot have done.

        Of a notification the next server is told what it has to know in any case.
        """
        with self._lock:
            self._note([message], is_said=False)

    def answered(self, line: bytes) -> bool:
        """Note what the server said; return whether the host is to hear it."""
        answer = _object(line)
        if answer.get("method") in {lines.LEAVING, lines.LEFT}:
            self.server_says = answer["method"]
            return False
        if "id" not in answer or "method" in answer:
            return True
        with self._lock:
            if self._answered_before and self._is_handshake(answer["id"]):
                self._answered_before -= 1
                return False
            asked = self._pop(answer["id"])
            if asked and asked.content["method"] == "initialize" and "result" in answer:
                self._initialize = asked
        return True

    def so_far(self) -> bytes:
        """Return what the next server has to be told: the handshake, and what has no answer yet.

        Its answer to a handshake that an earlier server has answered is not for the host.
        """
        with self._lock:
            maybe_done = self.server_says != lines.LEFT
            self._due = []
            first = (of_it[0] for of_it in self._unanswered.values())
            said = sorted(first, key=lambda asked: asked.at)
            told = [asked.again(maybe_done=maybe_done) for asked in said]
            self._note([asked.message for asked in said], is_said=True)
            self.server_says = ""
            if self._initialize:
                self._answered_before = 1
                told = [self._initialize.line, self._initialized, *told]
            return b"".join(told)

    def refused(self, why: str) -> list[bytes]:
        """Return what tells the host, of each request under way, why it gets no answer."""
        with self._lock:
            error = {"code": _INTERNAL_ERROR, "message": why}
            waiting = [asked.message for of_it in self._unanswered.values() for asked in of_it]
            ids = [message.content["id"] for message in waiting]
            answers = [{"jsonrpc": "2.0", "id": each, "error": error} for each in ids]
            return [messages.dump(answer) for answer in answers]

    def _note(self, these: Sequence[HostMessage], *, is_said: bool) -> None:
        for message in these:
            of_it = self._unanswered.get(_key(message.content.get("id")), deque())
            for place, asked in enumerate(of_it):
                if asked.message is message:
                    of_it[place] = asked._replace(is_said=is_said)
                    break

    def _pop(self, request: object) -> HostMessage | None:
        """Return the oldest request of that id, which is no longer under way."""
        of_it = self._unanswered.get(_key(request))
        if not of_it:
            return None
        asked = of_it.popleft()
        if of_it:
            self._due.append(of_it[0].message)
        else:
            del self._unanswered[_key(request)]
        return asked.message

    def _is_handshake(self, request: object) -> bool:
        greeted = self._initialize
        return greeted is not None and _key(greeted.content["id"]) == _key(request)


def _key(request: object) -> _Key:
    # Of a list, or an object, there is no request: it is the id of none.
    return type(request), request if isinstance(request, str | int) else None


def _object(line: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        message = json.loads(line)
        if isinstance(message, dict):
            return message
    return {}
