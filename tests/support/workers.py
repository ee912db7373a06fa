# SPDX-License-Identifier: Apache-2.0
"""Sessions in processes of their own, that a test may kill, stop and continue.

async with workers(settings) as start:
first = await start("coder")
assert (await first.ask("read"))["tasks"] == []
await first.kill()
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import forking
import served

from mcp_agentbus.store import subjects

_WORKER = Path(__file__).with_name("worker.py")
_HANG_S = 90  # only a hang takes as long

# Claims come back after 2 s instead of 24: for tests of what happens then, not of when.
HASTY = {
    "store.queries.consumers.ACK_WAIT_S": 2,
    "store.roster.BEAT_S": 0.4,
    "handoff.intake.watches.LOOK_AGAIN_S": 0.3,
}


class Worker:
    """One such process."""

    def __init__(self, process):
        self._process = process
        self.pid = process.pid

    async def said(self):
        """Return its next line."""
        async with asyncio.timeout(_HANG_S):
            line = await self._process.stdout.readline()
        assert line, f"the worker ended: {await self._process.stderr.read()!r}"
        return json.loads(line)

    def order(self, do, **options):
        """Give a command without waiting for the answer."""
        self._process.stdin.write(json.dumps({"do": do, **options}).encode() + b"\n")

    async def ask(self, do, **options):
        """Give a command and return the answer."""
        self.order(do, **options)
        return await self.said()

    def signal(self, number):
        os.kill(self.pid, number)

    async def died(self):
        """Wait until it has ended; return its exit status."""
        async with asyncio.timeout(_HANG_S):
            return await self._process.wait()

    async def kill(self):
        """Kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.died()

    async def end(self):
        """End its input, and kill it if it is still there."""
        self._process.stdin.close()
        if self._process.returncode is None:
            self.signal(signal.SIGCONT)
            try:
                async with asyncio.timeout(10):
                    await self._process.wait()
            except TimeoutError:
                await self.kill()
        # Its pipes belong to this loop; they are closed by reading them to the end.
        await self._process.stdout.read()
        await self._process.stderr.read()


async def forget(bus, agent, session):
    """Have a session that died or stopped count as gone, as it does 15 s after its last sign."""
    await bus.api(
        f"STREAM.PURGE.{subjects.PRESENCE}", {"filter": subjects.heartbeat_subject(agent, session)}
    )


@contextlib.asynccontextmanager
async def workers(settings, **changes):
    """Give a function that starts a worker on the server of `settings`; end them all at the end."""
    home = settings.data_dir.parent
    started = []

    async def start(agent):
        process = await forking.Awaited.started(
            [sys.executable, "-W", "error", _WORKER, agent, json.dumps(changes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "AGENTBUS_HOME": str(home), "PYTHONPATH": served.PACKAGE},
        )
        worker = Worker(process)
        started.append(worker)
        worker.session = (await worker.said())["session"]
        return worker

    try:
        yield start
    finally:
        await asyncio.gather(*(worker.end() for worker in started))
