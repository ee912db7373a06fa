# SPDX-License-Identifier: Apache-2.0
"""A session served by the process that its host has started.

    session = Standalone(asked, me, session_id, watch_max_s=3600, fault=None)
    session.serve(connection, exit_=os._exit)

It ends with its input, on SIGINT and SIGTERM, and at `end`; then it gives back what the session
holds. It neither knows who is at the other end nor reads what passes. Imports the MCP SDK and
nats-py, which a relayed session does without.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn

import anyio

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.core import processes
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError, BadInput, BadSetup
from mcp_agentbus.handoff import shells
from mcp_agentbus.handoff.dispatch.rate import SENT_A_MINUTE, SendRate
from mcp_agentbus.handoff.ends import news
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.own_name import Naming, Refusing, Rereading
from mcp_agentbus.tools.mcp_stream import serve as serve_stream

# In seconds: a host kills a server that needs 2 s to end.
_CLOSE_TIMEOUT_S: Final = 1.6
_END_TIMEOUT_S: Final = 1.8
# What an earlier process held is asked for before the first call, but not for ever; in seconds.
_TAKE_OVER_S: Final = 5.0

_log = logging.getLogger(__name__)


class Standalone:
    """A session, and the bus and the event loop that its process has for it alone."""

    def __init__(
        self,
        asked: Asked,
        me: Agent,
        session_id: str,
        *,
        hosted: str = "",
        watch_max_s: float,
        only: str = "",
        fault: BadInput | BadSetup | None,
    ) -> None:
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
        settings = asked.settings
        # Nobody's: what is read at a call may be mended by then.
        naming = (Naming if me.id else Rereading)(
            asked, shells.agents(settings), lambda: frozenset({session_id})
        )
        naming = Refusing(asked, fault=fault) if fault else naming
        self._session = Session(
            Bus(settings),
            me,
            id=session_id,
            naming=naming,
            hosted=hosted,
            only=only,
            rate=SendRate(SENT_A_MINUTE),
        )
        self._watch_max_s = watch_max_s
        self._is_over = False
        #: Ends what serves, from any thread, once that is begun.
        self._end: Callable[[], object] | None = None

    def end(self) -> None:
        """End in good order, as the parent process has ended; from any thread."""
        self._is_over = True
        if self._end:
            with suppress(RuntimeError):  # it has ended by itself
                self._end()

    @property
    def agent(self) -> str:
        """Who the session is, as far as is known."""
        return self._session.me.id

    @property
    def roles(self) -> tuple[str, ...]:
        """Which shared inboxes it reads, as far as is known."""
        return self._session.me.roles

    def shown(self, things: Collection[str]) -> frozenset[str]:
        """Return those of these that the session was shown, as `news.shown`; from any thread."""
        return news.shown(self._session, things)

    def serve(
        self,
        connection: socket.socket,
        *,
        claims: Sequence[dict[str, Any]] = (),
        called: Callable[[], None] = lambda: None,
        has_heard_all: Callable[[], bool] = lambda: False,
        exit_: Callable[[int], NoReturn],
    ) -> NoReturn:
        """Serve the session on a connection until its end; call `exit_` with the exit code.

        Args:
            connection: where the client speaks, a JSON line each.
            claims: what an earlier process of the session held, see `claims.take_over`.
            called: told of each call of a tool.
            has_heard_all: tells at a signal whether the client has read all that it was told.
            exit_: ends the process, at the latest 2 s after it was told to end.
        """

        async def main() -> int:
            reader, writer = await asyncio.open_connection(sock=connection)
            code = 0
            try:
                async with anyio.create_task_group() as group:

                    def told() -> None:
                        if has_heard_all():
                            self._session.calls.end()
                        group.cancel_scope.cancel()

                    self._end_when_told(told, group.cancel_scope.cancel)
                    if claims and self.agent:
                        await _taken_over(self._session, claims)

                    async def begins() -> tuple[str, ...]:
                        remarks = await self._session.take_name()
                        called()
                        return remarks

                    await serve_stream(
                        self._session, reader, writer, called=begins, watch_max_s=self._watch_max_s
                    )
                    # What still waits for the bus must not keep the process.
                    group.cancel_scope.cancel()
            except Exception:  # noqa: BLE001  # logged, and told by the exit code
                _log.exception("agentbus serve failed")
                code = 1
            # Whatever hangs: a host that no longer reads blocks whoever writes.
            last = threading.Timer(_END_TIMEOUT_S, exit_, (code,))
            last.daemon = True
            with suppress(RuntimeError):  # no thread is to be had
                last.start()
            await self._close()
            writer.close()
            return code

        exit_(anyio.run(main, backend="asyncio"))

    def _end_when_told(self, told: Callable[[], None], end: Callable[[], None]) -> None:
        """Call `told` in this loop at a signal to end, and `end` when the parent has ended."""
        loop = asyncio.get_running_loop()
        for number in processes.ending():
            loop.add_signal_handler(number, told)
        self._end = lambda: loop.call_soon_threadsafe(end)
        if self._is_over:
            end()
        with suppress(OSError):  # a relay of before an upgrade leaves this to who serves
            processes.on_end(os.getppid(), self.end)

    async def _close(self) -> None:
        # By asyncio's clock and not anyio's: where a call of the bus runs out of time in this very
        # moment, its end has not anyio's mark, and would pass for that of the whole process.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._session.close()
                await self._session.bus.close()


async def _taken_over(session: Session, claims: Sequence[dict[str, Any]]) -> None:
    """Go on with what an earlier process held, where the bus can be reached."""
    # Without the bus they cannot be held, and their calls will say so.
    with suppress(AgentbusError, TimeoutError):
        async with asyncio.timeout(_TAKE_OVER_S):
            await session.take_over(claims)
