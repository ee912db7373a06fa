# SPDX-License-Identifier: Apache-2.0
"""A session's end of the local socket: it says that it lives, and passes notices on to its model.

    membership = Membership(settings, me, nudge)
    membership.start()      # or .run(), where the process has nothing else to do

It counts once it has lived 2 s: a host that only asks a server for its tools leaves no trace. Where
no listener runs, it starts one; where one ends, it joins the next. It works in a thread of its own
and needs nothing but the standard library, so a session that is relayed has it as well. It knows no
bus and no task: it passes on what it hears.
"""

# No `annotations` of __future__: a named tuple compiles those, for a millisecond of each start.
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from mcp_agentbus.core.children import threads
from mcp_agentbus.core.places import Where
from mcp_agentbus.relay import local_socket
from mcp_agentbus.relay.starter import start_listener
from mcp_agentbus.version import __version__

#: In seconds: a session that ends sooner was a host's probe.
LIVES_AFTER_S: Final = 2.0
#: How long after a lost listener, or one that could not be started, the next try comes.
AGAIN_S: Final = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
# At which of these tries that find none a listener is started, and at each multiple of the last: at
# once, after half a minute, four and ten, and then each twelve.
_STARTS_AT: Final = (1, 6, 12, 24)


class Me(NamedTuple):
    """What a session says of itself as it joins."""

    agent: str
    host: str
    session: str
    #: Whether its model can be shown a notice between two calls.
    can_nudge: bool = False
    #: The host's own id of the conversation; empty if it has told none.
    host_session: str = ""
    #: Whether it only shows notices, beside the session of that conversation if one is here.
    is_monitor: bool = False
    #: Whether its host starts such a one beside it.
    has_monitor: bool = False
    #: Whether it takes tasks without being told, as a worker.
    reads_by_itself: bool = False
    #: The shared inboxes that it reads besides its agent's own.
    roles: tuple[str, ...] = ()


def joins(me: Me, young_s: float = 0.0) -> dict[str, Any]:
    """Return the line with which a session joins; it is taken if the answer has `joined`.

    That comes in `young_s`, or when the session says something: until then it may be a probe.
    """
    return {"op": "join", "version": __version__, **me._asdict(), "young_s": young_s}


def nudger(environ: Mapping[str, str]) -> Callable[[Mapping[str, str], str], None] | None:
    """Return what gives this session's host a notice; None if it takes none from outside.

    Claude Code alone does.
    """
    if not environ.get("CLAUDE_CODE_MESSAGING_SOCKET"):
        return None
    from mcp_agentbus.wakes.hosts import claude_session

    return claude_session.nudge if claude_session.can_nudge(environ) else None


def has_monitor(environ: Mapping[str, str]) -> bool:
    """Tell whether a plugin has brought this session, and so a monitor: Claude Code says so."""
    return "CLAUDE_PLUGIN_ROOT" in environ


def nudged(nudge: Mapping[str, Any], why_not: str = "") -> dict[str, Any]:
    """Return the answer to a nudge: that its notice was shown, or why it was not."""
    return {"n": nudge.get("n"), "shown": not why_not, "why": why_not}


