# SPDX-License-Identifier: Apache-2.0
"""What each of the five tools takes, as models from which its schema is made.

>>> ReadInbox.model_validate({"view": "open"}).limit is None
True
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from mcp_agentbus.core.ids import Priority
from mcp_agentbus.handoff import inbox
from mcp_agentbus.store.task import SUBJECT_MAX_CHARS, SUMMARY_MAX_CHARS, Expect, Notify, Status

_T = TypeVar("_T")
# Left out of the schema: a `null` beside every type costs more tokens than it says.
_Optional = Annotated[_T | SkipJsonSchema[None], Field(default=None)]


class _Input(BaseModel):
    # An argument that does not exist is refused: dropping it would look like obeying it.
    model_config = ConfigDict(extra="forbid", frozen=True)


class SendTask(_Input):
    """A task for one or several agents; each of them gets its own, with its own receipt.

    Without `request_id` every call stores a new task.
    """

    to: str | list[str] = Field(description="Agent id, 'role:NAME', 'all', or a list of these")
    subject: str = Field(description=f"One line, at most {SUBJECT_MAX_CHARS} characters")
    body: str = Field(description="All that is needed to do it alone; at most 64 KiB")
    priority: Priority = Field("normal", description="high is read first and may wake it")
    task_type: str = Field("default", description="Kind of work")
    thread_id: _Optional[str] = Field(None, description="Conversation")
    in_reply_to: _Optional[str] = Field(None, description="task_id that this answers")
    expires_in_s: _Optional[int] = Field(None, description="Deadline; default 7 days")
    deliver_in_s: _Optional[int] = Field(None, description="Seconds before it is offered")
    notify: Notify = Field(
        "live", description="Result's notice: live session, never, or wakes a closed one"
    )
    expect: Expect = Field("answer", description="nothing: shown once, then over")
    content_type: Literal["text", "markdown", "json"] = "text"
    reply_to: _Optional[str] = Field(None, description="Agent told the result too")
    request_id: _Optional[str] = Field(None, description="Same again here adds no task")


class ReadInbox(_Input):
    """Which part of the inbox to read; without anything: claim the next tasks, and see new results.

    With `task_id` it is one task's life, of whatever state, and the rest does not count but
    `cursor`, which goes on in that task's text.
    """

    limit: _Optional[Annotated[int, Field(ge=1, le=inbox.LIMIT_MAX)]] = Field(
        None, description="New tasks to claim; default: until 5 are held"
    )
    peek: bool = Field(False, description="Claim nothing")
    task_id: _Optional[str] = Field(None, description="One task's life, sent or received")
    thread_id: _Optional[str] = Field(None, description="Only this conversation; claims nothing")
    detail: Literal["concise", "full"] = Field("concise", description="full: long texts too")
    cursor: _Optional[str] = Field(None, description="From the answer before")
    view: Literal["inbox", "sent", "received", "open"] = Field(
        "inbox", description="Tasks sent or received before, or open ones"
    )
    query: str = Field("", description="Words in those tasks")


class WatchInbox(_Input):
    """How long to wait, and for what; a result is shown whichever `priority` is given."""

    timeout_s: float = Field(45, ge=0, le=inbox.WATCH_MAX_S)
    task_id: _Optional[str] = Field(None, description="Only this sent task's result")
    priority: Literal[Priority, "any"] = Field("any", description="Claim only these")


class ListAgents(_Input):
    """Which agents to show: also those that are not there now, unless that is said."""

    query: str = Field("", description="Part of an id, role, host or description")
    include_offline: bool = True
    limit: int = Field(20, ge=1, le=100)
    cursor: _Optional[str] = Field(None, description="From the answer before")


class PublishResult(_Input):
    """What became of a task: a word of its status, and for its sender a summary and a text."""

    task_id: str
    status: Status = Field(
        description="working, needs_*: the task is kept; released: given back; of its sender: "
        "cancelled, answered; the others end it"
    )
    summary: str = Field("", description=f"At most {SUMMARY_MAX_CHARS:,} characters")
    body: str = Field("", description="The result; at most 256 KiB")
    artifacts: list[str] = Field([], description="Paths, URLs, commits")
    # The limits stand at the number: beside the None, pydantic's schema would call them ge and le.
    progress: _Optional[Annotated[float, Field(ge=0, le=100)]] = Field(
        None, description="Percent done"
    )
