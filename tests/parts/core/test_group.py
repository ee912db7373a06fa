# SPDX-License-Identifier: Apache-2.0
"""Groups of programs where their system tells less of processes, or lets less be done to them."""

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from local_server import is_gone, until
from undescribed import WAYS, take_descriptors

from mcp_agentbus.core import processes
from mcp_agentbus.core.children import group
from mcp_agentbus.core.children.group import Group, outlive, start


def cat(*argv):
    """Start a program that reads until its input ends, in a group of its own."""
    return start(
        argv or ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, folder=Path("/"),
        stderr=subprocess.DEVNULL, environ=os.environ,
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
async def test_without_descriptors_the_end_of_a_program_is_seen_and_so_is_its_limit(
    monkeypatch, way
):
    take_descriptors(monkeypatch, way)

    with Group(cat()) as by_itself:
        ended = asyncio.create_task(by_itself.ended(60))
        done, _ = await asyncio.wait({ended}, timeout=0.01)
        assert not done
        by_itself._process.stdin.close()
        assert await ended
    with Group(cat()) as at_limit:
        assert not await at_limit.ended(0.01)

    assert (by_itself.exit_code, at_limit.exit_code) == (0, -15)


@pytest.fixture
def stranger():
    """A process that is no child of this one."""
    lines = "tail -f /dev/null >/dev/null & echo $!"
    pid = int(subprocess.run(["/bin/sh", "-c", lines], stdout=-1, check=True).stdout)
    yield processes.known(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)


@pytest.mark.parametrize("way", WAYS)
async def test_without_descriptors_the_end_of_one_that_is_no_child_is_seen(
    stranger, monkeypatch, way
):
    take_descriptors(monkeypatch, way)
    waiting = asyncio.create_task(outlive(stranger, 60))
    done, _ = await asyncio.wait({waiting}, timeout=0.01)
    assert not done

    os.kill(stranger.pid, 9)

    async with asyncio.timeout(10):
        assert await waiting
        assert await outlive(stranger, 60)


@pytest.mark.parametrize("limit_s", [0.01, None])
async def test_a_program_that_may_not_be_ended_holds_nobody_up_and_is_reaped_later(
    not_ours, limit_s
):
    with Group(cat("tail", "-f", "/dev/null")) as running:
        if limit_s:
            assert not await running.ended(limit_s)

    assert running.exit_code is None
    os.kill(not_ours[0], 9)
    until(lambda: is_gone(not_ours[0]), "it is reaped")


async def test_one_that_an_earlier_listener_began_and_that_may_not_be_ended_is_told_so(
    stranger, not_ours
):
    assert await outlive(stranger, 0) is None
    assert not_ours


async def test_a_program_that_has_ended_before_it_is_waited_for_ends_at_once_on_macos(monkeypatch):
    class Queue:
        def control(self, *_):
            raise ProcessLookupError  # it knows no process that has ended, though nobody reaped it

        def fileno(self):
            return -1

        def close(self):
            pass

    constants = dict.fromkeys(("FILTER_PROC", "EV_ADD", "EV_ONESHOT", "NOTE_EXIT"), 0)
    queues = {f"KQ_{name}": value for name, value in constants.items()}
    macos = SimpleNamespace(kqueue=Queue, kevent=lambda *_: None, **queues)
    monkeypatch.setattr(group, "select", macos)
    monkeypatch.setattr(group, "sys", SimpleNamespace(platform="darwin"))

    looked_at = os.WEXITED | os.WNOWAIT | os.WNOHANG
    with Group(cat("true")) as ended:
        until(lambda: os.waitid(os.P_PID, ended._process.pid, looked_at), "it has ended")
        assert await ended.ended(60)

    assert ended.exit_code == 0
