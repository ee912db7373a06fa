# SPDX-License-Identifier: Apache-2.0
"""Says on the bus what an account may say, and passes on to it what is answered there.

    forward.once(caller, "agentbus.coder.tasks.high.planner", data, head)

One inbox takes the answers to all that is asked; but for what is pulled, which comes under the
subjects that it is stored on, and whose interest is to end soon after the account's own.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from mcp_agentbus.bus.login.account import BUSY, H_REFUSED, H_SUBJECT
from mcp_agentbus.bus.passing.passage import Passage, Passed
from mcp_agentbus.shared.gate import head

_API: Final = "$JS.API"
_ANSWERS: Final = "agentbus-answers"
# An account waits 1.5 s for an answer; what comes later is nobody's any more.
_ANSWERED_WITHIN_S: Final = 5.0
# A pull is answered at once, or never: then nothing is to be handed out to nobody.
_PULLED_WITHIN_S: Final = 1.0
# As long as an event may wait for its answer.
_EVENT_WITHIN_S: Final = 3_600.0
# What one account may wait for at a time; the product asks for some tens at once.
WAITING_MAX: Final = 512
_EVENTS_MAX: Final = 256


class Caller(NamedTuple):
    """Who waits for an answer, and where; nobody does if `reply` is empty."""

    account: str
    reply: str


class _Waiting:
    """What a request waits for."""

    def __init__(self, caller: Caller, arrived: Callable[[Passed], bool]) -> None:
        self.caller = caller
        #: Returns whether that was all.
        self.arrived = arrived
        self.timer: asyncio.TimerHandle | None = None


class Forward:
    """Asks on one connection for all accounts."""

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self._next = 0
        self._waiting: dict[str, _Waiting] = {}
        self._events: dict[str, _Waiting] = {}
        self._busy: Counter[str] = Counter()
        #: Set where nobody takes what was said: a stream may be missing.
        self.missed = asyncio.Event()
        passage.hear(f"{self._inbox}.*", self._arrived)
        passage.hear(f"{_ANSWERS}.*", self._answered)

    def is_busy(self, account: str) -> bool:
        """Tell whether an account waits for as much as it may."""
        return self._busy[account] >= WAITING_MAX

    def refuse(self, caller: Caller, code: str, more: Mapping[str, str] | None = None) -> None:
        """Say that it is not done, by a word of `account.REFUSALS` or `BUSY`."""
        if caller.reply:
            said = head.made({H_SUBJECT: "", H_REFUSED: code})
            self.passage.say(caller.reply, json.dumps(dict(more or {})).encode(), said)

    def answer(self, caller: Caller, data: bytes) -> None:
        """Answer in the server's place."""
        if caller.reply:
            self.passage.say(caller.reply, data, head.marked(b""))

    def once(self, caller: Caller, subject: str, data: bytes, said: bytes = b"") -> None:
        """Say it; pass its one answer on, if somebody waits for that."""
        if not caller.reply:
            self.passage.say(subject, data, said)
            return

        def arrived(answer: Passed) -> bool:
            if head.status(answer.head) == b"503":
                self.missed.set()
            self.passage.say(caller.reply, answer.data, head.marked(answer.head))
            return True

        self.passage.say(subject, data, said, self.wait(caller, arrived))

    def event(self, caller: Caller, subject: str, data: bytes) -> None:
        """Say it, and pass on the first answer of whoever has heard it."""
        whose = sum(1 for each in self._events.values() if each.caller.account == caller.account)
        if whose >= _EVENTS_MAX:
            self.refuse(caller, BUSY)
            return
        token = secrets.token_hex(16)

        def arrived(answer: Passed) -> bool:
            self.passage.say(caller.reply, answer.data, head.marked(answer.head))
            return True

        waiting = self._events[token] = _Waiting(caller, arrived)
        loop = asyncio.get_running_loop()
        waiting.timer = loop.call_later(_EVENT_WITHIN_S, self._events.pop, token, None)
        self.passage.say(subject, data, b"", f"{_ANSWERS}.{token}")

    def pull(self, caller: Caller, stream: str, consumer: str, batch: int) -> None:
        """Take up to `batch` messages that wait, and pass them on with how each is acknowledged."""
        if not caller.reply:
            return
        inbox = f"{self._inbox}.pull-{secrets.token_hex(8)}"
        left = batch

        def over() -> None:
            self.passage.unhear(number)
            timer.cancel()
            self._busy[caller.account] -= 1

        def arrived(pulled: Passed) -> None:
            nonlocal left
            is_over = bool(head.status(pulled.head)) and not pulled.data
            subject = "" if is_over else pulled.subject
            marked = head.marked(pulled.head, subject, "" if is_over else pulled.reply)
            self.passage.say(caller.reply, pulled.data, marked)
            left -= 1
            if is_over or not left:
                over()

        self._busy[caller.account] += 1
        number = self.passage.hear(inbox, arrived)
        timer = asyncio.get_running_loop().call_later(_PULLED_WITHIN_S, over)
        request = json.dumps({"batch": batch, "no_wait": True}).encode()
        self.passage.say(f"{_API}.CONSUMER.MSG.NEXT.{stream}.{consumer}", request, b"", inbox)

    def last(
        self, caller: Caller, stream: str, subject: str, may_read: Callable[[str, bytes], bool]
    ) -> None:
        """Pass on the last message on a subject, if it may be read; else it is not there."""

        def arrived(answer: Passed) -> bool:
            on = head.stored_on(answer.head)
            if on and not may_read(on, answer.data):
                answer = answer._replace(head=head.NOT_FOUND, data=b"")
            self.passage.say(caller.reply, answer.data, head.marked(answer.head))
            return True

        if caller.reply:
            reply = self.wait(caller, arrived)
            self.passage.say(f"{_API}.DIRECT.GET.{stream}.{subject}", b"", b"", reply)

    def many(
        self,
        caller: Caller,
        stream: str,
        request: Mapping[str, Any],
        may_read: Callable[[str, bytes], bool],
    ) -> None:
        """Pass on what a request names and may be read, up to as many as it wants."""
        if caller.reply:
            _Reading(self, caller, stream, request, may_read).ask()

    def wait(
        self,
        caller: Caller,
        arrived: Callable[[Passed], bool],
        within_s: float = _ANSWERED_WITHIN_S,
    ) -> str:
        """Return where answers are waited for."""
        self._next += 1
        token = str(self._next)
        waiting = self._waiting[token] = _Waiting(caller, arrived)
        self._busy[caller.account] += 1
        loop = asyncio.get_running_loop()
        waiting.timer = loop.call_later(within_s, self._over, token)
        return f"{self._inbox}.{token}"

    def _over(self, token: str) -> None:
        if waiting := self._waiting.pop(token, None):
            self._busy[waiting.caller.account] -= 1
            if waiting.timer:
                waiting.timer.cancel()

    def _arrived(self, answer: Passed) -> None:
        token = answer.subject.rpartition(".")[2]
        waiting = self._waiting.get(token)
        if waiting and waiting.arrived(answer):
            self._over(token)

    def _answered(self, answer: Passed) -> None:
        waiting = self._events.pop(answer.subject.rpartition(".")[2], None)
        if waiting:
            if waiting.timer:
                waiting.timer.cancel()
            waiting.arrived(answer)


