# SPDX-License-Identifier: Apache-2.0
"""What a worker's guard ends, and when: what runs as the worker is gone, and nothing else."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from atwork import has_ended, shell
from local_server import until

from mcp_agentbus.core import programs
from mcp_agentbus.work.guard import Guard

GUARD = programs.ourselves(module="mcp_agentbus.work.guard")

HANGS = shell("trap '' HUP; tail -f /dev/null & wait")


@contextlib.contextmanager
def running():
    """Start a program that hangs, and leads a group; kill it at the end."""
    with subprocess.Popen(HANGS, start_new_session=True) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_what_runs_is_ended_once_the_pipe_ends_and_what_is_over_is_not():
    with running() as left, running() as over:
        lines = f"+{over.pid}\n+{left.pid}\n-{over.pid}\n"
        with subprocess.Popen(GUARD, stdin=subprocess.PIPE, text=True) as guard:
            guard.stdin.write(lines)
            guard.stdin.close()

            assert left.wait(60) == -signal.SIGTERM
        assert over.poll() is None


def test_what_ignores_that_it_is_told_to_end_is_killed_with_its_children(tmp_path):
    deaf = shell("trap '' TERM", "tail -f /dev/null & echo $! > child", "echo", "wait")
    program = subprocess.Popen(deaf, start_new_session=True, stdout=subprocess.PIPE, cwd=tmp_path)
    with program:
        program.stdout.readline()
        script = "from mcp_agentbus.work import guard; guard._GRACE_S = 0.1; guard.main()"
        hasty, lines = [sys.executable, "-c", script], f"+{program.pid}\n"
        subprocess.run(hasty, input=lines, text=True, check=True, timeout=60)

        assert program.wait(60) == -signal.SIGKILL
        child = int((tmp_path / "child").read_text())
        until(lambda: has_ended(child), "its child is ended")


def test_one_that_is_killed_is_started_again_and_knows_what_runs():
    guard = Guard()
    with running() as first, running() as second, guard.over(first.pid):
        guard._process.kill()
        guard._process.wait()
        with guard.over(second.pid):
            guard._process.stdin.close()

            assert [each.wait(60) for each in (first, second)] == [-signal.SIGTERM] * 2
            guard.close()
    guard.close()


def test_one_that_was_started_needs_no_file_any_more_for_what_runs_later(monkeypatch):
    guard = Guard()
    guard.start()
    monkeypatch.setattr(programs, "ourselves", None)
    with running() as program, guard.over(program.pid):
        guard._process.stdin.close()

        assert program.wait(60) == -signal.SIGTERM
        guard.close()
        monkeypatch.undo()
    guard.close()


def test_a_program_that_nobody_can_guard_is_forgotten(monkeypatch):
    guard = Guard()
    with running() as program:
        monkeypatch.setattr(programs, "ourselves", lambda **_: ["/no/such/program"])
        with pytest.raises(FileNotFoundError), guard.over(program.pid):
            pytest.fail("it would run unguarded")
        monkeypatch.undo()

        guard.start()
        guard._process.stdin.close()
        assert guard._process.wait(60) == 0
        assert program.poll() is None
    guard.close()


def test_what_ends_unguarded_has_ended_all_the_same(monkeypatch):
    """Its guard was killed, and the files of a new one are gone."""
    guard = Guard()
    with running() as program, guard.over(program.pid):
        guard._process.kill()
        guard._process.wait()
        monkeypatch.setattr(programs, "ourselves", lambda **_: ["/no/such/program"])
    monkeypatch.undo()

    guard.start()
    guard._process.stdin.close()
    assert guard._process.wait(60) == 0
    guard.close()


def test_it_loads_next_to_nothing():
    code = "import sys, mcp_agentbus.work.guard; print({'asyncio', 'subprocess'} & {*sys.modules})"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout == "set()\n"
