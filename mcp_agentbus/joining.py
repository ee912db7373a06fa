# SPDX-License-Identifier: Apache-2.0
"""A session's end of the local socket: it says that it lives, and passes notices on to its model.

    joining = asyncio.create_task(join(settings, me, nudge))

It joins once it has lived 2 s: a host that only asks a server for its tools leaves no trace. Where
no listener runs, it starts one; where one ends, it joins the next.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from mcp_agentbus import local
from mcp_agentbus.config import Settings

#: A session that ends sooner was a host's probe.
LIVES_AFTER_S: Final = 2.0
# How long after a lost listener, or one that could not be started, the next try comes.
_AGAIN_S: Final = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
# Of a host's environment nothing goes to a listener that would make it look like this session.
_SESSIONS_OWN: Final = ("CLAUDE", "CURSOR_", "OPENCLAW_", "AI_AGENT", "AGENTBUS_AGENT")
_NEVER: Final = {"0", "off", "never", "no"}


@dataclass(frozen=True)
class Me:
    """What a session says of itself."""

    agent: str
    host: str
    session: str
    can_nudge: bool = False
    host_session: str = ""


class Joining:
    """Keeps a session joined."""

    def __init__(
        self,
        settings: Settings,
        me: Me,
        nudge: Callable[[str, tuple[str, ...]], Awaitable[str]],
    ) -> None:
        self._settings = settings
        self._me = me
        #: Shows a notice to the session's model; returns "" or why it did not.
        self._nudge = nudge
        self._writer: asyncio.StreamWriter | None = None

    def called(self) -> None:
        """Say that a tool was called."""
        if self._writer:
            with suppress(OSError):
                self._writer.write(local.line({"op": "called"}))

    async def run(self) -> None:
        """Join, and join again, until cancelled."""
        await asyncio.sleep(LIVES_AFTER_S)
        failures = 0
        while True:
            try:
                failures = 0 if await self._joined() else failures + 1
            except (OSError, ValueError):
                failures += 1
                if failures == 1:
                    await asyncio.to_thread(start_listener, self._settings)
            await asyncio.sleep(_AGAIN_S[min(failures, len(_AGAIN_S) - 1)])

    async def _joined(self) -> bool:
        """Stay joined for as long as the listener lives; return whether it took the session."""
        with local.address(local.socket_path(self._settings)) as short:
            reader, writer = await asyncio.open_unix_connection(short, limit=local.LINE_MAX_BYTES)
        try:
            if local.peer(writer.get_extra_info("socket"))[0] != os.getuid():
                return False
            writer.write(local.line({"op": "join", **vars(self._me)}))
            if "joined" not in local.message(await reader.readline()):
                return False
            self._writer = writer
            while received := await reader.readline():
                asked = local.message(received)
                if asked.get("op") == "nudge":
                    writer.write(local.line(await self._passed_on(asked)))
                    await writer.drain()
        finally:
            self._writer = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        return True

    async def _passed_on(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        results = tuple(str(one) for one in asked.get("results") or ())
        try:
            why = await self._nudge(str(asked.get("text", "")), results)
        except (OSError, TimeoutError) as error:
            why = f"the host did not take it: {type(error).__name__}"
        return {"n": asked.get("n"), "shown": not why, "why": why}


def start_listener(settings: Settings) -> None:
    """Start a listener that outlives this process; exactly one of those started stays.

    Does nothing where AGENTBUS_LISTENER says so, and where a service manager keeps one: whoever
    has stopped that one wants none.
    """
    from mcp_agentbus.installers import launchd, systemd

    if settings.environ.get("AGENTBUS_LISTENER", "").lower() in _NEVER:
        return
    if (launchd if sys.platform == "darwin" else systemd).keeps(settings):
        return
    environ = {
        name: value
        for name, value in settings.environ.items()
        if not name.startswith(_SESSIONS_OWN)
    }
    with suppress(OSError):
        subprocess.Popen(
            [sys.executable, "-m", "mcp_agentbus", "listen", "--while-needed"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environ,
            start_new_session=True,
        )
