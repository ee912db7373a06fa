# SPDX-License-Identifier: Apache-2.0
"""A session's end of the local socket: it says that it lives, and passes notices on to its model.

    joining = Joining(settings, me, nudge)
    joining.start()

It joins once it has lived 2 s: a host that only asks a server for its tools leaves no trace. Where
no listener runs, it starts one; where one ends, it joins the next. It works in a thread of its own
and needs nothing but the standard library, so a session that is relayed has it as well.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from mcp_agentbus.core.places import Where
from mcp_agentbus.relay import local_socket
from mcp_agentbus.relay.starter import start_listener

#: A session that ends sooner was a host's probe.
LIVES_AFTER_S: Final = 2.0
# How long after a lost listener, or one that could not be started, the next try comes.
_AGAIN_S: Final = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)


class Me(NamedTuple):
    """What a session says of itself."""

    agent: str
    host: str
    session: str
    can_nudge: bool = False
    host_session: str = ""


class Joining:
    """Keeps a session joined, until its process ends."""

    def __init__(
        self,
        where: Where,
        me: Me,
        nudge: Callable[[str, tuple[str, ...]], str],
        claims: Callable[[list[Any]], None] = lambda _: None,
    ) -> None:
        self._where = where
        self._me = me
        #: Shows a notice to the session's model; returns "" or why it did not.
        self._nudge = nudge
        #: Told of the claims of a session that is relayed, whenever they change.
        self._claims = claims
        self._connection: socket.socket | None = None

    def start(self) -> None:
        """Join, and join again, in the background."""
        threading.Thread(target=self.run, name="agentbus-joining", daemon=True).start()

    def called(self) -> None:
        """Say that a tool was called."""
        if self._connection:
            with suppress(OSError):  # the listener hangs, or has ended: it matters to it alone
                self._connection.send(local_socket.line({"op": "called"}), socket.MSG_DONTWAIT)

    def run(self) -> None:
        """Join, and join again."""
        time.sleep(LIVES_AFTER_S)
        failures = 0
        while True:
            try:
                failures = 0 if self._joined() else failures + 1
            except (OSError, ValueError):
                failures += 1
                if failures == 1:
                    start_listener(self._where)
            time.sleep(_AGAIN_S[min(failures, len(_AGAIN_S) - 1)])

    def _joined(self) -> bool:
        """Stay joined for as long as the listener lives; return whether it took the session."""
        with local_socket.connect(self._where) as connection, connection.makefile("rb") as lines:
            connection.sendall(local_socket.line({"op": "join", **self._me._asdict()}))
            if "joined" not in local_socket.message(lines.readline()):
                return False
            connection.settimeout(None)
            self._connection = connection
            try:
                for received in lines:
                    self._heard(connection, local_socket.message(received))
            finally:
                self._connection = None
        return True

    def _heard(self, connection: socket.socket, asked: Mapping[str, Any]) -> None:
        if asked.get("op") == "claims":
            self._claims(list(asked.get("claims") or ()))
        elif asked.get("op") == "nudge":
            connection.sendall(local_socket.line(self._passed_on(asked)))

    def _passed_on(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        results = tuple(str(one) for one in asked.get("results") or ())
        try:
            why = self._nudge(str(asked.get("text", "")), results)
        except OSError as error:
            why = f"the host did not take it: {type(error).__name__}"
        return {"n": asked.get("n"), "shown": not why, "why": why}
