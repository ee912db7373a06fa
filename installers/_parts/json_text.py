# SPDX-License-Identifier: Apache-2.0
r"""JSON that somebody else formats: our pieces go into its text and out of it again.

    >>> theirs = '{\n  "a": 1\n}\n'
    >>> ours = Piece(("servers", "agentbus"), {"command": "x"})
    >>> take_out(put(theirs, [ours]), [ours], theirs) == theirs
    True

Only our own span of the text changes, so that indentation, order, line ends and comments stay what
they were. Pure: it opens no file. Comments and a comma behind the last member, which hosts'
settings may have, are passed over; what is not JSON besides is refused, and an object that names
one key twice. In an empty document, and in a `null`, there is nothing to lose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

_BLANKS: Final = " \t\r\n"
_SPACE: Final = re.compile(r"[ \t\r\n]*")
# What a document that says nothing begins as.
_NOTHING: Final = "{}\n"
# A string, which may hold anything, or what plain JSON has not.
_BESIDE: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|(?P<comment>//[^\n]*|/\*.*?\*/)', re.DOTALL)
_LAST_COMMA: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|(?P<comma>,)(?=[ \t\r\n]*[}\]])')
_KINDS: Final = {"{": "an object", "[": "a list", '"': "a string"}


class Unfit(ValueError):
    """The text cannot be edited; the message goes on after the file's name."""


@dataclass(frozen=True)
class Piece:
    """One thing of ours in a document."""

    #: Where it is: the keys from the top. For an element of a list, where the list is.
    keys: tuple[str, ...]
    value: Any
    #: Which elements of the list are ours; None if this is a member of an object.
    ours: Callable[[Any], bool] | None = None
    #: Set only where nothing is set, and kept while somebody else's new keys are beside it.
    default: bool = False

    @property
    def way(self) -> tuple[str, ...]:
        """The keys of the containers below the top."""
        return self.keys[:-1] if self.ours is None else self.keys


@dataclass(frozen=True)
class _Child:
    #: Of its key if it has one, else of its value.
    start: int
    value_start: int
    end: int
    key: str | None
    value: Any


@dataclass(frozen=True)
class _Box:
    """An object or a list: from its bracket to behind the other one."""

    start: int
    end: int
    children: list[_Child]


def check(text: str) -> None:
    """See that this is an object in JSON, with comments or without.

    Raises:
        Unfit: it is not; the message says where and why.
    """
    if is_nothing(text):
        return
    try:
        document = _DECODER.decode(_plain(text))
    except json.JSONDecodeError as error:
        raise Unfit(_why(text, error)) from None
    except RecursionError:
        raise Unfit("is nested too deeply") from None
    if not isinstance(document, dict):
        raise Unfit("must be one object, {...}, and is not")


def loaded(text: str) -> dict[str, Any]:
    """Return what a document says that `check` has let pass."""
    document: dict[str, Any] = {} if is_nothing(text) else _DECODER.decode(_plain(text))
    return document


def is_nothing(text: str) -> bool:
    """Tell whether a document says nothing: it is empty, or null."""
    return _plain(text).strip(_BLANKS) in {"", "null"}


def put(text: str, pieces: Sequence[Piece]) -> str:
    """Return the text with all pieces in it; one that is there already changes nothing.

    Raises:
        Unfit: something else is where a piece or its parents must be.
    """
    if is_nothing(text):
        text = _NOTHING
    for piece in pieces:
        text = _put(text, piece)
    return text


def take_out(text: str, pieces: Sequence[Piece], before: str | None) -> str:
    """Return the text without the pieces, and with what they had replaced.

    Args:
        text: the document as it is now.
        pieces: what `put` had put there.
        before: the document as it was then; None if that is not known. Then parents stay.

    Raises:
        Unfit: as `put`.
    """
    if is_nothing(text):
        return text
    if before is not None and is_nothing(before):
        before = _NOTHING
    for piece in reversed(pieces):
        while (less := _take_out(text, piece, before)) != text:
            text = less
    return text


def has(text: str, piece: Piece) -> bool:
    """Tell whether something is where the piece belongs."""
    return not is_nothing(text) and _slot(_boxes(text, piece), piece) is not None


