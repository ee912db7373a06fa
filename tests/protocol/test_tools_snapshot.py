# SPDX-License-Identifier: Apache-2.0
"""What hosts show a model of the five tools: every change of it is a diff that somebody reads."""

import difflib
import json
import re

import pytest
import pytest_asyncio
import renew
import served

from mcp_agentbus.tools.catalog import TOOLS

# One catalog makes them for either era and way; test_eras.py has these crossed.
pytestmark = pytest.mark.parametrize(*served.PAIRED, indirect=True)

HOW_TO_RENEW = "If this was meant: python tests/protocol/renew.py, and read the diff."

# All five definitions together. Measured with real tokenizers in November 2026: 5,222 characters
# of JSON were 1,229 tokens (o200k), 1,175 (cl100k) and 1,243 (the one published for Claude), so a
# token was never less than 4.2 characters; 3.5 leaves room for tokenizers that cut finer.
TOKENS_MAX = 1_500
CHARS_PER_TOKEN = 3.5

# A description that tells a model what to do counts as an injection.
_DO = r"(call|use|run|send|read|reply|answer|check|ask|do|prefer|wait|publish)"
ORDERS = re.compile(
    rf"\b(must|should|shall|ensure|important|please|remember|you|your|do not|don't|make sure"
    rf"|(always|never) {_DO}|(call|use|run)( this| it| \w+_\w+)? (first|before|instead))\b",
    re.IGNORECASE,
)
KNOWN_ORDERS = (
    "Always call read_inbox first.", "You get tasks.", "Never use it twice.", "Call this before",
)  # fmt: skip
KEYWORDS = {
    "additionalProperties", "anyOf", "default", "description", "enum", "items", "maximum",
    "minimum", "properties", "required", "type",
}  # fmt: skip


@pytest_asyncio.fixture
async def tools(duo):
    """The definitions as a client gets them."""
    return {tool.name: tool for tool in (await duo.planner.list_tools(cache_mode="bypass")).tools}


@pytest.mark.parametrize("name", TOOLS)
async def test_a_tool_is_defined_as_its_file_says(tools, name):
    file = renew.FOLDER / f"{name}.json"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    now = renew.as_text(tools[name])
    diff = difflib.unified_diff(
        before.splitlines(), now.splitlines(), str(file), "what a client gets", lineterm=""
    )
    assert now == before, "\n".join([f"{name} changed. {HOW_TO_RENEW}", *diff])


async def test_there_is_a_file_for_each_tool_and_for_nothing_else(tools):
    assert {file.stem for file in renew.FOLDER.glob("*.json")} == set(tools), HOW_TO_RENEW


async def test_the_tools_come_in_the_same_order_each_time(duo, tools):
    again = (await duo.planner.list_tools(cache_mode="bypass")).tools
    assert [tool.name for tool in again] == list(tools) == list(TOOLS)


async def test_all_definitions_together_cost_a_model_little(tools):
    data = [json.loads(renew.as_text(tool)) for tool in tools.values()]
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    assert len(text) / CHARS_PER_TOKEN <= TOKENS_MAX, f"{len(text):,} characters"


@pytest.mark.parametrize("name", TOOLS)
async def test_a_tool_has_a_title_and_says_what_it_does_to_the_world(tools, name):
    tool, hints = tools[name], tools[name].annotations
    assert tool.title == hints.title
    assert tool.title
    for hint in ("read_only", "destructive", "idempotent", "open_world"):
        assert getattr(hints, f"{hint}_hint") is TOOLS[name].hints[hint]


async def test_only_a_tool_that_changes_nothing_says_that_it_reads_only(tools):
    assert {name for name, tool in tools.items() if tool.annotations.read_only_hint} == {
        "list_agents"
    }


@pytest.mark.parametrize("name", TOOLS)
async def test_a_name_fits_every_host(tools, name):
    assert re.fullmatch(r"[a-z_]{1,40}", name)
    # The longest form under which a host shows it: a plugin's.
    assert len(f"mcp__plugin_agentbus_agentbus__{name}") <= 64


def descriptions(schema):
    """Yield every description in a schema."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key == "description" and isinstance(value, str):
            yield value
        yield from descriptions(value)


@pytest.mark.parametrize("name", TOOLS)
async def test_a_description_says_what_a_tool_does_and_orders_nothing(tools, name):
    tool = tools[name]
    assert all(map(ORDERS.search, KNOWN_ORDERS))
    for text in (tool.title, tool.description, *descriptions(tool.input_schema)):
        assert text
        assert not ORDERS.search(text), text
    assert len(tool.description) <= 400


async def test_the_instructions_are_short_and_name_every_tool(duo):
    said = duo.planner.instructions
    assert len(said) <= 1_200
    assert not ORDERS.search(said)
    assert [name for name in TOOLS if name not in said] == []


def keywords(schema):
    """Yield every keyword of a schema; the names of properties are none."""
    for key, value in schema.items():
        yield key
        inner = value.values() if key == "properties" else [value]
        for one in inner:
            for part in one if isinstance(one, list) else [one]:
                if isinstance(part, dict):
                    yield from keywords(part)


@pytest.mark.parametrize("name", TOOLS)
async def test_a_schema_uses_only_words_that_a_host_knows(tools, name):
    assert set(keywords(tools[name].input_schema)) - KEYWORDS == set()


@pytest.mark.parametrize("name", TOOLS)
async def test_a_schema_admits_exactly_the_arguments_that_are_taken(tools, name):
    schema = tools[name].input_schema
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(TOOLS[name].args.model_fields)
    required = {key for key, field in TOOLS[name].args.model_fields.items() if field.is_required()}
    assert set(schema.get("required", ())) == required
