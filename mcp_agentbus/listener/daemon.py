# SPDX-License-Identifier: Apache-2.0
"""The listener's process, one per user: its lock, its log, its parts, its end.

    $ agentbus listen
    {"at":"2026-11-21T10:00:00.000Z","event":"listening","pid":4711}

A lock file is held for as long as it lives, so that of any number that are started one stays. Its
log is lines of JSON on standard error: names of steps, agents and numbers, nothing of a task. What
was typed to begin or end it is `cli.listen`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Generator, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import processes
from mcp_agentbus.core.aio import in_background, in_thread, note_failure, part
from mcp_agentbus.core.children import descriptors
from mcp_agentbus.core.files import unusable
from mcp_agentbus.core.processes import Process
from mcp_agentbus.core.text import stamp
from mcp_agentbus.errors import AgentbusError, BadSetup, NoListener
from mcp_agentbus.relay import door, local_socket, seat
from mcp_agentbus.relay.carried import words

if TYPE_CHECKING:
    from mcp_agentbus.listener.carried.order import Commands
    from mcp_agentbus.listener.endpoint import Door, Endpoint
    from mcp_agentbus.listener.loop import Loop
    from mcp_agentbus.listener.relayed import Relayed
    from mcp_agentbus.listener.state import Event, State

# A stopped listener ends its children within 7 s, and has left its sessions and connections within
# 11 s, whatever hangs; then it ends its connection to the bus.
_ENDS_WITHIN_S: Final = 11.0
_CONNECTIONS_S: Final = 2.0
_BUS_S: Final = 1.0
_STOP_TIMEOUT_S: Final = 13.0
# The kernel ends what was killed, unless it waits for a disk.
_KILLED_WITHIN_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.02
# One that a session has started ends when it has had nothing to look after for so long.
_UNNEEDED_S: Final = 60.0
# How often that is looked at; the service manager's watchdog may want a sign more often.
_PAUSE_S: Final = 10.0
# How often it is looked whether the socket is there; some system calls.
_LOOK_AT_DOOR_S: Final = 1.0
# How often `Due` is asked, which knows when to look.
_LOOK_AT_DUE_S: Final = 3.0


async def listen(settings: Settings, commands: Commands, *, while_needed: bool) -> int:
    """Be the listener until a signal ends it; the caller holds `only_one`. Return the exit code.

    Args:
        settings: whose listener it is.
        commands: those that it does for other processes.
        while_needed: end by itself when nobody has needed it for a minute.

    Raises:
        BadSetup: this user's runtime folder cannot be used.
        OutOfReach: it would be in a sandbox, and the server is not.
    """
    # Here, since `--status` and `--stop` do without a bus.
    from mcp_agentbus.bus.address import stranded
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.listener.state import State
    from mcp_agentbus.wakes.ledger import Ledger

    logging.basicConfig(handlers=[_Failures()])
    descriptors.raise_limit()
    if why := stranded(settings):
        raise why
    with contextlib.closing(Ledger(settings.ledger_file)) as ledger:
        async with Bus(settings) as bus:
            state = State(settings, bus, ledger, _log)
            parts = _parts(state, commands)
            state.door = parts.door
            try:
                await parts.door.open()
            except OSError as error:
                raise BadSetup(f"{settings.runtime_dir} cannot be used: {error}.") from None
            await _until_told(state, parts, while_needed=while_needed)
    return 0


class _Parts(NamedTuple):
    """The parts of a listener that begin and end with it."""

    loop: Loop
    relayed: Relayed
    endpoint: Endpoint
    door: Door


def _parts(state: State, commands: Commands) -> _Parts:
    """Make all parts of a listener, each after those that it is given; say who answers what."""
    from mcp_agentbus.listener.digest import Digest
    from mcp_agentbus.listener.endpoint import Door, Endpoint
    from mcp_agentbus.listener.loop import Loop
    from mcp_agentbus.listener.memory import Memory
    from mcp_agentbus.listener.relayed import Relayed
    from mcp_agentbus.listener.requests import Requests
    from mcp_agentbus.listener.runner import Runner
    from mcp_agentbus.wakes.hosts.registry import WAKERS

    memory = Memory(state.settings.runtime_dir / "told.json")
    relayed = Relayed(state, commands)
    runner = Runner(state, memory, WAKERS)
    loop = Loop(state, relayed, runner)
    requests = Requests(state, loop, relayed, runner, Digest(state, memory))
    handlers = {
        "join": loop.join,
        "serve": relayed.serve,
        words.OP: relayed.typed,
        "status": requests.status,
        "reload": requests.reload,
        "mail": requests.mail,
        "wake": requests.wake,
        "approved": requests.approved,
    }
    endpoint = Endpoint(handlers)
    return _Parts(loop, relayed, endpoint, Door(state.settings, endpoint))


async def _until_told(state: State, parts: _Parts, *, while_needed: bool) -> None:
    """Be there until a signal comes, or nobody needs it; tell the log and the service manager."""
    archiving = in_background(state.keeper.run(), "keeper of the archive")
    telling = in_background(state.teller.run(), "teller of a person")
    handing_on = in_background(_hand_on(state), "forwarder of the outbox")
    # These have a file, and what they have started.
    beside = (archiving, telling, handing_on)
    running = part(_run(state, parts, beside))
    _end_when_told(running)
    _log("listening", "", {"pid": os.getpid()})
    _notify("READY=1")
    watching = in_background(_watch(state, running, while_needed=while_needed), "watchdog")
    keeping = in_background(_keep_open(state, parts.door), "keeper of the socket")
    letting_go = in_background(_let_go(state), "keeper of what falls due")
    reviving = in_background(_revive(state), "starter of the server")
    with contextlib.suppress(asyncio.CancelledError):
        await running
    for task in (watching, keeping, letting_go, reviving, *beside):
        _end(task)
    await asyncio.wait(beside)  # of one that has failed the log has more
    _notify("STOPPING=1")
    _log("stopped", "", {"pid": os.getpid()})


async def _run(state: State, parts: _Parts, beside: Iterable[asyncio.Task[None]]) -> None:
    """Look after the agents until cancelled; then leave the sessions to their own processes.

    What is done `beside` ends meanwhile. The processes that were started go first: a session of
    theirs that ends here gives back its tasks at once.
    """
    try:
        await parts.loop.run()
    finally:
        end_by = time.monotonic() + _ENDS_WITHIN_S
        for task in beside:
            _end(task)
        await parts.loop.end()
        parts.door.close()
        await parts.relayed.leave(end_by - _CONNECTIONS_S - time.monotonic())
        state.members.close()
        await parts.endpoint.ended()
        with contextlib.suppress(TimeoutError):  # it needs a server that does not hang
            async with asyncio.timeout(_BUS_S):
                await parts.loop.close()


async def _watch(state: State, running: asyncio.Task[None], *, while_needed: bool) -> None:
    """Feed the service manager's watchdog; end a listener that nobody needs."""
    from mcp_agentbus.bus.address import stranded

    pause_s = min(int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6 or _PAUSE_S, _PAUSE_S)
    needed_at = time.monotonic()
    while not running.done():
        _notify("WATCHDOG=1")
        hands_on = state.outbox and state.outbox.may_hold_ours  # of another bus it hands nothing on
        if state.settings.rules or state.members.all or hands_on:
            needed_at = time.monotonic()
        elif while_needed and time.monotonic() - needed_at > _UNNEEDED_S:
            _end(running)
        if state.away_since:
            with contextlib.suppress(OSError):  # no thread is to be had for it: the next look tells
                if await in_thread(stranded, state.settings):
                    _end(running)  # it has the seat of one that would be of use
        await asyncio.sleep(pause_s)