def is_empty(text: str) -> bool:
    """Tell whether the document is an object without members."""
    plain = _plain(text)
    return is_nothing(text) or not _box(plain, _skip(plain, 0)).children


def _plain(text: str) -> str:
    """Return the text with blanks in the place of what plain JSON has not; as long as it was."""

    def blank(match: re.Match[str]) -> str:
        if match.lastgroup is None:  # a string
            return match[0]
        return re.sub(r"[^\r\n]", " ", match[0])

    return _LAST_COMMA.sub(blank, _BESIDE.sub(blank, text))


def _put(text: str, piece: Piece) -> str:
    boxes = _boxes(text, piece)
    slot = _slot(boxes, piece)
    if slot is not None:
        if piece.default or _same(slot.value, piece.value):
            return text
        written = _Style(text, boxes[-1], slot).value(piece.value)
        return text[: slot.value_start] + written + text[slot.end :]
    key = piece.keys[-1] if piece.ours is None else None
    value: Any = piece.value
    for name in reversed(piece.way[len(boxes) - 1 :]):
        key, value = name, [value] if key is None else {key: value}
    box = boxes[-1]
    null = _member(box, key) if key is not None else None
    if null:  # in the place of what is to be put there
        written = _Style(text, box, null).value(value)
        return text[: null.value_start] + written + text[null.end :]
    style = _Style(text, box, box.children[-1] if box.children else None)
    child = style.value(value) if key is None else style.member(key, value)
    if box.children:
        end = box.children[-1].end
        return f"{text[:end]},{style.lead}{child}{text[end:]}"
    inner = text[box.start + 1 : box.end - 1].rstrip(_BLANKS)  # comments, or nothing
    return f"{text[: box.start + 1]}{inner}{style.lead}{child}{style.tail}{text[box.end - 1 :]}"


def _take_out(text: str, piece: Piece, before: str | None) -> str:
    boxes = _boxes(text, piece)
    slot = _slot(boxes, piece)
    if slot is None:
        return text
    olds = [] if before is None else _boxes(before, piece)
    old = _slot(olds, piece)
    if piece.default and (old or not _all_known(boxes[-1], slot, olds)):
        return text
    if old is not None and before is not None:
        if _same(slot.value, old.value):
            return text
        return text[: slot.value_start] + before[old.value_start : old.end] + text[slot.end :]
    depth = len(boxes) - 1
    # A parent that was not there before goes along when nothing else is in it.
    while olds and depth >= len(olds) and len(boxes[depth].children) == 1:
        depth -= 1
        slot = next(child for child in boxes[depth].children if child.key == piece.way[depth])
    null = _member(olds[depth], slot.key) if depth < len(olds) and slot.key is not None else None
    if null is not None and before is not None:
        return text[: slot.value_start] + before[null.value_start : null.end] + text[slot.end :]
    inner = ""
    if before is not None and depth < len(olds) and not olds[depth].children:
        inner = before[olds[depth].start + 1 : olds[depth].end - 1]
    return _cut(text, boxes[depth], slot, inner)


def _cut(text: str, box: _Box, child: _Child, inner: str) -> str:
    """Take a child out with one of its commas; `inner` is left where it was the only one."""
    place = box.children.index(child)
    plain = _plain(text)
    if place:
        start = box.children[place - 1].end
        if (comma := plain.find(",", start, child.start)) >= 0:
            between = text[start:comma] + text[comma + 1 : child.start]
            # A comment that its user has written there since stays.
            return text[:start] + between.rstrip(_BLANKS) + text[child.end :]
    if len(box.children) > 1:
        comma = plain.index(",", child.end)
        return text[: child.start] + text[_skip(text, comma + 1) :]
    beside = text[box.start + 1 : child.start].rstrip(_BLANKS) + text[child.end : box.end - 1]
    if beside.strip(_BLANKS) and not inner.strip(_BLANKS):  # a comment of its user's since
        inner = beside
    return text[: box.start + 1] + inner + text[box.end - 1 :]


def _all_known(box: _Box, slot: _Child, olds: list[_Box]) -> bool:
    """Tell whether everything beside the slot was there before."""
    known = {child.key for child in olds[-1].children} if olds else set()
    return all(child is slot or child.key in known for child in box.children)


