# SPDX-License-Identifier: Apache-2.0
"""How much of a stream each account has: where it grows full, none may have more than the others.

    holdings = Holdings()
    holdings.look(room, taken)                  # what the server says of the stream
    holdings.counted({"laptop": 3 << 20})       # what was counted in it
    holdings.take("laptop", 1_000)

Pure, but for the clock. Nobody has to be known, and no number of accounts: each may have a third of
what is free. So whatever number takes all it can, room is left, and a third of it for each that has
less: of 4 GiB one alone stops at half, and ten leave a quarter.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

# Below that nobody is counted: what an account may store in a day is less.
_COUNTED_FROM: Final = 0.5
_SHARE_OF_FREE: Final = 1 / 3
# To count is to read the stream: so many times as long as that took nobody does it again, and not
# for as many seconds.
_RESTS: Final = 20
_RESTS_S: Final = 60.0


class Holdings:
    """What the accounts have in one stream."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._room = self._taken = 0
        self._has: Counter[str] = Counter()
        #: What was stored since somebody began to count.
        self._since: Counter[str] = Counter()
        self._counting_from = self._next = 0.0

    def look(self, room: int, taken: int) -> None:
        """Note what a stream may have, and has, in bytes; no limit is none."""
        self._room, self._taken = room, taken
        if not self._is_short:  # what was counted once is of no use any more
            self._has.clear()
            self._since.clear()

    @property
    def _is_short(self) -> bool:
        return self._taken > _COUNTED_FROM * self._room > 0

    def begin(self) -> bool:
        """Tell whether it is to be counted; what is stored from then on is noted beside that."""
        if not self._is_short or self._clock() < self._next:
            return False
        self._counting_from = self._clock()
        self._since.clear()
        return True

    def counted(self, has: Mapping[str, int]) -> None:
        """Note what each account has, in bytes."""
        self._has = Counter(has)
        took_s = self._clock() - self._counting_from
        self._next = self._clock() + max(_RESTS_S, _RESTS * took_s)

    def take(self, account: str, size: int) -> bool:
        """Tell whether an account may have so many bytes more, and count them."""
        has = self._has[account] + self._since[account]
        if self._is_short and has + size > (self._room - self._taken) * _SHARE_OF_FREE:
            return False
        self._since[account] += size
        self._taken += size
        return True