def _end_when_told(running: asyncio.Task[Any]) -> None:
    """Have a listener end at each signal that would kill it, and leave what it has started."""
    for number in processes.ending():
        asyncio.get_running_loop().add_signal_handler(number, _end, running)


def _end(running: asyncio.Task[Any]) -> None:
    """Have a listener, or a part of it, end; told again, it goes on with that."""
    if not running.cancelling():
        running.cancel()


async def _keep_open(state: State, door: Door) -> None:
    """Have the socket be there: it is made anew where it, or its folder, is gone."""
    heard_at = time.monotonic()
    is_deaf = False
    while not door.is_closed:
        await asyncio.sleep(_LOOK_AT_DOOR_S)
        if not door.is_open and not door.is_closed:
            is_deaf = True
            try:
                await door.open()
            except OSError as error:
                state.became_deaf(str(error))
                continue
        if is_deaf:
            state.became_heard(time.monotonic() - heard_at)
        heard_at, is_deaf = time.monotonic(), False


async def _let_go(state: State) -> None:
    """Have nothing kept back that falls due, whoever sent it, and end what is over in time."""
    from mcp_agentbus.bus.address import start_no_server
    from mcp_agentbus.store.upkeep.deadlines import Deadlines
    from mcp_agentbus.store.upkeep.due import Due

    start_no_server()
    due, deadlines = Due(state.bus), Deadlines(state.bus)
    while True:
        await asyncio.sleep(_LOOK_AT_DUE_S)
        try:
            if not await state.bus.reconnected(0):
                continue
            await deadlines.look(list(state.desks))
            if state.settings.account:  # its gate sees to the other
                continue
            if kept_back := await due.look():
                state.emit("let_go", "", {"why": kept_back.why})
        except (AgentbusError, TimeoutError) as error:  # the next look does it
            state.emit("bus", "", {"error": type(error).__name__})
        except Exception as error:  # noqa: BLE001  # or what falls due is kept back from then on
            note_failure("keeper of what falls due", error)