class _Style:
    """How a new child of a container is written, so that it looks like its neighbours."""

    def __init__(self, text: str, box: _Box, neighbour: _Child | None) -> None:
        plain = _plain(text)
        top = _box(plain, _skip(plain, 0))
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._unit = "  "
        first = _before(text, top.children[0].start) if top.children else ""
        if "\n" in first:
            self._unit = first.rpartition("\n")[2]
        #: What stands before the child, and after it if it is the only one.
        self.lead = self.tail = ""
        self._compact = False
        if neighbour:
            self.lead = _before(text, neighbour.start)
            self._compact = neighbour.key is not None and text[neighbour.value_start - 1] == ":"
            if "\n" not in self.lead and len(box.children) == 1 and not self._compact:
                self.lead = " "
        elif box.start == top.start or "\n" in text[top.start : top.end]:
            line = text[text.rfind("\n", 0, box.start) + 1 : box.start]
            self.tail = self._newline + line[: _skip(line, 0)]
            self.lead = self.tail + self._unit
        if "\n" in self.lead:  # of several empty lines one is enough
            self.lead = self._newline + self.lead.rpartition("\n")[2]

    def value(self, value: Any) -> str:
        if "\n" in self.lead:
            written = json.dumps(value, ensure_ascii=False, indent=self._unit)
            return written.replace("\n", self.lead)  # in a string it is written \n
        separators = (",", ":") if self._compact else (", ", ": ")
        return json.dumps(value, ensure_ascii=False, separators=separators)

    def member(self, key: str, value: Any) -> str:
        colon = ":" if self._compact else ": "
        return f"{json.dumps(key, ensure_ascii=False)}{colon}{self.value(value)}"


def _boxes(text: str, piece: Piece) -> list[_Box]:
    """Return the containers on the way to the piece, as far as they are there; the top first."""
    text = _plain(text)
    boxes = [_box(text, _skip(text, 0))]
    way = piece.way
    for depth, key in enumerate(way, 1):
        child = _member(boxes[-1], key)
        if child is None:
            break
        wanted = "[" if piece.ours is not None and depth == len(way) else "{"
        is_there = text[child.value_start]
        if child.value is None:
            break
        if is_there != wanted:
            name, kind = ".".join(way[:depth]), _KINDS.get(is_there, "a value")
            raise Unfit(f"has {kind} as {name}, where {_KINDS[wanted]} must be")
        boxes.append(_box(text, child.value_start))
    return boxes


def _slot(boxes: list[_Box], piece: Piece) -> _Child | None:
    """Return what is where the piece belongs."""
    if len(boxes) <= len(piece.way):
        return None
    if piece.ours is None:
        return _member(boxes[-1], piece.keys[-1])
    return next((child for child in boxes[-1].children if piece.ours(child.value)), None)


def _member(box: _Box, key: str) -> _Child | None:
    members = [child for child in box.children if child.key == key]
    if len(members) > 1:
        raise Unfit(f"has the key {json.dumps(key)} twice in one object. Take one of them out")
    return members[0] if members else None


def _box(text: str, start: int) -> _Box:
    """Read one container; its children are decoded, and only their places are kept."""
    children = []
    at = _skip(text, start + 1)
    while text[at] not in "}]":
        first, key = at, None
        if text[start] == "{":
            key, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        value, end = _DECODER.raw_decode(text, at)
        children.append(_Child(first, at, end, key, value))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return _Box(start, at + 1, children)


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _before(text: str, at: int) -> str:
    """Return the white space that ends there."""
    start = at
    while start and text[start - 1] in " \t\r\n":
        start -= 1
    return text[start:at]


def _same(one: Any, other: Any) -> bool:
    # As text: in Python 1 equals true.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _why(text: str, error: json.JSONDecodeError) -> str:
    line = text.count("\n", 0, _skip(text, error.pos)) + 1
    return f"is not JSON: {error.msg} in line {line}"


def _no_number(name: str) -> NoReturn:
    raise Unfit(f"is not JSON: {name} is no number there")


def _number(digits: str) -> Any:
    # Only compared: reading a very long one costs time, and Python refuses the longest.
    return int(digits) if len(digits) < 20 else digits


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number, parse_int=_number)
