# SPDX-License-Identifier: Apache-2.0
"""What every row is made of: two sides measured in turn, their medians, the bar between them.

    >>> ours, floor = await interleaved(20, send, empty_call)
    >>> row("send_task p50", ours, floor, unit="ms", floor_is="empty call", bar=Bar(2.0)).met
    True

Both sides run in the same minute on the same machine, one after the other, A B A B: whatever else
the machine does hits both. Figures of two runs do not compare; the ratio of one run does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

#: Does one thing and returns what it measured: mostly seconds.
Side = Callable[[], Awaitable[float]]
_WARM_UP = 3


@dataclass(frozen=True)
class Size:
    """How much a run does."""

    #: Repetitions of what takes a second: starts of whole processes.
    rounds: int = 15
    #: For each of these: of what takes milliseconds, and of what waits first.
    calls_each: int = 10
    waits_each: int = 4
    #: A long inbox, and a short one.
    deep: int = 10_000
    shallow: int = 10
    #: Records on a server with many of them, and with few.
    many: int = 100_000
    few: int = 1_000
    #: Sends in a row that make one figure of sends per second.
    burst: int = 50
    #: Sessions of one user, and outstanding calls of one that floods.
    sessions: int = 20
    flood: int = 32
    #: For `--scale`: agents, records, sessions on one listener; the same few for each of them.
    agents: int = 1_000
    records: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    #: Looks at random ones among the most records, and after how many seconds each it is seen what
    #: the server keeps: what it knows of a block it forgets two minutes after its last use, and Go
    #: gives back what is free at its third look, one every two minutes.
    reads: int = 10_000
    settles_s: tuple[float, ...] = (60.0, 420.0)
    crowd: int = 50
    handful: int = 10
    #: Seconds of watching what idles: in 30 of them a listener looks at each agent once.
    idle_s: float = 30.0
    #: What the messages of all rows carry.
    body: str = "x" * 1_000

    @property
    def calls(self) -> int:
        """Repetitions of what takes milliseconds."""
        return self.rounds * self.calls_each

    @property
    def waits(self) -> int:
        """Repetitions of what waits first, so that somebody is blocked."""
        return self.rounds * self.waits_each


QUICK = Size(
    rounds=1,
    calls_each=2,
    waits_each=1,
    deep=40,
    many=100,
    few=20,
    burst=5,
    sessions=2,
    flood=4,
    agents=6,
    records=(20, 100),
    reads=20,
    settles_s=(0.1, 0.2),
    crowd=3,
    handful=2,
    idle_s=1.0,
)


@dataclass(frozen=True)
class Bar:
    """What the ratio of ours to the floor has to keep."""

    limit: float
    at_least: bool = False

    def met(self, ratio: float) -> bool:
        """Tell whether the ratio keeps it."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}x"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    #: What the floor is.
    floor_is: str
    unit: str = ""
    #: Medians; None where nothing was measured, and `note` says why.
    ours: float | None = None
    floor: float | None = None
    #: The bar as DESIGN.md section 9 has it; empty where it has none.
    bar: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How much of the floor ours is."""
        return self.ours / self.floor if self.ours is not None and self.floor else None


def row(
    what: str,
    ours: list[float],
    floor: list[float],
    *,
    unit: str,
    floor_is: str,
    bar: Bar | None = None,
    note: str = "",
) -> Row:
    """Return the line for what was measured; seconds become milliseconds where `unit` says so."""
    scale = 1000 if unit == "ms" else 1
    mine, theirs = (statistics.median(side) * scale for side in (ours, floor))
    return Row(
        what=what,
        floor_is=floor_is,
        unit=unit,
        ours=mine,
        floor=theirs,
        bar=str(bar or ""),
        met=bar.met(mine / theirs) if bar else None,
        note=note or f"{len(ours)} rounds, quartiles {_quartiles(ours, scale)}",
    )


def missing(what: str, floor_is: str, bar: Bar | None, why: str) -> Row:
    """Return the line for what could not be measured."""
    return Row(what=what, floor_is=floor_is, bar=str(bar or ""), note=f"not measured: {why}")


async def interleaved(
    rounds: int, ours: Side, floor: Side, *, warm_up: int = _WARM_UP
) -> tuple[list[float], list[float]]:
    """Return what both sides measured, ours and floor in turn; the first few are left out.

    Of fewer rounds than are left out of others none is: then it is no figure that is wanted.
    """
    warm_up = warm_up if rounds > _WARM_UP else 0
    figures: tuple[list[float], list[float]] = ([], [])
    for number in range(warm_up + rounds):
        for side, kept in zip((ours, floor), figures, strict=True):
            figure = await side()
            if number >= warm_up:
                kept.append(figure)
    return figures


async def timed(work: Awaitable[object]) -> float:
    """Await `work` and return the seconds it took."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def _quartiles(figures: list[float], scale: float) -> str:
    low, _, high = statistics.quantiles(figures, n=4) if len(figures) > 1 else figures * 3
    return f"{low * scale:.3g}..{high * scale:.3g}"
