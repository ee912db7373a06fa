# SPDX-License-Identifier: Apache-2.0
"""Processes of `agentbus` that need not load it: forked from one that has.

    >>> with forking.on(), forking.start([*served.AGENTBUS, "listen"], env=environ) as listener:
    ...     listener.wait()

Package and MCP SDK take 0.7 s of a processor to load, which is most of what the processes of a test
would do. So a run has one that has loaded them and does nothing else; whoever asks is given a fork
of it. That has an id, an environment, a folder, arguments, streams and an end of its own, as any
process. What it does not show is how it starts: outside of `on`, without pidfd, and of whatever
else each is started as its user starts it.
"""

import asyncio
import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import selectors
import socket
import struct
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

_STRICT = ["-W", "error"]
_ASKED_MAX_BYTES = 128 * 1024
# What a fork can be given: no other options of Popen, and no variables that Python reads as it starts.
_OPTIONS = {"stdin", "stdout", "stderr", "env", "cwd", "text", "encoding", "bufsize"}
_OPTIONS |= {"start_new_session"}
_VARIABLES = {"PYTHONPATH", "PYTHONASYNCIODEBUG"}
_NUMBER = struct.Struct("i")  # a process's id, and how it ended
_on = False


@contextlib.contextmanager
def on(forks: bool = True) -> Iterator[None]:  # noqa: FBT001, FBT002  # a switch
    """Have what is started in this block be forked, or not."""
    global _on  # noqa: PLW0603  # a process runs one test at a time
    before, _on = _on, forks and hasattr(os, "pidfd_open")
    try:
        yield
    finally:
        _on = before


def is_on() -> bool:
    """Tell whether what is started now is forked, if it can be."""
    return _on


def start(argv: Sequence[str | Path], **options) -> subprocess.Popen:
    """Start a program as `Popen` does, or fork what it would be."""
    return (_Forked if _on and _can_fork(argv, options) else subprocess.Popen)(argv, **options)


def ran(
    argv: Sequence[str | Path], within_s: float, *, piped: str | None = None, **options
) -> subprocess.CompletedProcess[str]:
    """Start or fork a program, and wait for its end; return that, with all that it printed.

    What is `piped` it finds at its standard input, which is empty else.
    """
    stdin = subprocess.DEVNULL if piped is None else subprocess.PIPE
    streams = {"stdin": stdin} | dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with start(argv, text=True, **streams | options) as process:
        try:
            printed = process.communicate(piped, timeout=within_s)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(argv, process.returncode, *printed)


class Awaited:
    """A process for coroutines: what it writes, and its end."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process
        self.pid, self.stdin = process.pid, process.stdin
        self.send_signal = process.send_signal
        self.terminate, self.kill = process.terminate, process.kill

    @classmethod
    async def started(cls, argv: Sequence[str | Path], **options) -> "Awaited":
        """Start or fork a program; its pipes have no buffers."""
        process = await asyncio.to_thread(functools.partial(start, argv, bufsize=0, **options))
        awaited = cls(process)
        awaited.stdout, awaited.stderr = [
            pipe and await _reader(pipe) for pipe in (process.stdout, process.stderr)
        ]
        return awaited

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    async def rest(self) -> bytes:
        """Wait for its end; return what it wrote to its standard output since it was read."""
        written = await self.stdout.read()
        await self.wait()
        return written

    async def wait(self) -> int:
        return await asyncio.to_thread(self._process.wait)


async def _reader(pipe):
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


def _can_fork(argv, options):
    program, *words = map(str, argv)
    _, _, words = _apart(words)
    known = words[:2] == ["-m", "mcp_agentbus"] or words[:1] == ["-c"] or words[0][0] != "-"
    read = {name for name in options.get("env", os.environ) if name.startswith("PYTHON")}
    plain = options.keys() <= _OPTIONS and read <= _VARIABLES
    return program == sys.executable and known and plain


def _apart(words):
    """Tell whether warnings are to be errors, and the folder not to be looked into; and the rest."""
    is_strict = words[:2] == _STRICT
    words = words[2:] if is_strict else words
    is_safe = words[:1] == ["-P"]
    return is_strict, is_safe, words[1:] if is_safe else words


class _Forked(subprocess.Popen):
    """A process that is the child of another one, which tells by a pipe of its id and its end."""

    def _execute_child(self, args, *given):
        """Fork it: what all of Popen but its own way to start and to wait is made around."""
        folder, environ, ends, leads = given[4], given[5], given[9:15], given[20]
        words = [str(word) for word in args[1:]]
        environ = dict(os.environ if environ is None else environ)
        asked = json.dumps([words, environ, str(folder or Path.cwd()), leads]).encode()
        assert len(asked) < _ASKED_MAX_BYTES
        streams = [end if end >= 0 else n for n, end in enumerate((ends[0], ends[3], ends[5]))]
        told, tells = os.pipe()
        socket.send_fds(_forker(), [asked], [*streams, tells])
        os.close(tells)
        weakref.finalize(self, os.close, told)
        self._close_pipe_fds(*ends)
        self._child_created = True
        self._told = told
        self.pid = _read(told)

    def _wait(self, timeout):
        if self.returncode is None:
            end = select.poll()
            end.register(self._told, select.POLLIN)
            if not end.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout)
        with self._waitpid_lock:
            if self.returncode is None:
                self.returncode = _read(self._told)
        return self.returncode

    def _internal_poll(self, *_, **__):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._wait(0)
        return None


def _read(told: int) -> int:
    [number] = _NUMBER.unpack(os.read(told, _NUMBER.size))
    return number


@functools.cache
def _forker() -> socket.socket:
    """Return where this process asks for forks; at its end who makes them ends, too."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with theirs:
        forker = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], env=plain,
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def end():
        ours.close()
        forker.wait()

    atexit.register(end)
    return ours


