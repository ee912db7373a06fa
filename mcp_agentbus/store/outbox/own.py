# SPDX-License-Identifier: Apache-2.0
"""This user's own server beside a shared one, as it keeps the outbox.

    own = Own(settings)
    await own.asked(lambda bus: bus.api(f"STREAM.INFO.{STREAM}"))

A mark says that something lies there, or may: without it the server is not looked for. It is in the
folder that the letters are in, so whoever has the one has the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from mcp_agentbus.bus import budget, embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own import disk
from mcp_agentbus.bus.said import is_full
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.core.files import own_folder, read_whole, unusable, write_whole
from mcp_agentbus.errors import BusUnreachable, NoListener, StoreFull
from mcp_agentbus.store import streams
from mcp_agentbus.store.outbox import letter

STREAM: Final = "AGENTBUS_OUTBOX"
_S: Final = 1_000_000_000
_CONFIG: Final = {
    "name": STREAM,
    "subjects": [letter.EVERYTHING],
    # Taken out one by one and by its one reader, so it needs no consumer. No age limit: what has
    # expired is told to its sender first.
    "retention": "limits",
    "storage": "file",
    "num_replicas": 1,
    "allow_direct": True,
    "discard": "new",
    "max_msgs_per_subject": 1,
    "discard_new_per_subject": True,
    "max_msg_size": 512 << 10,
    "duplicate_window": 120 * _S,
}
_MARK: Final = "outbox"
# What stands in it where the server was not running before, and is to be stopped again.
_STARTED: Final = b"started"
_BEGIN: Final = f"{NoListener.hint.rstrip('.')}: a listener starts it."
_DISK: Final = "This machine's disk is full. Nothing was stored."
_FREE_SOME: Final = "Free some disk space on this machine: the rest is done by itself."

_T = TypeVar("_T")


class Own:
    """The server, and a connection to it once it is needed."""

    def __init__(self, settings: Settings, *, may_start: bool = True) -> None:
        #: As the server is reached.
        self.settings = own_server(settings)
        self._may_start = may_start
        self._mark = settings.data_dir / _MARK
        # An earlier version has left its own with what may be lost.
        self._marks = (self._mark, settings.state_dir / _MARK)
        self._stack = AsyncExitStack()
        self._bus: Bus | None = None

    @property
    def is_marked(self) -> bool:
        """Whether anything may lie there, as where its folder cannot be looked into."""
        try:
            return any(mark.exists() for mark in self._marks)
        except OSError:
            return True

    @property
    def was_started(self) -> bool:
        """Whether it was started for this, and is to be stopped once nothing lies there."""
        return all(read_whole(mark) == _STARTED for mark in self._marks if mark.exists())

    def unmark(self) -> None:
        """Note that nothing lies there."""
        for mark in self._marks:
            mark.unlink(missing_ok=True)

    async def asked(self, ask: Callable[[Bus], Awaitable[_T]]) -> _T:
        """Return what the server answers; where a full disk has room again, of one started anew.

        It refuses all at once from the first write that has failed on.

        Raises:
            StoreFull: the disk is full, in words that say whose.
            AgentbusError: as `Bus` and `embedded.ensure`, and as `as_refused`.
        """
        with as_refused():
            try:
                return await ask(await self._open())
            except StoreFull as error:
                if not await in_thread(_is_anew, self.settings):
                    raise await in_thread(_of_this_machine, error, self.settings) from None
            budget.renew()
            return await ask(await self._open())

    async def close(self) -> None:
        """Leave all as it lies."""
        self._bus = None
        await self._stack.aclose()

    async def _open(self) -> Bus:
        """Return a connection to the server, which is started if it does not run."""
        if self._bus is None or not await self._bus.reconnected(0):
            await in_thread(self._begin if self._may_start else self._see_running)
            budget.renew()  # that took the server's time to start
        if self._bus is None:
            self._bus = await self._stack.enter_async_context(Bus(self.settings))
            self._bus.on_missing = partial(ensure, self._bus)
            await ensure(self._bus)
        return self._bus

    def _begin(self) -> None:
        """Note that something may lie there, and see that the server runs."""
        try:
            if not self.is_marked:
                own_folder(self._mark.parent)
                is_there = embedded.find(self.settings)
                write_whole(self._mark, b"found" if is_there else _STARTED)
        except OSError as error:
            raise unusable(error, self._mark, done="written") from None
        embedded.ensure(self.settings)

    def _see_running(self) -> None:
        if embedded.find(self.settings) is None:
            raise BusUnreachable(
                "This machine's own server, which has it, does not run.", hint=_BEGIN
            )


@contextmanager
def as_refused() -> Generator[None]:
    """Say of what the system refuses within, as a file or a thread, what mends it.

    Raises:
        BadSetup: it has refused something.
    """
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        raise unusable(error) from None


def own_server(settings: Settings) -> Settings:
    """Return the settings of this user's own server beside a shared one."""
    return replace(settings, url=None, account=None)


def _is_anew(settings: Settings) -> bool:
    """Have the server started anew if that gives it room; return whether it was."""
    return disk.revive(settings) or disk.widen(settings)


def _of_this_machine(error: StoreFull, settings: Settings) -> StoreFull:
    """Return what a server that has no room means to whoever asks for another one."""
    why = disk.write_error(settings)
    # What may not be written to takes nothing either, however much room it has.
    if is_full(why) or not (why or disk.has_room(settings)):
        return StoreFull(_DISK, hint=_FREE_SOME)
    return error


async def ensure(bus: Bus) -> None:
    """Have its stream be there, with what a server still finds of it on the disk.

    Raises: as `Bus.api`.
    """
    if not await streams.info(bus, STREAM):
        await bus.api(f"STREAM.CREATE.{STREAM}", _CONFIG)
