# SPDX-License-Identifier: Apache-2.0
"""A command, read, carried out and worded by the listener where one runs: it has loaded all that.

    done = run(["tasks", "--open"])    # its exit code, or what its own process goes on from

What is printed is the same either way. It knows no command: what was typed goes to the listener as
it was typed. Every command that is typed loads it, so it loads a socket, and else nothing that
Python has not loaded by itself.
"""

# No `annotations` of __future__ either: a file more to be found and read.
import _socket  # `socket` makes enumerations of it, which takes as long as Python's start
import os
import time

from mcp_agentbus.core import hosts, places
from mcp_agentbus.core.feather import printer
from mcp_agentbus.relay import door
from mcp_agentbus.relay.carried import words
from mcp_agentbus.version import __version__

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    Frames = Iterator[tuple[str, Any]]

#: Commands that a listener may do; some words of them it leaves to their own process.
COMMANDS = (
    "agents", "answer", "audit", "export", "inbox", "parked", "policy", "replay", "result",
    "search", "send", "status", "task", "tasks", "tell", "watch", "why",
)  # fmt: skip
# In seconds: a listener says in a millisecond that it takes a command; one that does not in this
# time hangs, and the command is carried out without it.
_TAKES_WITHIN_S = 2.0
# One that has said nothing for so long is asked whether it lives; some commands wait for minutes.
_SILENT_S = 5.0
_CHUNK_BYTES = 64 * 1024
_SHOWS = {"say": printer.say, "tell": printer.tell, "complain": printer.complain}


class Begun:
    """How far a command is that a listener has not carried out, or not to its end."""

    def __init__(self) -> None:
        #: For a task that is sent without one: the listener may have sent it by this.
        self.request_id = f"cli-{os.urandom(8).hex()}"
        #: When it was typed, and its text read, by the monotonic clock.
        self.at = time.monotonic()
        #: The text of a task, if it was read; it cannot be read again.
        self.body: str | None = None
        #: With which arguments to go on from what was printed: by names, in JSON.
        self.changed: dict[str, str] = {}
        #: What went wrong in this process, such as with the text; None if nothing did.
        self.failed: Exception | None = None
        #: The text that was to be printed last, and the exit code if nothing comes after it.
        self.last: tuple[str, int | None] = ("", None)
        #: Whether a listener had it, and may have done it.
        self.was_taken = False
        #: Whether the listener hangs with it.
        self.hangs = False


class _Lost(Exception):  # it is no error: the command goes on in its own process
    """The listener does not do this, or does no more of it."""


def run(
    typed: "Sequence[str]", shows: "Mapping[str, Callable[[str], None]]" = _SHOWS
) -> "int | Begun":
    """Have the listener do what was typed, and print what it says; return the exit code.

    Where there is none that does it, or it ends before that is done, or nothing can be printed,
    returns what is to go on from.

    Args:
        typed: the words after `agentbus`.
        shows: what prints, by the kinds of `words`.
    """
    begun = Begun()
    if not hasattr(_socket, "AF_UNIX"):  # Windows
        return begun
    listener = _Listener()
    changed: dict[str, str] = {}
    try:
        for kind, said in _taken(listener, typed, begun):
            if kind in shows:
                code = changed.get(printer.EXIT_CODE)
                begun.last = said, None if code is None else int(code)
                shows[kind](said)
                begun.changed.update(changed)
            elif kind == "changed":
                name, _, value = said.partition(" ")
                changed[name] = value
            elif kind == "reached":  # what was shown counts as seen from now on
                printer.check_seen()
                listener.send(words.frame(kind))
            elif kind == "end":
                return _ended(begun, int(said))
    except _Lost:
        pass
    except Exception as error:  # noqa: BLE001  # it is raised again where errors are told
        begun.failed = error
    finally:
        listener.close()
    exit_code = begun.last[1]
    if exit_code is not None and begun.failed is None:
        return exit_code  # all is printed; what was not noted as seen is shown again
    begun.was_taken, begun.hangs = listener.is_at_it, listener.hangs
    return begun


