# SPDX-License-Identifier: Apache-2.0
"""docs/migrating.md: what it shows for another bus's commands and calls exists here, as written."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from functools import reduce
from pathlib import Path
from typing import Unpack, get_args, get_origin, get_type_hints

import configuration
import pytest

import mcp_agentbus
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.tools.catalog import TOOLS

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()
ROWS = [
    [cell.strip() for cell in row.split("|")[1:-1]]
    for row in re.findall(r"^\|.*\|$", PAGE, re.MULTILINE)
    if not row.startswith(("| there |", "|---"))
]
#: What stands in code where it is ours.
OURS = [code for row in ROWS for cell in row[1:] for code in re.findall(r"`([^`]+)`", cell)]
COMMANDS = sorted({code for code in OURS if code.startswith("agentbus ")})
CALLS = sorted({code for code in OURS if re.match(r"[\w.]+\(", code)})
KEYS = sorted({code for code in OURS if re.match(r"\w+ = ", code)})


def test_each_row_has_what_is_there_what_is_here_and_what_differs():
    assert [row for row in ROWS if len(row) != 3 or not row[0] or not row[1]] == []
    assert (len(COMMANDS) > 40, len(CALLS) > 10, len(KEYS)) == (True, True, 2)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_can_be_typed(command):
    parser().parse_args(shlex.split(command)[1:])


def test_what_cannot_be_typed_would_be_told():
    with pytest.raises(SystemExit):
        parser().parse_args(shlex.split('agentbus send coder "hello" --from main')[1:])


@pytest.mark.parametrize(
    ("there", "cell"),
    [
        (there, row[1])
        for row in ROWS
        for there in re.findall(r"`((?:agentbus|swarmbus) [^`]+)`", row[0])
    ],
)
def test_a_command_of_another_bus_is_taken_or_answered_with_the_line_of_its_row(
    there, cell, capsys
):
    ours = [shlex.split(code) for code in re.findall(r"`(agentbus [^`]+)`", cell)]
    typed = shlex.split(there)[1:]
    try:
        parser().parse_args(typed)
    except SystemExit:
        typed = shlex.split(capsys.readouterr().err.partition("typed otherwise here. Try: ")[2])[1:]
    assert ["agentbus", *typed] in ours or typed[:1] == ["doctor"]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("send coder hi --body x", "agentbus send coder hi x"),
        ("send coder hi x --from main", "agentbus send coder hi x --agent main"),
        ("send --agent --to coder", "agentbus send coder SUBJECT BODY --agent AGENT"),
        ("send --to broadcast --subject=s --body-file -", "agentbus tell all s --body-file -"),
        ("send --to broadcast --subject s --body x --reply-to me", "agentbus tell all s x"),
        (
            "task publish --to a --to 'b c' --server-url nats://x hello",
            "agentbus send 'a,b c' hello --no-body --agent main",
        ),
        (
            "--server-url tls://me:word@host:7422 task publish --to coder hi",
            "agentbus send coder hi --no-body --agent main",
        ),
        (
            "result get --server-url=nats://main:word@host:7422 --agent main --limit 20 --watch",
            "agentbus watch --follow --agent main",
        ),
        ("tasks --server-url me:word@host", "agentbus tasks"),
        ("tasks --server-url", "agentbus tasks"),
        (
            "publish --to coder --from boss hello",
            "agentbus send coder hello --no-body --agent boss",
        ),
        ("--server-url nats://host agents", "agentbus agents"),
        ("init --agent-id planner", "agentbus setup"),
        (
            "init --agent-id planner --host-type cc",
            "agentbus install claude-code --agent planner",
        ),
        ("init --host-type openclaw --broker tailscale", "agentbus install openclaw"),
        ("init --agent-id planner --host-type none", "agentbus setup"),
        (
            "start --agent-id coder --invoke '/x/openclaw-wake.sh main'",
            "agentbus agent add coder --host openclaw --wake work",
        ),
        (
            "init --agent-id coder --invoke '/x/wake.sh coder' --port 1884",
            "agentbus agent add coder --host command --dir FOLDER --wake work -- /x/wake.sh coder",
        ),
        (
            "start --agent-id coder --invoke 'sh /x/claude-code-wake.sh coder'",
            "agentbus agent add coder --host claude-code --dir FOLDER",
        ),
        (
            'start --invoke "it\'s" --broker=h',
            "agentbus agent add ID --host command --dir FOLDER --wake work -- PROGRAM",
        ),
        (
            "task publish --to coder --agent me 'one\ntwo'",
            "agentbus send coder SUBJECT 'one\ntwo' --agent me",
        ),
        (
            f"task publish --to coder {'x' * 201}",
            f"agentbus send coder SUBJECT {'x' * 201} --agent main",
        ),
        ("result get --limit 500 --json", "agentbus inbox --json --limit 50"),
        ("read --agent-id coder --max 100", "agentbus inbox --agent coder --limit 50"),
        ("read --max 000000000100", "agentbus inbox --limit 50"),
        ("tail --agent-id planner", "agentbus export --cursor default --agent planner"),
        ("tail -f --consumer bot", "agentbus export --cursor bot --follow"),
        ("tail --agent-id planner --reset", "agentbus export --cursor NAME --agent planner"),
        ("doctor --broker h --port 5", "agentbus doctor"),
        ("history --limit 3", "agentbus tasks --limit 3"),
        ("history --limit 300", "agentbus tasks --limit 100"),
        ("log --follow", "agentbus audit --follow"),
        ("peek", "agentbus inbox --peek"),
        ("publish build.done", "agentbus events publish build.done"),
        ("subscribe", "agentbus events subscribe"),
    ],
)
def test_what_is_typed_otherwise_elsewhere_is_told_as_it_is_typed_here(typed, line, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(shlex.split(typed))

    said = capsys.readouterr().err
    assert (ended.value.code, said.partition("Try: ")[2].removesuffix("\n")) == (2, line)
    assert ("leads to the task bus agentbus 0.1" in said) == ("--server-url" in typed)
    assert ("leads to a broker of swarmbus" in said) == ("--broker" in typed or "--port" in typed)
    assert ("without --reset: " in said) == ("--reset" in typed)
    assert "word" not in said
    parser().parse_args(shlex.split(line.partition("agentbus ")[2]))


def test_a_limit_that_is_no_number_stays_in_the_line_as_it_was_typed(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["read", "--max", "²"])

    assert capsys.readouterr().err.endswith("Try: agentbus inbox --limit '²'\n")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("send coder hi x --priorty high", "Nearest: --priority"),
        ("send", "TO SUBJECT"),
        ("agent add x --hosst command -- wake --port 5", "Nearest: --host"),
        (
            "work --agent x python serve.py --port 80 --broker h",
            "behind --. Try: agentbus work --agent x -- python serve.py --port 80 --broker h\n",
        ),
        ("agent add x --host command --dir . prog --port 80", "it takes no 'prog --port 80'"),
        ("server init --shared --port 4222", "it takes no '--port 4222'"),
        ("serve --port 8080", "it takes no '--port 8080'"),
        ("worker run --port 4", "it takes no '--port 4'"),
    ],
)
def test_a_slip_in_a_command_of_ours_is_told_as_before(typed, said, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(typed.split())

    assert said in capsys.readouterr().err


@pytest.mark.parametrize("code", CALLS)
def test_a_call_can_be_made(code):
    call = ast.parse(code, mode="eval").body
    name, given = ast.unparse(call.func), {each.arg: each.value for each in call.keywords}
    if name in TOOLS and not call.args:
        TOOLS[name].args(**{key: ast.literal_eval(value) for key, value in given.items()})
    else:  # in Python a session comes first
        function = reduce(getattr, name.split("."), mcp_agentbus)
        inspect.signature(function).bind(*call.args, **given)
        assert set(given) <= keywords(function)


def keywords(function):
    """Return the names of all that a function takes, those of its `**options` from their type."""
    takes = [each.name for each in inspect.signature(function).parameters.values()]
    hints = get_type_hints(function).values()
    typed = (each for hint in hints if get_origin(hint) is Unpack for each in get_args(hint))
    return {*takes, *(name for each in typed for name in each.__annotations__)}


def test_a_keyword_that_is_none_of_its_type_would_be_told():
    """`**options` takes any name, as far as a signature says."""
    assert "expires_in_s" in keywords(mcp_agentbus.send_task)
    assert "expires_in" not in keywords(mcp_agentbus.send_task)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_taken(key):
    table = '[agents.coder]\nhost = "claude-code"\ndir = "/shop"\n'

    assert configuration.refused(table + key) == ""
