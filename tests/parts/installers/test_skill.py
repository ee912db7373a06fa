# SPDX-License-Identifier: Apache-2.0
"""The skill and its evaluations: what they name is there, and their form is what hosts take."""

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from mcp_agentbus import errors
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.core import text
from mcp_agentbus.handoff.dispatch.cause import CAUSE_LINGERS_S
from mcp_agentbus.handoff.inbox import WATCH_MAX_S
from mcp_agentbus.handoff.intake.answer import Inbox
from mcp_agentbus.store import task
from mcp_agentbus.tools.answers import documents, render
from mcp_agentbus.tools.answers.receipts import receipts_text
from mcp_agentbus.tools.catalog import TOOLS, WatchInbox

ROOT = Path(__file__).parents[3]
SKILL = ROOT / "skills" / "using-agentbus"
EVALS = ROOT / "tests" / "evals"
MAIN = SKILL / "SKILL.md"
TEXTS = sorted(SKILL.rglob("*.md"))
WHOLE = "\n".join(file.read_text() for file in TEXTS)
SCENARIOS = sorted((EVALS / "scenarios").glob("*.json"))

# What stands in backquotes and is a word of the bus; anything else there must be in one of these.
FIELDS = {name for tool in TOOLS.values() for name in tool.args.model_fields}
STATES = {*task.STATUSES, *task.ENDS, *task.HELD, "stored"}
VALUES = {
    "low", "normal", "high", "live", "never", "wake", "all", "true", "nothing", "sent", "received",
    "open",
}  # fmt: skip
SHOWN = {"role:NAME", "DEGRADED", "agent", "reason"}  # in answers, addresses and files

ids = pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)


def frontmatter():
    """Return the keys of SKILL.md, each of one line, as hosts without a YAML parser read them."""
    opened, head, _ = MAIN.read_text().split("---\n", 2)
    assert opened == ""
    return dict(line.split(": ", 1) for line in head.splitlines())


def json_blocks(page):
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]


def shell_lines(page):
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def typed(line):
    """Return the words after `agentbus`, without redirections and comments; None if it is not."""
    words = shlex.split(line, comments=True)
    if words[:1] != ["agentbus"]:
        return None
    return words[1 : words.index("<") if "<" in words else None]


def takes(words):
    """Tell whether the command line takes these words."""
    try:
        parser().parse_args(words)
    except SystemExit:
        return False
    return True


def subcommands():
    [actions] = [one for one in parser()._actions if isinstance(one, argparse._SubParsersAction)]
    return actions.choices


def test_a_model_that_has_lost_its_context_is_told_each_way_to_find_its_tasks():
    views = set(TOOLS["read_inbox"].schema["properties"]["view"]["enum"])
    named = set(re.findall(r"`(\w+)`", MAIN.read_text().partition("## Get the result")[2]))

    assert views - {"inbox"} | {"view", "query", "task_id"} <= named


def test_the_frontmatter_is_what_hosts_take():
    found = frontmatter()

    assert set(found) == {"name", "description"}
    assert found["name"] == SKILL.name
    assert re.fullmatch(r"[a-z0-9-]{1,64}", found["name"])
    assert 100 <= len(found["description"]) <= 1024
    assert not re.search(r"[<>]|: ", found["description"])


def test_the_skill_is_short_and_its_references_too():
    assert len(MAIN.read_text().splitlines()) <= 150
    assert all(len(file.read_text().splitlines()) <= 100 for file in TEXTS if file != MAIN)


def test_every_reference_is_there_one_level_deep_and_named_by_the_skill():
    linked = set(re.findall(r"\]\(([^)]+)\)", MAIN.read_text()))

    assert linked == {f"references/{file.name}" for file in TEXTS if file != MAIN}
    assert not re.search(r"\]\((?!http)", "".join(f.read_text() for f in TEXTS if f != MAIN))


@ids
def test_tools_are_named_bare(file):
    assert not re.search("mcp__|MCP:|" + "|".join(f"__{tool}" for tool in TOOLS), file.read_text())


def test_every_tool_and_every_status_is_named():
    for name in (*TOOLS, *task.STATUSES):
        assert f"`{name}`" in MAIN.read_text(), name


@ids
def test_every_word_of_the_bus_that_it_names_exists(file):
    prose = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    quoted = re.findall(r"`([^`\n]+)`", prose)
    words = [one for one in quoted if re.fullmatch(r"[\w:]+", one)]
    known = {*TOOLS, *FIELDS, *STATES, *VALUES, *SHOWN}

    assert {word for word in words if word not in known} == set()


