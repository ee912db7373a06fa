# SPDX-License-Identifier: Apache-2.0
"""How much an account may do: at rates that no honest machine meets, so that no other is kept out.

quota = Quota()
quota.may_send("laptop", "planner", size)
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from typing import Final

# What an account's agents may send together, in tasks a minute and bytes a minute.
TASKS_PER_MINUTE: Final = 1_200
BYTES_PER_MINUTE: Final = 64 << 20
# Sessions and listeners of an account that say at a time that they live.
SESSIONS_MAX: Final = 500
# Requests of an account that are answered at once, and those a second from then on; the others wait
# at the server. One with a large body is as much as several.
_REQUESTS_AT_ONCE: Final = 4_000
REQUESTS_PER_S: Final = 1_500
_BYTES_OF_ONE: Final = 16 << 10
# For so long an account that asks more is not heard, in seconds.
_REST_S: Final = 0.05
_MINUTE_S: Final = 60.0
# As long as a sign of life counts.
_LIVES_S: Final = 15.0


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
        self._tasks: dict[str, _Bucket] = {}
        self._bytes: dict[str, _Bucket] = {}
        self._requests: dict[str, _Bucket] = {}
        self._sessions: dict[str, dict[str, float]] = {}

    def may_send(self, account: str, size: int) -> bool:
        """Tell whether an account may send one more task of that size, and count it."""
        tasks, bytes_ = TASKS_PER_MINUTE, BYTES_PER_MINUTE
        return self._take(self._tasks, account, 1, tasks, tasks / _MINUTE_S) and self._take(
            self._bytes, account, size, bytes_, bytes_ / _MINUTE_S
        )

    def may_live(self, account: str, session: str) -> bool:
        """Tell whether one more session of an account may say that it lives, and count it."""
        now, sessions = self._clock(), self._sessions.setdefault(account, {})
        if session not in sessions and len(sessions) >= SESSIONS_MAX:
            for name in [name for name, at in sessions.items() if now - at > _LIVES_S]:
                del sessions[name]
            if len(sessions) >= SESSIONS_MAX:
                return False
        sessions[session] = now
        return True

    def rest_s(self, account: str, size: int) -> float:
        """Count a request; return for how long the account's next is to wait, in seconds."""
        much = 1 + size / _BYTES_OF_ONE
        may = self._take(self._requests, account, much, _REQUESTS_AT_ONCE, REQUESTS_PER_S)
        return 0.0 if may else _REST_S

    def _take(
        self,
        buckets: MutableMapping[str, _Bucket],
        account: str,
        much: float,
        most: float,
        per_s: float,
    ) -> bool:
        now = self._clock()
        bucket = buckets.setdefault(account, _Bucket(most, now))
        return bucket.take(much, most, per_s, now)
