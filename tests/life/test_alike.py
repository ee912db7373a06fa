# SPDX-License-Identifier: Apache-2.0
"""What is typed ends alike with a listener and without: the same letters, the same exit code."""

import contextlib
import io
import re
import subprocess
import sys
import threading
from types import MappingProxyType, SimpleNamespace

import forking
import pytest
import served

from mcp_agentbus.cli import main
from mcp_agentbus.core.feather import printer
from mcp_agentbus.relay.carried import command

# Two users of the same bus, whose names are as wide: one has a listener, one has none.
WITH = {"ME": "ann", "PEER": "pia"}
WITHOUT = {"ME": "bob", "PEER": "pam"}
ME, PEER = ("--agent", "ME"), ("--agent", "PEER")
# In their order: what is typed, what is piped in, which variables are set. TASK is the first that was sent.
TYPED = {
    "known": (["inbox", *ME], None),
    "sent": (["send", "ME", "Count", "All of them.", "--priority", "high", *PEER], None),
    "sent piped": (["send", "ME", "Count them", *PEER], "All\nof them: é ✓\n"),
    "sent from a file": (["send", "ME", "Count on", "--body-file", "FILE", *PEER], None),
    "sent as data": (["send", "ME", "Data", "b", "--json", *PEER], None),
    "sent without a body": (["send", "ME", "Ping", "--no-body", *PEER], "a loop's next line"),
    "an empty body": (["send", "ME", "s", "", *PEER], None),
    "nothing piped in": (["send", "ME", "s", *PEER], ""),
    "two bodies": (["send", "ME", "s", "b", "--body-file", "FILE", *PEER], None),
    "no file": (["send", "ME", "s", "--body-file", "FILE.not", "--json", *PEER], None),
    "no UTF-8": (["send", "ME", "s", "--body-file", "-", *PEER], "\udcff"),
    "no UTF-8 typed": (["send", "ME", "s", "\udcff", *PEER], None),
    "an empty id of a try": (["send", "ME", "s", "b", "--request-id", "", *PEER], None),
    "nobody": (["send", "nobody-ME", "s", "b", *PEER], None),
    "too long": (["send", "ME", "s" * 201, "b", "--json", *PEER], None),
    "too large": (["send", "ME", "s", *PEER], "x" * 70_000),
    "far too large": (["send", "ME", "s", *PEER], "x" * 600_000),
    "a word": (["tell", "ME", "Note", *PEER], "left there"),
    "one of several": (["inbox", "--limit", "1", *ME], None),
    "looked at": (["inbox", "--peek", *ME], None),
    "the others": (["inbox", *ME], None),
    "a life": (["task", "TASK", *ME], None),
    "a life as data": (["task", "TASK", "--json", *ME], None),
    "no such task": (["task", "0" * 32, *ME], None),
    "no such task as data": (["task", "0" * 32, "--json", *ME], None),
    "no cursor": (["inbox", "--cursor", "?", *ME], None),
    "at it": (["result", "TASK", "working", "--progress", "50", *ME], ""),
    "no answer is due": (["answer", "TASK", "Yes.", *PEER], None),
    "done": (["result", "TASK", "completed", "--summary", "214: é 😀", *ME], "left"),
    "done otherwise": (["result", "TASK", "failed", *ME], None),
    "its result": (["watch", "--timeout", "5", *PEER], None),
    "nothing more": (["watch", "--timeout", "0", *PEER], None),
    "no since": (["watch", "--since", "2h", *PEER], None),
    "tasks": (["tasks", *PEER], None),
    "tasks as data": (["tasks", "--limit", "2", "--json", *PEER], None),
    "steps": (["audit", "--limit", "2", *ME], None),
    "an agent": (["agents", "ME"], None),
    "set aside": (["parked", *ME], None),
    "nothing to offer": (["replay", "9", *ME], None),
    "why": (["why", "TASK"], None),
    "why as data": (["why", "TASK", "--json"], None),
    "why not": (["why", "0" * 32], None),
    "a policy": (["policy", "explain", "PEER", "ME"], None),
    "no number": (["tasks", "--limit", "0"], None),
    "no priority": (["send", "ME", "s", "b", "--priority", "hihg"], None),
    "no option": (["inbox", "--peak"], None),
    "too few": (["send"], None),
    "help": (["send", "--help"], None),
    "folded": (["task", "TASK", *ME], None, {"COLUMNS": "40"}),
    "an error folded": (["task", "0" * 32, *ME], None, {"COLUMNS": "40"}),
    "by another clock": (["task", "TASK", *ME], None, {"TZ": "Asia/Tokyo"}),
}
# What their own process does, whoever listens.
LEFT = {
    "two bodies", "no file", "no UTF-8", "far too large", "no number",
    "no priority", "no option", "too few", "help", "by another clock",
}  # fmt: skip
# What differs from one call to the next.
_DIFFERS = (
    (r"\b[0-9a-f]{32}\b", "ID"),
    (r"\b(?=[0-9]*[a-f])[0-9a-f]{8}\b|\b[0-9]{8}\b", "ID"),
    (r"\b(shell-)[0-9a-f]{16}\b|\b(past|peek-1)-\d+", "CURSOR"),
    (r"<<<[0-9a-f]{6}|[0-9a-f]{6}>>>", "FENCE"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?", "TIME"),
    (r"\bjust now\b|\b\d+ s ago\b", "AGO"),
    (r"\b(ann|bob)\b", "ME"),
    (r"\b(pia|pam)\b", "PEER"),
)


@pytest.fixture(scope="module")
def ends(house, tmp_path_factory):
    """How each ended that was typed: done by a listener, and as where there is none."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "task.md").write_text("From the file ✓")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in served.environ(house.data_dir.parent).items():
            patched.setenv(name, value)
        patched.delenv("PYTHONPATH")
        patched.chdir(folder)
        with listening(house):
            ours = _script(folder, WITH, with_listener)
            theirs = _script(folder, WITHOUT, without)
    return {name: (ours[name], theirs[name]) for name in TYPED}


@contextlib.contextmanager
def listening(settings):
    """Run a listener, as a module's fixture can."""
    environ = served.environ(settings.data_dir.parent)
    argv = [sys.executable, "-m", "mcp_agentbus", "listen"]
    process = forking.start(argv, env=environ, stderr=subprocess.PIPE)
    assert b"listening" in process.stderr.readline()
    drained = threading.Thread(target=process.stderr.read)
    drained.start()
    yield
    process.terminate()
    drained.join()
    process.stderr.close()
    assert process.wait(20) == 0


def _script(folder, names, run):
    """Type all of it under these names; return how each ended."""
    ended, known = {}, {**names, "TASK": "none", "FILE": "task.md"}
    for name, (typed, piped, *variables) in TYPED.items():
        argv = [re.sub("|".join(known), lambda word: known[word[0]], word) for word in typed]
        ended[name] = _ran(folder, argv, piped, run, *variables)
        if name == "sent":
            known["TASK"] = re.search("[0-9a-f]{32}", ended[name].out)[0]
    return ended


def _ran(folder, argv, piped, run, variables=MappingProxyType({})):
    """Type it here, with that on its standard input; return how it ended."""
    given = folder / "stdin"
    given.write_bytes((piped or "").encode(errors="surrogateescape"))
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with given.open(encoding="utf-8") as stdin, pytest.MonkeyPatch.context() as patched:
        for name, stream in (("stdin", stdin), ("stdout", out), ("stderr", err)):
            patched.setattr(sys, name, stream)
        for name, value in variables.items():
            patched.setenv(name, value)
        try:
            printer.spell_out()
            code, is_left = run(argv)
        except SystemExit as ended:
            code, is_left = ended.code, True
        out.flush()
        err.flush()
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return SimpleNamespace(code=code, out=said[0], err=said[1], is_left=is_left)


def with_listener(argv):
    """Do it as `agentbus` does; return the exit code, and whether the listener left it."""
    done = command.run(argv)
    return (done, False) if isinstance(done, int) else (main.main(argv, begun=done), True)


def without(argv):
    """Do it as where nobody listens."""
    return main.main(argv, begun=command.Begun()), True


def alike(said):
    """Return what was said, without what differs from one call to the next."""
    for pattern, name in _DIFFERS:
        said = re.sub(pattern, name, said)
    return said


@pytest.mark.parametrize("name", TYPED)
def test_what_is_typed_ends_alike_with_a_listener_and_without(ends, name):
    ours, theirs = ends[name]

    assert alike(ours.out) == alike(theirs.out)
    assert alike(ours.err) == alike(theirs.err)
    assert ours.code == theirs.code


@pytest.mark.parametrize("name", TYPED)
def test_the_listener_does_all_that_needs_no_process_of_its_own(ends, name):
    assert ends[name][0].is_left == (name in LEFT)


def test_they_end_in_many_ways(ends):
    """Or nothing would be compared."""
    assert {ours.code for ours, _ in ends.values()} == {0, 1, 2, 4}
    assert len({ours.out + ours.err for ours, _ in ends.values()}) > 40
