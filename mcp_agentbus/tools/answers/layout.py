# SPDX-License-Identifier: Apache-2.0
"""How an answer is laid out within what hosts let through, whatever peers have written.

    >>> laid_out(["Inbox of coder: ok, 1 task."], [Block("Task 9d0c", said, way)], "whole(ID)")

An answer is this program's own lines, and blocks: a line of facts, then what a peer wrote of it, in
a frame, as far as there is room. Of what is left out the answer says how much it is, and which call
gives it. Characters are counted as they are shown: escapes and indents make texts longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Final

from mcp_agentbus.core.framing import INDENT, escape, frame, one_line, part
from mcp_agentbus.store.task import Receipt

#: In one answer, frames included: Claude Code keeps 30,000 of a shell's, OpenClaw 32,000 of a
#: tool's.
ANSWER_MAX_CHARS: Final = 28_000
#: Of these what may be said of the session besides, behind the answer.
REMARKS_MAX_CHARS: Final = 2_000
#: What an answer itself may have.
ROOM: Final = ANSWER_MAX_CHARS - REMARKS_MAX_CHARS
#: Of that, for what it says of those for which it has no room.
MORE_CHARS: Final = 300
# Of each text where no more was asked for, and of each where there are many.
_CONCISE_CHARS: Final = 2_000
_LEAST_CHARS: Final = 60
# Of all notes, and of the ids of those for which there is no room: 50 tasks, 50 held and 50 results
# have it. Only of those that an answer gave before there may be more.
_NOTES_CHARS: Final = 5_000
_IDS_CHARS: Final = 10_000
# The lines around a frame's text, without the name; the same of the line on the rest, without id.
_FRAME_CHARS: Final = len(frame("", said_by="")) + len(INDENT) + 12
_REST_CHARS: Final = 130


@dataclass(frozen=True)
class Said:
    """What a peer has written."""

    text: str
    #: Which agent; empty for several.
    by: str


@dataclass(frozen=True)
class Way:
    """How a reader gets at what an answer leaves out of a task."""

    task_id: str
    #: What gives all of it.
    whole: str
    #: Returns what gives its texts from a character on.
    rest: Callable[[int], str]


@dataclass(frozen=True)
class Block:
    """What an answer tells of one task."""

    #: In this program's own words, without a line break.
    facts: str
    said: Said
    way: Way
    #: The text is only the beginning of what there is of the task.
    is_reminder: bool = False

    @property
    def least(self) -> int:
        """How many characters it takes at least, if its text is no shorter."""
        around = _FRAME_CHARS + len(self.said.by) + _REST_CHARS + len(self.way.whole)
        return len(self.facts) + around + _LEAST_CHARS


class Laid(str):
    """The text of an answer, which knows of which tasks it leaves some out."""

    __slots__ = ("cut",)
    cut: frozenset[str]

    @classmethod
    def of(cls, lines: Iterable[str], cut: Iterable[str]) -> Laid:
        """Return what these lines are together."""
        laid = cls("\n".join(lines))
        laid.cut = frozenset(cut)
        return laid


def fitting(costs: Iterable[int], room: int) -> int:
    """Return how many of the first have room together, by their lengths and a line break each."""
    return sum(1 for _ in takewhile(room.__ge__, accumulate(cost + 1 for cost in costs)))


def laid_out(
    lines: Sequence[str], blocks: Sequence[Block], whole: str, *, full: bool = False
) -> Laid:
    """Return an answer: its lines, then the blocks.

    Args:
        lines: this program's own.
        blocks: those for which there is no room are named in a line, by their ids.
        whole: what gives all of one of those; with ID for its id.
        full: long texts as far as there is room; else about 2,000 characters of each.
    """
    room = ROOM - sum(len(line) + 1 for line in lines)
    # The ids of all, if it must be: then as many blocks as the rest of the room has.
    named = min(_IDS_CHARS, sum(len(block.way.task_id) + 2 for block in blocks)) + _REST_CHARS
    by_need = sorted(blocks, key=lambda block: block.is_reminder)
    count = fitting((block.least for block in by_need), room)
    if count < len(blocks):
        count = fitting((block.least for block in by_need), room - named)
    left_out = by_need[count:]
    chosen = set(map(id, by_need[:count]))
    shown = [block for block in blocks if id(block) in chosen]
    texts = [block.said.text for block in shown]
    around = sum(block.least - _LEAST_CHARS + 1 for block in shown)
    if left_out:
        around += named
    wanted = room - around if full else min(_CONCISE_CHARS * len(texts), room - around)
    answer = list(lines)
    cut = {block.way.task_id for block in left_out if not block.is_reminder}
    for block, limit in zip(shown, _shares(texts, wanted), strict=True):
        told, is_all = _block_lines(block, limit)
        answer += ["", *told]
        cut |= set() if is_all else {block.way.task_id}
    if left_out:
        ids = [block.way.task_id for block in left_out]
        count = fitting((len(task_id) + 1 for task_id in ids), _IDS_CHARS)
        more = f" and {len(ids) - count} that were given before" if count < len(ids) else ""
        said = (
            f"{len(ids)} more have no room here; each whole: {whole} for {', '.join(ids[:count])}"
        )
        answer += ["", said + more]
    return Laid.of(answer, cut)


def _block_lines(block: Block, room: int) -> tuple[list[str], bool]:
    """Return a block as it is shown, and whether nothing is left out that was to be read here."""
    if not block.is_reminder:
        # Where nothing is left out there is no line on the rest, and the text has its room.
        with_rest = room + _REST_CHARS
        is_all = _shown_chars(block.said.text, with_rest + 1) <= with_rest
        said, is_all = sequence([block.said], block.way, with_rest if is_all else room)
        return [block.facts, *said], is_all
    facts = f"{block.facts} \u00b7 the whole: {block.way.whole}"
    return [facts, frame(one_line(block.said.text, room), said_by=block.said.by)], True


def sequence(
    texts: Sequence[Said], way: Way, room: int, *, start: int = 0, offset: int = 0
) -> tuple[list[str], bool]:
    """Return texts that are read as one, from its character `start` on, and the way to the rest.

    With them whether there is no rest. Each stands in a frame of its own. `offset` is what the way
    counts besides, before it.
    """
    lines: list[str] = []
    total, begins = sum(len(said.text) for said in texts), 0
    for said in texts:
        at, begins = start - begins, begins + len(said.text)
        if at >= len(said.text) and at > 0:
            continue
        shown = part(said.text, at, room - sum(len(line) + 1 for line in lines))
        lines.append(frame(shown.text, said_by=said.by))
        if shown.next is not None:
            cursor = begins - len(said.text) + shown.next
            so_far = f"{cursor:,} of {total:,} characters shown"
            return [*lines, f"{so_far}; the rest: {way.rest(offset + cursor)}"], False
        start = begins
    return lines, True


def noted(notes: Sequence[str]) -> list[str]:
    """Return a line for each note, or for the first of very many and for how many there are."""
    lines = [f"Note: {note}" for note in notes]
    count = fitting(map(len, lines), _NOTES_CHARS)
    if count < len(lines):
        return [*lines[:count], f"Note: {len(lines) - count} more of this kind."]
    return lines


def worst_first(receipts: Sequence[Receipt]) -> list[Receipt]:
    """Return the receipts, those of whom nothing is stored first."""
    return sorted(receipts, key=lambda receipt: receipt.state != "refused")


def more_receipts(receipts: Sequence[Receipt], count: int) -> str:
    """Return what to say of those behind so many of the worst, as a hint."""
    left_out = worst_first(receipts)[count:]
    counts = Counter(receipt.state for receipt in left_out)
    here = f" {counts['stored_here']} stored here," if counts["stored_here"] else ""
    return (
        f"{len(left_out)} more: {counts['stored']} stored,{here} {counts['refused']} refused. "
        "Their results come to this inbox. With a request_id the same call to one of them gives "
        "its task_id."
    )


def _shares(texts: Sequence[str], room: int) -> Iterator[int]:
    """Yield how much of each text is shown: an equal share, and what shorter ones leave over."""
    each = max(_LEAST_CHARS, room // max(1, len(texts)))
    lengths = [_shown_chars(text, room) for text in texts]
    spare = room - sum(min(length, each) for length in lengths)
    for length in lengths:
        extra = min(max(0, length - each), max(0, spare))
        spare -= extra
        yield each + extra


def _shown_chars(text: str, most: int) -> int:
    """Return how many characters a text takes in a frame, if those are not over `most`."""
    text = text[: max(0, most)]
    return len(escape(text)) + len(INDENT) * text.count("\n")
