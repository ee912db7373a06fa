# SPDX-License-Identifier: Apache-2.0
"""How subjects, streams and consumers are spelled, and taken apart.

    >>> task_subject("coder", "high", "planner")
    'agentbus.coder.tasks.high.planner'
    >>> parts("agentbus.coder.tasks.high.planner")
    Parts(whose='coder', kind='tasks', rest=('high', 'planner'))

    agentbus.<inbox>.tasks.<lane>.<sender>         TASKS     a work queue; three lanes an inbox
    agentbus.<inbox>.wake.<lane>.<sender>          (none)    each task's headers, once stored
    agentbus.<inbox>.back                          (none)    a session gave a task back
    agentbus.<inbox>.refused.<sender>              (none)    a task that is not taken was refused
    agentbus.<agent>.succeed.<host>                (none)    a session asks the one before for all
    agentbus.<owner>.results.<inbox>.<task>        RESULTS   what became of a task; the last only
    agentbus.<owner>.sent.<inbox>.<task>           RESULTS   what its sender keeps; the last only
    agentbus.<owner>.wakes.<inbox>.<task>          RESULTS   what listeners did; the last only
    agentbus.<agent>.heartbeat.<session>           PRESENCE  in memory, gone after 15 s
    agentbus.<agent>.profile                       AGENTS    who is registered
    agentbus.<inbox>.dead.<lane>.<sender>          DEAD      parked tasks
    agentbus.<inbox>.sched.<lane>.<sender>.<task>  SCHED     tasks that wait for their time, and go
    agentbus.<inbox>.due.<lane>.<sender>           SCHED     from here to TASKS
    agentbus-events.<sender>.<topic>               (none)    events, for whoever listens

What makes a subject checks nothing: it takes names that `core.ids` has checked, so that no dot or
wildcard of another's gets in, or `*` where a reader wants all.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Final, NamedTuple

TASKS: Final = "AGENTBUS_TASKS"
RESULTS: Final = "AGENTBUS_RESULTS"
PRESENCE: Final = "AGENTBUS_PRESENCE"
DEAD: Final = "AGENTBUS_DEAD"
SCHEDULE: Final = "AGENTBUS_SCHED"
AGENTS: Final = "AGENTBUS_AGENTS"
H_TASK: Final = "Agentbus-Task"
H_THREAD: Final = "Agentbus-Thread"
H_CHAIN: Final = "Agentbus-Chain"
H_HOPS: Final = "Agentbus-Hops"
H_SESSION: Final = "Agentbus-Session"
H_REQUEST: Final = "Agentbus-Request"
#: What is read of a task besides its bytes.
TASK_HEADERS: Final = (H_TASK, H_THREAD, H_CHAIN, H_HOPS, H_SESSION, H_REQUEST)
H_REASON: Final = "Agentbus-Reason"
#: Of a task: what shows its sender's own machine that it was stored from there.
H_PROOF: Final = "Agentbus-Proof"
#: Of the answer to a request: whose it is.
H_FROM: Final = "Agentbus-From"
H_SCHEDULER: Final = "Nats-Scheduler"
#: When a schedule comes again; `ONCE` for one that does not.
H_SCHEDULE_NEXT: Final = "Nats-Schedule-Next"
ONCE: Final = "purge"
#: Of what waits for its time: when that is, `AT` and the time, or how it comes again.
H_SCHEDULE: Final = "Nats-Schedule"
AT: Final = "@at "
#: Of a parked task: its `H_SCHEDULER`, which no stream of tasks takes from a client.
H_SCHEDULED_BY: Final = "Agentbus-Scheduled-By"
#: Of what is parked, or offered again: its sequence in the stream that it comes from.
H_MOVED: Final = "Agentbus-Moved"
#: Of a message that was handed out without what it says: how much that is.
H_LEFT_OUT: Final = "Nats-Msg-Size"
#: Of a message that came from another stream: which, and its sequence there.
H_SOURCE: Final = "Nats-Stream-Source"


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
    """Where it is said that a task was given back, or the question about a held one answered.

    Its listener and the sessions that wait look then; by itself it wakes nobody.
    """
    return f"agentbus.{inbox}.back"


def refused_subject(inbox: str, sender: str) -> str:
    """Where it is said that a task was refused, as its addressee takes none of that sender."""
    return f"agentbus.{inbox}.refused.{sender}"


def succeed_subject(agent: str, host: str) -> str:
    """Where a session asks an earlier one that the same host has left for all that it has."""
    return f"agentbus.{agent}.succeed.{host}"


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


def event_subject(sender: str, topic: str) -> str:
    """Where an event is heard: no stream keeps it, and no subject that begins otherwise is one."""
    return f"agentbus-events.{sender}.{topic}"


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


def overlap(filter_: str, other: str) -> bool:
    """Tell whether some subject fits both of two filters."""
    for mine, theirs in zip_longest(filter_.split("."), other.split(".")):
        if ">" in (mine, theirs):
            return True
        if mine != theirs and "*" not in (mine, theirs):
            return False
        if mine is None or theirs is None:
            return False
    return True
