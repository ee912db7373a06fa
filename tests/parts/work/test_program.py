# SPDX-License-Identifier: Apache-2.0
"""A program as a handler, with real ones: what it reads, what becomes of what it prints."""

import asyncio
import errno
import io
import os
import resource
import sys
import tempfile
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from atwork import has_ended, shell
from local_server import until
from timeless import timeless

from mcp_agentbus.core import files, programs
from mcp_agentbus.core.children import group
from mcp_agentbus.handoff.intake.answer import Item
from mcp_agentbus.store.task import RESULT_MAX_BYTES, Task
from mcp_agentbus.work import output, program
from mcp_agentbus.work.guard import Guard
from mcp_agentbus.work.program import Program
from mcp_agentbus.work.result import NotBegun

AT = datetime(2026, 11, 27, tzinfo=UTC)
FULL = Path("/dev/full")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a program for a task with a body; it works in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    async def run(*argv, body="all of them", **fields):
        task = Task(
            id="9d0c", sender="planner", to="coder", subject="Count", body=body,
            thread_id="9d0c", created_at=AT, expires_at=AT,
        )  # fmt: skip
        with closing(Guard()) as guard:
            return await Program(argv, "coder", tmp_path / "outputs", guard=guard, **fields)(
                Item(task, "claimed")
            )

    return run


def python(code):
    return (sys.executable, "-S", "-c", code)


def descriptors():
    """Return the numbers of this process's open files."""
    return [number for number in range(256) if is_open(number)]


def is_open(number):
    with suppress(OSError):
        return os.fstat(number)


def content(path):
    return Path(path).read_bytes()


def modes(path):
    """Return the rights of a file, and of its folder."""
    return tuple(one.stat().st_mode & 0o777 for one in (Path(path), Path(path).parent))


async def test_what_is_half_a_character_in_a_task_is_shown_and_counted(run):
    result = await run("cat", body="a\ud800b", task_max_bytes=1000)

    assert "    a\\ud800b\n" in result.body


async def test_what_it_prints_is_the_body_to_the_last_byte(run):
    result = await run(*shell("printf 'a\\nb\\n\\n'; echo no >&2"))

    assert (result.status, result.body, result.summary) == ("completed", "a\nb\n\n", "")


async def test_it_reads_its_task_on_standard_input(run):
    result = await run("cat", body="x" * 60_000, instruction="In German.")

    assert "In German." in result.body
    assert "    " + "x" * 60_000 in result.body


async def test_or_as_one_argument_and_then_nothing_on_standard_input(run):
    code = "import sys; print(len(sys.argv), sys.argv[2][:13], sys.stdin.read() == '')"

    result = await run(*python(code), "--ask", "{input}")

    assert result.body == "3 You are coder True\n"


async def test_a_task_that_no_argument_holds_fails_in_words(run):
    """140 KB, as newlines grow in a frame."""
    result = await run("echo", "{input}", body="\n" * 28_000)

    assert (result.status, result.body) == ("failed", "")
    assert "and the system takes 131,071; its worker could take it on standard" in result.summary


async def test_140_kb_come_back_whole_and_a_result_holds_256_kib(run):
    for size in (140_000, RESULT_MAX_BYTES):
        result = await run(*python(f"print('x' * {size}, end='')"))

        assert (result.status, len(result.body), result.summary) == ("completed", size, "")


async def test_2_mb_are_kept_in_a_file_of_the_user_alone_and_the_result_says_so(run, tmp_path):
    result = await run(*python("print('y' * (2 << 20))"))

    [kept] = result.artifacts
    assert (result.status, result.body) == ("completed", "")
    assert content(kept) == b"y" * (2 << 20) + b"\n"
    assert modes(kept) == (0o600, 0o700)
    assert result.summary == (
        "The program printed 2,097,153 bytes, of which a result holds 262,144: all of it is in "
        f"the file named as its artifact, on host {os.uname().nodename}."
    )


