# SPDX-License-Identifier: Apache-2.0
"""The commands that a listener does: which, read how, and what is left to their own process."""

import argparse

import pytest

from mcp_agentbus.cli import main
from mcp_agentbus.cli.carried import commands as carried
from mcp_agentbus.cli.carried import resumed
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.errors import Unconfirmed
from mcp_agentbus.relay.carried import command
from mcp_agentbus.tools import commands

CARRIED = carried.Carried(parser)


def test_the_listener_is_asked_for_the_commands_that_it_can_carry_out():
    assert set(command.COMMANDS) == {*commands._COMMANDS, *carried._OVERVIEW}
    assert set(command.COMMANDS) <= set(main.COMMANDS)


@pytest.mark.parametrize(
    "typed",
    ["send coder s b --priority high", "inbox --peek", "watch --timeout 2m", "status --json"],
)
def test_a_line_is_read_as_in_its_own_process(typed):
    assert CARRIED.read(typed.split()) == parser().parse_args(typed.split())


@pytest.mark.parametrize(
    "typed",
    [
        "", "sendd coder s b", "--version", "--help", "send --help", "send -h", "send coder",
        "send coder s b --priority hihg", "tasks --limit 0", "inbox too many", "listen --stop",
        "watch --notices", "send coder s b --body-file f", "policy", "agents --json=1",
    ],
)  # fmt: skip
def test_what_is_wrong_or_asks_for_help_is_left_to_it_and_told_nowhere_else(capsys, typed):
    assert CARRIED.read(typed.split()) is None
    assert capsys.readouterr() == ("", "")


def test_a_line_that_was_wrong_leaves_nothing_to_the_next():
    lists = [CARRIED.read(["result", "1a2b", "completed", "--artifact", "a"])]
    assert CARRIED.read(["result", "1a2b", "completed", "--artifact", "b", "--zzzz"]) is None
    lists.append(CARRIED.read(["result", "1a2b", "completed", "--artifact", "c"]))

    assert [args.artifact for args in lists] == [["a"], ["c"]]


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("send coder s", "required"),
        ("send coder s b", ""),
        ("send coder s --no-body", ""),
        ("send coder s --body-file -", "required -"),
        ("send coder s --body-file the task.md", ""),
        ("result 1a2b completed", "optional"),
        ("result 1a2b completed --body-file r.md", "optional r.md"),
        ("tell coder s", "optional"),
        ("tasks", ""),
    ],
)
def test_only_a_text_that_is_not_there_is_asked_for(typed, asked):
    args = CARRIED.read(typed.split())

    assert (CARRIED.asking(args) if args else "") == asked


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        ("send c s b", "the same with --request-id cli-1: it is stored once"),
        ("send c s b --request-id mine", "the same with --request-id mine: it is stored once"),
        ("watch", "look what was done before you repeat it"),
    ],
)
def test_of_what_a_listener_hangs_with_it_is_said_what_is_known(typed, again):
    begun = command.Begun()
    begun.request_id, begun.hangs = "cli-1", True

    with pytest.raises(Unconfirmed, match="not known whether") as told:
        resumed.check(parser().parse_args(typed.split()), begun)
    assert told.value.hint.endswith(f"{again}.")


def test_what_went_wrong_in_its_own_process_is_raised_there():
    begun = command.Begun()
    begun.failed = OSError("no room")

    with pytest.raises(OSError, match="no room"):
        resumed.check(argparse.Namespace(), begun)


def test_it_goes_on_from_what_was_printed():
    begun = command.Begun()
    begun.changed = {"since": '"2026-11-20"', "receipts_shown": "true"}
    args = argparse.Namespace(since=None)
    resumed.take(args, begun)

    assert vars(args) == {"since": "2026-11-20", "receipts_shown": True}
