# SPDX-License-Identifier: Apache-2.0
"""Events: what whoever listens right now may hear, at most once, and nobody keeps.

    async with subscribe(session, "build.*") as events:
        async for event in events:
            print(event.sender, event.topic, event.body)

    await publish(session, "build.done", "214 tests pass")
    answer = await request(session, "build.state")        # NobodyListens: told at once

An event is no task: nothing is stored, nobody is woken, and who was away has missed it. It goes
over subjects of its own, so it reaches no inbox and no record, whatever its topic says.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Self

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.core import ids
from mcp_agentbus.core.text import check_number, check_size, check_text
from mcp_agentbus.errors import BadInput, NoAnswer, NotAllowed
from mcp_agentbus.handoff.intake.watches import reached, unsaid
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects
from mcp_agentbus.store.task import BODY_MAX_BYTES

TOPIC_MAX_CHARS: Final = 128
#: Events that wait for their reader; what comes besides is missed.
WAITING_MAX: Final = 1_000
WITHIN_MAX_S: Final = 3600
# So many in a second are heard; of more, those of a second are missed, see `Bus.subscribed`.
_HEARD_MAX: Final = 5_000
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Where answers go. Another subject in its place would be one that an answerer is made to write to.
_ANSWER_TO: Final = re.compile(r"(_INBOX|agentbus-answers)\.[A-Za-z0-9_.-]{1,128}")


@dataclass(frozen=True)
class Event:
    """What was heard, or the answer to a request."""

    #: Words that dots divide: `build.done`.
    topic: str
    #: Who published it; of an answer, who says that it is theirs.
    sender: str
    #: At most 64 KiB of UTF-8.
    body: str
    #: Others may have been missed right before it: the bus was away, or the reader was too slow.
    missed: bool = False
    #: Where an answer goes; empty if nobody waits for one.
    answer_to: str = field(default="", repr=False)

    @property
    def wants_answer(self) -> bool:
        """Whether somebody waits for an answer, by `reply`."""
        return bool(self.answer_to)


@one_call
async def publish(session: Session, topic: str, body: str = "") -> None:
    """Have whoever listens now hear an event. Nothing is stored: at most once, and perhaps never.

    Args:
        session: whose agent it is from.
        topic: 1 to 128 characters: words of letters, digits, '_' and '-' that dots divide.
        body: at most 64 KiB of UTF-8.

    Raises:
        BadInput: a value breaks its rule.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    data = check_size(body, "body", BODY_MAX_BYTES).encode()
    subject = subjects.event_subject(session.me.id, _topic(topic))
    await session.called()
    await session.bus.send(subject, data, {}, taken=True)


@asynccontextmanager
async def subscribe(
    session: Session,
    topic: str = ">",
    *,
    group: str = "",
    say: Callable[[str], None] = unsaid,
) -> AsyncGenerator[Events, None]:
    """Hear events while the block lasts; those of this session, too.

    Args:
        session: who listens.
        topic: as `publish`; `*` in it is any one word, and `>` at its end one word or more.
        group: of all that listen under this name each event is heard by one; empty: by everybody.
        say: gets a sentence when the bus is away, and when it is back.

    Raises:
        BadInput: a value breaks its rule.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    subject = subjects.event_subject("*", _topic(topic, wildcards=True))
    if group and not _WORD.fullmatch(check_text(group, "group")):
        raise BadInput(
            f"{group[:80]!r} is no name of a group.",
            hint="Use 1 to 64 letters, digits, '_' and '-'.",
        )
    await session.called()
    events = Events(session, say)
    heard = session.bus.subscribed(subject, events.heard, group=group, most=_HEARD_MAX)
    async with heard as is_allowed:
        if not is_allowed:
            raise NotAllowed
        yield events


async def request(session: Session, topic: str, body: str = "", *, within_s: float = 5) -> Event:
    """Publish an event that wants an answer, and return the first one. For what is done at once.

    Args:
        session: who asks.
        topic: as `publish`.
        body: at most 64 KiB of UTF-8.
        within_s: so many seconds are waited for an answer, at most 3600.

    Raises:
        BadInput: a value breaks its rule.
        NobodyListens: nobody listens there; said at once. It is the server that says so, or who
            hears the request and says it in the server's place.
        NoAnswer: nobody has answered in this time; the request may have been heard.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    least, hint = math.ulp(0), f"Use up to {WITHIN_MAX_S} seconds."
    check_number(within_s, "within_s", least, WITHIN_MAX_S, hint=hint)
    data = check_size(body, "body", BODY_MAX_BYTES).encode()
    subject = subjects.event_subject(session.me.id, _topic(topic))
    await session.called()
    answer = await session.bus.request(subject, data, within_s)
    if len(answer.data) > BODY_MAX_BYTES:
        raise NoAnswer(f"What was answered is larger than {BODY_MAX_BYTES:,} bytes.")
    sender = answer.headers.get(subjects.H_FROM, "")
    body = answer.data.decode(errors="replace")
    return Event(topic, sender if ids.is_agent(sender) else "", body)


