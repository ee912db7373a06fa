# SPDX-License-Identifier: Apache-2.0
"""Machines as network namespaces, with a HOME each, on one network that can be cut and slowed.

    >>> with network("vps", "laptop", homes=tmp_path) as (vps, laptop):
    ...     vps.typed("server", "init", "--shared", "--name", vps.address)
    ...     with laptop.cut(): ...

Needs Linux, the right to unshare, `ip` and `tc`: without them a person's tests are skipped, in CI
they fail.
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

import far_end
import pytest
import served
from local_server import script, until

_WITHIN_S = 90  # only a hang takes as long


class Machine:
    """One machine, and the user whose HOME it has."""

    def __init__(self, number: int, home: Path) -> None:
        self.home, self.address, self.link = home, f"10.231.7.{number}", f"v{number}"
        #: The process that keeps its network; set once there is one.
        self.keeper = 0
        #: The same of the network to which its cable leads.
        self.between = 0
        home.mkdir()
        (home / "bin").mkdir()
        # As `pip install` leaves it; elsewhere the venv's own, which a HOME does not have.
        line = f'PYTHONPATH={served.PACKAGE} exec {sys.executable} -m mcp_agentbus "$@"'
        script(home / "bin" / "agentbus", line)
        self.environ = {
            "HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "LANG": "C.UTF-8",
        }  # fmt: skip
        self._running: list[subprocess.Popen[str]] = []

    @property
    def _within(self) -> list[str]:
        return _within(self.keeper, "--net")

    def ran(self, *argv: str | Path, said: str = "", folder: str = ".") -> tuple[int, str]:
        """Run a program there; return its exit code and what it printed, errors too."""
        where = self.home / folder
        where.mkdir(exist_ok=True)
        done = subprocess.run(
            [*self._within, *argv], env=self.environ, cwd=where, input=said,
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
            [*self._within, *argv], env=self.environ, cwd=self.home,
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
            Path("/proc", str(pid), name) for pid in self._pids() for name in ("cmdline", "environ")
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

    @contextlib.contextmanager
    def far(self, delay_s: float, loss: float) -> Iterator[None]:
        """Have what it says and hears take so long each way, in seconds, and some of it be lost."""
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            pytest.skip("/dev/net/tun cannot be used")
        of_it = self.ran("ip", "-o", "link", "show", "dev", self.link)[1]
        mac = of_it.partition("link/ether ")[2].split()[0]
        address = ("addr", "add", f"{self.address}/24", "dev", self.link)
        self._set("link", "set", self.link, "down")
        self._set("link", "set", self.link, "name", "unused")
        self._set("addr", "flush", "dev", "unused")
        try:
            with _joined(self, delay_s, loss):
                self._set("link", "set", self.link, "address", mac, "up")
                self._set(*address)
                yield
        finally:
            self._set("link", "set", "unused", "name", self.link)
            self._set("link", "set", self.link, "up")
            self._set(*address)

    def _set(self, *words: str) -> None:
        assert self.ran("ip", *words) == (0, "")

    def _pids(self) -> list[int]:
        """Return what runs there, without what keeps its network."""
        mine = _network_of(str(self.keeper))
        pids = (path.name for path in Path("/proc").glob("[0-9]*"))
        return [int(pid) for pid in pids if _network_of(pid) == mine and int(pid) != self.keeper]

    def end(self) -> None:
        """End what runs there."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for process in self._running:
            process.wait(_WITHIN_S)
        until(lambda: not self._pids(), "nothing runs there any more")


@contextlib.contextmanager
def network(*names: str, homes: Path) -> Iterator[list[Machine]]:
    """Give machines that reach each other, with nothing on them but agentbus."""
    machines = [Machine(number, homes / name) for number, name in enumerate(names, 1)]
    with contextlib.ExitStack() as stack:
        # Where the cables meet is a machine of its own: nothing of it is seen in this one.
        between = stack.enter_context(_kept("unshare", "--map-root-user", "--net"))
        _ip(between, "link", "add", "between", "type", "bridge")
        _ip(between, "link", "set", "between", "up")
        for machine in machines:
            machine.between = between
            own = (*_within(between), "unshare", "--net")
            machine.keeper = stack.enter_context(_kept(*own))
            stack.callback(machine.end)
            peer = ("type", "veth", "peer", "name", f"e{machine.link}", "netns", str(between))
            _ip(machine.keeper, "link", "set", "lo", "up")
            _ip(machine.keeper, "link", "add", machine.link, *peer)
            _ip(between, "link", "set", f"e{machine.link}", "master", "between", "up")
            _ip(machine.keeper, "addr", "add", f"{machine.address}/24", "dev", machine.link)
            _ip(machine.keeper, "link", "set", machine.link, "up")
        yield machines


@contextlib.contextmanager
def _joined(machine: Machine, delay_s: float, loss: float) -> Iterator[None]:
    """Have a new card of a machine's lead to where the cables meet, by a process at each end."""
    here, there = os.pipe(), os.pipe()
    other = f"t{machine.link}"
    ends = []
    try:
        for keeper, card, takes, gives in (
            (machine.keeper, machine.link, here[0], there[1]),
            (machine.between, other, there[0], here[1]),
        ):
            argv = [*_within(keeper, "--net"), sys.executable, far_end.__file__, card]
            pipes = {"stdin": takes, "stdout": gives, "stderr": subprocess.PIPE}
            ends.append(subprocess.Popen([*argv, str(delay_s), str(loss)], **pipes, text=True))
            assert ends[-1].stderr.readline() == "ready\n"
        _ip(machine.between, "link", "set", other, "master", "between", "up")
        yield
    finally:
        for end in ends:
            end.kill()
            end.wait()
            end.stderr.close()
        for descriptor in (*here, *there):
            os.close(descriptor)


@contextlib.contextmanager
def _kept(*argv: str) -> Iterator[int]:
    """Keep a network, for as long as the block runs; give the process that does."""
    missing = [each for each in ("unshare", "nsenter", "ip", "tc") if not shutil.which(each)]
    if sys.platform != "linux" or missing:
        pytest.skip(f"{', '.join(missing) or 'Linux'} is missing")
    process = subprocess.Popen(
        [*argv, "sh", "-c", "echo ready; exec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        if process.stdout.readline() != "ready\n":
            pytest.skip(f"nothing can be unshared: {process.stderr.read()[-300:]}")
        yield process.pid
        process.stdin.close()


def _within(keeper: int, *kinds: str) -> list[str]:
    return ["nsenter", "--target", str(keeper), "--user", *kinds, "--preserve-credentials"]


def _ip(keeper: int, *words: str) -> None:
    argv = [*_within(keeper, "--net"), "ip", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


def _network_of(pid: str) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return pid  # it has ended, or is somebody else's