class Membership:
    """Keeps a session known to the listener, from one listener to the next, until its process ends.

    Args:
        where: which listener.
        me: which session.
        nudge: shows the session's model a notice; returns "" or why it did not. An OSError says
            the same.
        claims: told what a session that the listener serves holds, whenever that changes.
        shown: returns those of these tasks whose results this process has shown that model.
        asks: by what the listener is to tell whose the session is, in the place of `me.agent`:
            `given` (--agent), `folder` and `environ`; nothing if it is to believe that.
        again_s: as `AGAIN_S`.
    """

    def __init__(
        self,
        where: Where,
        me: Me,
        nudge: Callable[[str], str],
        claims: Callable[[list[dict[str, Any]]], None] = lambda _: None,
        shown: Callable[[Sequence[str]], Collection[str]] = lambda _: (),
        *,
        asks: Mapping[str, Any] | None = None,
        again_s: Sequence[float] = AGAIN_S,
    ) -> None:
        self._again_s = again_s
        self._where = where
        self._me = me
        self._nudge = nudge
        self._shown = shown
        self._claims = claims
        self._asks = asks or {}
        # Monotonic.
        self._lives_at = 0.0
        #: Set while it is joined, or about to be.
        self._connection: socket.socket | None = None
        self._left = threading.Event()
        # How often in a row it was not taken, or there was none; and the latter.
        self._failures = self._in_vain = 0
        #: Of what kinds the errors were that nobody has foreseen: of each one is said.
        self._said: set[type[Exception]] = set()

    def start(self, patient_s: float = 0.0) -> None:
        """Join, and join again, in the background.

        Raises:
            OSError: no thread is to be had, in so many seconds.
        """
        threads.begin(self.run, name="agentbus-member", patient_s=patient_s)

    def leave(self) -> None:
        """Be there no more, and join no more: the process goes on without this session."""
        self._left.set()
        if connection := self._connection:
            with suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Join, and join again, until `leave`."""
        self._lives_at = time.monotonic() + LIVES_AFTER_S
        while not self._left.is_set():
            try:
                self._try()
            except Exception as error:  # noqa: BLE001  # or it is known to no listener from then on
                self._failures += 1
                self._say(error)
            pause_s = self._again_s[min(self._failures, len(self._again_s) - 1)]
            self._left.wait(min(pause_s, self._young_s()) or pause_s)

    def _try(self) -> None:
        """Be joined for as long as the listener lives; where there is none, start one at times."""
        try:
            self._failures = 0 if self._joined() else self._failures + 1
            self._in_vain = 0
        except (OSError, ValueError):
            if self._left.is_set() or self._young_s() > 0:
                return
            # What kept the last one from living may be mended. Ever more seldom: each of many
            # sessions starts one. What cannot even be begun is begun at the next try.
            in_vain = self._in_vain + 1
            if in_vain in _STARTS_AT or in_vain % _STARTS_AT[-1] == 0:
                start_listener(self._where)
            self._in_vain = in_vain
            self._failures += 1

    def _say(self, error: Exception) -> None:
        """Say in the host's log why a try has failed, once of a kind."""
        if type(error) not in self._said:
            self._said.add(type(error))
            with suppress(OSError, AttributeError):  # it is full, or there is none
                sys.stderr.write(
                    "agentbus: No listener knows of this session for now "
                    f"({type(error).__name__}: {error}). It is tried again.\n"
                    "Hint: If `agentbus listen --status` still lacks it in a minute, start the "
                    "session anew.\n"
                )

    def _young_s(self) -> float:
        """Return in how many seconds the session has lived for long enough; 0 if it has."""
        return max(0.0, self._lives_at - time.monotonic())

    def called(self) -> None:
        """Say that a tool was called: the session looks at its inbox by itself."""
        self._tell({"op": "called"})

    def renamed(self, agent: str, roles: Sequence[str]) -> None:
        """Go on as another agent, or with other roles: the session's first call has told them."""
        me = self._me._replace(agent=agent, roles=tuple(roles))
        if me != self._me:
            self._me = me
            self._tell({"op": "named", "agent": agent, "roles": me.roles})

    def _tell(self, message: Mapping[str, Any]) -> None:
        if connection := self._connection:
            with suppress(OSError):  # the listener hangs, or has ended: it matters to it alone
                connection.send(local_socket.line(message), socket.MSG_DONTWAIT)

    def _joined(self) -> bool:
        """Stay joined for as long as the listener lives; return whether it took the session.

        Raises:
            OSError: there is no listener, or it has ended.
            ValueError: it said something that is no message.
        """
        with local_socket.connect(self._where) as connection, connection.makefile("rb") as lines:
            self._connection = connection
            try:
                me = self._me
                asked = {**joins(me, self._young_s()), **self._asks}
                connection.sendall(local_socket.line(asked))
                answer = local_socket.message(lines.readline())
                if "joined" not in answer:
                    return False
                if self._me is me:
                    # It may have got another name here; the next listener knows of no such thing.
                    self._me = me._replace(agent=str(answer.get("agent") or me.agent))
                connection.settimeout(None)
                if self._left.is_set():
                    return True
                for line in lines:
                    self._heard(connection, local_socket.message(line))
            finally:
                self._connection = None
        return True

    def _heard(self, connection: socket.socket, message: Mapping[str, Any]) -> None:
        if message.get("op") == "claims":
            self._claims(list(message.get("claims") or ()))
        elif message.get("op") == "named":
            self.renamed(str(message.get("agent")), message.get("roles") or ())
        elif message.get("op") == "nudge":
            connection.sendall(local_socket.line(self._nudged(message)))
        elif message.get("op") == "shown":
            shown = list(self._shown(message.get("results") or ()))
            connection.sendall(local_socket.line({"n": message.get("n"), "results": shown}))

    def _nudged(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Show the model a notice; return what the listener is told about that."""
        try:
            why_not = self._nudge(str(message.get("text", "")))
        except OSError as error:
            why_not = f"the host did not take it: {type(error).__name__}"
        return nudged(message, why_not)
