# SPDX-License-Identifier: Apache-2.0
"""A process that takes more and more is found, and one that only works is not."""

from growth import grown, spinning
from machine import Sample


def test_a_process_that_takes_more_and_more_is_named_and_one_that_has_a_peak_is_not():
    assert grown(_life(40, 60, 60, 160, 60, 60)) == []
    assert "listener 7" in grown(_life(40, 60, 90, 120, 150, 180))[0]


def test_a_process_that_has_not_begun_to_work_has_not_grown_by_what_it_loads():
    """On a busy machine it gets so little of a processor."""
    assert grown(_life(12, 26, 60, 82, 82, 82, cpu_s=0.3)) == []
    assert "listener 7" in grown(_life(12, 26, 60, 120, 150, 180, cpu_s=0.5))[0]


def _life(*sizes, cpu_s=1.0):
    """Return samples of a listener, one each 20 s for which it has so much of a processor."""
    return [Sample(at * 20.0, 7, "listener", mb, 9, at * cpu_s) for at, mb in enumerate(sizes)]


def test_a_process_that_works_while_nobody_asks_is_named():
    before = [Sample(1.0, 7, "listener", 60, 9, 3.0), Sample(1.0, 8, "server", 60, 9, 3.0)]
    after = [Sample(3.0, 7, "listener", 60, 9, 4.9), Sample(3.0, 8, "server", 60, 9, 3.1)]

    assert spinning(before, after) == ["listener 7 took 95% of a processor without work"]