def _ended(begun: Begun, exit_code: int) -> int:
    """Return the exit code of a command, once whoever typed it may know why it is not 0.

    Raises:
        BrokenPipeError: as `printer.check_seen`.
    """
    begun.last = begun.last[0], exit_code
    if exit_code:
        printer.check_seen()
    return exit_code


def _taken(listener: "_Listener", typed: "Sequence[str]", begun: Begun) -> "Frames":
    """Have the listener take it; return what it says from then on.

    Raises:
        _Lost: there is none that does.
        BadSetup: as `places.runtime_folder` and `places.working_folder`.
        BadInput: as `body.read`.
    """
    request = words.request(__version__, _typed(typed, begun).pack())
    if len(request) > words.MAX_BYTES:
        raise _Lost
    listener.call(request)
    heard = listener.frames()
    kind, said = next(heard, ("left", ""))
    if kind == "read":
        from mcp_agentbus.relay.carried import body  # most have their text among their words

        begun.body = body.asked_for(said)
        begun.at = time.monotonic()
    elif kind != "taken":
        raise _Lost
    go = words.frame("go", begun.body or "")
    if len(go) > words.MAX_BYTES:
        raise _Lost
    listener.send(go)
    listener.is_at_it = True
    return heard


def _typed(typed: "Sequence[str]", begun: Begun) -> words.Typed:
    """Return what was typed, and what only this process knows of itself."""
    environ = os.environ
    told = words.variables(environ)
    return words.Typed(
        typed,
        places.working_folder(environ),
        told,
        request_id=begun.request_id,
        terminal=(printer.columns(), printer.rows(), int(printer.is_styled())),
        zone=words.zone(environ),
        # As `hosts.are_around`; its ancestors were asked for what is told.
        is_hosted=bool(told.get("AGENTBUS_HOST") or hosts.marked(told)),
    )


class _Listener:
    """The listener, and a connection to it. What goes wrong there is a `_Lost`."""

    def __init__(self) -> None:
        self._connection = _socket.socket(_socket.AF_UNIX)
        self._runtime_dir = ""
        #: Whether it has been told to go on.
        self.is_at_it = False
        #: Whether it is there, and does not answer.
        self.hangs = False

    def call(self, request: bytes) -> None:
        """Open the connection and begin.

        Raises:
            BadSetup: as `places.runtime_folder`.
        """
        self._runtime_dir = places.runtime_folder(os.environ)
        self._connection.settimeout(_TAKES_WITHIN_S)
        try:
            door.open_(self._connection, self._runtime_dir)
        except OSError:
            raise _Lost from None
        self.send(request)

    def send(self, said: bytes) -> None:
        """Send all of it."""
        try:
            self._connection.sendall(said)
        except OSError:
            raise _Lost from None

    def frames(self) -> "Frames":
        """Yield what it says, as `words.frames`."""
        try:
            yield from words.frames(self._received)
        except ValueError:  # an earlier version's answer
            raise _Lost from None

    def close(self) -> None:
        """Close the connection, at whose end the listener ends what it does for it."""
        self._connection.close()

    def _received(self) -> bytes:
        """Return what it says next, however long that takes; b"" if the connection has ended."""
        if self.is_at_it:
            self._connection.settimeout(_SILENT_S)
        while True:
            try:
                return self._connection.recv(_CHUNK_BYTES)
            except TimeoutError:
                if self.is_at_it and not self._hangs():
                    continue
                self.hangs = self.is_at_it
                raise _Lost from None
            except OSError:
                raise _Lost from None

    def _hangs(self) -> bool:
        """Tell whether one is there that does not answer, not even that it does not know."""
        from mcp_agentbus.relay import local_socket  # most are done by now

        try:
            with local_socket.connect(places.Place(self._runtime_dir, os.environ)) as connection:
                local_socket.exchange(connection, {"op": "hangs"})
        except TimeoutError:
            return True
        except (OSError, ValueError):
            return False
        return False
