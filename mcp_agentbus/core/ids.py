# SPDX-License-Identifier: Apache-2.0
"""How subjects, streams, consumers and ids are spelled, checked, made and taken apart.

    >>> task_subject("coder", "high", "planner")
    'agentbus.coder.tasks.high.planner'
    >>> parts("agentbus.coder.tasks.high.planner")
    Parts(whose='coder', kind='tasks', rest=('high', 'planner'))
    >>> inbox_of("role:review")
    'role-review'

What makes a subject checks nothing: it takes names that `agent_id`, `inbox_of` and the like have
checked, so that no dot or wildcard of another's gets in, or `*` where a reader wants all.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final, Literal, NamedTuple, get_args

from mcp_agentbus.errors import BadInput

Priority = Literal["high", "normal", "low"]
# In the order in which they are read.
LANES: Final[tuple[Priority, ...]] = get_args(Priority)

EVERYBODY: Final = "all"
ROLE_PREFIX: Final = "role-"
RESERVED: Final = frozenset({EVERYBODY, "system"})

TASKS: Final = "AGENTBUS_TASKS"
RESULTS: Final = "AGENTBUS_RESULTS"
PRESENCE: Final = "AGENTBUS_PRESENCE"
DEAD: Final = "AGENTBUS_DEAD"
SCHEDULE: Final = "AGENTBUS_SCHED"
AGENTS: Final = "AGENTBUS_AGENTS"

# Header names; the values are checked ids, numbers and this program's own words.
H_MSG_ID: Final = "Nats-Msg-Id"
H_EXPECTED_REVISION: Final = "Nats-Expected-Last-Subject-Sequence"
H_TASK: Final = "Agentbus-Task"
H_THREAD: Final = "Agentbus-Thread"
H_CHAIN: Final = "Agentbus-Chain"
H_HOPS: Final = "Agentbus-Hops"
H_SESSION: Final = "Agentbus-Session"
H_REASON: Final = "Agentbus-Reason"
H_SCHEDULER: Final = "Nats-Scheduler"

_AGENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Wider than the ids made here, so that ids of other producers can be answered.
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def agent_id(value: str) -> str:
    """Return `value` if it may name an agent.

    Raises:
        BadInput: it is not `[a-z0-9][a-z0-9_-]{0,62}`, or it is reserved.
    """
    if not _AGENT.fullmatch(value):
        raise BadInput(
            f"{value[:80]!r} is not an agent id.",
            hint="Use 1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter or digit.",
        )
    if value in RESERVED or value.startswith(ROLE_PREFIX):
        raise BadInput(
            f"{value!r} is reserved.", hint="Address a role as 'role:NAME' and everybody as 'all'."
        )
    return value


def role_name(value: str) -> str:
    """Return `value` if it may name a role.

    Raises:
        BadInput: its inbox `role-NAME` would not fit the rule for agent ids.
    """
    if not is_inbox(ROLE_PREFIX + value):
        raise BadInput(
            f"{value[:80]!r} is not a role name.", hint="Use 1 to 58 of a-z, 0-9, '_' and '-'."
        )
    return value


def inbox_of(address: str) -> str:
    """Return the inbox that `address` (an agent id or `role:NAME`) names.

    Raises:
        BadInput: it is neither.
    """
    if address.startswith("role:"):
        return ROLE_PREFIX + role_name(address.removeprefix("role:"))
    return agent_id(address)


def address_of(inbox: str) -> str:
    """Return how people write `inbox`: the reverse of `inbox_of`."""
    return f"role:{inbox.removeprefix(ROLE_PREFIX)}" if inbox.startswith(ROLE_PREFIX) else inbox


def is_agent(token: str) -> bool:
    """Tell whether a subject token read from the wire keeps the rule of `agent_id`."""
    reserved = token in RESERVED or token.startswith(ROLE_PREFIX)
    return not reserved and _AGENT.fullmatch(token) is not None


def is_inbox(token: str) -> bool:
    """Tell whether a subject token read from the wire can be an inbox: an agent's or a role's."""
    if not token.startswith(ROLE_PREFIX):
        return is_agent(token)
    role = token.removeprefix(ROLE_PREFIX)
    return _AGENT.fullmatch(token) is not None and _AGENT.fullmatch(role) is not None


def task_id(value: str) -> str:
    """Return `value` if it may be a task id.

    Raises:
        BadInput: it is not 1 to 64 letters, digits, '_' or '-'.
    """
    if not is_task_id(value):
        raise BadInput(
            f"{value[:80]!r} is not a task id.",
            hint="Copy the task_id from the receipt or from read_inbox.",
        )
    return value


def is_task_id(value: str) -> bool:
    """Tell whether a value read from the wire keeps the rule of `task_id`."""
    return _TASK_ID.fullmatch(value) is not None


def label(value: str, what: str) -> str:
    """Return `value` if it may be a thread id, task type or request id.

    Raises:
        BadInput: it is not 1 to 128 of letters, digits and `._:-`.
    """
    if not is_label(value):
        raise BadInput(
            f"{value[:80]!r} is not a {what}.",
            hint="Use 1 to 128 letters, digits, '.', '_', ':' and '-', a letter or digit first.",
        )
    return value


def is_label(value: str) -> bool:
    """Tell whether a value read from the wire keeps the rule of `label`."""
    return _LABEL.fullmatch(value) is not None


def new_task_id(sender: str, inbox: str, request_id: str) -> str:
    """Return the id of a task: 128 bits, the same for the same request."""
    return hashlib.sha256(f"{sender}\0{inbox}\0{request_id}".encode()).hexdigest()[:32]


#: How the id of a shell's session begins: no process of it is there between two commands.
SHELL_PREFIX: Final = "shell-"


def new_session_id() -> str:
    """Return an id for one session: 64 random bits, as an agent may have sessions anywhere."""
    return secrets.token_hex(8)


class Parts(NamedTuple):
    """Whose a subject is (an inbox, owner or agent), its kind, and the tokens that follow."""

    whose: str
    kind: str
    rest: tuple[str, ...]


def parts(subject: str) -> Parts:
    """Take a subject apart, checking nothing; one that is too short has empty parts."""
    _, *tokens = subject.split(".")
    return Parts(tokens[0], tokens[1], tuple(tokens[2:])) if len(tokens) > 1 else Parts("", "", ())


def everything_of(agent: str) -> str:
    """Name all subjects that begin with an agent: its inbox, records, registration, presence."""
    return f"agentbus.{agent}.>"


def task_subject(inbox: str, lane: str, sender: str) -> str:
    """Where a task is published; the last token is the sender."""
    return f"agentbus.{inbox}.tasks.{lane}.{sender}"


def wake_subject(inbox: str, lane: str = "*") -> str:
    """Where the server republishes a stored task's headers."""
    return f"agentbus.{inbox}.wake.{lane}.*"


