# SPDX-License-Identifier: Apache-2.0
"""A call and its answer: what it gives its reader, and whether that is known to have arrived.

    >>> first = calls.begin()
    >>> first.answered()
    >>> first.arrival(calls.begin())
    'arrived'

A client that gives a call up need not say so, and several models may share one session. So a call
tells of the answer to an earlier one, and as much as it can:

| the answer of a call                                     | its arrival, by another call       |
|----------------------------------------------------------|------------------------------------|
| is under way, or was written after the other call came   | not yet known                      |
| was written before the other call came                   | arrived                            |
| the same, but it took over 5 s, or a call came meanwhile | doubtful: it may have been given up |
| was never written, or is not waited for any more         | lost                               |

A client that has read its answers and then ends in order tells as much as by one more call.

Pure: it knows no bus and no session, and is told what happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from mcp_agentbus.errors import Refused

Arrival = Literal["not yet", "arrived", "doubtful", "lost"]

# In seconds: the shortest time-out of a known client. One that ended within it was waited for.
_PATIENCE_S: Final = 5.0
# Those that may still be answered, and those whose client may still say that it has given them up.
_KEPT_MAX: Final = 256


class Calls:
    """The calls of one session, in the order in which they came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: How many have come, and how many of them were no end.
        self.count, self.made = 0, 0
        #: What stands for the end of whoever calls; None: it goes on, or was cut off.
        self.ended: Call | None = None
        self._by_key: dict[Hashable, Call] = {}

    def begin(self, key: Hashable = None) -> Call:
        """Note that a call has come; `key` is by what `get` finds it."""
        self.count, self.made = self.count + 1, self.made + 1
        call = Call(self, self.count, self._clock())
        if key is not None:
            self._by_key.pop(key, None)
            self._by_key[key] = call
            if len(self._by_key) > _KEPT_MAX:
                del self._by_key[next(iter(self._by_key))]
        return call

    def end(self) -> None:
        """Note that whoever calls has read what it was answered so far, and calls no more."""
        self.ended = self.begin()
        self.made -= 1

    def given_up(self) -> Call:
        """Return a call of an earlier server, whose answers are doubtful to all that come here."""
        call = Call(self, 0, self._clock(), written_after=0)
        call.is_doubtful = True
        return call

    def get(self, key: Hashable) -> Call | None:
        """Return the last call of that key, unless many have come since."""
        return self._by_key.get(key)

    @contextmanager
    def within(self, begun: Call | None) -> Generator[Call]:
        """Go on with a call that has begun; else be one, whose caller has the answer at once."""
        if begun:
            yield begun
            return
        call = self.begin()
        try:
            yield call
        finally:
            call.answered(surely=True)

    def now(self) -> float:
        """Return the time of this clock, in seconds."""
        return self._clock()


class Call:
    """A call, and what is known of its answer. Made by `Calls.begin`."""

    def __init__(
        self, calls: Calls, number: int, began_at: float, written_after: int | None = None
    ) -> None:
        self._calls = calls
        self._number, self._began_at = number, began_at
        #: How many calls had come when its answer was written; None: it was not.
        self._written_after = written_after
        #: Whether it is over and nobody reads an answer of it.
        self.is_lost = False
        #: Whether it may have been given up before its answer was written.
        self.is_doubtful = False

    def answered(self, *, surely: bool = False) -> None:
        """Note that its answer was written; `surely` if whoever called has it in its hands."""
        if self.is_lost or self._written_after is not None:
            return
        self._written_after = self._calls.count
        waited_s = self._calls.now() - self._began_at
        joined = self._written_after > self._number
        self.is_doubtful = not surely and (joined or waited_s > _PATIENCE_S)

    def lost(self) -> None:
        """Note that it is over and nobody reads an answer of it, even if one was written."""
        self.is_lost = True

    def arrival(self, by: Call) -> Arrival:
        """Return what another call tells of this one's answer."""
        if self.is_lost:
            return "lost"
        if self._written_after is None or by._number <= self._written_after:
            return "not yet"
        return "doubtful" if self.is_doubtful else "arrived"


@dataclass(frozen=True)
class Given:
    """An answer has given something to its reader."""

    #: When it was given whole.
    at: datetime
    #: Whose answer named it last; None if it is known to have arrived.
    call: Call | None = None

    @property
    def is_lost(self) -> bool:
        """Whether nobody has it: that answer was never written."""
        return self.call is not None and self.call.is_lost

    def is_doubtful(self, by: Call | None) -> bool:
        """Tell whether it may not have arrived, by what that call tells; None: by the clock."""
        if self.call is None:
            return False
        return self.call.arrival(by) == "doubtful" if by else self.call.is_doubtful

    def has_arrived(self, by: Call) -> bool:
        """Tell whether it has arrived, by what that call tells."""
        return self.call is None or self.call.arrival(by) == "arrived"


@dataclass(frozen=True)
class Answered:
    """What was said to a question about a held task, until its reader has it."""

    #: As `Replies.mark`.
    mark: str
    #: None: no answer of a call has had it yet.
    given: Given | None = None

    @property
    def is_given(self) -> bool:
        """Whether an answer of a call has had it, and nothing says that it was lost."""
        return self.given is not None and not self.given.is_lost

    @property
    def given_mark(self) -> str:
        """Its mark if it is given; else empty."""
        return self.mark if self.is_given else ""


def is_over() -> Refused:
    """Return the error of a session that has a successor."""
    return Refused(
        "This server was replaced: its host has started another one of agentbus for the same "
        "session, which has its tasks and results now. Nothing was done.",
        hint="Call the same tool of the other server. Once that has ended, this one works again.",
    )
