# SPDX-License-Identifier: Apache-2.0
"""`agentbus work` in tests: a process whose log says what it has done.

async with at_work(settings, "coder", *shell("cat")) as worker:
    await worker.logged("ended", task=task_id)
"""

import asyncio
import contextlib
import json
import signal
import subprocess

import forking
import served
from listeners import Logged
from local_server import command_lines

_HANG_S = 60  # only a hang takes as long
# What it holds comes back after 2 s, not 24: for tests of what happens then, not of when.
HASTY = (
    "store.queries.consumers.ACK_WAIT_S = 2",
    "store.roster.BEAT_S = 0.4",
    "work.worker._LOOK_S = 0.2",
    "handoff.intake.watches.LOOK_AGAIN_S = 0.3",
)


def shell(*lines):
    """Return the argv of a program for the shell."""
    return ("/bin/sh", "-c", "\n".join(lines))


def has_ended(pid):
    """Tell whether a process has ended, whoever is to reap it."""
    return not command_lines().get(pid)


class AtWork(Logged):
    """A worker's process."""

    def tell(self, number=signal.SIGTERM):
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self):
        """Wait until it has ended; return its exit code."""
        async with asyncio.timeout(_HANG_S):
            while line := await self.process.stderr.readline():
                self.log.append(json.loads(line))
            return await self.process.wait()

    async def kill(self):
        """Kill -9, and wait until it is gone."""
        self.tell(signal.SIGKILL)
        await self.ended()


@contextlib.asynccontextmanager
async def at_work(settings, agent, *program, options=(), changes=HASTY, words=None):
    """Start a worker that is ready; give back what it is at, at the end."""
    typed = words or ("work", "--agent", agent, *options, "--", *program)
    process = await forking.Awaited.started(
        [served.AGENTBUS[0], *served.changed(*changes), *typed],
        env=served.environ(settings.data_dir.parent),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    worker = AtWork(process)
    try:
        worker.session = (await worker.logged("started"))["session"]
        yield worker
    finally:
        while process.returncode is None:  # of two signals at once the second is lost
            worker.tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await process.wait()
        await worker.ended()
