# SPDX-License-Identifier: Apache-2.0
"""The text that a command sends: an argument, a file's, or what is piped in; never dropped."""

import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest

from mcp_agentbus.cli import tasks
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.errors import BadInput
from mcp_agentbus.relay.carried import body as texts


@pytest.mark.parametrize("pipe", [b"", b"somebody else's"])
def test_told_that_there_is_no_body_it_reads_none(monkeypatch, stdin, pipe):
    monkeypatch.setattr(tasks, "_here", lambda _: 0)
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
        (None, None, True, ""),
        (None, "-", True, "from the pipe"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_body_is_an_argument_a_file_or_a_pipe(stdin, given, file, optional, body):
    stdin(b"from the pipe")

    assert texts.read(given, file, optional=optional) == body


@pytest.mark.parametrize("file", ["task.md", "-"])
def test_ends_of_lines_are_sent_as_they_are(stdin, tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.md").write_bytes(b"one\r\ntwo\rthree\n")
    stdin(b"one\r\ntwo\rthree\n")

    assert texts.read(None, file, optional=False) == "one\r\ntwo\rthree\n"


def test_a_pipe_that_waits_for_nobody_is_read_to_its_end(monkeypatch):
    out, into = os.pipe()
    os.set_blocking(out, False)
    os.write(into, b"at once, ")

    def waited(*given):
        if given[3:] == ():  # not whether anything comes, but for more
            os.write(into, b"late")
            os.close(into)
        return given[0], [], []

    monkeypatch.setattr("select.select", waited)
    with os.fdopen(out) as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        assert texts.read(None, None, optional=False) == "at once, late"


def test_what_is_too_large_is_told_of_by_its_bytes_and_not_cut_in_a_character(stdin, monkeypatch):
    monkeypatch.setattr(texts, "_READ_MAX", 10)
    stdin("✓✓✓✓".encode())

    with pytest.raises(BadInput, match="larger than"):
        texts.read(None, None, optional=False)


def test_a_standard_input_that_can_only_be_written_is_named(monkeypatch, tmp_path):
    with os.fdopen(os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)) as log:
        monkeypatch.setattr("sys.stdin", log)
        with pytest.raises(BadInput, match=r"^Standard input cannot be read: B") as refused:
            texts.read(None, None, optional=False)

    assert "as an argument" in refused.value.hint


def test_what_was_not_asked_for_is_left_where_it_is_and_told_of(stdin, capsys):
    stdin(b"a loop's next line")

    assert texts.read(None, None, optional=True) == ""
    assert "--body-file -" in capsys.readouterr().err
    assert sys.stdin.read() == "a loop's next line"


def test_where_nothing_is_piped_in_nothing_is_told(stdin, capsys, monkeypatch):
    stdin(b"")
    assert texts.read(None, None, optional=True) == ""
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert texts.read(None, None, optional=True) == ""
    assert capsys.readouterr().err == ""


def test_whoever_pipes_nothing_yet_is_told_what_is_waited_for(monkeypatch):
    out, into = os.pipe()
    monkeypatch.setattr(texts, "_PATIENCE_S", 0)

    def told(*_args, **_options):
        os.write(into, b"late")
        os.close(into)

    monkeypatch.setattr("builtins.print", told)
    with os.fdopen(out) as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        assert texts.read(None, None, optional=False) == "late"


def test_a_socket_that_says_nothing_is_waited_for_only_if_asked(monkeypatch):
    """A host written for Node gives one to each command that its model types."""
    monkeypatch.setattr(texts, "_PATIENCE_S", 0)
    ours, theirs = socket.socketpair()
    with ours, theirs, open(ours.fileno(), closefd=False) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(BadInput, match="Nothing was sent") as refused:
            texts.read(None, None, optional=False)
        theirs.sendall(b"piped")
        theirs.shutdown(socket.SHUT_WR)
        assert texts.read(None, None, optional=False) == "piped"

    assert "< /dev/null" in refused.value.hint


def test_without_a_standard_input_there_is_no_text(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)

    assert texts.read(None, None, optional=True) == ""
    with pytest.raises(BadInput, match="There is no body"):
        texts.read(None, None, optional=False)
    with pytest.raises(BadInput, match="Standard input is closed"):
        texts.read(None, "-", optional=True)


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
        texts.read(given, file, optional=False)
