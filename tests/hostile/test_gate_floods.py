# SPDX-License-Identifier: Apache-2.0
"""An account that floods its gate: the others work on, and it is cut off."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import flooder
import pytest
import pytest_asyncio
import served
from mallory import GATE, attacked

from mcp_agentbus.bus.connection import NoResponders
from mcp_agentbus.gate import quota
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store.subjects import TASKS

# Whatever happens, a call ends within that.
_CALL_S = 5


@pytest_asyncio.fixture(loop_scope="function")
async def scene(tmp_path):
    async with attacked(tmp_path) as scene:
        yield scene


@contextmanager
def flooding(scene, subject, data, *, answered=False):
    """Have a process of mallory's say the same as fast as it can."""
    key, url = str(scene.shared.folder / "mallory.nk"), scene.shared.url
    # It floods from elsewhere: what it takes of this machine is not what is tried.
    argv = [
        "nice",
        "-n",
        "15",
        sys.executable,
        flooder.__file__,
        key,
        url,
        GATE + subject,
        "answered" * answered,
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(
        argv, **pipes, env={"PYTHONPATH": served.PACKAGE, "PATH": os.environ["PATH"]}
    )
    try:
        process.stdin.write(data)
        process.stdin.close()
        assert process.stdout.readline() == b"\n"
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


FLOODS = {
    "refused": ("agentbus.coder.tasks.high.planner", b"", True),
    "large": ("agentbus.mallory.sent.coder.x", b"x" * 500_000, True),
    "reads": (f"$JS.API.DIRECT.GET.{TASKS}", b'{"seq":1,"batch":1000,"next_by_subj":"agentbus.>"}', True),
    "counts": (f"$JS.API.STREAM.INFO.{TASKS}", b'{"subjects_filter":"agentbus.>"}', True),
}  # fmt: skip


@pytest.mark.promise(56)
@pytest.mark.parametrize("what", FLOODS)
@pytest.mark.asyncio(loop_scope="function")
async def test_while_an_account_floods_the_gate_the_others_work_on(scene, what):
    subject, data, answered = FLOODS[what]
    took = []

    async def timed(call):
        began = time.monotonic()
        outcome = await call
        took.append(time.monotonic() - began)
        return outcome

    with flooding(scene, subject, data, answered=answered):
        until = time.monotonic() + 1
        while time.monotonic() < until:
            sent = send_task(scene.planner, "coder", "Work on", "now", priority="low")
            [receipt] = await timed(sent)
            await timed(read_inbox(scene.coder, limit=1))
            done = publish_result(scene.coder, receipt.task_id, "completed", summary="ok")
            await timed(done)
    assert max(took) < _CALL_S
    assert statistics.median(took) < _CALL_S / 5


@pytest.mark.promise(56)
@pytest.mark.asyncio(loop_scope="function")
async def test_who_floods_on_is_cut_off_and_told_so(scene, monkeypatch):
    monkeypatch.setattr(quota, "_FLOODS_S", 0.5)
    heard, changed = (
        asyncio.Event(),
        scene.admin.subscribed("agentbus-accounts.mallory", lambda _: heard.set()),
    )
    async with changed:
        with flooding(scene, "agentbus.coder.back", b""):
            async with asyncio.timeout(10):
                await heard.wait()
            record = json.loads(
                (await scene.admin.last("AGENTBUS_ACCOUNTS", "agentbus-accounts.mallory")).data
            )

    assert (record["state"], record["roles"]) == ("cut-off", [])
    with suppress(NoResponders):
        while True:  # what she has asked before is forgotten
            with suppress(TimeoutError):
                await scene.link.request(f"{GATE}$JS.API.INFO", timeout=0.3)
    await scene.goes_on()