@ids
def test_every_command_that_it_names_is_one(file):
    lines = [words for line in shell_lines(file.read_text()) if (words := typed(line))]
    inline = re.findall(r"`agentbus ([^`]+)`", file.read_text())

    assert [words for words in lines if not takes(words)] == []
    for one in inline:
        command, *options = one.split()
        assert command == "COMMAND" or command in subcommands(), one
        for option in options:
            if option.startswith("-"):
                assert command == "COMMAND" or option in subcommands()[command].format_help(), one


@ids
def test_every_example_is_an_input_that_its_tool_takes(file):
    for example in json_blocks(file.read_text()):
        fitting = [
            tool
            for tool in TOOLS.values()
            if {name for name, one in tool.args.model_fields.items() if one.is_required()}
            <= set(example)
            <= set(tool.args.model_fields)
        ]
        assert len(fitting) == 1, example
        fitting[0].args.model_validate(example)


def test_examples_of_tasks_have_all_five_parts():
    tasks = [one for file in TEXTS for one in json_blocks(file.read_text()) if "to" in one]

    assert len(tasks) >= 4
    for one in tasks:
        heads = [line.partition(":")[0] for line in one["body"].splitlines()]
        assert heads == ["Goal", "Where", "Known", "Do not touch", "Done when"]


@pytest.mark.parametrize(
    "said",
    [
        f"waits {WatchInbox.model_fields['timeout_s'].default:.0f} s by default",
        f"{WATCH_MAX_S} is the most",
        f"after {task.HOPS_MAX} hops",
        f"within {CAUSE_LINGERS_S // 60} minutes after",
        f"after {task.CLAIM_MAX_S // 3600} hours without any call",
        f"After {task.ATTEMPTS_MAX} claims without an end",
        f"claimed {task.ATTEMPTS_MAX} times without an end",
        f"the default is {task.EXPIRES_MAX_S // 86400} days",
        f"the body holds {task.RESULT_MAX_BYTES // 1024} KiB",
        f"the summary {task.SUMMARY_MAX_CHARS:,} characters",
        f"At most {task.BODY_MAX_BYTES // 1024} KiB",
        f"at most {task.SUBJECT_MAX_CHARS} characters",
        f"{errors.BusUnreachable.exit_code} no bus server, {errors.TIMED_OUT} timed out",
    ],
)
def test_its_numbers_are_the_codes(said):
    assert said in " ".join(WHOLE.split())


def test_what_it_quotes_of_a_receipt_stands_in_its_text_and_in_its_fields():
    receipt = task.Receipt(
        task_id="9d0c", to="coder", wake="held", reason="quiet hours", expires_at=text.now()
    )
    said, [fields] = (
        receipts_text([receipt]),
        documents.of_receipts([receipt])["receipts"],
    )
    quoted = re.findall(r"`(wake|state|recipient|duplicate): ([^`]+)`", WHOLE)

    assert quoted
    for name, word in quoted:
        assert fields[name] == word
        assert f"{name}: {word}" in said
    [bold] = re.findall(r"The receipt says \*\*(\w+)\*\*", WHOLE)
    assert fields["state"] == bold
    assert bold in said


def test_what_it_quotes_of_a_wait_that_ended_stands_in_its_text():
    [quoted] = re.findall(r'^- "([^"]+)" is a normal, empty answer', WHOLE, re.MULTILINE)

    assert quoted in render.inbox_text(Inbox(timed_out=True), "planner")


def test_it_never_says_that_a_task_was_delivered():
    assert re.findall(r".{12}deliver(?!_in_s)\w*.", WHOLE) == [' It is not "delivered"']


def test_twenty_queries_half_of_which_trigger_it():
    queries = json.loads((EVALS / "trigger_queries.json").read_text())

    assert len(queries) == len({one["query"] for one in queries}) == 20
    assert 8 <= sum(one["triggers"] for one in queries) <= 12
    for one in queries:
        assert set(one) == {"query", "triggers", "reason"}
        assert isinstance(one["triggers"], bool)
        assert len(one["reason"]) > 5
        assert len(one["query"]) > 15


def test_there_are_five_to_eight_scenarios():
    assert 5 <= len(SCENARIOS) <= 8
    assert len((EVALS / "README.md").read_text().splitlines()) <= 40


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_a_scenario_says_what_to_do_and_how_to_see_it(file):
    scenario = json.loads(file.read_text())

    assert list(scenario) == ["situation", "setup", "prompt", "good", "never", "check"]
    assert all(scenario.values())
    assert not re.search("|".join(set(TOOLS) - {"read_inbox"}), scenario["prompt"])
    lines = [line for line in scenario["setup"] if line.startswith("agentbus ")]
    assert lines
    assert [line for line in lines if not takes(typed(line))] == []