async def _revive(state: State) -> None:
    """Have the server run that has ended by itself, and look at once what waits there."""

    def look() -> None:
        for desk in state.desks.values():
            desk.changed.set()

    await state.revival.run(look)


async def _hand_on(state: State) -> None:
    """Have the outbox be emptied, where there is one."""
    from mcp_agentbus.listener.outbox.forwarder import Forwarder

    if state.outbox:
        await Forwarder(
            state.bus, state.outbox, lambda about: state.emit("outbox", "", about)
        ).run()


def _log(event: Event, agent: str, more: Mapping[str, Any]) -> None:
    fields: dict[str, Any] = {"at": stamp(datetime.now(UTC)), "event": event}
    if agent:
        fields["agent"] = agent
    with contextlib.suppress(OSError):  # nobody reads it any more
        print(json.dumps({**fields, **more}), file=sys.stderr, flush=True)


class _Failures(logging.Handler):
    """Writes what this program and its libraries complain of as lines of the log, too."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one: where it failed and with what kind of error, whose text may be a peer's."""
        kind, _, trace = record.exc_info or (None, None, None)
        more = {"error": kind.__name__, "trace": traceback.format_tb(trace)} if kind else {}
        _log("failed", "", {"what": record.getMessage(), **more})


def _notify(state: str) -> None:
    """Tell systemd, if it started this process; see sd_notify(3)."""
    where = os.environ.get("NOTIFY_SOCKET")
    if not where:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect("\0" + where[1:] if where.startswith("@") else where)
        out.send(state.encode())


@contextlib.contextmanager
def only_one(settings: Settings) -> Generator[bool]:
    """Hold the seat that a listener holds for as long as it lives; yield whether it was free.

    Raises:
        BadSetup: a folder cannot be used.
    """
    with contextlib.ExitStack() as stack:
        try:
            is_free = stack.enter_context(seat.taken(settings))
        except OSError as error:
            raise unusable(error, settings.state_dir) from None
        yield is_free


def stop(settings: Settings) -> None:
    """End the running listener, by force if it hangs, and wait until it is gone: 18 s at most.

    Raises:
        NoListener: there is none.
        BadSetup: it runs elsewhere, or cannot be told from other processes; or is there still.
    """
    listener, lock = _listener(settings)
    for number, within_s in ((signal.SIGTERM, _STOP_TIMEOUT_S), (signal.SIGKILL, _KILLED_WITHIN_S)):
        if processes.signal(listener, number, holding=lock):
            # One that was halted ends only when it goes on.
            processes.signal(listener, signal.SIGCONT, holding=lock)
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up:
            there = seat.seated(settings)
            if there is None or (there.process and there.process[:2] != listener[:2]):
                return
            time.sleep(_LOOK_AGAIN_S)
    raise BadSetup(
        f"The listener ({listener.where}) is there still, although it was killed.",
        hint=f"See what holds it: ps -o pid,stat,wchan {listener.pid}",
    )


def _listener(settings: Settings) -> tuple[Process, str]:
    """Return the running listener's process, which is ours to end, and the lock that it holds.

    Raises:
        NoListener: there is none.
        BadSetup: it runs elsewhere, or cannot be told from other processes.
    """
    there = seat.seated(settings)
    if there is None:
        raise NoListener
    listener = there.process or _peer(settings)
    if listener and not listener.is_here:
        raise BadSetup(
            f"The listener runs elsewhere: {listener.where}. It was left alone.",
            hint="Run `agentbus listen --stop` there.",
        )
    if listener is None or not processes.is_still(listener, holding=there.lock):
        absence = seat.absence(settings)
        raise BadSetup(absence.message, hint=absence.hint)
    return listener, there.lock


def _peer(settings: Settings) -> Process | None:
    """Return who answers at the socket, as the kernel says: an earlier version signs nothing."""
    with contextlib.suppress(OSError), local_socket.connect(settings) as connection:
        _, pid = door.peer(connection)
        # Of a process in another container the kernel gives no number.
        return processes.known(pid, since=0) if pid > 0 else None
    return None
