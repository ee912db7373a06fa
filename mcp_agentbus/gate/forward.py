# SPDX-License-Identifier: Apache-2.0
"""Says on the bus what an account may say, and passes on to it what is answered there.

    forward.once(reply, "agentbus.coder.tasks.high.planner", data, head)

One inbox takes the answers to all that is asked; but for what is pulled, which comes under the
subjects that it is stored on, and whose interest is to end soon after the account's own.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from mcp_agentbus.bus.login.account import BUSY, H_REFUSED, H_SUBJECT
from mcp_agentbus.bus.raw import head
from mcp_agentbus.bus.raw.passage import Passage, Passed
from mcp_agentbus.bus.replies import ANSWER_MAX_BYTES

_API: Final = "$JS.API"
_ANSWERS: Final = "agentbus-answers"
# An account waits 1.5 s for an answer; what comes later is nobody's any more.
_ANSWERED_WITHIN_S: Final = 5.0
# A pull is answered at once, or never: then nothing is to be handed out to nobody.
_PULLED_WITHIN_S: Final = 1.0
# As long as an event may wait for its answer.
_EVENT_WITHIN_S: Final = 3_600.0
# What one account may wait for at a time; the product asks for some tens at once.
_WAITING_MAX: Final = 512
_EVENTS_MAX: Final = 256
# Behind what was left out so many are looked at in one go: else whoever wants one message costs a
# request for each that is another's.
_FURTHER: Final = 100

#: Whether an account may read a message that was stored on a subject.
MayRead = Callable[[str, Passed], bool]
#: Takes an answer; returns whether that was all.
_Arrived = Callable[[Passed], bool]


class Forward:
    """Asks for one account, on a connection of its own."""

    def __init__(self, passage: Passage, missed: asyncio.Event) -> None:
        #: Set where nobody takes what was said: a stream may be missing.
        self._missed = missed
        self._passage = passage
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self._next = 0
        self._waiting: dict[str, tuple[_Arrived, asyncio.TimerHandle]] = {}
        self._pulls = self._events = 0
        passage.hear(f"{self._inbox}.*", self._came)

    @property
    def is_busy(self) -> bool:
        """Whether the account waits for as much as it may."""
        return len(self._waiting) + self._pulls >= _WAITING_MAX

    def refuse(self, reply: str, code: str, more: Mapping[str, str] | None = None) -> None:
        """Say that it is not done, by a word of `account.REFUSALS` or `BUSY`."""
        if reply:
            said = head.made({H_SUBJECT: "", H_REFUSED: code})
            self._passage.say(reply, json.dumps(dict(more or {})).encode(), said)

    def answer(self, reply: str, data: bytes) -> None:
        """Answer in the server's place."""
        if reply:
            self._passage.say(reply, data, head.marked(b""))

    def once(self, reply: str, subject: str, data: bytes, said: bytes = b"") -> None:
        """Say it; pass its one answer on, if somebody waits for that."""
        if not reply:
            self._passage.say(subject, data, said)
            return

        def arrived(answer: Passed) -> bool:
            if head.status(answer.head) == b"503":
                self._missed.set()
            return self._pass_on(reply, answer)

        self._passage.say(subject, data, said, self._wait(arrived))

    async def pass_answer(self, reply: str, subject: str, data: bytes, said: bytes) -> None:
        """Say it, pass its one answer on as `once`, and return when it has come.

        Raises:
            TimeoutError: none has.
        """
        answer = await self._answered(subject, data, said)
        if reply:
            self._pass_on(reply, answer)

    async def ask(self, subject: str, data: bytes) -> bytes:
        """Say it, and return what is answered.

        Raises:
            TimeoutError: nothing is, in time.
        """
        return (await self._answered(subject, data)).data

    def event(self, reply: str, subject: str, data: bytes) -> None:
        """Say it, and pass on the first answer of whoever has heard it."""
        if self._events >= _EVENTS_MAX:
            self.refuse(reply, BUSY)
            return
        answers = f"{_ANSWERS}.{secrets.token_hex(16)}"

        def over() -> None:
            self._passage.unhear(number)
            timer.cancel()
            self._events -= 1

        def arrived(answer: Passed) -> None:
            self._pass_on(reply, answer)
            over()

        self._events += 1
        number = self._passage.hear(answers, arrived)
        timer = asyncio.get_running_loop().call_later(_EVENT_WITHIN_S, over)
        self._passage.say(subject, data, b"", answers)

    def pull(self, reply: str, stream: str, consumer: str, batch: int) -> None:
        """Take up to `batch` messages that wait, and pass them on with how each is acknowledged."""
        if not reply:
            return
        left, later = batch, asyncio.get_running_loop().call_later
        timer: asyncio.TimerHandle

        def over() -> None:
            self._passage.unhear(number)
            timer.cancel()
            self._pulls -= 1

        def arrived(pulled: Passed) -> None:
            nonlocal left, timer
            left -= 1
            timer.cancel()
            timer = later(_PULLED_WITHIN_S, over)
            if pulled.reply:
                marked = head.marked(pulled.head, pulled.subject, pulled.reply)
                self._passage.say(reply, pulled.data, marked)
            else:  # there is no more
                left = 0
                self._pass_on(reply, pulled)
            if left <= 0:
                over()

        self._pulls += 1
        inbox = f"_INBOX.{secrets.token_hex(11)}"
        number = self._passage.hear(inbox, arrived)
        timer = later(_PULLED_WITHIN_S, over)
        request = json.dumps({"batch": batch, "no_wait": True}).encode()
        self._passage.say(f"{_API}.CONSUMER.MSG.NEXT.{stream}.{consumer}", request, b"", inbox)

    def last(self, reply: str, stream: str, subject: str, may_read: MayRead) -> None:
        """Pass on the last message on a subject, if it may be read; else it is not there."""

        def arrived(answer: Passed) -> bool:
            on = head.stored_on(answer.head)
            if on and not may_read(on, answer):
                answer = answer._replace(head=head.NOT_FOUND, data=b"")
            return self._pass_on(reply, answer)

        if reply:
            self._passage.say(
                f"{_API}.DIRECT.GET.{stream}.{subject}", b"", b"", self._wait(arrived)
            )

    def many(
        self,
        reply: str,
        stream: str,
        request: Mapping[str, Any],
        may_read: MayRead,
        left_out: Callable[[int], None],
    ) -> None:
        """Pass on what a request names and may be read, up to as many as it wants.

        Where some was left out, whose size `left_out` is told, it goes on behind that, and so it
        does where the server ends an answer early; but where some can be passed on, to one who asks
        for the rest of it, as who says how many bytes.
        """
        wanted, asked = int(request.get("batch", 0)), dict(request)
        in_parts = "max_bytes" in request and "next_by_subj" in request
        came = passed = 0

        def ask() -> None:
            nonlocal came
            came = 0
            place = f"{_API}.DIRECT.GET.{stream}"
            request = json.dumps({**asked, "max_bytes": ANSWER_MAX_BYTES}).encode()
            self._passage.say(place, request, b"", self._wait(arrived))

        def arrived(answer: Passed) -> bool:
            nonlocal came, passed
            on = head.stored_on(answer.head)
            if not on:  # a status: there is no more, or not in this answer
                is_part = in_parts and passed
                is_short = not (is_part or (wanted and passed >= wanted))
                if came and is_short and head.pending(answer.head):
                    if wanted:
                        asked["batch"] = max(wanted, _FURTHER)
                    ask()
                    return True
                return self._pass_on(reply, answer)
            came += 1
            asked.pop("start_time", None)
            asked["seq"] = head.sequence(answer.head) + 1
            if not may_read(on, answer):
                left_out(len(answer.data))
            elif not wanted or passed < wanted:
                passed += 1
                self._pass_on(reply, answer)
            return False

        if reply:
            ask()

    async def read(self, stream: str, seq: int) -> Passed:
        """Return the message that has a number in a stream, under its subject; empty for none.

        Raises:
            TimeoutError: nobody says.
        """
        asked = json.dumps({"seq": seq}).encode()
        stored = await self._answered(f"{_API}.DIRECT.GET.{stream}", asked)
        return stored._replace(subject=head.stored_on(stored.head))

    async def _answered(self, subject: str, data: bytes, said: bytes = b"") -> Passed:
        answered: asyncio.Future[Passed] = asyncio.get_running_loop().create_future()

        def arrived(answer: Passed) -> bool:
            if not answered.done():
                answered.set_result(answer)
            return True

        self._passage.say(subject, data, said, self._wait(arrived))
        async with asyncio.timeout(_ANSWERED_WITHIN_S):
            return await answered

    def _pass_on(self, reply: str, answer: Passed) -> bool:
        self._passage.say(reply, answer.data, head.marked(answer.head))
        return True

    def _wait(self, arrived: _Arrived) -> str:
        """Return where answers are waited for."""
        self._next += 1
        token = str(self._next)
        self._waiting[token] = arrived, self._ends_later(token)
        return f"{self._inbox}.{token}"

    def _ends_later(self, token: str) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return loop.call_later(_ANSWERED_WITHIN_S, self._over, token)

    def _over(self, token: str) -> None:
        if waiting := self._waiting.pop(token, None):
            waiting[1].cancel()

    def _came(self, answer: Passed) -> None:
        token = answer.subject.rpartition(".")[2]
        waiting = self._waiting.get(token)
        if waiting is None:
            return
        arrived, timer = waiting
        if arrived(answer):
            self._over(token)
        elif timer.when() - asyncio.get_running_loop().time() < _ANSWERED_WITHIN_S / 2:
            timer.cancel()  # more is to come: it has its time for that
            self._waiting[token] = arrived, self._ends_later(token)
