# SPDX-License-Identifier: Apache-2.0
"""Runs `agentbus` in namespaces of its own, as sandboxes and containers do.

    with apart.Sandbox(home, "--net") as sandbox:
        sandbox.typed("send", "coder", "Count", "x")    # (3, "agentbus: Nothing was stored. ...")

A sandbox lives until its block ends, and whatever runs in a pid namespace of its own with it.
Needs Linux and the right to unshare; without them a person's tests are skipped, in CI they fail.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

import forking
import pytest
import served

_WITHIN_S = 60  # only a hang takes as long
_INSIDE = Path(__file__).with_name("enclosing.py")
# A process goes into the namespaces that its first argument names, and is `agentbus` there.
_GO_IN = """
import ctypes, os, sys
from mcp_agentbus import __main__ as agentbus
for place in sys.argv.pop(1).split(":"):
    with open(place) as namespace:
        entered = ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0)
    assert entered == 0, (place, os.strerror(ctypes.get_errno()))
sys.exit(agentbus.main())
"""


class Sandbox:
    """A place with namespaces of its own, in which commands can be typed."""

    def __init__(self, home: Path, *kinds: str, loopback: bool = True, **environ: str) -> None:
        self._kinds = kinds
        self._loopback = loopback
        self._environ = served.environ(home) | environ

    def __enter__(self) -> Self:
        program = shutil.which("unshare", path=f"{os.defpath}:/usr/sbin:/sbin")
        if sys.platform != "linux" or not program:
            pytest.skip("there is no unshare")
        forked = ["--fork", "--mount-proc", "--kill-child"] if "--pid" in self._kinds else []
        self._process = subprocess.Popen(
            [program, "--map-root-user", *self._kinds, *forked, sys.executable, "-S", _INSIDE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environ,
            text=True,
        )
        if self._process.stdout.readline() != "ready\n":
            pytest.skip(f"nothing can be unshared: {self._process.stderr.read()[-300:]}")
        if "--net" in self._kinds and self._loopback:
            assert self.ran("ip", "link", "set", "lo", "up") == (0, "")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(_WITHIN_S)
        self._process.stdout.close()
        self._process.stderr.close()

    def typed(self, *argv: str) -> tuple[int, str]:
        """Type `agentbus ARGV` there; return its exit code and what it printed."""
        if "--pid" in self._kinds:  # who enters one is not in it itself
            return self.ran(*served.AGENTBUS, *argv)
        kinds = ("user", *(kind.removeprefix("--") for kind in self._kinds))
        places = ":".join(
            f"/proc/{self._process.pid}/ns/{'mnt' if kind == 'mount' else kind}" for kind in kinds
        )
        ended = forking.ran(
            [sys.executable, "-W", "error", "-c", _GO_IN, places, *argv],
            _WITHIN_S,
            env=self._environ,
            stderr=subprocess.STDOUT,
        )
        return ended.returncode, ended.stdout

    def ran(self, *argv: str, stays: bool = False) -> tuple[int, str]:
        """Run a program there to its end; return its exit code and what it printed.

        One that `stays` runs on until the block ends; returned is the first line that it printed.
        """
        self._process.stdin.write(json.dumps([argv, stays]) + "\n")
        self._process.stdin.flush()
        code, said = json.loads(self._process.stdout.readline())
        return code, said