class _Reading:
    """A batched direct get, of which some may be left out: then it goes on behind that."""

    def __init__(
        self,
        forward: Forward,
        caller: Caller,
        stream: str,
        request: Mapping[str, Any],
        may_read: Callable[[str, bytes], bool],
    ) -> None:
        self._forward, self._caller, self._stream = forward, caller, stream
        self._request, self._may_read = dict(request), may_read
        #: How many are wanted; all of those that several filters name.
        self._wanted = int(request.get("batch", 0))
        self._passed = self._came = 0

    def ask(self) -> None:
        self._came = 0
        reply = self._forward.wait(self._caller, self._arrived)
        data = json.dumps(self._request).encode()
        self._forward.passage.say(f"{_API}.DIRECT.GET.{self._stream}", data, b"", reply)

    def _arrived(self, answer: Passed) -> bool:
        say, reply = self._forward.passage.say, self._caller.reply
        on = head.stored_on(answer.head)
        if not on:  # a status: there is no more, or not in this answer
            is_more = self._came and self._came == self._wanted and self._passed < self._wanted
            if is_more:
                self.ask()
            else:
                say(reply, answer.data, head.marked(answer.head))
            return True
        self._came += 1
        if "seq" in self._request:
            self._request["seq"] = head.sequence(answer.head) + 1
        if self._may_read(on, answer.data) and (not self._wanted or self._passed < self._wanted):
            self._passed += 1
            say(reply, answer.data, head.marked(answer.head))
        return False
