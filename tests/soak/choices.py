# SPDX-License-Identifier: Apache-2.0
"""Every choice of a run, drawn from one seed: the same seed makes the same choices again.

    >>> choices = Choices(7)
    >>> next(choices.errands("pat"))
    Errand(to='ana', lane='normal', ...)

Each who chooses has a sequence of its own, so that who is slow today changes nobody else's choices.
What the machine makes of them, and when, is its own.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

#: Who may be sent a task, and how often in proportion.
INBOXES = {"ana": 5, "bo": 3, "cy": 3, "pia": 3, "role:pool": 4, "wanda": 1, "wes": 2}
_LANES = {"high": 2, "normal": 5, "low": 3}
# What a worker does with a task, step by step. `keep` holds it and says nothing, `ask` sends a task
# of its own before it goes on; what comes after an end must change nothing.
_TREATMENTS = {
    ("completed",): 10,
    ("working", "completed"): 4,
    ("needs_approval", "completed"): 2,
    ("needs_approval", "keep"): 1,
    ("needs_input", "completed"): 2,
    ("needs_input", "keep"): 2,
    ("needs_input", "released"): 1,
    ("working", "failed"): 2,
    ("rejected",): 2,
    ("released",): 3,
    ("keep",): 3,
    ("ask", "completed"): 2,
    ("completed", "completed"): 1,
    ("completed", "failed"): 1,
}
#: What may happen to the machine, and how often in proportion; each is a function of `faults`.
FAULTS = {
    "kill_session": 5,
    "term_session": 3,
    "stop_session": 3,
    "kill_listener": 4,
    "term_listener": 2,
    "stop_listener": 2,
    "kill_server": 5,
    "term_server": 2,
    "stop_server": 2,
    "kill_woken": 2,
    "term_woken": 1,
    "stop_woken": 1,
    "kill_worker": 3,
    "term_worker": 1,
    "stop_worker": 1,
    "kill_command": 6,
    "server_at_due": 3,
    "server_after_release": 3,
    "server_stop": 2,
    "listen_stop": 2,
    "listen_replace": 2,
    "second_listener": 1,
    "remove_socket": 1,
    "empty_runtime": 1,
    "full_disk": 2,
    "clock_step": 4,
    "upgrade": 2,
}
#: What may happen to a shared server, to the accounts that use it, and to the laptop among them.
SHARED_FAULTS = {
    "away": 8,
    "slow": 3,
    "one_way": 4,
    "sleep": 4,
    "kill_outbox": 3,
    "kill_gate": 5,
    "term_gate": 1,
    "stop_gate": 3,
    "kill_gates": 2,
    "kill_server": 4,
    "term_server": 1,
    "stop_server": 2,
    "another_account": 1,
    "kill_session": 4,
    "term_session": 2,
    "stop_session": 2,
    "kill_listener": 4,
    "term_listener": 2,
    "stop_listener": 2,
    "kill_woken": 1,
    "kill_worker": 2,
    "kill_command": 4,
    "server_at_due": 2,
    "server_after_release": 2,
    "listen_stop": 2,
    "listen_replace": 2,
    "second_listener": 1,
    "remove_socket": 1,
    "empty_runtime": 1,
    "clock_step": 4,
    "upgrade": 2,
}
#: These go on while others begin.
LASTING = frozenset({"away", "slow", "one_way", "sleep", "clock_step"})
# No fault for so long: whoever is passed over in this time has no excuse.
CALM_S = 4.0
_PAUSE_S = (1.0, 3.6)
_HELD_UP_S = (0.5, 6.0)


@dataclass(frozen=True)
class Errand:
    """A task to be sent."""

    to: str
    lane: str
    expires_in_s: int | None
    deliver_in_s: int | None
    #: With an id of its sender's, under which it is repeated until somebody answers.
    repeated: bool
    #: Withdrawn after so many more turns of its sender; 0 for never.
    withdrawn_after: int

    @property
    def kind(self) -> str:
        """What the table counts it as."""
        return "scheduled" if self.deliver_in_s else "deadline" if self.expires_in_s else "plain"


@dataclass(frozen=True)
class Planned:
    """A fault, when it begins, and what it takes to carry it out again."""

    at: float
    kind: str
    #: Which of those that are there, from 0 to 1.
    which: float
    #: For how long, of those that last.
    lasts_s: float


class Choices:
    """All sequences of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def of(self, who: str) -> random.Random:
        """Return the sequence of one who chooses."""
        return random.Random(f"{self.seed}/{who}")

    def errands(self, who: str) -> Iterator[Errand]:
        """Return what a sender sends, one after the other."""
        chance = self.of(f"{who} sends")
        while True:
            deadline = chance.random() < 0.15
            scheduled = chance.random() < 0.15
            yield Errand(
                to=_weighed(chance, INBOXES),
                lane=_weighed(chance, _LANES),
                expires_in_s=chance.randint(2, 20) if deadline else None,
                deliver_in_s=chance.randint(1, 8) if scheduled else None,
                repeated=chance.random() < 0.8,
                withdrawn_after=chance.randint(1, 4) if chance.random() < 0.1 else 0,
            )

    def treatments(self, who: str) -> Iterator[tuple[str, ...]]:
        """Return what a worker does with the tasks that it gets."""
        chance = self.of(f"{who} works")
        while True:
            yield _weighed(chance, _TREATMENTS)

    def faults(
        self, seconds: float, kinds: Collection[str] = (), *, of: Mapping[str, int] = FAULTS
    ) -> list[Planned]:
        """Return what is done in so many seconds, and when; only of these kinds, or of all."""
        chance = self.of("faults")
        plan, at = [], CALM_S
        # Each once, in an order of its own, before any comes again.
        first = list(of)
        chance.shuffle(first)
        while at < seconds:
            kind = first.pop() if first else _weighed(chance, of)
            planned = Planned(at, kind, chance.random(), chance.uniform(*_HELD_UP_S))
            if kind in (kinds or of):
                plan.append(planned)
                at += chance.uniform(*_PAUSE_S)
        return plan


def _weighed(chance: random.Random, weights):
    return chance.choices(list(weights), list(weights.values()))[0]
