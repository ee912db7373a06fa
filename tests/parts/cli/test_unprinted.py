# SPDX-License-Identifier: Apache-2.0
"""What was done and cannot be printed: said on standard error, with a code that no other end has."""

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mcp_agentbus.cli import main, output, tasks
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.core.feather import printer
from mcp_agentbus.core.feather.printer import EXIT_CODE
from mcp_agentbus.doctor import report
from mcp_agentbus.errors import UnknownAgent
from mcp_agentbus.relay.carried.command import Begun

FULL = Path("/dev/full")


def taking_nothing(kind, *, buffered=True):
    """Return a standard output that takes nothing: "full", or of a reader that has "gone"."""
    if kind == "full":
        out = os.open(FULL, os.O_WRONLY)
    else:
        reading, out = os.pipe()
        os.close(reading)
    raw = os.fdopen(out, "wb", buffering=-1 if buffered else 0)
    return io.TextIOWrapper(raw, "utf-8", write_through=not buffered)


@pytest.fixture(params=["full", "gone", "closed"])
def nobody(request):
    """Why nobody reads what is printed, one reason after another."""
    if request.param == "full" and not FULL.exists():
        pytest.skip("only Linux has such a device")
    return request.param


def unread(why, line, begun=None):
    """Run a command whose output nobody reads; return its exit code."""
    out = None if why == "closed" else taking_nothing(why)
    with pytest.MonkeyPatch.context() as patch, out or contextlib.nullcontext():
        patch.setattr(sys, "stdout", out)
        try:
            return main.main(line.split(), begun=begun)
        except SystemExit as ended:
            return ended.code or 0
        # Then it is closed, as when Python ends: nothing is left that could not be printed.


def ending(monkeypatch, say, text, code):
    """Have a command end with that text and exit code, its last."""

    def here(args):
        tasks.call(args, say).out(text, {EXIT_CODE: code})
        return code

    monkeypatch.setattr(tasks, "_here", here)


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
        ("agent remove coder", "Standard output cannot be written: No space left"),
        ("doctor --fix", "Standard output cannot be written: No space left"),
    ],
)
def test_what_was_done_is_not_called_refused_where_it_cannot_be_printed(line, said):
    begin = (
        "from mcp_agentbus.cli import agent, rooms\n"
        "agent.run = rooms.doctor = tasks._here = lambda _: print('stored') or 0"
    )
    ended = typed(line, out=">/dev/full", begin=begin)

    assert ended.returncode == 7
    assert ended.stderr.startswith(f"agentbus: {said}")
    assert "Do not repeat it" in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has such a device")
@pytest.mark.parametrize(
    "line",
    [
        "completion bash", "export --cursor bot", "agents", "--help", "inbox --peek",
        "watch --follow", "watch --notices", "doctor", "server status", "agent wakes coder",
        "agent list", "listen --status",
    ],
)  # fmt: skip
def test_what_only_reads_and_cannot_be_printed_may_be_run_again(capsys, monkeypatch, line):
    monkeypatch.setattr(main, "COMMANDS", dict.fromkeys(main.COMMANDS, ("cli.tasks", "_here")))
    ending(monkeypatch, printer.say, "what was read", 0)

    assert unread("full", line) == 7
    told = capsys.readouterr().err
    assert told.startswith("agentbus: Standard output cannot be written: No space left")
    assert told.endswith("Hint: Run it again where its output can be written.\n")


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
    begin = "from mcp_agentbus.core.feather import printer\ntasks._here = lambda _: printer.check_seen()"

    ended = typed("inbox --agent planner", out=">&-", begin=begin)

    assert (ended.returncode, ended.stderr) == (0, "")


def refuses(_):
    raise UnknownAgent("No agent 'coder' is registered.", hint="Run `agentbus agents`.")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("send coder Ping --no-body", 1),
        ("send coder Ping --no-body --json", 1),
        ("watch --timeout x --json", 2),
    ],
)
def test_what_is_refused_is_so_also_where_nobody_reads_it(nobody, capsys, monkeypatch, line, code):
    monkeypatch.setattr(tasks, "_here", refuses)

    ended = unread(nobody, line)

    told = capsys.readouterr().err
    assert ended == code
    assert ("agentbus: No agent" if code == 1 else "agentbus: argument --timeout: ") in told
    assert "\nHint: " in told
    assert "output cannot be written" not in told


def test_what_a_listener_has_refused_is_said_where_it_can_be(nobody, capsys):
    begun = Begun()
    begun.failed = BrokenPipeError() if nobody != "full" else OSError(errno.ENOSPC, "full")
    begun.failed.filename = printer.STDOUT
    begun.last = json.dumps({"error": {"message": "No.", "hint": "Look."}}), 1

    assert unread(nobody, "send coder Ping --no-body --json", begun) == 1
    assert capsys.readouterr().err == "agentbus: No.\nHint: Look.\n"


@pytest.mark.parametrize("code", [0, 4, 6])
def test_what_a_command_has_ended_with_stays_where_nobody_reads_it(
    nobody, capsys, monkeypatch, code
):
    def say(text):
        printer.say(text)
        printer.check_seen()

    ending(monkeypatch, say, "no result", code)

    ended = unread(nobody, "watch --agent planner")

    told = capsys.readouterr().err
    assert ended == (code or (7 if nobody == "full" else 0))
    assert ("output cannot be written: No space left" in told) == (nobody == "full")
    assert ("Done" in told, "Do not repeat" in told) == ((nobody, code) == ("full", 0),) * 2


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has such a device")
def test_what_cannot_be_printed_is_told_of_where_nothing_is_buffered(capsys, monkeypatch):
    """As PYTHONUNBUFFERED has it, which images of containers set."""
    ending(monkeypatch, printer.say, "stored", 0)

    with taking_nothing("full", buffered=False) as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert main.main(["send", "coder", "Ping", "--no-body"]) == 7
    assert "Done, but standard output cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["--help", "send --help", "--version"])
def test_help_that_cannot_be_printed_is_not_called_shown(nobody, capsys, line):
    assert unread(nobody, line) == (7 if nobody == "full" else 0)
    assert "Done" not in capsys.readouterr().err


def _asks(args):
    args.yes = False
    return int(output.agreed(args, "Go on?"))


def _tells(_):
    with output.beforehand():
        printer.check_seen()
        printer.tell("All of it goes.")


@pytest.mark.parametrize("does", [_asks, _tells])
def test_who_cannot_be_shown_a_question_has_had_nothing_done(nobody, capsys, monkeypatch, does):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True, fileno=lambda: -1))
    monkeypatch.setattr(tasks, "_here", does)

    assert unread(nobody, "watch") == 2
    told = capsys.readouterr().err
    assert "Standard output cannot be written: " in told
    assert "Nothing was done." in told


def test_a_question_is_asked_on_standard_output_and_its_answer_needs_no_case(capsys, monkeypatch):
    answers = [" Yes \n", "n\n", ""]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True, readline=answers.pop))
    args = SimpleNamespace(yes=False, json=False)

    assert [output.agreed(args, "Go on?") for _ in range(3)] == [False, False, True]
    assert capsys.readouterr().out == "Go on? [y/N] \nGo on? [y/N] Go on? [y/N] "


def test_a_report_to_nobody_has_no_colours(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)

    assert report._mark("ok") == "ok"


def test_that_code_is_told_of():
    assert f"{main._UNPRINTED} done" in parser().format_help()
