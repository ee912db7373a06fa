# SPDX-License-Identifier: Apache-2.0
"""Keys and their values: what a table may hold, where it goes, and what a number may be."""

from __future__ import annotations

import math
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from mcp_agentbus.config import folder_file, rules, settings
from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.config.sections.server import SERVER_KEYS
from mcp_agentbus.config.tables import Wrong, checked, of_type, parse_toml, unread
from mcp_agentbus.config.values import Within
from mcp_agentbus.errors import BadSetup

ALL = (*rules.KEYS, *SERVER_KEYS, *settings.ARCHIVE_KEYS, *folder_file.FOLDER_KEYS)
KNOWN = {"name": of_type(str), "more": of_type(list), "other": unread}


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.name)
def test_a_key_goes_into_a_field_that_there_is_and_says_what_it_means(key):
    if key.into:
        assert (key.field or key.name) in {field.name for field in fields(key.into)}
    assert key.sentence.endswith(".")
    assert key.example
    assert (key.unit != "") == isinstance(key.reader, Within)


def test_whatever_is_kept_for_an_agent_can_be_set():
    def filled(kind):
        return {key.field or key.name for key in rules.KEYS if key.into is kind}

    assert filled(Limits) == {field.name for field in fields(Limits)}
    # Whose they are, by what it is woken, and the limits, which have keys of their own.
    others = {"agent", "host", "limits", "idle"}
    assert filled(Rules) == {field.name for field in fields(Rules)} - others


def test_what_is_set_for_all_agents_can_be_set_for_one():
    assert set(rules._IN_WAKE) < set(rules._IN_AGENT)
    assert {key.name for key in rules.KEYS if key.into is Limits} < set(rules._IN_WAKE)


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ([], "here is not a table.", BadSetup.hint),
        ({"nmae": "a"}, "here has a key that does not exist: nmae.", "Known: name, more, other."),
        ({"name": 1}, "here: name is not a string.", BadSetup.hint),
        ({"more": "a"}, "here: more is not a list.", BadSetup.hint),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_by_its_key(table, message, hint):
    with pytest.raises(BadSetup) as refusal:
        checked(table, KNOWN, "here")

    assert (refusal.value.message, refusal.value.hint) == (message, hint)


def test_a_table_is_returned_as_its_readers_have_read_it():
    table = {"name": "a", "more": [1], "other": 5}

    assert checked(table, KNOWN | {"other": str}, "here") == {
        "name": "a",
        "more": [1],
        "other": "5",
    }
    assert checked({}, KNOWN, "here") == {}


@pytest.mark.parametrize(
    ("number", "value", "taken"),
    [
        (Within(0, 10), 0, 0),
        (Within(0, 10), 10, 10),
        (Within(1, 10, float), 1, 1.0),
        (Within(1, 10, float), 9.5, 9.5),
        (Within(0, 10), -1, None),
        (Within(0, 10), 11, None),
        (Within(0, 10), 1.0, None),
        (Within(0, 10), True, None),
        (Within(0, 10), "1", None),
        (Within(0, 10, float), math.nan, None),
        (Within(0, 10, float), math.inf, None),
        (Within(0, 10, float), False, None),
    ],
)
def test_a_number_is_one_of_its_kind_and_in_its_range(number, value, taken):
    if taken is not None:
        assert number(value) == taken
        assert type(number(value)) is number.kind
        return
    kind = "number" if number.kind is float else "whole number"
    with pytest.raises(Wrong, match=f"^is no {kind} from {number.low} to 10$"):
        number(value)


FILE = Path(".agentbus.toml")
DOTS = "b." * 20_000


@pytest.mark.parametrize(
    "text",
    [f"agent.{DOTS}c = 1", f"[{DOTS}c]", f"x = {{ {DOTS}c = 1 }}", '"b" . ' * 20_000 + "c = 1",
     "'b'." * 20_000 + "c = 1", "b." * 100 + "c = 1", f'x = {{ a = """a"""", {DOTS}c = 1 }}',
     f"x = {{ a = '''a'''', {DOTS}c = 1 }}"],
    ids=["key", "table", "inline", "quoted", "literal", "of 101 parts", "lines", "literal lines"],
)  # fmt: skip
def test_a_name_of_very_many_parts_is_refused_and_not_taken_apart(text):
    with pytest.raises(BadSetup, match=r"agentbus\.toml has a name of more than 100 parts"):
        parse_toml(FILE, text)


@pytest.mark.parametrize(
    "text",
    [f'x = "{DOTS}"', f"x = '{DOTS}'", f'x = """\n\\"{DOTS}"""', f"x = '''\n'{DOTS}'''",
     f"# it's {DOTS}\nx = 1", f'x = "\\"{DOTS}"', "x = [" + "1.5, " * 200 + "]",
     "b." * 99 + "c = 1"],
    ids=["text", "literal", "lines", "literal lines", "comment", "quote", "numbers", "100 parts"],
)  # fmt: skip
def test_dots_elsewhere_are_read(text):
    assert parse_toml(FILE, text) == tomllib.loads(text)


@pytest.mark.parametrize("end", ["", "\\"])
@pytest.mark.parametrize("text", ['"\\', "'\\", '"""\\', "'''\n", '""""\\', '\\"""\n'])
def test_texts_without_an_end_are_looked_through_once(text, end):
    """Each to the end of the file would take minutes."""
    with pytest.raises(BadSetup, match="is not TOML"):
        parse_toml(FILE, f'a = """{text * 16_001}{end}')
