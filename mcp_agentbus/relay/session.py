# SPDX-License-Identifier: Apache-2.0
"""`agentbus serve`: the process that a host starts for a session, and what stands behind it.

    host <-- standard input and output --> relay <-- local socket --> the listener

The listener has loaded what serving takes and has read the configuration, so the relay is there in
a fraction of the time and memory: it imports little of the standard library, and nothing else.
Where no listener of this version runs, or when it ends, the session is served in this process, on a
socket to itself: its host sees no difference, and what the session holds goes on with it. A notice
is written from here in either case: Claude Code takes it from a process of its own only.

A line that is no message is answered here, see `messages`; what a server has not answered when it
ends is said to the next one, see `conversation`.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mcp_agentbus.core import hosts, lines, processes
from mcp_agentbus.core.children import threads
from mcp_agentbus.core.places import Place
from mcp_agentbus.relay import late, local_socket, member, messages
from mcp_agentbus.relay.alone.own_process import OwnProcess
from mcp_agentbus.relay.conversation import Conversation
from mcp_agentbus.relay.host import Pipes
from mcp_agentbus.relay.member import Me, Membership
from mcp_agentbus.relay.options import Serving, place_of
from mcp_agentbus.version import __version__

if TYPE_CHECKING:
    from mcp_agentbus.tools.standalone import Standalone

_CHUNK_BYTES: Final = 64 * 1024
# A listener says at once whether it takes a session; one that does not in this time, in seconds,
# hangs.
_TAKES_WITHIN_S: Final = 1.0
# A session that goes on for so long after its input has ended hangs; hosts kill it after 2 s.
_HANGS_S: Final = 1.0
# What the system refuses for a while: no sign of an upgrade, and nor is an error with a hint.
_SHORT: Final = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
# Said where no server can be loaded, or what was loaded takes it for another.
_CANNOT: Final = "agentbus cannot go on with this session"
_ENDED: Final = "agentbus cannot go on with this session, as its files were replaced or are damaged"
_ANEW: Final = "Start the session anew, or its MCP server. If it stays so, run `agentbus doctor`."
# What is on its way to the host when the session has ended.
_DRAIN_S: Final = 0.15
# Where no more threads are to be had that is mostly so for a moment; hosts wait longer.
_PATIENT_S: Final = 10.0


def run(options: Serving, parent: int) -> NoReturn:
    """Serve a session on standard input and output until it, or the parent, ends; end the process.

    Raises:
        BadSetup: there is no standard output.
    """
    _Relay.open(options).run(parent)


class _Listener:
    """A listener serves the session, and has told whose it is."""

    def __init__(self, connection: socket.socket, answer: dict[str, Any]) -> None:
        self.connection = connection  #: Its other end is the listener's.
        self.agent, self.host = str(answer["agent"]), str(answer["host"])
        self.roles = tuple(answer["roles"])
        self.server: dict[str, str] = dict(answer["server"])  #: See `settings.server_of`.

    @classmethod
    def asked(cls, place: Place, session: str, options: Serving) -> _Listener | None:
        """Ask the listener to serve a session; None if there is none that does."""
        request = {
            "op": "serve",
            "version": __version__,
            "session": session,
            "agent": options.agent,
            "watch_max_s": options.watch_max_s,
            "only": options.only,
            "hosted": hosts.hosted(place.environ),
            **local_socket.surroundings(place.environ),
        }
        try:
            connection = local_socket.connect(place)
        except OSError:
            return None
        try:
            connection.settimeout(_TAKES_WITHIN_S)
            answer = local_socket.exchange(connection, request)
            if "serving" in answer:
                connection.settimeout(None)
                return cls(connection, answer)
        except (OSError, ValueError, LookupError, TypeError):
            pass
        connection.close()
        return None


class _Relay:
    """One session's way between its host and what serves it.

    Three threads use it: the main one passes answers down and serves the session where no listener
    does, one passes requests up, and one is the session's membership of the listener.
    """

    def __init__(
        self, place: Place, options: Serving, me: Me, host: Pipes, behind: _Listener | OwnProcess
    ) -> None:
        self._place = place
        #: For an own process behind.
        self._options = options
        self._me = me
        self._host = host
        #: Changed while the lock is held, when a listener ends.
        self._behind = behind
        self._lock = threading.Lock()
        self._input_ended = False
        #: Set while there is a server, and not one that still loads what it needs.
        self._is_served = threading.Event()
        self._conversation = Conversation()
        #: What the session holds, as the listener that serves it has told.
        self._claims: list[dict[str, Any]] = []
        #: Set once the listener is about to leave.
        self._prepares = False
        #: Set once this process serves the session.
        self._standalone: Standalone | None = None
        #: Had from the start: a session is to be told after its package was replaced, or is gone.
        self._nudger = member.nudger(place.environ)
        self._membership = Membership(place, me, self._nudge, self._note_claims, self._shown)

    @classmethod
    def open(cls, options: Serving) -> _Relay:
        """Take standard output for the host, and find what serves the session.

        Raises:
            BadSetup: there is no standard output.
        """
        host = Pipes.taken()
        session = os.urandom(8).hex()  # as `ids.new_session_id`, which loads more
        place, fault = place_of(os.environ)
        options = options._replace(fault=options.fault or fault)
        listener = None if options.fault else _Listener.asked(place, session, options)
        behind = listener or OwnProcess(options)
        me = Me(
            behind.agent,
            behind.host,
            session,
            can_nudge=member.nudger(place.environ) is not None,
            host_session=hosts.session_of(place.environ),
            has_monitor=member.has_monitor(place.environ),
            roles=behind.roles,
        )
        return cls(place, options, me, host, behind)

    def run(self, parent: int) -> NoReturn:
        """Serve until the end of the input, or of the parent, or a signal."""
        for number in processes.ending():
            signal.signal(number, lambda *_: self._told_to_end())
        try:
            self._run(parent)
        except Exception as error:  # noqa: BLE001  # as of a package that an upgrade has replaced
            self._cannot_go_on(error)

    def _run(self, parent: int) -> NoReturn:
        processes.on_end(parent, self._parent_ended, patient_s=_PATIENT_S)
        self._beside(self._pass_up, patient_s=_PATIENT_S)
        if isinstance(self._behind, OwnProcess):
            standalone = self._made(self._behind)
            self._join()
            self._serve(self._behind, standalone)
        self._join()
        self._is_served.set()
        self._pass_down(self._behind.connection)
        if self._input_ended:
            os._exit(0)
        # The listener has ended.
        before = self._behind if self._claims and isinstance(self._behind, _Listener) else None
        own = OwnProcess(self._options, before)
        standalone = self._made(own)
        self._beside(self._catch_up, own, patient_s=_PATIENT_S)
        self._serve(own, standalone)

    def _beside(
        self, do: Callable[..., None], *given: Any, patient_s: float = 0.0
    ) -> threading.Thread:
        """Do a part in a thread of its own; what nobody has foreseen there ends the session.

        Raises: as `threads.begin`.
        """

        def part() -> None:
            try:
                do(*given)
            except Exception as error:  # noqa: BLE001  # or it hangs without that part
                self._cannot_go_on(error)

        return threads.begin(part, name=f"agentbus-{do.__name__}", patient_s=patient_s)

    def _pass_up(self) -> None:
        """Pass what the host says to whatever is behind, until the host says no more."""
        with suppress(OSError):
            for line in self._host.lines(messages.LINE_MAX_BYTES):
                said = messages.read(line)
                if isinstance(said, messages.NoMessage):
                    self._host.say(said.answer)
                elif said:
                    self._ask(said)
        has_heard_all = self._has_heard_all()
        with self._lock, suppress(OSError):
            self._input_ended = True
            if has_heard_all:
                self._tell(lines.HEARD)
            self._behind.connection.shutdown(socket.SHUT_WR)
        if self._conversation.is_answered and not self._is_served.is_set():
            os._exit(self._refused())
        # A host that no longer reads keeps what is said last, and whoever says it.
        self._is_served.wait()
        time.sleep(_HANGS_S)
        os.kill(os.getpid(), signal.SIGTERM)

    def _ask(self, message: messages.HostMessage) -> None:
        with self._lock:
            if self._conversation.asked(message):
                self._pass_on(message)
        self._ask_on()

    def _ask_on(self) -> None:
        """Ask what has waited for an answer that has come."""
        if self._conversation.has_due:  # else the lock is not waited for: answers must go down
            with self._lock:
                for waited in self._conversation.due():
                    self._pass_on(waited)

    def _pass_on(self, message: messages.HostMessage) -> None:
        """Say it to the listener; what that does not take whole the server that comes is told."""
        try:
            self._host.pass_on(message.line, self._behind.connection)
        except OSError:
            self._conversation.not_taken(message)

    def _has_heard_all(self) -> bool:
        """Tell whether the host, whose input was open until now, has read all that it asked for."""
        ended = self._input_ended or not self._conversation.is_answered
        return not ended and self._host.has_heard_all()

    def _told_to_end(self) -> NoReturn:
        """End as a signal says, as some hosts end a session, in the midst of whatever goes on."""
        if self._has_heard_all() and self._lock.acquire(blocking=False):
            heard = messages.dump({"jsonrpc": "2.0", "method": lines.HEARD})
            with suppress(OSError):
                self._behind.connection.send(heard, socket.MSG_DONTWAIT)
        os._exit(self._refused())

    def _tell(self, method: str) -> None:
        """Tell the server something that its host has not said."""
        told = {"jsonrpc": "2.0", "method": method}
        self._pass_on(messages.HostMessage(told, messages.dump(told)))

    def _pass_down(self, behind: socket.socket) -> None:
        """Pass answers to the host until that side ends."""
        with suppress(OSError):
            for line in lines.read_from(lambda: behind.recv(_CHUNK_BYTES)):
                if self._conversation.answered(line):
                    self._host.say(line)
                    self._ask_on()
                elif self._conversation.server_says == lines.LEAVING and not self._prepares:
                    self._prepares = True
                    with suppress(OSError):  # no thread is to be had: it is loaded once needed
                        self._beside(self._prepare)

    def _cannot_go_on(self, error: Exception) -> NoReturn:
        """End, as no server can be had, and say so to all that wait for an answer."""
        is_short = getattr(error, "errno", None) in _SHORT or hasattr(error, "hint")
        ended = f"{_CANNOT if is_short else _ENDED} ({type(error).__name__}: {error})."
        refusals = self._conversation.refused(f"{ended} {_ANEW}")
        with suppress(OSError, AttributeError):  # it is full, or there is none
            sys.stderr.write(f"agentbus: {ended}\nHint: {_ANEW}\n")
        with suppress(OSError):
            for line in refusals:
                self._host.say(line)
        os._exit(1)

    def _made(self, own: OwnProcess) -> Standalone:
        """Return what is to serve the session in this process, once it is loaded."""
        standalone, is_another = _load()
        if is_another:
            own.read_again()
        return standalone(
            own.asked,
            own.me,
            self._me.session,
            hosted=hosts.hosted(self._place.environ),
            watch_max_s=own.options.watch_max_s,
            only=own.options.only,
            fault=own.options.fault,
        )

    def _serve(self, own: OwnProcess, standalone: Standalone) -> NoReturn:
        """Serve the session in this process."""
        down = self._beside(self._pass_down, own.connection, patient_s=_PATIENT_S)

        def exit_(code: int) -> NoReturn:
            # The loop that has ended has taken its handler along: told again, it would be killed.
            with suppress(ValueError):  # it hangs, and a timer calls this
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with suppress(OSError):
                own.served.shutdown(socket.SHUT_RDWR)
            down.join(_DRAIN_S)
            with suppress(OSError, AttributeError):  # it is full, or there is none
                sys.stderr.flush()
            os._exit(code or self._refused())

        self._standalone = standalone
        self._is_served.set()
        standalone.serve(
            own.served,
            claims=self._claims,
            called=self._called,
            has_heard_all=self._has_heard_all,
            exit_=exit_,
        )

    def _prepare(self) -> None:
        """Load what serving takes while the listener still does it, and tell it then."""
        with suppress(Exception):  # it is said once it is needed
            _load()
        with self._lock:
            self._tell(lines.READY)

    def _refused(self) -> int:
        """Return the exit code of a session: 1 if no call of it was answered but with a refusal."""
        return int(not (self._me.agent or (self._standalone and self._standalone.agent)))

    def _called(self) -> None:
        """Note a call in this process; the first one may have changed who the session is."""
        if self._standalone:
            self._membership.renamed(self._standalone.agent, self._standalone.roles)
        if self._me.agent:
            self._membership.called()
        else:  # what was wrong is mended
            with suppress(OSError):  # no thread is to be had: at the next call
                self._membership.start()
                self._me = self._me._replace(agent="known")

    def _join(self) -> None:
        if self._me.agent:
            self._membership.start(patient_s=_PATIENT_S)

    def _catch_up(self, own: OwnProcess) -> None:
        """Say again what the next server has to know, and then let the host speak to it."""
        with self._lock:
            self._behind.connection.close()
            self._behind = own
            with suppress(OSError):
                own.connection.sendall(self._conversation.so_far())
                if self._input_ended:
                    own.connection.shutdown(socket.SHUT_WR)

    def _nudge(self, notice: str) -> str:
        """Show the session's model a notice; return ""; an OSError says that it was not shown."""
        if not self._nudger:
            raise OSError("its host takes no notice")
        self._nudger(self._place.environ, notice)
        return ""

    def _shown(self, results: Sequence[str]) -> frozenset[str]:
        return self._standalone.shown(results) if self._standalone else frozenset()

    def _note_claims(self, claims: list[dict[str, Any]]) -> None:
        self._claims = claims

    def _parent_ended(self) -> None:
        if self._standalone:  # it may hold something that is to be given back
            self._standalone.end()
        else:
            os._exit(0)


def _load() -> tuple[type[Standalone], bool]:
    """Return what serves a session, once it is loaded, and whether that was of another package."""
    # What these imports make stays for good; collecting among it takes a tenth of the start.
    gc.disable()
    try:
        is_another = late.load(late.STANDALONE)
        from mcp_agentbus.tools.standalone import Standalone

        gc.freeze()
    finally:
        gc.enable()
    return Standalone, is_another
