# SPDX-License-Identifier: Apache-2.0
"""The measured rows as text: a table for the terminal, a section for docs/benchmarks.md.

>>> print(readme(["python tests/bench/bench.py"], machine, rows))
Made by `python tests/bench/bench.py`; it checks nothing, ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from measure import Row

_MET = {True: "yes", False: "NO", None: "-"}
_PICTURE = "bench.svg"


def machine_line(machine: Mapping[str, Any]) -> str:
    """Return what the figures depend on, in one line."""
    return ", ".join(str(one) for one in machine.values())


def table(rows: Sequence[Row]) -> str:
    """Return a line for each row, padded to columns."""
    lines = [("what", "ours", "floor", "ratio", "bar", "met", "the floor is", "note")]
    lines += [
        (
            one.what,
            figure(one.ours, one.unit),
            figure(one.floor, one.unit),
            _ratio(one),
            one.bar or "-",
            _MET[one.met],
            one.floor_is,
            one.note,
        )
        for one in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def readme(commands: Sequence[str], machine: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the text of the section in docs/benchmarks.md, between its markers."""
    barred = [one for one in rows if one.met is not None]
    missed = [one for one in barred if not one.met]
    made = " and ".join(f"`{one}`" for one in commands)
    lines = [
        f"{made} on {machine_line(machine)}.",
        "Both sides of a row run in the same minutes, in turn, and the figures are medians;",
        "it is the ratios that compare, and not the figures of two machines.",
        f"{len(barred) - len(missed)} of {len(barred)} bars are met{'; not met:' if missed else '.'}",
    ]
    if missed:
        lines += ["", *(f"- {_missed(one)}" for one in missed)]
    lines += [
        "",
        f"![Ours as ratios to what it is compared with, and the bars]({_PICTURE})",
        "",
        "<details><summary>All rows</summary>",
        "",
        "| what | ours | compared with | ratio | bar | met |",
        "|---|---:|---|---:|---|---|",
    ]
    lines += [
        f"| {one.what} | {figure(one.ours, one.unit)} | {_compared(one)} | {_ratio(one)} "
        f"| {_bar(one)} | {_met(one)} |"
        for one in rows
    ]
    return "\n".join([*lines, "", "</details>"])


def _missed(one: Row) -> str:
    return f"{one.what}: {_ratio(one)}x of {one.floor_is.partition(':')[0]}, the bar is {_bar(one)}"


def _bar(one: Row) -> str:
    return one.bar.replace("<=", "≤").replace(">=", "≥")


def _compared(one: Row) -> str:
    if one.floor is None:
        return f"{one.floor_is}: {one.note}"
    given = figure(one.floor, one.unit)
    return given if one.floor_is == "first" else f"{given}: {one.floor_is.partition(': its ')[0]}"


def _met(one: Row) -> str:
    return {True: "yes", False: "**no**", None: ""}[one.met]


def _ratio(one: Row) -> str:
    return f"{one.ratio:.2f}" if one.ratio is not None else "-"


def figure(value: float | None, unit: str) -> str:
    """Return a measured value with its unit."""
    if value is None:
        return "-"
    digits = 0 if value >= 1000 or not unit else 1 if value >= 100 else 2
    return f"{value:,.{digits}f} {unit}".strip()
