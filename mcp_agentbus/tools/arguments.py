# SPDX-License-Identifier: Apache-2.0
"""What a client has given for a tool, as it was meant: clients spell one call in many ways.

    >>> as_meant(SendTask, {"to": '["coder"]', "subject": 7, "priority": "HIGH", "thread_id": ""})
    {'to': ['coder'], 'subject': '7', 'priority': 'high'}

Some fill in every argument that a schema names, some write a list as JSON in a text, some models a
number where a text is due. What has one meaning only is taken; all else, and every name that the
tool does not have, is left as it is, for the schema to refuse.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mcp_agentbus.core import text

# What stands for nothing where it is no value; any other text may be meant as it is.
_NOTHING: Final = frozenset({"null", "none", "undefined"})
# Beside one of these words `none` may be meant as that one.
_SAY_NONE: Final = frozenset({"never", "nothing"})
_ZERO: Final = (0, "0")
# The defaults which say that there is none.
_NONE: Final = (None, "any")
_NOT_GIVEN: Final = object()
# So many wrong arguments are named; one call has hardly more of its own.
_COMPLAINTS_MAX: Final = 8
# More than the longest list that a tool takes, and little enough to be read at once.
_LIST_MAX_CHARS: Final = 400_000
_Kind = Literal["word", "list", "text", "number", "boolean"]


@dataclass(frozen=True)
class _Shape:
    """What an argument is, by its schema."""

    kind: _Kind
    #: It has a default.
    may_be_left_out: bool
    #: Texts that are no value which it may have, or there is none unless one is given: `null`.
    nothing: frozenset[str] = frozenset()
    #: Nor is 0.
    has_no_zero: bool = False
    #: Of a `word`: those that there are.
    words: tuple[str, ...] = ()
    #: Of a `list`: one text does as well, with commas between several.
    or_text: bool = False
    #: Of a `number`: it is a duration, which may have units.
    in_seconds: bool = False
    #: Nor may it have a part of one.
    is_whole: bool = False


def as_meant(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a client has given, without those that it has not given really.

    Not given are null, and for what may be left out an empty text, and also 0, `null` and `none`
    where they are no value: where the default is that there is none, or the kind, the words that
    there are or the least number rule them out; and for a priority `any`.
    """
    shapes = _shapes(model)
    meant: dict[str, Any] = {}
    for name, value in given.items():
        meant[name] = _meant(shapes[name], value) if name in shapes else value
    return {name: value for name, value in meant.items() if value is not _NOT_GIVEN}


def _meant(shape: _Shape, value: Any) -> Any:
    if value is None or _is_empty(shape, value):
        return _NOT_GIVEN
    match shape.kind:
        case "text":
            return _text(value)
        case "word":
            return _word(shape.words, value)
        case "list":
            return _list(value, or_text=shape.or_text)
    if shape.in_seconds:
        return _seconds(value, is_whole=shape.is_whole)
    return value  # pydantic reads "5" and "true"


def _is_empty(shape: _Shape, value: Any) -> bool:
    """Tell whether a value stands for none at all."""
    if isinstance(value, str):
        word = value.strip().casefold()
        if (not word and shape.may_be_left_out) or word in shape.nothing:
            return True
    is_zero = value in _ZERO and not isinstance(value, bool) if _is_plain(value) else False
    return is_zero and shape.has_no_zero


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, int | float) else value


def _word(words: tuple[str, ...], value: Any) -> Any:
    """Return the word that is meant, whatever its case and what joins its parts."""
    if not isinstance(value, str):
        return value
    word = value.strip().casefold().replace("-", "_").replace(" ", "_")
    return word if word in words else value


def _seconds(value: Any, *, is_whole: bool) -> Any:
    with suppress(ValueError):
        value = text.seconds(value) if isinstance(value, str) else value
    # Up: half a second is not none.
    return math.ceil(value) if is_whole and _is_finite(value) else value


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _list(value: Any, *, or_text: bool) -> Any:
    """Return the list that is meant by a list, one value, or the JSON of either."""
    is_json = isinstance(value, str) and value.lstrip().startswith(("[", '"'))
    if is_json and len(value) <= _LIST_MAX_CHARS:
        with suppress(ValueError):
            value = text.from_json(value)
    if isinstance(value, str) and or_text:
        parts = [part.strip() for part in value.split(",")]
        return parts if len(parts) > 1 else parts[0]
    if isinstance(value, list):
        return [_text(each) for each in value if each not in (None, "")]
    return [_text(value)] if _is_plain(value) else value


@cache
def _shapes(model: type[BaseModel]) -> dict[str, _Shape]:
    schema = model.model_json_schema()
    return {
        name: _shape(name, schema["properties"][name], field)
        for name, field in model.model_fields.items()
    }


def _shape(name: str, schema: dict[str, Any], field: FieldInfo) -> _Shape:
    kinds = {one.get("type") for one in schema.get("anyOf", [schema])}
    words = tuple(schema.get("enum", ()))
    kind: _Kind = "boolean" if "boolean" in kinds else "number"
    if words:
        kind = "word"
    elif "array" in kinds:
        kind = "list"
    elif "string" in kinds:
        kind = "text"
    none, required = field.default in _NONE, field.is_required()
    return _Shape(
        kind,
        may_be_left_out=not required,
        nothing=_nothing(name, words) if none or (not required and kind != "text") else frozenset(),
        has_no_zero=kind == "number" and (none or (not required and schema.get("minimum", 0) > 0)),
        words=words,
        or_text="string" in kinds,
        in_seconds=name.endswith("_s"),
        is_whole="integer" in kinds,
    )


def _nothing(name: str, words: tuple[str, ...]) -> frozenset[str]:
    """Return the texts that stand for no value of an argument, which may have these words."""
    some = _NOTHING - {"none"} if _SAY_NONE.intersection(words) else _NOTHING
    return some | ({"any"} if name == "priority" else set()) - {*words}


def complaints(error: ValidationError) -> str:
    """Return what is wrong with which arguments; the first few, so that the hint keeps its room."""
    # That None would do as well is said of each optional one, and its schema does not offer it.
    wrong = [fault for fault in error.errors() if fault["type"] != "none_required"]
    more = f"; and {len(wrong) - _COMPLAINTS_MAX} more" if len(wrong) > _COMPLAINTS_MAX else ""
    return "; ".join(map(_complaint, wrong[:_COMPLAINTS_MAX])) + more


def _complaint(fault: Any) -> str:
    name, *inside = fault["loc"] or ("input",)
    # What stands between names a type, such as `list[str]`.
    where = [str(name)[:60], *(str(part) for part in inside if isinstance(part, int))]
    return f"{'.'.join(where)}: {fault['msg'][:200]}"
