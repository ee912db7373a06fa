# SPDX-License-Identifier: Apache-2.0
"""The text that a command sends: an argument, a file's, or what is piped in; never dropped."""

import contextlib
import os
import socket
from importlib import import_module
from types import SimpleNamespace

import pytest

from mcp_agentbus.cli import tasks
from mcp_agentbus.cli.main import COMMANDS
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.errors import BadInput


@pytest.mark.parametrize("pipe", [b"", b"somebody else's"])
def test_told_that_there_is_no_body_it_reads_none(monkeypatch, stdin, pipe):
    monkeypatch.setattr(tasks.command, "run", lambda *_: 0)
    stdin(pipe)
    args = parser().parse_args(["send", "coder", "Ping", "--no-body"])

    assert tasks.run(args) == 0
    assert args.body == ""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where these commands are typed; it holds a task."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.md").write_text("from the file ✓", encoding="utf-8")


@pytest.fixture
def stdin(monkeypatch):
    """Have standard input be a pipe with these bytes."""
    with contextlib.ExitStack() as opened:

        def given(read):
            out, into = os.pipe()
            os.write(into, read)
            os.close(into)
            monkeypatch.setattr("sys.stdin", opened.enter_context(os.fdopen(out)))

        yield given


@pytest.mark.parametrize(
    ("given", "file", "optional", "body"),
    [
        ("Count.", None, False, "Count."),
        ("", None, False, ""),
        (None, "task.md", False, "from the file ✓"),
        (None, "-", False, "from the pipe"),
        (None, None, False, "from the pipe"),
        (None, None, True, "from the pipe"),
        (None, "-", True, "from the pipe"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_body_is_an_argument_a_file_or_a_pipe(stdin, given, file, optional, body):
    stdin(b"from the pipe")

    assert tasks.body(given, file, optional=optional) == body


@pytest.mark.parametrize(
    "typed",
    [
        ("send", "coder", "s"),
        ("tell", "coder", "s"),
        ("answer", "1a2b3c"),
        ("result", "1a2b3c", "completed"),
        ("events", "publish", "build.done"),
    ],
)
def test_whatever_takes_a_text_reads_the_one_that_is_piped_in(monkeypatch, stdin, typed):
    given = []
    monkeypatch.setattr(tasks.command, "run", lambda args, _: given.append(args.body) or 0)

    async def publish(_session, _topic, body, _print):
        given.append(body)
        return 0

    monkeypatch.setattr("mcp_agentbus.patterns.command.publish", publish)
    monkeypatch.setattr(tasks, "call", lambda *_: SimpleNamespace(session=_nobody, print=None))
    args = parser().parse_args(typed)
    module, function = COMMANDS[args.command]
    stdin(b"piped")

    assert getattr(import_module(f"mcp_agentbus.{module}"), function)(args) == 0
    assert given == ["piped"]


@contextlib.asynccontextmanager
async def _nobody():
    yield None


def test_the_commands_that_take_a_text_are_these():
    """By who takes `--body-file`, so that a new one gets its row in the test above."""
    [commands] = parser()._subparsers._group_actions
    every = list(commands.choices.values())
    for command in every:
        nested = command._subparsers._group_actions if command._subparsers else []
        every += [each for actions in nested for each in actions.choices.values()]

    takes = {each.prog for each in every if "--body-file" in each.format_help()}
    assert takes == {
        f"agentbus {name}" for name in ("send", "tell", "answer", "result", "events publish")
    }


def test_whoever_pipes_nothing_yet_is_told_what_is_waited_for(monkeypatch):
    out, into = os.pipe()
    monkeypatch.setattr(tasks, "_PATIENCE_S", 0)

    def told(*_args, **_options):
        os.write(into, b"late")
        os.close(into)

    monkeypatch.setattr("builtins.print", told)
    with os.fdopen(out) as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        assert tasks.body(None, None, optional=True) == "late"


def test_a_socket_that_says_nothing_is_waited_for_only_if_asked(monkeypatch):
    """A host written for Node gives one to each command that its model types."""
    monkeypatch.setattr(tasks, "_PATIENCE_S", 0)
    ours, theirs = socket.socketpair()
    with ours, theirs, open(ours.fileno(), closefd=False) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(BadInput, match="Nothing was sent") as refused:
            tasks.body(None, None, optional=True)
        theirs.sendall(b"piped")
        theirs.shutdown(socket.SHUT_WR)
        assert tasks.body(None, None, optional=True) == "piped"

    assert "< /dev/null" in refused.value.hint


def test_without_a_standard_input_there_is_no_text(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)

    assert tasks.body(None, None, optional=True) == ""
    with pytest.raises(BadInput, match="There is no body"):
        tasks.body(None, None, optional=False)
    with pytest.raises(BadInput, match="Standard input is closed"):
        tasks.body(None, "-", optional=True)


@pytest.mark.parametrize(
    ("given", "file", "read", "said"),
    [
        ("Count.", "task.md", b"", "given twice"),
        (None, "missing.md", b"", "missing.md cannot be read: No such file"),
        (None, "-", b"\xff", "not UTF-8"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_body_that_cannot_be_is_refused(stdin, given, file, read, said):
    stdin(read)

    with pytest.raises(BadInput, match=said):
        tasks.body(given, file, optional=False)
