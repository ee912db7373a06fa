# SPDX-License-Identifier: Apache-2.0
"""Whether processes take more and more: memory, descriptors, or a processor while nobody works.

    >>> grown([Sample(at=10, pid=7, ...), Sample(at=300, pid=7, ...)])
    ['listener 7: 61 MB after 20 s, 240 MB after 300 s']

Pure: samples in, sentences out.
"""

from __future__ import annotations

from collections import defaultdict

from machine import Sample

# What a process has loaded after so long it keeps; from then on it should stay as it is. On a busy
# machine it may have got little of a processor by then: a listener loads for half a second of one.
_WARM_S = 20.0
_WARM_CPU_S = 1.0
# A process that was seen for less time than this says nothing about growth.
_LONG_S = 60.0
# Room for what comes and goes: sessions of a listener, a server's caches, answers under way.
# A session that served itself from then on has loaded all that its listener had for it.
_MB = {"server": 160.0, "session": 96.0}
_MB_ELSE = 48.0
_DESCRIPTORS = 60
_HALF = 0.5


def grown(samples: list[Sample]) -> list[str]:
    """Return which processes took much more at their end than when they had begun."""
    lives = defaultdict(list)
    for taken in samples:
        lives[taken.pid, taken.kind].append(taken)
    told = []
    for (pid, kind), life in lives.items():
        warm = [
            taken
            for taken in life
            if taken.at - life[0].at >= _WARM_S and taken.cpu_s >= _WARM_CPU_S
        ]
        if not warm or life[-1].at - life[0].at < _LONG_S:
            continue
        # The least of the last third: a peak is no growth.
        late = warm[len(warm) * 2 // 3 :]
        rss, descriptors = min(one.rss_mb for one in late), min(one.descriptors for one in late)
        if rss > warm[0].rss_mb + _MB.get(kind, _MB_ELSE):
            told.append(f"{kind} {pid}: {warm[0].rss_mb:.0f} MB, later {rss:.0f} MB")
        if descriptors > warm[0].descriptors + _DESCRIPTORS:
            told.append(f"{kind} {pid}: {warm[0].descriptors} descriptors, later {descriptors}")
    return told


def spinning(before: list[Sample], after: list[Sample]) -> list[str]:
    """Return which processes took half a processor or more between two moments without work."""
    first = {taken.pid: taken for taken in before}
    told = []
    for taken in after:
        if (earlier := first.get(taken.pid)) is None:
            continue
        share = (taken.cpu_s - earlier.cpu_s) / (taken.at - earlier.at)
        if share >= _HALF:
            told.append(f"{taken.kind} {taken.pid} took {share:.0%} of a processor without work")
    return told
