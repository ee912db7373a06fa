# SPDX-License-Identifier: Apache-2.0
"""Standard input and output as a host gives them: of every kind, in either mode, open or not."""

import fcntl
import json
import os
import pty
import socket
import subprocess
import sys
import tty
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest
import served
from local_server import until

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "h", "version": "1"},
}
REQUESTS = 40
ENDS_WITHIN_S = served.ANSWER_WITHIN_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and sizes of pipes")


def asked(count):
    """Return what a host says: the handshake, and so many requests."""
    first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}
    rest = [{"jsonrpc": "2.0", "id": number, "method": "tools/list"} for number in range(1, count)]
    return b"".join(json.dumps(each).encode() + b"\n" for each in (first, *rest))


@pytest.fixture
def start(home, way):
    """A function that starts a session on descriptors; it ends with the test."""
    with ExitStack() as stack:

        def started(stdin, stdout, *before):
            process = subprocess.Popen(
                [*before, *served.command(f"stdio-{uuid.uuid4().hex[:8]}")],
                stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
                env=served.environ(home.data_dir.parent),
            )  # fmt: skip
            stack.callback(process.stderr.close)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield started


def pipes():
    (stdin, to), (answers, stdout) = os.pipe(), os.pipe()
    fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, 4096)
    return stdin, stdout, to, answers


def sockets():
    (stdin, to), (answers, stdout) = ([end.detach() for end in socket.socketpair()] for _ in "io")
    return stdin, stdout, to, answers


def one_socket():
    ours, theirs = (end.detach() for end in socket.socketpair())
    return theirs, os.dup(theirs), ours, os.dup(ours)


def terminal():
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    return theirs, os.dup(theirs), ours, os.dup(ours)


@pytest.mark.parametrize(
    ("kind", "blocking"),
    [(pipes, False), (sockets, False), (one_socket, False), (terminal, False), (pipes, True)],
)
def test_a_host_that_reads_slowly_gets_every_answer(start, kind, blocking):
    stdin, stdout, to, answers = kind()
    for descriptor in (stdin, stdout):
        os.set_blocking(descriptor, blocking)
    process = start(stdin, stdout)
    os.close(stdin)
    with os.fdopen(to, "wb", buffering=0) as to, os.fdopen(answers, "rb") as answers:
        to.write(asked(REQUESTS))
        first = answers.readline()
        # From here on it is full, and nobody reads, until it has had to wait.
        until(lambda: waits_to_write(process.pid), "the session waits for its host")
        found = [first, *(answers.readline() for _ in range(REQUESTS - 1))]
        assert process.poll() is None
    os.close(stdout)

    assert sorted(json.loads(each)["id"] for each in found) == list(range(REQUESTS))
    process.kill()
    assert process.stderr.read() == b""


def waits_to_write(pid):
    """Tell whether no thread of a process has anything to do."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return {stat.read_bytes().rpartition(b")")[2].split()[0] for stat in threads} == {b"S"}


def test_a_host_that_gives_a_file_finds_all_answers_there(start, tmp_path):
    (tmp_path / "in").write_bytes(asked(3))
    with (tmp_path / "in").open("rb") as said, (tmp_path / "out").open("wb") as out:
        process = start(said, out)
        assert process.wait(ENDS_WITHIN_S) == 0

    lines = (tmp_path / "out").read_bytes().splitlines()
    assert sorted(json.loads(each)["id"] for each in lines) == [0, 1, 2]


def test_an_output_that_takes_nothing_ends_the_session_with_the_reason(start):
    with Path("/dev/full").open("wb") as full:
        process = start(subprocess.PIPE, full)
        process.stdin.write(asked(1))
        process.stdin.flush()
        assert process.wait(ENDS_WITHIN_S) == 1
        process.stdin.close()

    assert (
        process.stderr.read()
        == b"agentbus: Standard output takes nothing more: No space left on device.\n"
    )


CLOSED = "import os, sys; os.close(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"


@pytest.mark.parametrize(("closed", "code", "answers"), [(0, 0, 0), (1, 1, 0), (2, 0, 3)])
def test_a_descriptor_that_is_closed_is_no_other_one(start, tmp_path, closed, code, answers):
    (tmp_path / "in").write_bytes(asked(3))
    with (tmp_path / "in").open("rb") as said, (tmp_path / "out").open("wb") as out:
        process = start(said, out, sys.executable, "-c", CLOSED, str(closed))
        assert process.wait(ENDS_WITHIN_S) == code

    assert len((tmp_path / "out").read_bytes().splitlines()) == answers
    log = process.stderr.read().decode()
    assert log.startswith("agentbus: Standard output is closed") if closed == 1 else log == ""
