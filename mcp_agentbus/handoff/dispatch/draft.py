# SPDX-License-Identifier: Apache-2.0
"""A task as its sender has put it, checked: before it has an addressee.

    >>> drawn(session, "Count the tests", "In the folder ...", {}).task_for("coder", task_id, route)
    Task(id='9d0c...', ...)

It asks no bus, so whatever breaks a rule is refused before any network traffic.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypedDict

from mcp_agentbus.core import ids, text
from mcp_agentbus.core.ids import Priority
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.task import (
    BODY_MAX_BYTES,
    DELIVER_MAX_S,
    EXPIRES_MAX_S,
    Expect,
    Notify,
    Task,
    check_subject,
)

# 128 bits: nobody but a task's own sender gains by finding two calls of one hash.
_REQUEST_CHARS: Final = 32


class Options(TypedDict, total=False):
    """What may be said about a task besides its subject and body."""

    #: `high` is read first, and may wake the addressee; `normal` is the default.
    priority: Priority
    #: A word for the kind of work; not interpreted.
    task_type: str
    #: The conversation it belongs to; a new one if not given.
    thread_id: str | None
    #: The id of a task that this one answers; gives its thread, if that was sent or is held here.
    in_reply_to: str | None
    #: Seconds, at most 7 days, the default; counted from `deliver_in_s`.
    expires_in_s: int | None
    #: Seconds, at most 7 days, before it is offered.
    deliver_in_s: int | None
    #: How the sender wants to learn of the result; `live` is the default.
    notify: Notify
    #: Makes a repeated call store nothing new.
    request_id: str | None
    #: `nothing`: it is a word, shown once; it wakes nobody, and no result of it comes.
    expect: Expect
    #: An agent that gets the result as well; the sender keeps its own, and the right to cancel.
    reply_to: str | None
    #: What the body is: text, markdown or json. Told to its reader, and not interpreted.
    content_type: str


@dataclass(frozen=True)
class Route:
    """How a piece of work came here, and goes on."""

    #: The agents that it came through, this one last.
    chain: tuple[str, ...]
    #: Hand-offs before this one.
    hops: int


@dataclass(frozen=True)
class Draft:
    """A checked task that has no addressee yet, and so no id."""

    sender: str
    session: str
    subject: str
    body: str
    priority: Priority
    task_type: str
    #: None begins a conversation of its own with each addressee.
    thread_id: str | None
    #: The same as the caller gave it; `in_reply_to` may have given the other one.
    thread_given: str | None
    in_reply_to: str | None
    notify: Notify
    expect: Expect
    reply_to: str
    content_type: str
    created_at: datetime
    deliver_at: datetime | None
    expires_at: datetime

    @property
    def request(self) -> str:
        """A hash of what the caller said; the same for a repeated call, whenever that comes."""
        said = [
            self.subject,
            self.body,
            self.priority,
            self.task_type,
            self.thread_given,
            self.in_reply_to,
            self.notify,
            self.deliver_at and (self.deliver_at - self.created_at).total_seconds(),
            (self.expires_at - (self.deliver_at or self.created_at)).total_seconds(),
            # Older versions know neither, and what they have stored is to be known again.
            *([self.expect, self.content_type, self.reply_to] if self.says_more else []),
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:_REQUEST_CHARS]

    def begun(self, at: datetime) -> Draft:
        """Return it as one that was drawn up at another time, or by another clock."""
        later = at - self.created_at
        deliver_at = self.deliver_at and self.deliver_at + later
        return replace(
            self, created_at=at, deliver_at=deliver_at, expires_at=self.expires_at + later
        )

    @property
    def says_more(self) -> bool:
        """Whether it has what older versions do not know."""
        return (self.expect, self.content_type, self.reply_to) != ("answer", "text", "")

    def task_for(self, inbox: str, task_id: str, route: Route) -> Task:
        """Return the task for one inbox."""
        return Task(
            id=task_id,
            sender=self.sender,
            to=inbox,
            subject=self.subject,
            body=self.body,
            priority=self.priority,
            task_type=self.task_type,
            thread_id=self.thread_id or task_id,
            in_reply_to=self.in_reply_to,
            created_at=self.created_at,
            deliver_at=self.deliver_at,
            expires_at=self.expires_at,
            notify=self.notify,
            expect=self.expect,
            reply_to=self.reply_to,
            content_type=self.content_type,
            session=self.session,
            chain=route.chain,
            hops=route.hops,
            request=self.request,
        )


def drawn(session: Session, subject: str, body: str, options: Options) -> Draft:
    """Check what is said about a task.

    Raises:
        BadInput: a value breaks its rule, or it is none of the options.
    """
    text.check_keywords(options, Options, "send_task")
    created_at = text.now()
    deliver_at, expires_at = _times(options, created_at)
    priority, notify = options.get("priority", "normal"), options.get("notify", "live")
    if priority not in ids.LANES:
        raise BadInput(f"{priority!r} is no priority.", hint="Use high, normal or low.")
    if notify not in ("live", "never", "wake"):
        raise BadInput(f"{notify!r} is no way to notify.", hint="Use live, never or wake.")
    expect, content_type = options.get("expect", "answer"), options.get("content_type", "text")
    if expect not in ("answer", "nothing"):
        raise BadInput(f"{expect!r} is nothing to expect.", hint="Use answer or nothing.")
    if expect == "nothing" and notify == "wake":
        raise BadInput(
            "notify is wake, and no result comes of a task that expects nothing.",
            hint="Leave notify out, or expect an answer.",
        )
    thread_id, in_reply_to = options.get("thread_id"), options.get("in_reply_to")
    if in_reply_to is not None:
        ids.task_id(in_reply_to)
    if (request_id := options.get("request_id")) is not None:
        ids.label(request_id, "request id")
    return Draft(
        sender=session.me.id,
        session=session.id,
        subject=check_subject(subject),
        body=text.check_size(body, "body", BODY_MAX_BYTES),
        priority=priority,
        task_type=ids.label(options.get("task_type", "default"), "task type"),
        thread_id=ids.label(thread_id, "thread id") if thread_id is not None else None,
        thread_given=options.get("thread_id"),
        in_reply_to=in_reply_to,
        notify=notify if expect == "answer" else "never",
        expect=expect,
        reply_to=_reply_to(session, expect, options.get("reply_to")),
        content_type=ids.label(content_type, "content type"),
        created_at=created_at,
        deliver_at=deliver_at,
        expires_at=expires_at,
    )


def _reply_to(session: Session, expect: Expect, given: str | None) -> str:
    """Return the agent that gets the result as well; empty for none: its sender gets it anyway."""
    if given is None or (given == session.me.id and expect == "answer"):
        return ""
    if expect == "nothing":
        what = f"reply_to is {given[:70]!r}, and no result comes."
        raise BadInput(what, hint="Leave reply_to out.")
    return ids.agent_id(given)


def _times(options: Options, at: datetime) -> tuple[datetime | None, datetime]:
    """Return when a task is to be offered, None for at once, and when it expires."""
    expires_in_s, deliver_in_s = options.get("expires_in_s"), options.get("deliver_in_s")
    expires_in_s = EXPIRES_MAX_S if expires_in_s is None else expires_in_s
    hint = f"A deadline lies 1 to {EXPIRES_MAX_S} seconds (7 days) ahead."
    text.check_number(expires_in_s, "expires_in_s", 1, EXPIRES_MAX_S, hint=hint)
    if deliver_in_s is not None:
        hint = f"Use 1 to {DELIVER_MAX_S} seconds (7 days), or leave it out."
        text.check_number(deliver_in_s, "deliver_in_s", 1, DELIVER_MAX_S, hint=hint)
    deliver_at = at + timedelta(seconds=deliver_in_s) if deliver_in_s else None
    return deliver_at, (deliver_at or at) + timedelta(seconds=expires_in_s)