def _load_all() -> None:
    """Load the whole package: what a command loads late would be loaded again by each fork."""
    import mcp_agentbus  # who asks for forks need not have loaded it

    for module in pkgutil.walk_packages(mcp_agentbus.__path__, "mcp_agentbus."):
        if module.name != "mcp_agentbus.__main__":  # each fork runs it
            importlib.import_module(module.name)


def _serve(asks: socket.socket) -> tuple[bytes, list[int]]:
    """Fork whatever is asked for, until nobody can ask; in a fork, return what it is to be."""
    with selectors.DefaultSelector() as events:
        events.register(asks, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.data:
                    events.unregister(key.fd)
                    _tell_end(key.fd, *key.data)
                    continue
                asked, ends, *_ = socket.recv_fds(asks, _ASKED_MAX_BYTES, 4)
                if not asked:
                    sys.exit()
                *streams, tells = ends
                if not (pid := os.fork()):
                    return asked, streams
                os.write(tells, _NUMBER.pack(pid))
                events.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, tells))
                for stream in streams:
                    os.close(stream)


def _tell_end(pidfd: int, pid: int, tells: int) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):  # who asked for it has ended before
        os.write(tells, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os.close(tells)
    os.close(pidfd)


def _been(asked: bytes, streams: list[int]) -> int:
    """Be what was asked for; return the exit code, after all that Python does before it has one.

    What it does after that, to free all there is, takes ten times as long in a fork.
    """
    code: int | str | None = 0
    try:
        _become(asked, streams)
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001  # as Python itself
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
            stream.flush()
    return code or 0


def _become(asked: bytes, streams: list[int]) -> None:
    """Be what was asked for."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    words, environ, folder, leads = json.loads(asked)
    if leads:
        os.setsid()
    is_strict, is_safe, (kind, *words) = _apart(words)
    if is_strict:
        sys.warnoptions.append("error")
        warnings.simplefilter("error")
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    where = [] if is_safe else [{"-m": folder, "-c": ""}.get(kind, str(Path(kind).parent))]
    exported = environ.get("PYTHONPATH")
    sys.path[:] = [*where, *(exported.split(os.pathsep) if exported else ()), *sys.path[1:]]
    if kind == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *words[1:]]
        exec(words[0], {"__name__": "__main__"})  # as Python does
    else:
        sys.argv = [kind, *words]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    asks = socket.socket(fileno=int(sys.argv[1]))
    _load_all()
    gc.collect()
    gc.freeze()
    forked = _serve(asks)
    asks.detach()
    os._exit(_been(*forked))
