# SPDX-License-Identifier: Apache-2.0
"""`agentbus serve`: the process that a host starts for a session, and what stands behind it.

    host <-- standard input and output --> relay <-- local socket --> the listener

The listener has loaded what serving takes and has read the configuration, so the relay is there in
a fraction of the time and memory: it imports little of the standard library, and nothing else.
Where no listener of this version runs, or when it ends, the session is served in this process, on a
socket to itself: its host sees no difference, and what the session holds goes on with it. A notice
is written from here in either case: Claude Code takes it from a process of its own only.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, NoReturn

from mcp_agentbus.core import places, processes
from mcp_agentbus.core.places import Place
from mcp_agentbus.relay import local_socket
from mcp_agentbus.relay.conversation import Conversation
from mcp_agentbus.relay.member import Joining, Me
from mcp_agentbus.version import __version__

_CHUNK_BYTES: Final = 64 * 1024
# A listener says at once whether it takes a session; one that does not in this time, in seconds,
# hangs.
_TAKES_WITHIN_S: Final = 1.0
# A session that goes on for so long after its input has ended hangs. Hosts kill a server that
# needs 2 s to end.
_HANGS_S: Final = 1.0
# What is on its way to the host when the session has ended.
_DRAIN_S: Final = 0.15


def run(agent: str | None) -> int:
    """Serve a session on standard input and output until it ends; ends the process itself.

    Raises:
        BadSetup: the configuration cannot be read, or does not say who this is.
    """
    _Relay(Place(places.runtime_folder(os.environ), os.environ), agent).run()
    return 0


class _Relay:
    """One session's way between its host and what serves it."""

    def __init__(self, place: Place, agent: str | None) -> None:
        self._place = place
        self._agent = agent
        # As `names.new_session_id` makes them.
        self._id = os.urandom(8).hex()
        self._who: dict[str, str] = {}
        self._settings: Any = None
        self._me: Any = None
        # Nothing that prints may get between the lines for the host.
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._conversation = Conversation()
        self._claims: list[Any] = []
        #: Set once the session is served in this process.
        self._session: Any = None
        #: Held while the side behind is exchanged.
        self._lock = threading.Lock()
        self._input_ended = False
        #: What serves the session. It is exchanged under the lock.
        self._behind: socket.socket
        #: The other end of that, to be served here; None while a listener does.
        self._ours: socket.socket | None = None
        if taken := self._taken():
            self._behind = taken
        else:
            self._know_myself()
            self._behind, self._ours = socket.socketpair()
        environ = place.environ
        me = Me(
            **self._who,
            session=self._id,
            can_nudge=bool(environ.get("CLAUDE_CODE_MESSAGING_SOCKET")) and self._can_nudge(),
            host_session=environ.get("CLAUDE_CODE_SESSION_ID", ""),
        )
        self._joining = Joining(place, me, self._nudge, self._note_claims)

    def run(self) -> None:
        """Serve until the end of the input, or of the parent, or a signal."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os._exit(0))
        processes.on_end(self._parent_ended)
        _in_background(self._pass_up)
        self._joining.start()
        if self._ours:
            self._serve_here(self._ours, self._behind)
        self._pass_down(self._behind)
        if self._input_ended:
            os._exit(0)
        # The listener has ended.
        before = self._conversation.under_way
        behind, ours = socket.socketpair()
        _in_background(self._catch_up, behind)
        self._serve_here(ours, behind, interrupted=before)

    def _know_myself(self) -> None:
        """Read the configuration; a listener that serves the session has done so for it."""
        from mcp_agentbus.config import identity
        from mcp_agentbus.config.settings import load_settings

        self._settings = load_settings()
        self._me = identity.who(self._settings, self._agent)
        self._who = {"agent": self._me.id, "host": self._me.host}

    def _can_nudge(self) -> bool:
        from mcp_agentbus.wakes.hosts import claude_session

        return claude_session.can_nudge(self._place.environ)

    def _taken(self) -> socket.socket | None:
        """Return a connection to a listener that serves the session, if there is one."""
        request = {
            "op": "serve",
            "version": __version__,
            "session": self._id,
            "agent": self._agent,
            **local_socket.surroundings(self._place.environ),
        }
        try:
            connection = local_socket.connect(self._place)
        except OSError:
            return None
        try:
            connection.settimeout(_TAKES_WITHIN_S)
            said = local_socket.exchange(connection, request)
            if "serving" in said:
                connection.settimeout(None)
                self._who = {"agent": str(said["agent"]), "host": str(said["host"])}
                return connection
        except (OSError, ValueError, LookupError):
            pass
        connection.close()
        return None

    def _pass_up(self) -> None:
        for line in _lines(lambda: os.read(0, _CHUNK_BYTES)):
            with self._lock:
                self._conversation.asked(line)
                # What a listener does not take any more is said to the server that comes.
                with suppress(OSError):
                    _send(self._behind, line)
        with self._lock:
            self._input_ended = True
            with suppress(OSError):
                self._behind.shutdown(socket.SHUT_WR)
        # A host that no longer reads keeps what is said last, and whoever says it.
        last = threading.Timer(_HANGS_S, os.kill, (os.getpid(), signal.SIGTERM))
        last.daemon = True
        last.start()

    def _pass_down(self, behind: socket.socket) -> None:
        """Pass answers to the host until that side ends."""
        with suppress(OSError):
            for line in _lines(lambda: behind.recv(_CHUNK_BYTES)):
                if self._conversation.answered(line):
                    self._say(line)

    def _say(self, line: bytes) -> None:
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._out, left) :]
        except OSError:  # the host has gone
            os._exit(0)

    def _serve_here(
        self, ours: socket.socket, behind: socket.socket, interrupted: frozenset[Any] = frozenset()
    ) -> NoReturn:
        """Serve the session in this process, on the other end of `behind`."""
        # What these imports make stays for good; collecting among it takes a tenth of the start.
        gc.disable()
        from mcp_agentbus.tools import standalone

        gc.freeze()
        gc.enable()
        if self._me is None:
            self._know_myself()
        down = _in_background(self._pass_down, behind)

        def exit_(code: int) -> NoReturn:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
            down.join(_DRAIN_S)
            sys.stderr.flush()
            os._exit(code)

        standalone.serve(
            ours,
            self._settings,
            self._me,
            self._id,
            claims=self._claims,
            interrupted=interrupted,
            called=self._joining.called,
            opened=self._opened,
            exit_=exit_,
        )

    def _catch_up(self, behind: socket.socket) -> None:
        """Say again what the next server has to know, and then let the host speak to it."""
        with self._lock:
            self._behind = behind
            with suppress(OSError):
                behind.sendall(self._conversation.so_far())
                if self._input_ended:
                    behind.shutdown(socket.SHUT_WR)

    def _opened(self, session: Any) -> None:
        self._session = session

    def _nudge(self, text: str, results: tuple[str, ...]) -> str:
        if self._session and results and set(results) <= set(self._session.shown):
            return "the session has been shown it"
        from mcp_agentbus.wakes.hosts import claude_session

        claude_session.nudge(self._place.environ, text)
        return ""

    def _note_claims(self, claims: list[Any]) -> None:
        self._claims = claims

    def _parent_ended(self) -> None:
        # In this process the session has its own way to end.
        if not self._session:
            os._exit(0)


def _in_background(do: Callable[..., None], *given: Any) -> threading.Thread:
    thread = threading.Thread(target=do, args=given, name=f"agentbus-{do.__name__}", daemon=True)
    thread.start()
    return thread


def _send(connection: socket.socket, line: bytes) -> None:
    """Send all of it; end this process if it is not taken although the host has gone."""
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    poll.register(0, 0)  # only its hang-up, which is seen behind what was not read yet
    left = memoryview(line)
    while left:
        try:
            left = left[connection.send(left, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if connection.fileno() not in ready:
                poll.unregister(0)
                if not poll.poll(_HANGS_S * 1000):
                    os.kill(os.getpid(), signal.SIGTERM)


def _lines(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield whole lines, with their ends, until there is no more; what is cut is dropped."""
    cut: list[bytes] = []
    while chunk := read():
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join((*cut, line, b"\n"))
            cut = []
        if rest:
            cut.append(rest)
