# SPDX-License-Identifier: Apache-2.0
"""Machines as network namespaces, with a HOME each, on one network that can be cut and slowed.

    >>> with network("vps", "laptop", homes=tmp_path) as (vps, laptop):
    ...     vps.typed("server", "init", "--shared", "--name", vps.address)
    ...     with laptop.cut(): ...

Needs Linux, root and `ip`: without them a person's tests are skipped, in CI they fail.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import served
from local_server import script, until

_WITHIN_S = 90  # only a hang takes as long


class Machine:
    """One machine, and the user whose HOME it has."""

    def __init__(self, name: str, number: int, home: Path) -> None:
        self.name, self.home = f"ab{os.getpid()}{name}"[:15], home
        self.address = f"10.231.7.{number}"
        self.link = f"v{os.getpid()}{number}"[:15]
        home.mkdir()
        (home / "bin").mkdir()
        # As `pip install` leaves it; elsewhere the venv's own, which a HOME does not have.
        line = f'PYTHONPATH={served.PACKAGE} exec {sys.executable} -m mcp_agentbus "$@"'
        script(home / "bin" / "agentbus", line)
        self.environ = {
            "HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "LANG": "C.UTF-8",
        }  # fmt: skip
        self._running: list[subprocess.Popen[str]] = []

    def ran(self, *argv: str | Path, said: str = "", folder: str = ".") -> tuple[int, str]:
        """Run a program there; return its exit code and what it printed, errors too."""
        where = self.home / folder
        where.mkdir(exist_ok=True)
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *argv], env=self.environ, cwd=where, input=said,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_WITHIN_S,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def typed(self, *words: str, said: str = "", folder: str = ".") -> tuple[int, str]:
        """Type `agentbus WORDS` there, in a folder of its user's."""
        return self.ran("agentbus", *words, said=said, folder=folder)

    def started(self, *argv: str | Path) -> subprocess.Popen[str]:
        """Have a program run there until the end, or until it is killed."""
        log = (self.home / f"{Path(argv[0]).name}-{len(self._running)}.log").open("w")
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *argv], env=self.environ, cwd=self.home,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True,
        )  # fmt: skip
        log.close()
        self._running.append(process)
        return process

    def logs(self) -> str:
        """Return what those programs have printed."""
        return "\n".join(log.read_text() for log in sorted(self.home.glob("*.log")))

    def processes(self) -> str:
        """Return what other users see, and root, of what runs there: arguments and environments."""
        files = [
            Path("/proc", pid, name)
            for pid in _ip("netns", "pids", self.name).split()
            for name in ("cmdline", "environ")
        ]
        there = []
        for file in files:
            with contextlib.suppress(OSError):  # it has ended
                there.append(file.read_bytes().replace(b"\0", b"\n").decode(errors="replace"))
        return "\n".join(there)

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Take the machine off the network, for as long as the block runs."""
        self._set("link", "set", self.link, "down")
        try:
            yield
        finally:
            self._set("link", "set", self.link, "up")

    @contextlib.contextmanager
    def unanswered_by(self, other: Machine) -> Iterator[None]:
        """Have what another machine says to this one be lost; what this one says gets there."""
        other._set("route", "add", "blackhole", f"{self.address}/32")
        try:
            yield
        finally:
            other._set("route", "del", "blackhole", f"{self.address}/32")

    @contextlib.contextmanager
    def slow(self, rate: str) -> Iterator[None]:
        """Have what it says leave at a rate, such as `64kbit`."""
        shape = ("root", "tbf", "rate", rate, "burst", "4kb", "latency", "2s")
        assert self.ran("tc", "qdisc", "add", "dev", self.link, *shape) == (0, "")
        try:
            yield
        finally:
            assert self.ran("tc", "qdisc", "del", "dev", self.link, "root") == (0, "")

    def _set(self, *words: str) -> None:
        assert self.ran("ip", *words) == (0, "")

    def end(self) -> None:
        """End what runs there."""
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        pids = _ip("netns", "pids", self.name).split()
        for pid in map(int, pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for process in self._running:
            process.wait(_WITHIN_S)
        until(lambda: not _ip("netns", "pids", self.name).split(), "nothing runs there any more")


@contextlib.contextmanager
def network(*names: str, homes: Path) -> Iterator[list[Machine]]:
    """Give machines that reach each other, with nothing on them but agentbus."""
    _check()
    machines = [Machine(name, number, homes / name) for number, name in enumerate(names, 1)]
    bridge = f"b{os.getpid()}"
    between = f"ab{os.getpid()}net"
    try:
        # Where the cables meet is a machine of its own: nothing of it is seen in this one.
        _ip("netns", "add", between)
        _ip("-n", between, "link", "add", bridge, "type", "bridge")
        _ip("-n", between, "link", "set", bridge, "up")
        for machine in machines:
            end = f"e{machine.link}"[:15]
            _ip("netns", "add", machine.name)
            _ip("-n", machine.name, "link", "set", "lo", "up")
            peer = ("type", "veth", "peer", "name", end, "netns", between)
            _ip("-n", machine.name, "link", "add", machine.link, *peer)
            _ip("-n", between, "link", "set", end, "master", bridge, "up")
            _ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", machine.link)
            _ip("-n", machine.name, "link", "set", machine.link, "up")
        yield machines
    finally:
        there = _ip("netns", "list")
        for machine in machines:
            if machine.name in there:
                machine.end()
                _ip("netns", "del", machine.name)
        if between in there:
            _ip("netns", "del", between)


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def _check() -> None:
    if sys.platform != "linux":
        pytest.skip("machines are namespaces of Linux")
    lacks = "" if os.geteuid() == 0 else "only root makes machines of namespaces"
    lacks = lacks or ("" if shutil.which("ip") and shutil.which("tc") else "ip or tc is missing")
    if lacks and "CI" in os.environ:
        pytest.fail(lacks)
    if lacks:
        pytest.skip(lacks)
