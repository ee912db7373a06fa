# SPDX-License-Identifier: Apache-2.0
"""The SDK's client of a server over its pipes; the server is forked where `forking` is on.

    >>> async with Client(forked_client.stdio(parameters, errlog=log)) as client: ...

All that is done with the pipes and at the end is done by the SDK; only what starts the server is not.
"""

import asyncio
import functools
import os
from contextlib import asynccontextmanager
from subprocess import PIPE, Popen
from types import FunctionType

import anyio
import forking
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from mcp.client import stdio as sdk

_CHUNK_BYTES = 1 << 16


class _Input(ByteSendStream):
    """What a server reads."""

    def __init__(self, pipe):
        self._pipe = pipe
        os.set_blocking(pipe.fileno(), False)

    async def send(self, item):
        while item:
            await _ready(self._pipe, anyio.wait_writable)
            try:
                item = item[os.write(self._pipe.fileno(), item) :]
            except BrokenPipeError as error:
                raise anyio.BrokenResourceError from error

    async def aclose(self):
        _close(self._pipe)


class Output(ByteReceiveStream):
    """What a server writes."""

    def __init__(self, pipe):
        self._pipe = pipe

    async def receive(self, max_bytes=_CHUNK_BYTES):
        await _ready(self._pipe, anyio.wait_readable)
        if chunk := os.read(self._pipe.fileno(), max_bytes):
            return chunk
        raise anyio.EndOfStream

    async def aclose(self):
        _close(self._pipe)


async def _ready(pipe, wait):
    """Wait for a pipe, which may be closed before and meanwhile, as the SDK's own may."""
    if not pipe.closed:
        await wait(pipe)
    if pipe.closed:
        raise anyio.ClosedResourceError


def _close(pipe):
    if not pipe.closed:
        anyio.notify_closing(pipe)
        pipe.close()


class _Server(Process):
    """A server that has been forked, as the SDK knows one that it has started."""

    stdin = stdout = stderr = terminate = kill = send_signal = None

    def __init__(self, process: Popen) -> None:
        self._of = process
        self.stdin, self.stdout = _Input(process.stdin), Output(process.stdout)
        self.terminate, self.kill = process.terminate, process.kill
        self.send_signal = process.send_signal

    pid = property(lambda self: self._of.pid)
    returncode = property(lambda self: self._of.poll())

    async def wait(self):
        return await asyncio.to_thread(self._of.wait)

    async def aclose(self):
        await self.stdin.aclose()
        await self.stdout.aclose()
        await self.wait()


async def _started(command, args, env, errlog, cwd):
    if not forking.is_on():
        return await sdk._create_platform_compatible_process(command, args, env, errlog, cwd)
    options = {"env": env, "stderr": errlog, "cwd": cwd, "start_new_session": True}
    start = functools.partial(forking.start, stdin=PIPE, stdout=PIPE, bufsize=0, **options)
    return _Server(await asyncio.to_thread(start, [command, *args]))


# Its own `stdio_client` but for what it calls to start a server.
_NAMES = {**vars(sdk), "_create_platform_compatible_process": _started}
stdio = asynccontextmanager(FunctionType(sdk.stdio_client.__wrapped__.__code__, _NAMES))