async def test_what_is_no_text_is_kept_in_a_file_too(run):
    result = await run(*shell("printf 'a\\377'"))

    assert (result.status, result.body) == ("completed", "")
    assert content(result.artifacts[0]) == b"a\xff"
    assert "printed 2 bytes, which are no UTF-8 text" in result.summary


async def test_of_far_too_much_the_first_is_kept_and_the_task_has_failed(run, monkeypatch):
    monkeypatch.setattr(output, "KEPT_MAX_BYTES", 350_000)

    result = await run(*python("print('z' * 500_000, end='')"))

    assert result.status == "failed"
    assert content(result.artifacts[0]) == b"z" * 350_000
    assert "printed 500,000 bytes" in result.summary
    assert "only the first" in result.summary


async def test_where_no_file_can_be_written_that_is_said(run, tmp_path):
    (tmp_path / "outputs").touch()

    result = await run(*python("print('z' * 400_000, end='')"))

    assert (result.status, result.artifacts) == ("failed", ())
    assert "they could not be kept in a file either" in result.summary


async def test_files_of_results_that_are_kept_no_more_go(run, tmp_path):
    first = (await run(*shell("printf '\\377'"))).artifacts[0]
    os.utime(first, (0, 0))

    second = (await run(*shell("printf '\\377'"))).artifacts[0]

    assert [str(file) for file in (tmp_path / "outputs").iterdir()] == [second]


async def test_by_a_clock_that_is_ahead_no_file_of_a_result_goes(run, tmp_path, monkeypatch):
    """It was named in a result that the bus had still."""
    first = (await run(*shell("printf '\\377'"))).artifacts[0]
    later = (datetime.now(UTC) + timedelta(days=100)).timestamp()
    monkeypatch.setattr(files, "time", SimpleNamespace(time=lambda: later))
    await run(*shell("printf '\\377'"))

    assert len(list((tmp_path / "outputs").iterdir())) == 2
    assert content(first) == b"\xff"


async def test_an_exit_code_fails_the_task_with_the_end_of_standard_error(run):
    result = await run(*shell("echo partly; seq 2000 >&2; echo last >&2; exit 3"))

    assert (result.status, result.body) == ("failed", "partly\n")
    assert timeless(result.summary).startswith(
        "Exit code 3 after N s. The end of its standard error:\n..."
    )
    assert result.summary.endswith("1999\n2000\nlast")
    assert len(result.summary) == 2000


async def test_one_that_prints_nothing_is_said_to(run):
    assert (await run("true")).summary == "It printed nothing."
    killed = await run(*shell("kill -9 $$"))
    assert timeless(killed.summary) == "Ended by signal 9 after N s. It printed nothing."


async def test_one_that_cannot_be_run_fails_in_words(run, tmp_path, monkeypatch):
    (tmp_path / "tool").write_text("#!/bin/sh\n")

    assert (await run("no-such-program")).summary == (
        "The task was not done: its worker's program cannot be run: No such file or directory."
    )
    assert "Permission denied" in (await run("./tool")).summary
    monkeypatch.setattr(programs, "ourselves", lambda **_: ["/no/such/program"])
    assert (await run("true")).summary.endswith(
        "cannot be run: what ends it with its worker cannot be started: No such file or directory."
    )


async def test_what_it_reads_needs_no_room_in_tmp(run, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")

    assert "    all of them" in (await run("cat")).body


@pytest.mark.parametrize("refused", [None, errno.EACCES, errno.ENOSYS])
async def test_and_no_file_in_memory_which_not_every_python_or_kernel_has(
    run, tmp_path, monkeypatch, refused
):
    def refuses(_):
        raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(os, "memfd_create", refuses, raising=False)
    if refused is None:
        monkeypatch.delattr(os, "memfd_create")

    assert "    all of them" in (await run("cat")).body
    assert list((tmp_path / "outputs").iterdir()) == []


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has such a device")
async def test_where_a_full_disk_does_not_take_its_task_it_is_not_begun(run, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda buffering=-1, **_: FULL.open("w+b", buffering)
    )

    with pytest.raises(NotBegun, match=os.strerror(errno.ENOSPC)):
        await run("cat")


async def test_a_task_that_is_written_in_parts_is_read_whole(run, tmp_path, monkeypatch):
    class Short(io.FileIO):
        def write(self, content):
            return super().write(content[:100])

    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Short(tmp_path / "task", "w+"))

    assert "    all of them" in (await run("cat")).body


