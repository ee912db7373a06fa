# SPDX-License-Identifier: Apache-2.0
"""What was acknowledged, by whom and when: kept by the run itself, from answers alone.

    >>> ledger.add(Sent(at=3.2, began=3.1, task="9d0c...", sender="pat", inbox="ana", ...))
    >>> ledger.open()
    {'9d0c...'}

Times are seconds since the run began. An answer that never came is no entry, but for what may have
been done all the same: `Tried`. Nothing here asks the bus or reads a clock.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

# Who was awake for less than this between two stalls has slept through.
_RECOVERS_S = 1.0
# Two pulses are no further apart.
_PULSES_S = 4.0
#: A task is over in these states.
ENDS = frozenset({"completed", "failed", "rejected", "cancelled", "expired", "parked"})
#: In which a session has it.
HELD = frozenset({"claimed", "working", "needs_approval", "needs_input"})


@dataclass(frozen=True)
class Entry:
    """Something that happened; `at` is when the run knew it."""

    at: float


@dataclass(frozen=True)
class Tried(Entry):
    """A send that was begun: the token, its subject, says which; each is sent to one inbox."""

    token: str


@dataclass(frozen=True)
class Sent(Entry):
    """A receipt."""

    task: str
    began: float
    sender: str
    session: str
    inbox: str
    lane: str
    token: str
    #: Kinds of task that the table counts: `plain`, `deadline`, `scheduled`, `chained`.
    kind: str = "plain"
    #: Not offered before; 0 if at once.
    due: float = 0.0
    #: It was on its sender's machine alone, whose listener is to hand it on.
    is_here: bool = False
    #: Not expired before; 0 if it has no deadline.
    expires: float = 0.0


@dataclass(frozen=True)
class Claimed(Entry):
    """An answer showed a task as held by this session."""

    task: str
    began: float
    agent: str
    session: str
    attempt: int
    #: Claimed by this very call, and not shown again.
    new: bool
    #: Its place in the answer, and how many tasks that had asked for and got.
    place: int = 0
    asked: int = 0
    got: int = 0


@dataclass(frozen=True)
class Looked(Entry):
    """A look that said it had seen the whole inbox, with the room that it had left."""

    began: float
    agent: str
    session: str
    inboxes: tuple[str, ...]
    room: int


@dataclass(frozen=True)
class Said(Entry):
    """A status that was published, a withdrawal, an answer, or what a person has approved."""

    task: str
    began: float
    agent: str
    session: str
    status: str
    token: str
    #: `stored`, `refused`, or `unknown`.
    outcome: str


@dataclass(frozen=True)
class Told(Entry):
    """An answer had a reply to a question about a task, by its token."""

    task: str
    agent: str
    session: str
    token: str


@dataclass(frozen=True)
class Shown(Entry):
    """A session of the sender was shown what became of a task."""

    task: str
    agent: str
    session: str
    state: str


@dataclass(frozen=True)
class Ended(Entry):
    """A session's process was about to be killed, or closed."""

    session: str
    how: str


@dataclass(frozen=True)
class Stalled(Entry):
    """From `at` to `until` that session could do nothing; "*" is all, "@pi" all of that account."""

    session: str
    until: float


@dataclass(frozen=True)
class Fault(Entry):
    """What was done to the machine, until it was undone."""

    kind: str
    target: str = ""
    until: float = 0.0


@dataclass(frozen=True)
class Call(Entry):
    """A call that was answered, or given up."""

    began: float
    session: str
    what: str
    outcome: str
    #: What an answer has said that was no use.
    told: str = ""


@dataclass(frozen=True)
class Pulse(Entry):
    """How slow the machine was: the time that a process took for each second of a processor's."""

    began: float
    slowness: float


@dataclass(frozen=True)
class Trouble(Entry):
    """What the run saw itself, and no answer may be."""

    kind: str
    told: str
    #: When the processes began that may have said so as they began.
    began: tuple[float, ...] = ()


@dataclass
class Ledger:
    """All of it, in the order in which it was learned."""

    _of: dict[type, list[Entry]] = field(default_factory=lambda: defaultdict(list))

    def add(self, entry: Entry) -> None:
        """Write an entry down."""
        self._of[type(entry)].append(entry)

    def all(self, kind):
        """Return the entries of one kind."""
        return self._of[kind]

    @property
    def everything(self) -> list[Entry]:
        """Return all entries, by time."""
        entries = (entry for kind in self._of.values() for entry in kind)
        return sorted(entries, key=lambda entry: entry.at)

    def about(self, task: str) -> list[Entry]:
        """Return what is known of one task, by time."""
        entries = [
            entry
            for kind in (Sent, Claimed, Said, Told, Shown)
            for entry in self.all(kind)
            if entry.task == task
        ]
        return sorted(entries, key=lambda entry: entry.at)

    def by_task(self, kind):
        """Return the entries of one kind, by task."""
        grouped = defaultdict(list)
        for entry in self.all(kind):
            grouped[entry.task].append(entry)
        return grouped

    def open(self) -> set[str]:
        """Return the acknowledged tasks of whose end their sender was not shown anything."""
        senders = {sent.task: sent.sender for sent in self.all(Sent)}
        seen = {
            entry.task
            for entry in self.all(Shown)
            if entry.state in ENDS and senders.get(entry.task) == entry.agent
        }
        withdrawn = {
            entry.task
            for entry in self.all(Said)
            if entry.status == "cancelled" and entry.outcome == "stored"
        }
        return set(senders) - seen - withdrawn

    def _stalls(self, session: str, begin: float, end: float) -> list[tuple[float, float]]:
        meant = {"*", session, "@" + session.rpartition("@")[2]}
        return sorted(
            (max(entry.at, begin), min(entry.until, end))
            for entry in self.all(Stalled)
            if entry.session in meant and entry.at < end and entry.until > begin
        )

    def stalled(self, session: str, begin: float, end: float) -> float:
        """Return the longest time within these two in which a session could do nothing."""
        longest, run_from, run_to = 0.0, begin, begin
        for start, stop in self._stalls(session, begin, end):
            if start > run_to + _RECOVERS_S:
                run_from = start
            run_to = max(run_to, stop)
            longest = max(longest, run_to - run_from)
        return longest

    def stalled_in_all(self, session: str, begin: float, end: float) -> float:
        """Return for how much of the time within these two a session could do nothing."""
        total, until = 0.0, begin
        for start, stop in self._stalls(session, begin, end):
            total += max(0.0, stop - max(start, until))
            until = max(until, stop)
        return total

    def slowness(self, begin: float, end: float) -> float:
        """Return how slow the machine was at its slowest, within these two or close to them."""
        return max(
            (
                pulse.slowness
                for pulse in self.all(Pulse)
                if pulse.began < end + _PULSES_S and pulse.at > begin - _PULSES_S
            ),
            default=1.0,
        )
