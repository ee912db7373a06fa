# SPDX-License-Identifier: Apache-2.0
r"""Runs another program to its end: quietly, without a terminal, and within a time limit.

    >>> run(["nats-server", "--version"], timeout_s=10).stdout
    'nats-server: v2.15.1\n'

What a failure means is for its caller to say. Nothing that a model or a host's session waits for
is run by this: those live on, and are ended together with what they have started.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    stdin: str = "",
    environ: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program; return its exit code and what it printed, whatever its bytes.

    Args:
        argv: the program and its arguments; no shell reads them.
        timeout_s: it is killed after so many seconds.
        stdin: what it can read.
        environ: its environment, this process's own if not given.
        folder: where it works, here if not given.

    Raises:
        OSError: it is not there, or cannot be run.
        subprocess.TimeoutExpired: it did not end in time.
    """
    return subprocess.run(
        argv,
        input=stdin,
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