def back_subject(inbox: str) -> str:
    """Where a session says that it has given a task back; wakes nobody but waiting sessions."""
    return f"agentbus.{inbox}.back"


def record_subject(owner: str, inbox: str, task: str) -> str:
    """Where the worker's record of a task stands: its state and its result."""
    return f"agentbus.{owner}.results.{inbox}.{task}"


def sent_subject(owner: str, inbox: str, task: str) -> str:
    """Where the sender's record of a task stands."""
    return f"agentbus.{owner}.sent.{inbox}.{task}"


def wakes_subject(owner: str, inbox: str, task: str) -> str:
    """Where stands what the addressee's listener did about a task."""
    return f"agentbus.{owner}.wakes.{inbox}.{task}"


def dead_subject(inbox: str, lane: str, sender: str) -> str:
    """Where a parked task is kept."""
    return f"agentbus.{inbox}.dead.{lane}.{sender}"


def heartbeat_subject(agent: str, session: str) -> str:
    """Where a session says that it lives."""
    return f"agentbus.{agent}.heartbeat.{session}"


def scheduled_subject(inbox: str, lane: str, sender: str, task: str) -> str:
    """Where a task waits for its time."""
    return f"agentbus.{inbox}.sched.{lane}.{sender}.{task}"


def due_subject(inbox: str, lane: str, sender: str) -> str:
    """Where the server puts a scheduled task when its time has come."""
    return f"agentbus.{inbox}.due.{lane}.{sender}"


def profile_subject(agent: str) -> str:
    """Where an agent's registration stands."""
    return f"agentbus.{agent}.profile"


def lane_consumer(inbox: str, lane: str) -> str:
    """The durable consumer of one lane of an inbox."""
    return f"{inbox}_{lane}"


def results_consumer(agent: str) -> str:
    """The durable consumer of the records that workers write for `agent`."""
    return f"{agent}_results"


def sent_consumer(agent: str) -> str:
    """The durable consumer that holds the deadlines of the tasks that `agent` sent."""
    return f"{agent}_sent"
