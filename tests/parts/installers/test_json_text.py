# SPDX-License-Identifier: Apache-2.0
"""JSON as its author formats it, whatever that is: our pieces go in, stay once, and go out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_agentbus.installers._parts import json_text
from mcp_agentbus.installers._parts.edit import Piece, merge, record_of, remove
from pieces import ALL, HOOK, SERVER, is_ours, left

KEYS = st.sampled_from(["hooks", "mcpServers", "stop", "a", "ü\u2028", '"\\/', ""]) | st.text(max_size=4)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


@st.composite
def documents(draw):
    """An object into which the pieces fit, as its author formats it."""
    found = draw(OBJECTS)
    if draw(st.booleans()):
        servers = draw(OBJECTS)
        servers.pop("agentbus", None)
        found["mcpServers"] = servers
    else:
        found.pop("mcpServers", None)
    if draw(st.booleans()):
        found["hooks"] = draw(OBJECTS)
        if draw(st.booleans()):
            found["hooks"]["stop"] = draw(st.lists(VALUES, max_size=3))
        else:
            found["hooks"].pop("stop", None)
    else:
        found.pop("hooks", None)
    return written(draw, found)


def written(draw, found):
    indent = draw(st.sampled_from([None, 0, 2, 4, "\t"]))
    separators = draw(st.sampled_from([None, (",", ":"), (" , ", " : "), (", ", ":")]))
    text = json.dumps(found, indent=indent, separators=separators, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):  # empty containers are not always written without a space
        blank = draw(st.sampled_from([" ", "\n", "\n\n  "]))
        text = text.replace(": {}", f": {{{blank}}}").replace(": []", f": [{blank}]")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(st.sampled_from(["", "\n", " "])) + text + draw(st.sampled_from(["", "\n", "\r\n"]))


def encoded(text, *, mark):
    return (b"\xef\xbb\xbf" if mark else b"") + text.encode("utf-8", "surrogatepass")


def with_ours(found):
    """What the document must say once all pieces are in it."""
    hooks = found.get("hooks", {})
    stop = [*hooks.get("stop", []), HOOK.value]
    return {
        "version": 1,
        **found,
        "hooks": {**hooks, "stop": stop},
        "mcpServers": {**found.get("mcpServers", {}), "agentbus": SERVER.value},
    }


@given(documents(), st.booleans())
def test_what_went_in_goes_out_byte_for_byte(text, mark):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mcp.json")
        try:
            theirs = encoded(text, mark=mark)
            theirs.decode()
        except UnicodeError:
            return  # half a surrogate pair, which no file can hold
        file.write_bytes(theirs)

        assert merge(file, *ALL)
        once = file.read_bytes()
        assert not merge(file, *ALL)

        assert file.read_bytes() == once
        assert json.loads(once.decode("utf-8-sig")) == with_ours(json.loads(text))
        assert record_of(file).read_bytes() == theirs
        assert remove(file, *ALL)
        assert file.read_bytes() == theirs
        assert left(Path(folder)) == ["mcp.json"]


@given(st.data())
def test_what_others_write_meanwhile_stays(data):
    found = data.draw(OBJECTS.filter(lambda found: not {"mcpServers", "hooks"} & set(found)))
    before = written(data.draw, found)
    merged = json.loads(json_text.put(before, ALL))
    merged["mcpServers"] = around(data.draw, merged["mcpServers"])
    stop = merged["hooks"]["stop"]
    merged["hooks"] = around(data.draw, merged["hooks"])
    merged["hooks"]["stop"] = data.draw(st.lists(VALUES, max_size=2)) + stop + data.draw(st.lists(VALUES, max_size=2))  # fmt: skip
    edited = written(data.draw, around(data.draw, merged))

    after = json.loads(json_text.take_out(edited, ALL, before))

    expected = json.loads(edited)
    del expected["mcpServers"]["agentbus"]
    expected["hooks"]["stop"] = [one for one in expected["hooks"]["stop"] if not is_ours(one)]
    for way in (("hooks", "stop"), ("hooks",), ("mcpServers",)):
        box = expected
        for key in way[:-1]:
            box = box.get(key, {})
        if way[-1] in box and not box[way[-1]]:
            del box[way[-1]]
    if "version" not in found and set(expected) - {"version"} <= set(found):
        expected.pop("version", None)
    assert after == expected


def around(draw, found):
    """Put new members before and after those of an object."""
    fresh = st.dictionaries(st.sampled_from(["new 1", "new 2", "new 3"]), VALUES, max_size=2)
    first, last = draw(fresh), draw(fresh)
    return {**first, **found, **{key: last[key] for key in last if key not in first}}


LAYOUTS = [
    '{"mcpServers": {"one": {"command": "1"}}, "z": 1}',
    '{\n  "mcpServers": {\n    "one": {}\n  },\n  "z": [ ]\n}\n',
    '\ufeff{\r\n\t"mcpServers": {\r\n\t}\r\n}',
]


@pytest.mark.parametrize("theirs", LAYOUTS)
def test_an_edit_beside_our_entry_leaves_the_same_bytes_as_without_it(tmp_path, theirs):
    def edited(content):
        mark = b"\xef\xbb\xbf"
        start = len(mark) if content.startswith(mark) else 0
        return content[:start] + b' \n{ "new" :[1,\n2] , ' + content[start + 1 :].lstrip()

    file = tmp_path / "mcp.json"
    file.write_text(theirs, newline="", encoding="utf-8")
    expected = edited(file.read_bytes())

    merge(file, SERVER)
    file.write_bytes(edited(file.read_bytes()))
    remove(file, SERVER)

    assert file.read_bytes() == expected
    assert left(file.parent) == ["mcp.json"]


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ('{"a":{"x":1}}', '{"a":{"x":1},"b":{"c":[2]}}'),
        ('{"a": 1}', '{"a": 1, "b": {"c": [2]}}'),
        ('{\n\n\n  "a": 1\n}', '{\n\n\n  "a": 1,\n  "b": {\n    "c": [\n      2\n    ]\n  }\n}'),
        ('{ "a": 1 }', '{ "a": 1, "b": {"c": [2]} }'),
        ('{\n\t"a": 1\n}\n', '{\n\t"a": 1,\n\t"b": {\n\t\t"c": [\n\t\t\t2\n\t\t]\n\t}\n}\n'),
        ('{\r\n    "b": { }\r\n}', '{\r\n    "b": {\r\n        "c": [\r\n            2\r\n        ]\r\n    }\r\n}'),
        ("{}\n", '{\n  "b": {\n    "c": [\n      2\n    ]\n  }\n}\n'),
        ('{\n  "b":\n  {\n    "c": 1, "d": 2\n  }\n}', '{\n  "b":\n  {\n    "c": [\n      2\n    ], "d": 2\n  }\n}'),
    ],
)  # fmt: skip
def test_an_entry_looks_like_its_neighbours(theirs, expected):
    assert json_text.put(theirs, [Piece(("b", "c"), [2])]) == expected


def test_one_is_not_true():
    assert json.loads(json_text.put('{"a": true}', [Piece(("a",), 1)])) == {"a": 1}
    assert json_text.put('{"a": true}', [Piece(("a",), 1)]) == '{"a": 1}'
