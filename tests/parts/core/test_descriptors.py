# SPDX-License-Identifier: Apache-2.0
"""How many files may be open: more for a listener, as many as before for what it starts."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_agentbus.core import aio
from mcp_agentbus.core.children import descriptors, group


@pytest.fixture
def few(monkeypatch):
    """A process that may open few files, and ask for twice as many."""
    limits, real = {os.getpid(): (64, 128)}, resource.prlimit
    monkeypatch.setattr(descriptors, "_before", [])
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[os.getpid()])
    monkeypatch.setattr(
        resource, "setrlimit", lambda _, wanted: limits.update({os.getpid(): wanted})
    )

    def prlimit(pid, which, wanted):
        limits[pid] = wanted
        real(pid, which, wanted)

    monkeypatch.setattr(resource, "prlimit", prlimit)
    return limits


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((64, 128), (128, 128)),
        ((128, 128), (128, 128)),
        ((64, resource.RLIM_INFINITY), (1 << 20, resource.RLIM_INFINITY)),
        ((resource.RLIM_INFINITY,) * 2, (resource.RLIM_INFINITY,) * 2),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="macOS takes less")
def test_a_process_takes_as_many_as_it_may(few, before, after):
    few[os.getpid()] = before

    descriptors.raise_limit()

    assert few[os.getpid()] == after


@pytest.mark.skipif(sys.platform != "linux", reason="macOS changes no limit of another process")
def test_what_it_starts_has_as_many_as_it_was_started_with(few):
    descriptors.raise_limit()
    nothing = subprocess.DEVNULL
    process = group.start(
        ["cat"], stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, folder=Path("/"), environ={}
    )
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    process.communicate()

    assert limits.partition("Max open files")[2].split()[:2] == ["64", "128"]


def test_one_whose_limit_was_not_raised_changes_nobodys(few):
    descriptors.give_back(1)

    assert few == {os.getpid(): (64, 128)}


@pytest.mark.parametrize(
    ("error", "said", "mends"),
    [
        (OSError(errno.EMFILE, "x"), "keeper: no file descriptor was left", "ulimit -n"),
        (OSError(errno.ENFILE, "x"), "keeper: no file descriptor was left", "ulimit -n"),
        (OSError(errno.EIO, "x"), "keeper: OSError", "That is a bug"),
        (KeyError("x"), "keeper: KeyError", "That is a bug"),
    ],
)
def test_what_fails_for_want_of_them_is_said_to_be_no_bug(error, said, mends):
    aio.note_failure("keeper", error)

    failure = aio.failures.pop()
    assert failure == said
    assert mends in descriptors.mend(failure)
