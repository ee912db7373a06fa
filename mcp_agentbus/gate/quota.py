# SPDX-License-Identifier: Apache-2.0
"""How much an account may do: at rates that no honest machine meets, so that no other is kept out.

quota = Quota()
quota.may_send("laptop")
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, MutableMapping
from typing import Final, NamedTuple

from mcp_agentbus.gate.share.holdings import Holdings
from mcp_agentbus.store.subjects import AGENTS, RESULTS, SCHEDULE, TASKS

# What an account's agents may send together, in tasks a minute.
TASKS_PER_MINUTE: Final = 1_200
# Others' agents and roles to which they may write, in a minute: as many as one call names. Whoever
# is to write to all of a large bus is given that by its owner.
REACHED_MAX: Final = 50
# What they may store in a stream, in bytes with subjects and headers: a minute, and a day, so that
# no account alone fills one before somebody sees it.
BYTES_PER_MINUTE: Final = 64 << 20
BYTES_PER_DAY: Final = {TASKS: 256 << 20, SCHEDULE: 16 << 20, RESULTS: 1 << 30}
_OTHERS_PER_DAY: Final = 64 << 20
# Of what is kept for days each account may have a share; what is parked is seen to by senders.
_SHARED: Final = (TASKS, RESULTS, SCHEDULE, AGENTS)
# Sessions and listeners of an account that say at a time that they live.
SESSIONS_MAX: Final = 500
# Of what they say, in bytes, so much: the stream that has it is in memory, and takes 16 MB of all.
SIGNS_MAX_BYTES: Final = 1 << 20
# Consumers that it makes in a day, which is as long as the server keeps one that nobody uses: of an
# agent there are five, and three of each role. Agents that were forgotten have theirs still.
CONSUMERS_MAX: Final = 5_000
# Requests of an account that are answered at once, and those a second from then on; the others wait
# at the server. One with a large body is as much as several.
_REQUESTS_AT_ONCE: Final = 1_500
REQUESTS_PER_S: Final = 1_500
_BYTES_OF_ONE: Final = 4 << 10
# So much a second is read past of what an account may not read, where it reads widely.
_SCANNED_PER_S: Final = 5_000
# What a stream keeps of a message beside its subject, headers and body, in bytes, at most.
_OF_EACH: Final = 64
# For so long an account that asks more is not heard, in seconds.
_REST_S: Final = 0.05
# Who has waited for so long, and asked on, floods the bus; who has not had to for so long does not.
_FLOODS_S: Final = 5.0
_STOPS_S: Final = 1.0
# So does whose connection was ended by the server so often within that time, in seconds.
_OPENED_MAX: Final = 5
_OPENED_WITHIN_S: Final = 20.0
_MINUTE_S: Final = 60.0
_DAY_S: Final = 24 * 3600.0
# As long as a sign of life counts.
_LIVES_S: Final = 15.0


class _Sign(NamedTuple):
    """When a session has said last that it lives, and in how many bytes."""

    at: float
    size: int


class _Bucket:
    """What may be done at once, and comes back at its rate."""

    def __init__(self, most: float, now: float) -> None:
        self.left, self.at = most, now

    def take(self, much: float, most: float, per_s: float, now: float) -> bool:
        self.left = min(most, self.left + (now - self.at) * per_s)
        self.at = now
        if much > self.left:
            return False
        self.left -= much
        return True


class Quota:
    """What each account has done of late."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tasks: dict[Hashable, _Bucket] = {}
        self._by_minute: dict[Hashable, _Bucket] = {}
        self._by_day: dict[Hashable, _Bucket] = {}
        self._requests: dict[Hashable, _Bucket] = {}
        #: When it had to wait last, and since when it has again and again.
        self._rested: dict[str, float] = {}
        self._flooding: dict[str, float] = {}
        self._reached: dict[str, dict[str, float]] = {}
        self._made: dict[str, dict[str, float]] = {}
        self._opened: dict[str, deque[float]] = {}
        self._sessions: dict[str, dict[str, _Sign]] = {}
        self._scanned: dict[Hashable, _Bucket] = {}
        #: Of those streams of which accounts may have a share, by stream.
        self.holdings = {stream: Holdings(clock) for stream in _SHARED}
        #: Held by whoever looks for room among what waits for its time, and stores there.
        self.scheduling = asyncio.Lock()

    def may_send(self, account: str) -> bool:
        """Tell whether an account may send one more task, and count it."""
        most = TASKS_PER_MINUTE
        return self._take(self._tasks, account, 1, most, most / _MINUTE_S)

    def may_reach(self, account: str, inbox: str) -> bool:
        """Tell whether an account may write to one more inbox of others', and note it."""
        now, reached = self._clock(), self._reached.setdefault(account, {})
        if inbox not in reached and len(reached) >= REACHED_MAX:
            for name in [name for name, at in reached.items() if now - at > _MINUTE_S]:
                del reached[name]
            if len(reached) >= REACHED_MAX:
                return False
        reached[inbox] = now
        return True

    def may_store(self, account: str, stream: str, size: int) -> bool:
        """Tell whether an account may store so many bytes as one message more, and count them."""
        size += _OF_EACH
        a_day = BYTES_PER_DAY.get(stream, _OTHERS_PER_DAY)
        key, most = (account, stream), float(BYTES_PER_MINUTE)
        return self._take(self._by_minute, key, size, most, most / _MINUTE_S) and self._take(
            self._by_day, key, size, a_day, a_day / _DAY_S
        )

    def has_room(self, account: str, stream: str, size: int) -> bool:
        """Tell whether an account's share of a stream has room for so many bytes; count them."""
        holdings = self.holdings.get(stream)
        return holdings is None or holdings.take(account, size + _OF_EACH)

    def may_live(self, account: str, session: str, size: int) -> bool:
        """Tell whether one more session of an account may say in so much that it lives."""
        now, sessions = self._clock(), self._sessions.setdefault(account, {})
        others = sum(each.size for name, each in sessions.items() if name != session)
        is_more = session not in sessions and len(sessions) >= SESSIONS_MAX
        if is_more or others + size > SIGNS_MAX_BYTES:
            for name in [name for name, each in sessions.items() if now - each.at > _LIVES_S]:
                del sessions[name]
            others = sum(each.size for name, each in sessions.items() if name != session)
            is_more = session not in sessions and len(sessions) >= SESSIONS_MAX
            if is_more or others + size > SIGNS_MAX_BYTES:
                return False
        sessions[session] = _Sign(now, size)
        return True

    def may_make(self, account: str, consumer: str) -> bool:
        """Tell whether an account may make one more consumer, or have one still, and note it."""
        now, made = self._clock(), self._made.setdefault(account, {})
        if consumer not in made and len(made) >= CONSUMERS_MAX:
            for name in [name for name, at in made.items() if now - at > _DAY_S]:
                del made[name]
            if len(made) >= CONSUMERS_MAX:
                return False
        made[consumer] = now
        return True

    def begin(self) -> None:
        """Note that the gate itself has lost its connection: what others lost then is no flood."""
        self._opened.clear()

    def opened(self, account: str) -> None:
        """Note that an account's connection was opened; a flood ends it again and again."""
        now, opened = self._clock(), self._opened.setdefault(account, deque(maxlen=_OPENED_MAX))
        opened.append(now)
        if len(opened) == _OPENED_MAX and now - opened[0] < _OPENED_WITHIN_S:
            self._flooding[account] = now - _FLOODS_S

    def scan_rest_s(self, account: str, size: int) -> float:
        """Count a message that was read for nothing; return as `rest_s`. It is no flood."""
        much = 1 + size / _BYTES_OF_ONE
        most = float(_SCANNED_PER_S)
        return 0.0 if self._take(self._scanned, account, much, most, most) else _REST_S

    def floods(self, account: str) -> bool:
        """Tell whether an account asks more than it may, and does not stop."""
        since = self._flooding.get(account)
        return since is not None and self._clock() - since >= _FLOODS_S

    def rest_s(self, account: str, size: int) -> float:
        """Count a request; return for how long the account's next is to wait, in seconds."""
        much = 1 + size / _BYTES_OF_ONE
        if self._take(self._requests, account, much, _REQUESTS_AT_ONCE, REQUESTS_PER_S):
            if self._clock() - self._rested.get(account, 0.0) > _STOPS_S:
                self._flooding.pop(account, None)
            return 0.0
        self._rested[account] = self._clock()
        self._flooding.setdefault(account, self._clock())
        return _REST_S

    def _take(
        self,
        buckets: MutableMapping[Hashable, _Bucket],
        account: Hashable,
        much: float,
        most: float,
        per_s: float,
    ) -> bool:
        now = self._clock()
        bucket = buckets.setdefault(account, _Bucket(most, now))
        return bucket.take(much, most, per_s, now)
