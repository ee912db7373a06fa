# SPDX-License-Identifier: Apache-2.0
"""How `agentbus doctor` shows what it found: to a person, a mark and a line each.

    >>> tell(Stage("claim", "failed", 12.3, "nothing came within 10 s", "Do this."), print)
    !!  claim         12 ms  nothing came within 10 s
                             Do this.

It decides nothing: what is wrong, and what to do about it, is said by each check and stage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from mcp_agentbus.core.feather.printer import columns
from mcp_agentbus.core.text import folded
from mcp_agentbus.doctor.check import Check, Stage, Stages, State

#: Takes a line that is to be printed.
Out = Callable[[str], None]

# By the state of a check or a stage.
_MARKS: Final = {
    "ok": ("ok", "green"),
    "warning": ("--", "yellow"),
    "skipped": ("--", "yellow"),
    "wrong": ("!!", "bold red"),
    "failed": ("!!", "bold red"),
    "unknown": ("??", "magenta"),
}
_WORDS: Final[Mapping[State, str]] = {
    "ok": "ok",
    "warning": "with a warning",
    "wrong": "wrong",
    "unknown": "not known",
}


def lines(checks: Sequence[Check], *, fixing: bool, faults_only: bool = False) -> Iterator[str]:
    """Yield what a person is shown of checks.

    Args:
        checks: all that were made.
        fixing: they were mended, as far as that goes.
        faults_only: those that are ok are counted, and not shown.
    """
    checks = _in_few_lines(checks)
    width = max(len(check.name) for check in checks)
    for check in checks:
        if faults_only and check.state == "ok":
            continue
        yield from _row(check.state, f"{check.name:{width}}", check.said, check.fix)
    counts = {state: sum(check.state == state for check in checks) for state in _WORDS}
    if counts["ok"] == len(checks):
        yield f"All {len(checks)} checks are ok."
        return
    sums = ", ".join(f"{many} {_WORDS[state]}" for state, many in counts.items() if many)
    bad = dict.fromkeys(check.name for check in checks if check.state in {"wrong", "unknown"})
    sums += f" ({', '.join(bad)})" if bad else ""
    mends = {check.mend.what for check in checks if check.mend}
    more = f" `agentbus doctor --fix` mends {len(mends)} of them." if mends and not fixing else ""
    yield folded(f"{len(checks)} checks: {sums}.{more}", columns())


def tell(stage: Stage, out: Out, *, faults_only: bool = False) -> None:
    """Show a stage of a self-test; with `faults_only` only if it failed."""
    if faults_only and stage.state != "failed":
        return
    for line in _row(stage.state, f"{stage.name:<8} {stage.ms:>7.0f} ms", stage.said, stage.fix):
        out(line)


def last_line(stages: Stages) -> str:
    """Return what sums up a self-test."""
    if stages.failed:
        return f"Failed: {', '.join(stages.failed)}."
    skipped = [stage.name for stage in stages.done if stage.state == "skipped"]
    more = f" Not tested: {', '.join(skipped)}." if skipped else ""
    return f"The task came through, and its result came back.{more}"


def _in_few_lines(checks: Sequence[Check]) -> list[Check]:
    """Return the checks with one line for all hosts that are not here.

    All that could not be found out by one and the same cause has one as well.
    """
    away = [check for check in checks if check.here is False]
    few = _as_one(checks, away, "other hosts" if any(check.here for check in checks) else "hosts")
    unknown: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        if check.state == "unknown":
            unknown.setdefault((check.said, check.fix), []).append(check)
    for alike in unknown.values():
        few = _as_one(few, alike, "several")
    return few


def _as_one(checks: Sequence[Check], alike: Sequence[Check], name: str) -> list[Check]:
    """Return the checks with one in the place of several of which the same is said."""
    if len(alike) < 2:
        return list(checks)
    said = f"{alike[0].said}: {', '.join(check.name for check in alike)}"
    line = replace(alike[-1], name=name, said=said, here=None)
    few = [line if check is alike[-1] else check for check in checks]
    return [check for check in few if all(check is not each for each in alike)]


def _row(state: str, head: str, said: str, fix: str) -> Iterator[str]:
    indent = " " * (len(head) + 6)
    width = max(0, columns() - len(indent))
    yield f"{_mark(state)}  {head}  {_under(said, width, indent)}"
    if fix:
        yield f"{indent}{_under(fix, width, indent)}"


def _under(said: str, width: int, indent: str) -> str:
    """Return what stands in the last column, with no word cut, and all of it in that column."""
    return folded(_plain(said), width).replace("\n", f"\n{indent}")


def _plain(printed: str) -> str:
    """Return one line without control characters, whatever a host's program has printed."""
    return "".join(letter if letter.isprintable() else " " for letter in printed)


def _mark(state: str) -> str:
    mark, colour = _MARKS[state]
    if not (sys.stdout and sys.stdout.isatty()):
        return mark
    from rich.console import Console  # only where a person looks

    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(mark, style=colour, end="")
    return captured.get()
