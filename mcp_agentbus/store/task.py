# SPDX-License-Identifier: Apache-2.0
"""The data of a task's life: what is sent, what is stored about it, what comes back.

    Task     what one agent asks of another (the stream AGENTBUS_TASKS)
    Record   what became of it: state, attempts, result (AGENTBUS_RESULTS)
    Sent     what its sender keeps about it: deadline, seen (AGENTBUS_RESULTS)
    Wakes    whom it woke, by what means, how that ended (AGENTBUS_RESULTS)

    stored -> claimed -> working -> (needs_... <-> working) -> completed | failed | rejected
    or, at any time before such an end: cancelled, expired, parked

Everything is frozen. Nothing here reads a clock or a network. The bytes are `codec`'s business.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Priority, is_agent
from mcp_agentbus.errors import BadInput

SUBJECT_MAX_CHARS: Final = 200
BODY_MAX_BYTES: Final = 64 * 1024
RESULT_MAX_BYTES: Final = 256 * 1024
SUMMARY_MAX_CHARS: Final = 2_000
# Of what a worker said with a step that did not end the task, so much stays once it has said more.
NOTE_MAX_CHARS: Final = 500
# Of a request so much outlives the task itself, which is gone once it has ended.
REQUEST_MAX_CHARS: Final = 2_000
ARTIFACTS_MAX: Final = 50
ARTIFACT_MAX_CHARS: Final = 1_024
# The age limit of the task stream, in seconds: later a task would vanish without a word.
EXPIRES_MAX_S: Final = 7 * 24 * 3600
DELIVER_MAX_S: Final = 7 * 24 * 3600
# A task claimed this often without an end is parked.
ATTEMPTS_MAX: Final = 5
# Without any call for this long, in seconds, a session's claims are given back: its model is gone.
CLAIM_MAX_S: Final = 2 * 3600
# Agents that one piece of work may pass through before send_task refuses.
HOPS_MAX: Final = 6

State = Literal[
    "stored",  # on the bus; nobody holds it
    "claimed",  # a session holds it
    "working",  # its worker said that it is at it
    "needs_approval",  # its worker waits for a person or for the sender
    "needs_input",  # its worker has a question for the sender
    "completed",
    "failed",
    "rejected",  # its worker will not do it
    "cancelled",  # its sender withdrew it
    "expired",  # its deadline passed before an end
    "parked",  # set aside: undecodable, or claimed too often without an end
]
Status = Literal[
    "working", "completed", "failed", "rejected", "needs_approval", "needs_input", "released",
    "cancelled", "answered",
]  # fmt: skip
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
ENDS: Final = frozenset({"completed", "failed", "rejected", "cancelled", "expired", "parked"})
#: A session has the task.
HELD: Final = frozenset({"claimed", "working", "needs_approval", "needs_input"})
#: Its worker waits for an answer.
ASKING: Final = frozenset({"needs_approval", "needs_input"})
#: More is to come.
OPEN: Final = HELD | {"stored"}
# The ends that a worker chooses, and the ones that the bus sets for it.
WORKER_ENDS: Final = frozenset({"completed", "failed", "rejected"})
#: Of these its sender is told.
TOLD: Final = ENDS | ASKING

Notify = Literal["live", "never", "wake"]
#: `nothing`: a word, which is over once it is shown.
Expect = Literal["answer", "nothing"]
# Of a word, its sender is told only if it went wrong otherwise.
_WORD_IS_OVER: Final = frozenset({"completed", "expired"})
# Before the first message on any bus, and later than any deadline.
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
# Of a task that nobody has claimed: it was stored, and has ended.
_UNREAD_STEPS: Final = 2


class Undecodable(ValueError):
    """Stored bytes that are no task or no record; its text is this program's own, safe to show."""


class Repeating(Undecodable):
    """What a schedule puts into an inbox again and again: no task of anybody's."""


def utc(value: datetime) -> datetime:
    """Return a time in UTC, within the years with which one can reckon; without a zone it is UTC.

    Others may write any year. Those at the ends of the calendar overflow as soon as an hour is
    added, and 300 years are more nanoseconds than a server counts.
    """
    if value.tzinfo is not None and _EARLIEST.year <= value.year <= _LATEST.year:
        value = value.astimezone(UTC)
    return min(max(value.replace(tzinfo=UTC), _EARLIEST), _LATEST)


