# SPDX-License-Identifier: Apache-2.0
"""The bench runs and fills its table. What the figures are is no test's business."""

import json
import math
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import forking

_BENCH = Path(__file__).with_name("bench.py")
_BARS = [
    *("<= 1.8x", "<= 1.1x", "<= 1.05x", "<= 0.72x"),
    *["<= 2x"] * 6,
    *("", "first", "<= 1.3x", "<= 1.5x", ">= 0.85x"),
    *("", "", "", "", "<= 1.15x", ">= 0.85x"),
    *("<= 1.1x", "", "<= 0.25x", "<= 0.4x", "<= 3x", "<= 1.6x", "<= 0.5x", ""),
    *("<= 0.25x", "<= 2x", "<= 2x"),
    *("", "<= 1.5x", "<= 2.6x", "<= 1x", "< 0.5 %", ""),
    *("<= 1.2x", "", "<= 300 MiB", *[""] * 7, "<= 2.5x", *[""] * 7),
]


def test_the_bench_prints_one_row_for_each_bar_with_finite_numbers(tmp_path):
    """`bench.py --quick --scale --json` measures every row that needs no other program."""
    picture, run = tmp_path / "bench.svg", tmp_path / "run.json"
    run.write_text(_bench("--quick", "--scale", "--json"))

    table = json.loads(run.read_text())
    assert {"cpu", "cores", "python", "server", "at"} <= table["machine"].keys()
    assert [row["bar"] for row in table["rows"]] == _BARS
    for row in table["rows"]:
        if row["ours"] is None:
            assert "--peers" in row["note"] or "strace" in row["note"]
        else:
            figures = (row["ours"], row["floor"])
            assert all(map(math.isfinite, figures))
            # What idles may need no CPU at all.
            assert min(figures) > 0 or (row["unit"] == "%" and min(figures) == 0)

    with forking.on():
        section = _bench("--from", run, "--readme", "--svg", picture)

    for row in table["rows"]:
        assert f"| {row['what']} |" in section
    assert ET.parse(picture).getroot().tag.endswith("svg")


def _bench(*arguments):
    done = forking.ran([sys.executable, _BENCH, *arguments], 300)
    assert done.returncode == 0, done.stderr
    return done.stdout
