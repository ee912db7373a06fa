# SPDX-License-Identifier: Apache-2.0
"""A host's process, with real ones: started, read, limited, ended with its group."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from local_server import is_gone, script, until
from noticed import telling
from timeless import timeless

from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.core.children import group
from mcp_agentbus.core.children.group import outlive
from mcp_agentbus.core.processes import born, known
from mcp_agentbus.wakes.hosts import claude_code, claude_settings, command, process
from mcp_agentbus.wakes.hosts.process import run
from mcp_agentbus.wakes.hosts.protocol import WakeOrder

PATH = "/usr/bin:/bin"
# A program that says that it is there, and then hangs until a signal ends it.
HANGS = "echo up > up; exec tail -f /dev/null"


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENTBUS_HOME", str(tmp_path / "home"))

    def make(*argv, environ=None, started=lambda _: None, notice="1 task", **fields):
        fields = {"folder": tmp_path, "profile": "work", "command": argv, **fields}
        rules = Rules("coder", "command", **fields)
        return WakeOrder(
            rules, telling(notice), {"PATH": PATH} if environ is None else environ, started
        )

    return make


def shell(*lines):
    return ("/bin/sh", "-c", "\n".join(lines))


def number_in(path: Path) -> int:
    """Wait for the pid that a program writes to a file."""
    until(lambda: path.exists() and path.read_text().endswith("\n"), f"{path} is written")
    return int(path.read_text())


@contextlib.asynccontextmanager
async def running(made, ready: Path):
    """Wake in a task; yield it once the program has written that file."""
    task = asyncio.create_task(command.wake(made))
    await asyncio.to_thread(until, ready.exists, "the program runs")
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_program_gets_the_notice_and_what_it_printed_is_told(call):
    pids = []
    ended = await command.wake(call("/bin/sh", "-c", "cat; echo b >&2; pwd", started=pids.append))

    assert (ended.outcome, ended.exit_code, ended.usd) == ("exited", 0, None)
    assert ended.output.startswith("1 task\nb\n/")
    assert timeless(ended.said) == "exit code 0 after N s"
    assert is_gone(pids[0])


async def test_a_folder_that_is_not_there_is_not_looked_through(call, tmp_path, monkeypatch):
    monkeypatch.setattr(claude_settings, "write", pytest.fail)
    script(tmp_path / "claude")
    order = call(folder=tmp_path / "gone", profile="answer", environ={"PATH": str(tmp_path)})

    ended = await claude_code.wake(order)

    assert ended.said == f"its folder {tmp_path}/gone is not there"


async def test_a_folder_whose_file_system_has_gone_away_holds_nobody_up(
    call, monkeypatch, tmp_path
):
    comes_back = threading.Event()
    monkeypatch.setattr(process, "_LOOKS_S", 0.01)
    monkeypatch.setattr(Rules, "folder_lacks", lambda _: comes_back.wait(20) and "")

    ended = await command.wake(call("/bin/true"))

    comes_back.set()
    assert (ended.outcome, ended.said) == (
        "not_started",
        f"its folder {tmp_path} cannot be looked at: its file system does not answer",
    )


async def test_it_has_the_environment_that_it_is_given_and_no_other(call):
    ended = await command.wake(call("/usr/bin/env", environ={"A": "1"}))

    assert ended.output == "A=1\n"


async def test_it_runs_in_its_folder_and_leads_a_session(call, tmp_path):
    code = "import os; print(os.getcwd(), os.getsid(0) == os.getpid())"

    assert (await command.wake(call(sys.executable, "-c", code))).output == f"{tmp_path} True\n"


async def test_a_nonzero_exit_is_told(call):
    ended = await command.wake(call(*shell("exit 7")))

    assert (ended.outcome, ended.exit_code) == ("failed", 7)
    assert timeless(ended.said) == "exit code 7 after N s"


async def test_a_signal_is_told(call):
    ended = await command.wake(call(*shell("kill -9 $$")))

    assert (ended.outcome, ended.exit_code) == ("failed", None)
    assert timeless(ended.said) == "ended by signal 9 after N s"


async def test_a_program_may_leave_its_input_unread(call):
    ended = await command.wake(call(*shell("exec <&-; echo done"), notice="x" * 4000))

    assert (ended.outcome, ended.output) == ("exited", "done\n")


async def test_an_input_that_no_pipe_holds_is_refused(call):
    with pytest.raises(ValueError, match="4096"):
        await run(["cat"], stdin=b"x" * 4097, call=call(), time_limit_s=1)


@pytest.mark.parametrize("argv", [("no-such-program",), ("/no/such/program",), (".",), ("a\0b",)])
async def test_a_program_that_is_not_there_is_not_started(call, argv):
    ended = await command.wake(call(*argv))

    assert ended.outcome == "not_started"
    assert ended.said.startswith(f"{argv[0]} cannot be run: ")


async def test_a_file_without_the_right_to_run_is_not_started(call, tmp_path):
    (tmp_path / "tool").write_text("#!/bin/sh\n")

    ended = await command.wake(call("./tool"))

    assert ended.said == "./tool cannot be run: Permission denied"


async def test_an_argument_that_is_too_long_for_the_system_is_told(call):
    ended = await command.wake(call("/bin/echo", "x" * (4 << 20)))

    assert ended.said == "/bin/echo cannot be run: Argument list too long"


@pytest.mark.parametrize(
    ("name", "said"),
    [("gone", "is not there"), (300 * "x", "cannot be looked at: File name too long")],
)
async def test_a_folder_that_is_not_there_is_named(call, tmp_path, name, said):
    ended = await command.wake(call("true", folder=tmp_path / name))

    assert ended.outcome == "not_started"
    assert ended.said == f"its folder {tmp_path / name} {said}"


async def test_rules_without_a_command_start_nothing(call):
    assert (await command.wake(call())).outcome == "not_started"


async def test_a_hung_program_is_ended_at_its_time_limit(call):
    made = call(*shell("echo hangs", HANGS), limits=Limits(time_limit_s=0.3))

    ended = await command.wake(made)

    assert (ended.outcome, ended.exit_code, ended.output) == ("timed_out", None, "hangs\n")
    assert timeless(ended.said) == "ended at its time limit after N s"


async def test_one_that_ignores_sigterm_is_killed_with_its_children(call, tmp_path, monkeypatch):
    monkeypatch.setattr(group, "GRACE_S", 0.1)
    lines = ("trap '' TERM", "tail -f /dev/null & echo $! > child", "wait")

    ended = await command.wake(call(*shell(*lines), limits=Limits(time_limit_s=0.3)))

    assert ended.outcome == "timed_out"
    until(lambda: ended_or_zombie(number_in(tmp_path / "child")), "the child is gone")


async def test_one_that_may_not_be_ended_is_told_with_its_number(call, not_ours):
    ended = await command.wake(call("tail", "-f", "/dev/null", limits=Limits(time_limit_s=0.01)))

    assert ended.outcome == "timed_out"
    assert ended.said.endswith(f"could not be ended (is it another user's?): pid {not_ours[0]}")


async def test_a_child_that_keeps_the_output_open_holds_nobody_up_and_is_killed(call, tmp_path):
    start = time.monotonic()

    ended = await command.wake(call(*shell("tail -f /dev/null & echo $! > child; echo said")))

    assert (ended.outcome, ended.output) == ("exited", "said\n")
    assert time.monotonic() - start < 3
    until(lambda: ended_or_zombie(number_in(tmp_path / "child")), "the child is gone")


async def test_one_that_left_the_group_with_the_output_holds_nobody_up(call, tmp_path):
    code = "import os,sys; os.setsid(); open('child','w').write(f'{os.getpid()}\\n'); input()"
    (tmp_path / "leaver.py").write_text(code)
    os.mkfifo(tmp_path / "fifo")
    lines = (
        f"{sys.executable} leaver.py <>fifo &",
        "until test -s child; do :; done",
    )
    start = time.monotonic()

    ended = await command.wake(call(*shell(*lines)))

    child = number_in(tmp_path / "child")
    assert ended.outcome == "exited"
    assert time.monotonic() - start < 10
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("on_stop", ["end", "leave"])
async def test_of_a_flood_of_output_only_the_end_is_kept(call, on_stop):
    made = call(*shell("head -c 10000000 /dev/zero | tr '\\0' x; echo end"), on_stop=on_stop)

    ended = await command.wake(made)

    assert ended.outcome == "exited"
    assert len(ended.output) == 4096
    assert ended.output.endswith("xend\n")


async def test_what_is_no_text_in_the_output_is_replaced(call):
    assert (await command.wake(call(*shell("printf '\\377a'")))).output == "\ufffda"


async def test_a_cancelled_wake_ends_the_group(call, tmp_path):
    pids = []
    lines = ("tail -f /dev/null & echo $! > child", HANGS)
    async with running(call(*shell(*lines), started=pids.append), tmp_path / "up") as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert is_gone(pids[0])
    until(lambda: ended_or_zombie(number_in(tmp_path / "child")), "the child is gone")


async def test_a_cancelled_wake_leaves_what_the_rules_say_to_leave(call, tmp_path, monkeypatch):
    pids = []
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")  # others may have filled it
    os.mkfifo(tmp_path / "fifo")
    lines = ("echo up > up", "read line < fifo", "echo a line", "echo $? > code")
    made = call(*shell(*lines), started=pids.append, on_stop="leave")
    async with running(made, tmp_path / "up") as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    (tmp_path / "fifo").write_text("go\n")
    assert number_in(tmp_path / "code") == 0
    until(lambda: is_gone(pids[0]), "it ended and was reaped")


async def test_a_listener_that_fails_at_the_start_of_a_wake_leaves_no_process(call):
    pids = []

    def fails(pid):
        pids.append(pid)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await command.wake(call(*shell(HANGS), started=fails, on_stop="leave"))
    until(lambda: is_gone(pids[0]), "it was killed and reaped")


async def test_it_is_told_nothing_before_it_is_known(call, tmp_path):
    def known(pid):
        heard = Path(f"/proc/{pid}/fd/0") if sys.platform == "linux" else None
        with (heard or Path(os.devnull)).open("rb") as pipe:
            os.set_blocking(pipe.fileno(), False)
            (tmp_path / "before").write_text(repr(pipe.read()))

    ended = await command.wake(call("cat", started=known))

    assert (tmp_path / "before").read_text() in {"None", "b''"}
    assert ended.output == "1 task\n"


async def test_one_that_does_not_read_what_it_is_told_ends_as_well(call):
    ended = await command.wake(call("true", started=lambda pid: os.waitid(
        os.P_PID, pid, os.WEXITED | os.WNOWAIT)))  # fmt: skip

    assert ended.outcome == "exited"


async def test_no_descriptor_is_left_open(call):
    await command.wake(call(*shell("exit 1")))
    before = descriptors()

    await command.wake(call(*shell("exit 1")))
    await command.wake(call("no-such-program"))
    await command.wake(call(*shell("exit 1"), on_stop="leave"))

    assert descriptors() == before


async def test_the_end_of_a_process_that_is_no_child_is_waited_for(tmp_path):
    process = known(stranger(tmp_path))
    waiting = asyncio.create_task(outlive(process, 60))
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done

    os.kill(process.pid, signal.SIGKILL)

    async with asyncio.timeout(10):
        assert await waiting
        assert await outlive(process, 60)
        assert await outlive(known(2**22 + 1), 60)  # Linux gives no such number


@pytest.mark.parametrize("left_s", [0.1, -60])
async def test_one_that_is_no_child_is_ended_at_its_limit_with_its_group(
    tmp_path, monkeypatch, left_s
):
    monkeypatch.setattr(group, "GRACE_S", 0.1)
    lines = ("trap '' TERM", "tail -f /dev/null & echo $! > child", "wait")
    with leading_a_group(*lines, folder=tmp_path) as process:
        child = number_in(tmp_path / "child")

        assert not await outlive(known(process.pid), left_s)

    assert process.returncode == -signal.SIGKILL
    until(lambda: ended_or_zombie(child), "the child is gone")


async def test_one_that_has_its_number_by_now_is_left_alone():
    with leading_a_group("cat") as process:
        assert await outlive(known(process.pid)._replace(born="earlier"), 0)

        assert process.poll() is None


def test_a_process_is_told_from_a_later_one_by_its_start():
    with subprocess.Popen(shell(HANGS.replace("echo up > up;", ""))) as child:
        assert born(child.pid) == born(child.pid) != ""
        assert born(child.pid) != born(1)
        child.kill()
    assert born(child.pid) == ""


async def test_a_program_is_found_on_the_path_that_it_is_given(call, tmp_path):
    script(tmp_path / "mine", "echo mine")

    assert (await command.wake(call("mine", environ={"PATH": str(tmp_path)}))).output == "mine\n"


def leading_a_group(*lines: str, folder: Path | None = None) -> subprocess.Popen:
    return subprocess.Popen(
        shell(*lines), stdin=subprocess.PIPE, cwd=folder, start_new_session=True
    )


def stranger(folder: Path) -> int:
    """Start a process that is no child of this one; return its pid."""
    subprocess.run(shell("tail -f /dev/null & echo $! > child"), cwd=folder, check=True)
    return number_in(folder / "child")


def descriptors() -> set[int]:
    """Return the numbers of this process's open files."""
    return {number for number in range(256) if is_open(number)}


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def ended_or_zombie(pid: int) -> bool:
    """Tell whether it has ended; who reaps it is not ours to say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return is_gone(pid)
    return stat.rpartition(")")[2].split()[0] in "ZX"
