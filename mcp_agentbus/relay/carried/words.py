# SPDX-License-Identifier: Apache-2.0
r"""What goes over the local socket for a command: the words that were typed, what it prints.

    >>> frame("say", "{}") + frame("end", 4)
    b'say 2\n{}end 4\n'

The process of a command begins with a line of JSON as every other, and behind it what was typed,
where and by whom; see `Typed`. The listener answers `left`, if it is to do that itself, or `read`,
if it is to read the text of a task first, or `taken`. What the process says then is `go`, and only
then the listener does anything. From there on come frames, `end` with the exit code at last:

    say      print the text      tell    print it for a person      complain    on standard error
    changed  once the next text is printed, another process would go on with this argument: its
             name, and its value as JSON; `printer.EXIT_CODE`: all is printed then
    reached  ask whether what was printed has arrived; `reached` is the answer

Each command that is typed loads it, so it loads nothing that Python has not loaded by itself.
"""

# No `annotations` of __future__ either: a file more to be found and read.
from mcp_agentbus.core import hosts, places

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

#: The `op` of a connection, as an earlier listener would refuse it.
OP = "typed"
#: What may be typed, with a text that was read, in bytes: more than any task holds. A command of
#: more does without a listener.
MAX_BYTES = 512 * 1024
#: How the variables begin on which the configuration depends, and who somebody is; see `config`.
SENT = ("AGENTBUS_", "HOME", "XDG_", *hosts.MARKS)
# A server reads it; nobody else is told.
_SECRET = "AGENTBUS_TOKEN"  # noqa: S105  # its name
# Frames with a number alone.
_NUMBERS = ("end",)
# No kind and number is longer, in bytes.
_HEAD_MAX = 64


def variables(environ: "Mapping[str, str]") -> dict[str, str]:
    """Return those of an environment that tell a listener who asks, and on which bus.

    Raises:
        BadSetup: as `places.home`.
    """
    sent = {
        name: value for name, value in environ.items() if name.startswith(SENT) and name != _SECRET
    }
    sent |= hosts.said(environ)  # only here its ancestors can be seen
    if home := places.home(environ):  # the listener has another folder
        sent["AGENTBUS_HOME"] = home
    return sent


def zone(environ: "Mapping[str, str]") -> str:
    """Return whose clock it is by which times are shown: TZ, or "" for the machine's own.

    An empty TZ is UTC for the C library.
    """
    return (environ["TZ"] or "UTC") if "TZ" in environ else ""


class Typed:
    """What was typed, where and by whom; each is one field or more of `pack`."""

    def __init__(
        self,
        words: "Sequence[str]",
        folder: str,
        environ: "Mapping[str, str]",
        *,
        request_id: str = "",
        terminal: "Sequence[int]" = (0, 0, 0),
        zone: str = "",
        is_hosted: bool = False,
    ) -> None:
        self.words = words
        #: The working folder.
        self.folder = folder
        #: As `variables` returns it.
        self.environ = environ
        #: For a task that is sent without one, so that it may be repeated.
        self.request_id = request_id
        #: Columns, rows, and whether it shows colours; 0 for what there is not.
        self.terminal = terminal
        #: As `zone` returns it.
        self.zone = zone
        #: Whether a host has started it, as far as its process can tell.
        self.is_hosted = is_hosted

    def pack(self) -> bytes:
        """Return it as it goes over the socket: fields that begin with their kind, a zero between.

        Neither words nor variables can hold a zero.
        """
        fields = [f"w{word}" for word in self.words]
        fields += [f"e{name}={value}" for name, value in self.environ.items()]
        fields += [f"f{self.folder}", f"r{self.request_id}", f"z{self.zone}"]
        fields += [f"h{int(self.is_hosted)}"]
        fields += [f"t{number}" for number in self.terminal]
        return _encoded("\0".join(fields))

    @classmethod
    def unpack(cls, packed: bytes) -> "Typed":
        """Return what was packed.

        Raises:
            ValueError: it was none.
        """
        one: dict[str, str] = {}
        many: dict[str, list[str]] = {"w": [], "e": [], "t": []}
        for field in decoded(packed).split("\0"):
            kind, value = field[:1], field[1:]
            if kind in many:
                many[kind].append(value)
            elif kind in {"f", "r", "z", "h"}:
                one[kind] = value
            else:
                raise ValueError("It has a field of no kind.")
        terminal = [int(number) for number in many["t"]]
        if len(one) != 4 or len(terminal) != 3:
            raise ValueError("It lacks a field.")
        environ = dict(pair.partition("=")[::2] for pair in many["e"])
        return cls(
            many["w"], one["f"], environ,
            request_id=one["r"], terminal=terminal, zone=one["z"], is_hosted=one["h"] == "1",
        )  # fmt: skip


def request(version: str, packed: bytes) -> bytes:
    """Return what a process begins with."""
    return f'{{"op":"{OP}","version":"{version}","size":{len(packed)}}}\n'.encode() + packed


def frame(kind: str, said: "str | int" = "") -> bytes:
    """Return a frame: its kind, and a text or a number."""
    if isinstance(said, int):
        return f"{kind} {said}\n".encode()
    content = _encoded(said)
    return f"{kind} {len(content)}\n".encode() + content


def frames(receive: "Callable[[], bytes]") -> "Iterator[tuple[str, Any]]":
    """Yield the kind and content of each frame that comes whole; `receive` returns b"" at the end.

    Raises:
        ValueError: something else comes.
    """
    come = bytearray()
    while True:
        while (at := come.find(b"\n")) < 0:
            if len(come) > _HEAD_MAX:
                raise ValueError("That is no frame.")
            if not (piece := receive()):
                return
            come += piece
        kind, _, number = come[:at].decode().partition(" ")
        size = int(number)
        if size < 0:
            raise ValueError("That is no frame.")
        del come[: at + 1]
        if kind in _NUMBERS:
            yield kind, size
            continue
        while len(come) < size:
            if not (piece := receive()):
                return
            come += piece
        yield kind, decoded(bytes(come[:size]))
        del come[:size]


def _encoded(text: str) -> bytes:
    # A word that is no UTF-8 has half surrogate pairs in it, as Python reads it.
    return text.encode("utf-8", "surrogatepass")


def decoded(written: bytes) -> str:
    """Return the text of a frame."""
    return written.decode("utf-8", "surrogatepass")
