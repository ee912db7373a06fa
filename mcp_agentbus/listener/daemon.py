# SPDX-License-Identifier: Apache-2.0
"""`agentbus listen`: the listener's process, one per user; its start, its end, its standing.

    $ agentbus listen
    {"at":"2026-11-21T10:00:00.000Z","event":"listening","pid":4711}

A lock file is held for as long as it lives, so that of any number that are started one stays. Its
log is lines of JSON on standard error: names of steps, agents and numbers, nothing of a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import locks
from mcp_agentbus.core.text import stamp
from mcp_agentbus.errors import BadSetup, NoListener
from mcp_agentbus.relay import local_socket

# A stopped listener ends its children within 5 s and itself within 10 s.
_STOP_TIMEOUT_S: Final = 12.0
# The kernel ends what was killed, unless it waits for a disk.
_KILLED_WITHIN_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.02
# One that a session has started ends when it has had nothing to look after for so long.
_UNNEEDED_S: Final = 60.0
_LOCK: Final = "listener.lock"


async def _listen(settings: Settings, *, while_needed: bool) -> int:
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.listener.loop import Listener
    from mcp_agentbus.listener.members import listening_socket
    from mcp_agentbus.wakes.ledger import Ledger

    ledger = Ledger(settings.ledger_file)
    async with Bus.connect(settings) as bus:
        listener = Listener(settings, bus, ledger, _log)
        try:
            await listener.hub.serve(listening_socket(settings))
        except OSError as error:
            raise BadSetup(f"{settings.runtime_dir} cannot be used: {error}.") from None
        running = asyncio.create_task(listener.run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        _log("listening", "", {"pid": os.getpid()})
        _notify("READY=1")
        watching = asyncio.create_task(_watch(listener, running, while_needed=while_needed))
        with contextlib.suppress(asyncio.CancelledError):
            await running
        watching.cancel()
        _notify("STOPPING=1")
        _log("stopped", "", {"pid": os.getpid()})
        await asyncio.to_thread(Path(local_socket.socket_path(settings)).unlink, missing_ok=True)
    ledger.close()
    return 0


async def _watch(listener: Any, running: asyncio.Task[None], *, while_needed: bool) -> None:
    """Feed the service manager's watchdog; end a listener that nobody needs."""
    pause = min(int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6 or 10.0, 10.0)
    needed_at = time.monotonic()
    while not running.done():
        _notify("WATCHDOG=1")
        if listener.settings.rules or listener.hub.members:
            needed_at = time.monotonic()
        elif while_needed and time.monotonic() - needed_at > _UNNEEDED_S:
            running.cancel()
        await asyncio.sleep(pause)


def _log(event: str, agent: str, more: Mapping[str, Any]) -> None:
    fields: dict[str, Any] = {"at": stamp(datetime.now(UTC)), "event": event}
    if agent:
        fields["agent"] = agent
    with contextlib.suppress(OSError):  # nobody reads it any more
        print(json.dumps({**fields, **more}), file=sys.stderr, flush=True)


def _notify(state: str) -> None:
    """Tell systemd, if it started this process; see sd_notify(3)."""
    where = os.environ.get("NOTIFY_SOCKET")
    if not where:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect("\0" + where[1:] if where.startswith("@") else where)
        out.send(state.encode())


@contextlib.contextmanager
def _only_one(settings: Settings) -> Generator[bool]:
    """Hold the listener's lock; yield whether it was to be had.

    Raises:
        BadSetup: its folder cannot be used.
    """
    with contextlib.ExitStack() as stack:
        file = settings.runtime_dir / _LOCK
        try:
            lock = stack.enter_context(locks.held(file, wait=False))
        except OSError as error:
            raise BadSetup(f"{file} cannot be used: {error.strerror}.") from None
        yield lock is not None


def _stop(settings: Settings) -> None:
    """End the running listener, by force if it hangs, and wait until it is gone."""
    pid = _pid(settings)
    for number, within_s in ((signal.SIGTERM, _STOP_TIMEOUT_S), (signal.SIGKILL, _KILLED_WITHIN_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up:
            with _only_one(settings) as ours:
                if ours:
                    return
            time.sleep(_LOOK_AGAIN_S)
    raise BadSetup(
        f"The listener (pid {pid}) is there still, although it was killed.",
        hint=f"See what holds it: ps -o pid,stat,wchan {pid}",
    )


def _pid(settings: Settings) -> int:
    """Return the running listener's process, as the kernel knows it: one that hangs says nothing.

    Raises:
        NoListener: there is none.
        BadSetup: there is one that cannot be reached.
    """
    try:
        with local_socket.connect(settings) as connection:
            _, pid = local_socket.peer(connection)
    except OSError:
        with _only_one(settings) as ours:
            if ours:
                raise NoListener from None
        pid = 0
    if pid <= 0:  # of a process in another container the kernel gives no number
        lock = settings.runtime_dir / _LOCK
        raise BadSetup(
            "A listener runs that takes no connection.",
            hint="It may just start or end: run this again. "
            f"If that does not help, end the process that `fuser {lock}` names.",
        )
    return pid