def _percent(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= 100 else None


Time = Annotated[datetime, AfterValidator(utc)]


def _agent(value: object) -> str:
    return value if isinstance(value, str) and is_agent(value) else ""


#: An agent as others have named it; empty if that is no agent's id.
AgentId = Annotated[str, BeforeValidator(_agent)]
#: A number of the server's, as large as SQLite keeps it.
ServerCount = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Frozen(BaseModel):
    # Fields of a newer version are kept, so that rewriting a record loses nothing.
    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class Task(_Frozen):
    """What one agent asks of another."""

    #: Names the task everywhere: a hash of sender, inbox and request id; others' may be any id.
    id: str
    #: Who sent it: the last token of its subject, never a field of its body.
    sender: str = Field(validation_alias="from", serialization_alias="from")
    #: The inbox it is for: an agent id, or `role-NAME`.
    to: str
    #: One line that says what it is about; at most 200 characters.
    subject: str
    #: The whole of it, so that another agent can do it alone; at most 64 KiB of UTF-8.
    body: str
    #: The lane it lies in.
    priority: Priority = "normal"
    #: A priority that this version does not know, as its sender wrote it.
    priority_given: str | None = None
    #: A word of the sender's for the kind of work; not interpreted.
    task_type: str = "default"
    #: Tasks of one conversation share it.
    thread_id: str
    #: The task that this one answers.
    in_reply_to: str | None = None
    created_at: Time
    #: After this time it counts as expired.
    expires_at: Time
    #: Not offered before this time.
    deliver_at: Time | None = None
    #: How the sender wants to learn of the result.
    notify: Notify = "live"
    #: A wish that this version does not know, as its sender wrote it.
    notify_given: str | None = None
    #: The agents that this piece of work came through, oldest first, the sender last.
    chain: tuple[str, ...] = ()
    #: Hand-offs before this one.
    hops: int = 0
    #: The sender's session: its result is shown there while it lives.
    session: str = ""
    #: A hash of all that its sender said in the call; empty if that is not known.
    request: str = ""
    #: What its sender wants of its reader.
    expect: Expect = "answer"
    #: The agent that gets its result besides its sender; empty for none.
    reply_to: AgentId = ""
    #: A word of the sender's for what the body is, such as `markdown`; not interpreted.
    content_type: str = "text"


class Moment(_Frozen):
    """One step of a task's life."""

    state: str
    at: Time
    #: The agent that took the step.
    by: str
    #: Why, in this program's words.
    reason: str = ""
    #: What its worker said with it, a peer's words; of a long one the first 500 characters.
    note: str = ""


class Answer(_Frozen):
    """What a task's sender says to a question of its worker."""

    #: When that was asked, by the worker's clock: it names the question.
    question: Time
    at: Time
    #: At most 64 KiB of UTF-8.
    body: str


class _Stored(_Frozen):
    #: Values that this version does not know and treats as the default, as their writer wrote them.
    priority_given: str | None = None
    notify_given: str | None = None


class Record(_Stored):
    """What became of a task. One per task; its revision fences everybody who writes it."""

    #: Which task, whose it is, and for which inbox.
    task_id: str
    owner: str
    inbox: str
    #: The task's state; `stored` again once a claim was given back.
    state: State
    #: A state that this version does not know, and treats as `working`.
    state_given: str | None = None
    #: The agent and the session that hold or held it.
    agent: str
    session: str = ""
    #: Claims so far that ended without an end of the task.
    attempts: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    #: Copied from the task, so that a result makes sense on its own.
    subject: str = ""
    thread_id: str = ""
    priority: Priority = "normal"
    #: The session that sent the task.
    owner_session: str = ""
    notify: Notify = "live"
    expect: Expect = "answer"
    reply_to: AgentId = ""
    #: Of the copy for that agent, who is its owner: who sent the task.
    asked_by: AgentId = ""
    #: Of such a copy, by its sender's word: as the task's. Never stored: see `records.as_asked`.
    chain: tuple[str, ...] = Field(default=(), exclude=True)
    hops: int = Field(default=0, exclude=True)
    #: One paragraph for a reader in a hurry; at most 2,000 characters.
    summary: str = ""
    #: The result itself; at most 256 KiB of UTF-8.
    body: str = ""
    #: References (paths, URLs, commits). Nothing here opens them.
    artifacts: tuple[str, ...] = ()
    #: Percent done, as the worker said it.
    progress: Annotated[float | None, AfterValidator(_percent)] = Field(
        default=None, allow_inf_nan=False
    )
    #: Why the bus ended it, in this program's words.
    reason: str = ""
    #: Stored after the task's deadline.
    late: bool = False
    #: Nobody has sent its task as far as its owner's side knows. Never stored: see `as_asked`.
    unasked: bool = Field(default=False, exclude=True)
    updated_at: Time
    history: tuple[Moment, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.state in ENDS

    @property
    def is_told(self) -> bool:
        """Whether its sender is told of it: it has ended, or its worker has a question."""
        quiet = self.expect == "nothing" and self.state in _WORD_IS_OVER
        return self.state in TOLD and not quiet

    @property
    def told_with(self) -> tuple[str, ...]:
        """What it has in common with those that it is told together with, as one.

        That is what was sent in one go, to many, and expired unread: there is nothing to tell apart
        but the names. Any other record is told by itself.
        """
        if self.state == "expired" and len(self.history) == _UNREAD_STEPS:
            return (text.stamp(self.history[0].at), self.subject)
        return (self.task_id,)

    def says(self, other: Record) -> bool:
        """Whether both say the same, whenever they were written."""
        mine = (self.state, self.summary, self.body, self.artifacts)
        return mine == (other.state, other.summary, other.body, other.artifacts)


class Sent(_Stored):
    """What the sender's side has written about a task. One per task."""

    task_id: str
    owner: str
    inbox: str
    subject: str = ""
    thread_id: str = ""
    priority: Priority = "normal"
    owner_session: str = ""
    notify: Notify = "live"
    created_at: Time
    expires_at: Time
    deliver_at: Time | None = None
    #: As the task's.
    request: str = ""
    expect: Expect = "answer"
    reply_to: AgentId = ""
    #: Of a task whose result another agent gets as well: how it came.
    chain: tuple[AgentId, ...] = ()
    hops: Annotated[int, Field(ge=0, le=HOPS_MAX)] = 0
    task_type: str = "default"
    in_reply_to: str | None = None
    #: To the questions of its worker, the latest last.
    answers: tuple[Answer, ...] = ()
    #: The first 2,000 characters of the task's body, and how many it has; 0: nobody has said so.
    body: str = ""
    body_chars: ServerCount = 0
    #: The task's sequence among the stored ones; 0 for one that waited for its time.
    seq: ServerCount = 0
    #: The revision of the worker's record that a session of the sender was last shown.
    seen_revision: ServerCount = 0
    seen_at: Time | None = None
    #: Whether what was seen was the task's end.
    closed: bool = False
    #: Written by who saw a result of a task of which its owner's side had kept nothing.
    unasked: bool = False


class Wakes(_Frozen):
    """What listeners at its addressee's did about a task, and its user decided; one per task."""

    task_id: str
    owner: str
    inbox: str
    #: `waking`, `woken`, `wake-failed`, `wake-held`, `approved` or `denied`, the latest last.
    moments: tuple[Moment, ...] = ()


_IS_A_WORD: Final = (
    "It is shown once, at its reader's next call; it wakes nobody, and no result of it comes."
)
_IS_HERE: Final = "It is handed on once the bus is reached; a refusal then comes as its result."


class Receipt(_Frozen):
    """What `send_task` knows about one addressee: that the task is stored, and nothing more."""

    task_id: str
    #: The address as the sender gave it.
    to: str
    #: `stored_here`: on this machine, not yet at the bus; the listener hands it on.
    #: `refused` only among several addressees: `reason` says why this one was left out.
    state: Literal["stored", "stored_here", "refused"] = "stored"
    #: The same request had been stored before; nothing was stored again.
    duplicate: bool = False
    #: What the roster says of the addressee.
    recipient: str = "never seen"
    last_seen: Time | None = None
    #: `held`: the task is read when the addressee looks; `not_known`: perhaps only then.
    wake: Literal["requested", "held", "not_known", "not_requested"] = "not_requested"
    #: Why a wake is held or not known, why it is not at the bus, or why it was refused.
    reason: str = ""
    #: How its sender is to learn of the result.
    notify: Notify = "live"
    #: As the task's.
    expect: Expect = "answer"
    deliver_at: Time | None = None
    expires_at: Time

    @property
    def note(self) -> str:
        """What its fields do not say by themselves, in sentences; empty if they do.

        Hosts show a model the fields or a text, so it stands in both.
        """
        unread = self.state == "stored" and self.wake in {"held", "not_known"}
        wakes_back = self.state == "stored" and self.notify == "wake"
        notes = (
            "An earlier call had stored it; nothing was stored again." if self.duplicate else "",
            _IS_HERE if self.state == "stored_here" else "",
            f"The task is read when {self.to} next looks." if unread else "",
            _IS_A_WORD if self.state != "refused" and self.expect == "nothing" else "",
            "Its result may start a closed session of its sender." if wakes_back else "",
        )
        return " ".join(filter(None, notes))


def check_subject(value: str) -> str:
    """Return `value`, one line, without spaces at its ends.

    Raises:
        BadInput: it is empty, has a line break, is longer than 200 characters, or is not text.
    """
    value = text.check_text(value, "subject").strip()
    if not value:
        raise BadInput("The subject is empty.", hint="Say in one line what the task is about.")
    if len(value) > SUBJECT_MAX_CHARS:
        raise BadInput(
            f"The subject has {len(value)} characters; the limit is {SUBJECT_MAX_CHARS}.",
            hint="Keep one line and move the rest into the body.",
        )
    if len(value.splitlines()) > 1:
        raise BadInput("The subject has more than one line.", hint="Move the rest into the body.")
    return text.check_size(
        value, "subject", 4 * SUBJECT_MAX_CHARS
    )  # a character has 4 bytes at most