@one_call
async def reply(session: Session, event: Event, body: str = "") -> None:
    """Answer a request that was heard as an event; it is heard at most once, as any.

    The first answer is the one: what else is said to the request, by whoever, is lost.

    Raises:
        BadInput: nobody waits for an answer, or the body is larger than 64 KiB.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    if not event.wants_answer:
        raise BadInput(
            "Nobody waits for an answer to this event.",
            hint="Answer what `request` has asked: its `wants_answer` is true.",
        )
    data = check_size(body, "body", BODY_MAX_BYTES).encode()
    await session.called()
    answered_by = {subjects.H_FROM: session.me.id}
    await session.bus.send(event.answer_to, data, answered_by, taken=True)


class Events:
    """What a subscription hears, in the order in which it comes. Made by `subscribe`."""

    def __init__(self, session: Session, say: Callable[[str], None] = unsaid) -> None:
        self._session, self._say = session, say
        self._waiting: deque[Event] = deque()
        self._came = asyncio.Event()
        #: Whether something may be missed before the next one that is heard.
        self._missed = self._away = False

    def heard(self, message: Message | None) -> None:
        """Take a message; None: the connection has ended."""
        event = _event(message) if message else None
        self._away |= message is None
        if event is None or len(self._waiting) >= WAITING_MAX:
            self._missed = True
        else:
            self._waiting.append(event if not self._missed else _after_a_gap(event))
            self._missed = False
        self._came.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event.

        Raises:
            BusUnreachable: the bus was closed.
            NotAllowed: it takes this login no more.
        """
        while not self._waiting:
            if self._away:
                self._away = is_back = False  # it may end once more before this is known
                try:
                    await reached(self._session.bus, self._say)
                    is_back = True
                finally:
                    self._away |= not is_back
                continue
            self._came.clear()
            await self._came.wait()
        return self._waiting.popleft()


def _after_a_gap(event: Event) -> Event:
    return Event(event.topic, event.sender, event.body, missed=True, answer_to=event.answer_to)


def _event(message: Message) -> Event | None:
    """Return the event in a message; None if it is none: others may write anything there."""
    _, sender, *words = message.subject.split(".")
    topic = ".".join(words)
    if not ids.is_agent(sender) or not _is_topic(topic) or len(message.data) > BODY_MAX_BYTES:
        return None
    answer_to = message.reply if _ANSWER_TO.fullmatch(message.reply) else ""
    return Event(topic, sender, message.data.decode(errors="replace"), answer_to=answer_to)


def _is_topic(topic: str) -> bool:
    return len(topic) <= TOPIC_MAX_CHARS and all(map(_WORD.fullmatch, topic.split(".")))


def _topic(topic: str, *, wildcards: bool = False) -> str:
    """Return `topic` if it keeps its rule.

    Raises:
        BadInput: it does not.
    """
    words = check_text(topic, "topic").split(".")
    if wildcards:
        words = [word for word in words if word != "*"]
        words = words[:-1] if words[-1:] == [">"] and topic.endswith(">") else words
    if len(topic) > TOPIC_MAX_CHARS or not all(map(_WORD.fullmatch, words)):
        some = "; '*' is any one word, and '>' at the end all that follow" if wildcards else ""
        raise BadInput(
            f"{topic[:80]!r} is no topic.",
            hint=f"Use words of letters, digits, '_' and '-' with dots between them, "
            f"{TOPIC_MAX_CHARS} characters in all, such as build.done{some}.",
        )
    return topic
