# SPDX-License-Identifier: Apache-2.0
"""A run of the tests says the same whoever starts it, and leaves nothing behind."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import anyio.lowlevel
import forked_client
import forking
import guard
import pytest
import served
import surroundings
from local_server import until

from mcp_agentbus.core import hosts

_SUPPORT = str(Path(surroundings.__file__).parent)
# What a child of a test finds: the signals that it ignores, its umask, its open files, its variables.
_FINDS = """
import os, signal
ignored = [s.name for s in signal.Signals if signal.getsignal(s) is signal.SIG_IGN]
print(ignored, oct(os.umask(0)), sorted(os.environ), os.environ["LC_CTYPE"])
"""
_SETTLED = f"""
import os, subprocess, sys, surroundings
surroundings.settle(os.environ)
subprocess.run([sys.executable, "-c", {_FINDS!r}])
"""


def _child_of_a_run(shell, **environ):
    told = subprocess.run(
        ["sh", "-c", f'{shell}; exec "$0" -c "$1"', sys.executable, _SETTLED],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": _SUPPORT, **environ},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return told.stdout


@pytest.mark.parametrize(
    ("shell", "environ"),
    [
        pytest.param("trap '' INT QUIT", {}, id="in a script's background"),
        pytest.param("trap '' HUP", {}, id="under nohup"),
        pytest.param("trap '' TERM USR1 CHLD", {}, id="ignoring all"),
        pytest.param("umask 077", {}, id="with a private umask"),
        pytest.param("exec <&-", {}, id="without input"),
        pytest.param("exec 2>&-", {}, id="without an error stream"),
        pytest.param(
            "true",
            dict.fromkeys((*hosts.MARKS, "AGENTBUS_HOME", "NO_COLOR"), "1")
            | {"LANG": "tr_TR.UTF-8"},
            id="in an agent's shell",
        ),
    ],
)
def test_a_child_of_a_test_starts_as_from_a_terminal(shell, environ):
    assert _child_of_a_run(shell, **environ) == _child_of_a_run("true", HOME=os.environ["HOME"])


def test_nobody_that_was_started_for_a_run_outlives_it(tmp_path):
    run = textwrap.dedent("""
        import os, signal, subprocess, sys, guard
        folder = guard.RunFolder()
        waits = [sys.executable, "-c", "import signal; print(1, flush=True); signal.pause()"]
        for argv, environ in (([folder.path], {}), ([], {"HOME": f"{folder.path}/home"})):
            started = subprocess.Popen([*waits, *argv], env=environ, start_new_session=True,
                                       stdout=subprocess.PIPE)
            started.stdout.readline()
        print(folder.path, *guard.started_for(str(folder.path)), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    told = subprocess.run(
        [sys.executable, "-c", run],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": _SUPPORT, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    folder, *pids = told.stdout.split()

    assert len(pids) == 3  # the guard itself, too
    until(lambda: not guard.started_for(folder), "nobody is left")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is where TMPDIR says")
def test_a_run_is_in_memory_where_that_has_room_for_it_and_nobody_has_said_another_place(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(guard, "_MEMORY", tmp_path)
    monkeypatch.setattr(guard, "_SPARE_BYTES", 1)

    def in_memory(room_bytes):
        monkeypatch.setattr(guard, "_ROOM_BYTES", room_bytes)
        return guard._in_memory()

    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr(guard, "_LIMITS", [tmp_path / "none", tmp_path / "most"])
    there, too_small = in_memory(1), in_memory(1 << 60)
    contained = []
    for most in ("max", "1", "0"):  # as a container has it
        (tmp_path / "most").write_text(f"{most}\n")
        contained.append(in_memory(1))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    elsewhere = in_memory(1)

    assert (there, too_small, elsewhere) == (True, False, False)
    assert contained == [True, True, False]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount one")
@pytest.mark.parametrize(
    ("program", "keep", "left"),
    [
        (guard._MOUNT, False, (True, False, False)),
        (guard._MOUNT, True, (True, True, True)),
        ("/bin/false", False, (False, False, False)),
    ],
    ids=["over", "kept", "not to be had"],
)
def test_a_memory_is_mounted_for_a_run_alone_and_goes_with_it_unless_it_is_to_be_looked_at(
    monkeypatch, tmp_path, program, keep, left
):
    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    monkeypatch.setattr(guard, "_SPARE_BYTES", 1)
    monkeypatch.setattr(guard, "_MEMORY", tmp_path)
    monkeypatch.setattr(guard, "_MOUNT", program)
    run = guard.RunFolder()
    try:
        was = run.path.is_mount()
        (run.path / "disk").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", run.path / "disk"], check=True)
        run.end(keep=keep)

        assert (was, run.path.is_mount(), run.path.exists()) == left
        assert not (run.path / "disk").is_mount()
    finally:
        subprocess.run(["umount", "-l", run.path], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(run.path, ignore_errors=True)


# What a process can see of how it came to be.
_LOOKS = """
import json, os, signal, sys, warnings
ignored = [s.name for s in signal.Signals if signal.getsignal(s) is signal.SIG_IGN]
streams = [(one.encoding, one.isatty(), one.line_buffering) for one in (sys.stdin, sys.stdout)]
filters = [(action, category.__name__) for action, _, category, *_ in warnings.filters]
seen = [sys.argv, dict(os.environ), os.getcwd(), sys.path, os.umask(0), ignored, streams, filters]
seen.append(os.getsid(0) == os.getpgid(0) == os.getpid())
print(json.dumps([*seen, sys.warnoptions, sys.stdin.read(), os.listdir("/dev/fd"), __name__]), flush=True)
"""


@pytest.mark.parametrize("options", [[], ["-W", "error"], ["-P"]])
@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "sys.exit('why')", "1 / 0", "os.abort()"])
def test_a_process_that_is_forked_sees_what_one_that_is_started_sees(tmp_path, options, end):
    given = tmp_path / "given"
    given.write_text("a line")
    environ = {"HOME": "/nowhere", "LC_CTYPE": "C.UTF-8", "PYTHONPATH": _SUPPORT}

    def seen(forks):
        with forking.on(forks), given.open() as stdin:
            argv = [sys.executable, *options, "-c", _LOOKS + end, "word", ""]
            ran = forking.ran(
                argv, 60, env=environ, cwd=tmp_path, stdin=stdin, start_new_session=bool(options)
            )
        return ran.returncode, ran.stdout, ran.stderr.splitlines()[-1:]

    assert seen(forks=True) == seen(forks=False)


async def test_who_reads_a_forked_server_as_it_is_closed_is_told_so():
    """By the error that the SDK knows: any other one would be a client's that failed."""
    reads, writes = os.pipe()
    output = forked_client.Output(os.fdopen(reads, "rb", 0))
    with os.fdopen(writes, "wb", 0) as pipe:
        reading = asyncio.ensure_future(output.receive())
        await anyio.lowlevel.checkpoint()
        pipe.write(b"ready")
        await output.aclose()

        with pytest.raises(anyio.ClosedResourceError):
            await reading
        with pytest.raises(anyio.ClosedResourceError):
            await output.receive()


def test_a_constant_that_has_moved_away_cannot_be_changed():
    _, _, _, script = served.changed("listener.loop.GONE_S = 0.2")

    with pytest.raises(AttributeError, match="GONE_S"):
        exec(script)
