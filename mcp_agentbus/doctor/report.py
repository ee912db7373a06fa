# SPDX-License-Identifier: Apache-2.0
"""How `agentbus doctor` shows what it found: to a person, a mark and a line each, and no secret.

    >>> tell(Stage("claim", "failed", 12.3, "nothing came within 10 s", "Do this."), print)
    !!  claim         12 ms  nothing came within 10 s
                             Do this.

It decides nothing: what is wrong, and what to do about it, is said by each check and stage.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from mcp_agentbus.doctor.check import Check, Stage, State

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
_SECRET_NAMES: Final = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL", re.IGNORECASE)
_SECRET_MIN_CHARS: Final = 8


def lines(found: Sequence[Check], *, fixing: bool) -> Iterator[str]:
    """Yield what a person is shown of checks; `fixing` if they were mended, as far as that goes."""
    found = _in_few_lines(found)
    width = max(len(one.name) for one in found)
    for one in found:
        yield from _row(one.state, f"{one.name:{width}}", one.said, one.fix)
    counts = {state: sum(one.state == state for one in found) for state in _WORDS}
    if counts["ok"] == len(found):
        yield f"All {len(found)} checks are ok."
        return
    said = ", ".join(f"{many} {_WORDS[state]}" for state, many in counts.items() if many)
    mends = {one.mend.what for one in found if one.mend}
    more = f" `agentbus doctor --fix` mends {len(mends)} of them." if mends and not fixing else ""
    yield f"{len(found)} checks: {said}.{more}"


def tell(stage: Stage, out: Out) -> None:
    """Show a stage of a self-test."""
    for line in _row(stage.state, f"{stage.name:<8} {stage.ms:>7.0f} ms", stage.said, stage.fix):
        out(line)


def _in_few_lines(found: Sequence[Check]) -> list[Check]:
    """Return the checks with one line for all hosts that are not here."""
    away = [one for one in found if one.here is False]
    if len(away) < 2:
        return list(found)
    name = "other hosts" if any(one.here for one in found) else "hosts"
    line = Check(name, "ok", f"{away[0].said}: {', '.join(one.name for one in away)}")
    few = [line if one is away[-1] else one for one in found]
    return [one for one in few if one.here is not False]


def _row(state: str, head: str, said: str, fix: str) -> Iterator[str]:
    yield f"{_mark(state)}  {head}  {_plain(said)}"
    if fix:
        yield f"{'':{len(head) + 4}}  {_plain(fix)}"


def _plain(text: str) -> str:
    """Return one line without control characters, whatever a host's program has printed."""
    return "".join(one if one.isprintable() else " " for one in text)


def _mark(state: str) -> str:
    mark, colour = _MARKS[state]
    if not sys.stdout.isatty():
        return mark
    from rich.console import Console  # only where a person looks

    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(mark, style=colour, end="")
    return captured.get()
