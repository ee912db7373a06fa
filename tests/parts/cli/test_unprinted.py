# SPDX-License-Identifier: Apache-2.0
"""What was done and cannot be printed: said on standard error, with a code that no other end has."""

import subprocess
import sys
from pathlib import Path

import pytest

from mcp_agentbus.cli import main, tasks
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.doctor import report

FULL = Path("/dev/full")


def typed(line, *, out, begin=""):
    """Run a shell's line in which `$0` does `agentbus send`, that says where it is stored."""
    code = (
        f"import sys; from mcp_agentbus.cli import main, tasks; {begin}\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    argv = ["sh", "-c", f'exec "$0" -c "$1" {line} {out}', sys.executable, code]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has such a device")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("send coder Ping --no-body", "Done, but standard output cannot be written: No space left"),
        ("completion bash", "Standard output cannot be written: No space left"),
    ],
)
def test_what_was_done_is_not_called_refused_where_it_cannot_be_printed(line, said):
    ended = typed(line, out=">/dev/full", begin="tasks._here = lambda _: print('stored') or 0")

    assert ended.returncode == 7
    assert ended.stderr.startswith(f"agentbus: {said}")
    assert "Do not repeat it" in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has such a device")
def test_an_error_that_cannot_be_printed_either_keeps_its_code():
    refuses = "from mcp_agentbus.errors import *\ndef no(_): raise BusUnreachable\ntasks._here = no"

    ended = typed("send coder Ping --no-body", out="2>/dev/full", begin=refuses)

    assert ended.returncode == 3


def test_where_standard_output_is_closed_nothing_counts_as_seen(monkeypatch):
    args = parser().parse_args(["inbox", "--agent", "planner"])
    args.command = "inbox"
    seen = tasks.call(args, print).reached()
    monkeypatch.setattr(sys, "stdout", None)

    with pytest.raises(BrokenPipeError):
        seen.send(None)


def test_where_standard_output_is_closed_a_command_ends_as_without_its_reader():
    begin = "from mcp_agentbus.core.feather import printing\ntasks._here = lambda _: printing.check_seen()"

    ended = typed("inbox --agent planner", out=">&-", begin=begin)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_report_to_nobody_has_no_colours(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)

    assert report._mark("ok") == "ok"


def test_that_code_is_told_of():
    assert f"{main._UNPRINTED} done" in parser().format_help()