async def test_where_the_folder_for_what_it_reads_is_anothers_that_is_said(
    run, tmp_path, monkeypatch
):
    def own_folder(folder):
        raise files.not_mine(folder)

    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(program, "own_folder", own_folder)

    assert (await run("cat")).summary == (
        f"The task was not done: its worker's program cannot be run: {tmp_path}/outputs belongs to "
        "another user."
    )


async def test_with_too_few_descriptors_it_is_not_begun_and_has_not_failed(run, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await run("true")
    before, ends = descriptors(), []
    free = [number for number in range(256) if number not in before]
    try:
        for limit in (*free[:10:3], free[20]):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            try:
                ends.append((await run(*shell("touch ran"))).status)
            except NotBegun as error:
                ends.append(str(error).rpartition(": ")[2])
                assert not (tmp_path / "ran").exists()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert set(ends) == {"Too many open files", "completed"}
    assert descriptors() == before


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.ENOSPC])
async def test_where_the_machine_lacks_something_it_is_not_begun(run, monkeypatch, number):
    def lacks(*_, **__):
        raise OSError(number, os.strerror(number))

    before = descriptors()
    for its, call in ((program, "start"), (asyncio.get_running_loop(), "add_reader")):
        with monkeypatch.context() as lacking:
            lacking.setattr(its, call, lacks)
            with pytest.raises(NotBegun, match=os.strerror(number)):
                await run("true")
    assert descriptors() == before


async def test_a_task_that_is_too_large_for_its_user_is_rejected_and_nothing_runs(run, tmp_path):
    result = await run(*shell("touch ran"), body="x" * 100, task_max_bytes=100)

    assert result.status == "rejected"
    assert result.summary == ("The task has 105 bytes; this worker's user lets it take 100.")
    assert not (tmp_path / "ran").exists()


async def test_a_cancelled_one_is_ended_with_its_children(run, tmp_path, monkeypatch):
    monkeypatch.setattr(group, "GRACE_S", 0.1)
    lines = ("trap '' TERM", "tail -f /dev/null & echo $! > child.new; mv child.new child", "wait")
    running = asyncio.create_task(run(*shell(*lines)))
    await asyncio.to_thread(until, (tmp_path / "child").exists, "it runs")

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    until(lambda: has_ended(int((tmp_path / "child").read_text())), "the child is gone")


async def test_one_that_may_not_be_ended_at_its_limit_is_said_to_run_on(run, not_ours):
    result = await run("tail", "-f", "/dev/null", time_limit_s=0.01)

    assert result.status == "failed"
    assert result.summary.endswith(
        f": the program could not be ended, and runs on as pid {not_ours[0]}. It printed nothing."
    )


async def test_it_is_not_taken_for_the_session_that_started_its_worker(run, monkeypatch):
    monkeypatch.setenv("CLAUDECODE", "1")
    monkeypatch.setenv("AGENTBUS_HOST", "claude-code")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("AGENTBUS_TOKEN", "hush")  # what it starts of agentbus is the same agent
    monkeypatch.setenv("MINE", "1")

    result = await run("env", environ={"AGENTBUS_AGENT": "coder"})

    names = {line.partition("=")[0] for line in result.body.splitlines()}
    assert names & {"CLAUDECODE", "AGENTBUS_HOST", "MINE", "AGENTBUS_AGENT"} == {
        "MINE",
        "AGENTBUS_AGENT",
    }
