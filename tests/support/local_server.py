# SPDX-License-Identifier: Apache-2.0
"""Real nats-servers in tests: settings for one, which processes run, and a clean end.

    >>> with server_folder(tmp_path / "home") as settings:
    ...     server = embedded.ensure(settings)
    ...     assert server_pids(settings) == [server.pid]

It never ends a process that was not started for the given folder.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import forking
import served

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import Settings, load_settings

_DEADLINE_S = 60.0  # only a hang takes as long
_LOOK_AGAIN_S = 0.01
_STARTER = Path(__file__).with_name("starter.py")


def settings_at(home: Path, **environ: str) -> Settings:
    """Return the settings of a user who has nothing configured but the folder and `environ`."""
    return load_settings({"AGENTBUS_HOME": str(home), "PATH": os.environ["PATH"], **environ})


def configured(home: Path, text: str, **environ: str) -> Settings:
    """Return the settings of a user who has written `text` into config.toml."""
    home.mkdir(exist_ok=True)
    file = home / "config.toml"
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    return settings_at(home, **environ)


@contextlib.contextmanager
def server_folder(home: Path, **environ: str) -> Iterator[Settings]:
    """Give settings for a server of one's own; kill whatever server is left at the end."""
    settings = settings_at(home, **environ)
    try:
        yield settings
    finally:
        kill_servers(settings)


def kill_servers(settings: Settings) -> None:
    """Kill -9 the servers of this folder and wait until they are gone."""
    for pid in server_pids(settings):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not server_pids(settings), "the killed servers are gone")


def kill(server: embedded.Server) -> None:
    """Kill -9 a server that this process has started, and wait until it was reaped."""
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: is_gone(server.pid), "the killed server was reaped")


def port_of(server: embedded.Server) -> int:
    """Return the port that the server listens on."""
    return int(server.url.rpartition(":")[2])


def script(path: Path, *lines: str) -> Path:
    """Write a program for the shell and return its path."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o700)
    return path


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition` holds: for what no file, pipe or exit can tell."""
    pause = threading.Event()
    give_up = time.monotonic() + _DEADLINE_S
    while not condition():
        if time.monotonic() > give_up:
            raise AssertionError(f"never came true: {what}")
        pause.wait(_LOOK_AGAIN_S)


def server_pids(settings: Settings) -> list[int]:
    """Return the processes that run on this folder's configuration; zombies are none."""
    conf = str(embedded.Files(settings.data_dir).conf)
    return [pid for pid, line in command_lines().items() if conf in line]


def command_lines() -> dict[int, str]:
    """Return the command line of every process, by its id."""
    if Path("/proc/self/cmdline").exists():
        lines = {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                line = path.read_bytes().replace(b"\0", b" ")
                lines[int(path.parent.name)] = line.decode(errors="surrogateescape")
        return lines
    shown = subprocess.run(["ps", "-axww", "-o", "pid=,args="], capture_output=True, check=True)
    rows = (row.split(maxsplit=1) for row in shown.stdout.decode(errors="replace").splitlines())
    return {int(row[0]): row[-1] for row in rows}


def is_gone(pid: int) -> bool:
    """Tell whether no process, not even a zombie, has that id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class Crowd:
    """Processes that each call `ensure` once, all let go at the same moment.

    One with a number in `die_at` kills itself with SIGKILL before its n-th new line of embedded.py.
    None of them outlives the `with` block.
    """

    def __init__(self, home: Path, die_at: list[int | None]) -> None:
        gate, self._gate = os.pipe()
        environ = {**os.environ, "AGENTBUS_HOME": str(home), "PYTHONPATH": served.PACKAGE}
        self.processes = [
            forking.start(
                [sys.executable, "-W", "error", _STARTER, str(step or 0)],
                stdin=gate,
                stdout=subprocess.PIPE,
                env=environ,
                text=True,
            )
            for step in die_at
        ]
        os.close(gate)

    def __enter__(self) -> Self:
        for process in self.processes:
            assert process.stdout.readline() == "ready\n"
        # All of them read this pipe, and see its end at once.
        os.close(self._gate)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def kill_within(self, seconds: float, chance: random.Random) -> None:
        """Kill -9 the processes in turn, each at a random moment of that time, or let it end."""
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0, seconds / len(self.processes)))
            process.kill()

    def answers(self) -> list[list[str]]:
        """Wait for all to end; return what each that came to an end said: how, pid, URL, lines."""
        said = [process.stdout.read().split() for process in self.processes]
        return [words for words in said if words]


def run_crowd(home: Path, die_at: list[int | None]) -> list[list[str]]:
    """Let a crowd go and return its answers."""
    with Crowd(home, die_at) as crowd:
        return crowd.answers()
