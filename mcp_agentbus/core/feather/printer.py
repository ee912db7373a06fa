# SPDX-License-Identifier: Apache-2.0
r"""How a command prints: each letter of a text, as slowly as it is read, as wide as it is seen.

    >>> tell("coder: stored as task 9d0c.")
    coder: stored as task 9d0c.

Each command that is typed loads it, so it loads nothing that Python has not loaded by itself.
"""

# No `annotations` of __future__ either: a file more to be found and read.
import codecs
import io
import os
import sys

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from typing import Any

#: What is told with the last text that a command prints, see `tools.typed_command`: then it is
#: done, whoever carries it out.
EXIT_CODE = "exit_code"
#: As what standard output stands in an error: where it is not buffered, nothing else tells.
STDOUT = "<stdout>"
# Of what a peer or a host's program wrote, see `core.framing`.
_FRAME_INDENT = 4


class _Patient(io.FileIO):
    """A descriptor in non-blocking mode that waits for its reader, as in the other mode."""

    def write(self, data: "Any") -> int:
        """Write what is taken now, once anything is; return how many bytes."""
        import select

        while (count := super().write(data)) is None:
            select.select([], [self], [])
        return count


def be_patient() -> None:
    """Have what is printed wait for a slow reader, whatever mode its pipe or terminal is in."""
    for name in ("stdout", "stderr"):
        try:
            stream = getattr(sys, name)
            if not os.get_blocking(stream.fileno()):
                out = io.BufferedWriter(_Patient(stream.fileno(), "w", closefd=False))
                text = io.TextIOWrapper(out, stream.encoding, stream.errors, line_buffering=True)
                setattr(sys, name, text)
        except (OSError, ValueError, AttributeError):  # it is closed, or none of the system's
            pass


def spell_out() -> None:
    r"""Have a letter that standard output cannot show printed as `\u` and its number."""
    codecs.register_error("spelled", _spelled)
    if isinstance(sys.stdout, io.TextIOWrapper):  # else there is none, or no encoding
        try:
            sys.stdout.reconfigure(errors="spelled")
        except OSError:  # since it was opened, its descriptor has become a pipe's
            pass


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    import json  # most outputs can show every letter

    letters = error.object[error.start : error.end]
    return "".join(json.dumps(letter)[1:-1] for letter in letters), error.end


def say(text: str) -> None:
    """Print a line now, as the reader may wait for it at the other end of a pipe.

    Raises:
        OSError: standard output does not take it; its `filename` is STDOUT.
    """
    _print(text, "\n")


def ask(question: str) -> None:
    """Print a question, whose answer is typed behind it.

    Raises:
        BrokenPipeError: standard output was closed before this program began.
        OSError: as `say`.
    """
    check_seen()
    _print(question, " ")


def _print(text: str, end: str) -> None:
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        error.filename = STDOUT
        raise


def tell(text: str) -> None:
    """Print a text for a person, with no word cut at the edge of the terminal.

    What stands in a frame stays indented, so that no line of it begins where this program's do;
    in a pipe it stays as it is.
    """
    width = columns()
    if not width:
        say(text)
        return
    from mcp_agentbus.core.text import folded

    is_seen = os.isatty(1)
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip(" "))]
        is_framed = len(indent) >= _FRAME_INDENT
        fits = is_framed and not is_seen
        more = indent if is_framed else f"{indent}  "
        lines.append(line if fits else folded(line, width, more, cut=is_framed))
    say("\n".join(lines))


def check_seen() -> None:
    """See that somebody may have what was printed.

    Raises:
        BrokenPipeError: nobody has, as standard output was closed before this program began.
    """
    if sys.stdout is None:
        raise BrokenPipeError


def flush() -> None:
    """Have all printed that is to be.

    Raises:
        OSError: standard output does not take it.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def unwritable() -> str:
    """Return why standard output takes nothing, in the system's words; empty if it does."""
    try:
        flush()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def to_nowhere(stream: "Any") -> None:
    """Have nowhere what could not be printed: Python tries it again as it ends, and says so."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def complain(text: str) -> None:
    """Print what went wrong on standard error, with no word cut at the edge of the terminal."""
    if width := columns(2):
        from mcp_agentbus.core.text import folded

        text = "\n".join(folded(line, width, "  ") for line in text.split("\n"))
    try:
        print(text, file=sys.stderr)
    except OSError:  # nothing is left to say it by
        to_nowhere(sys.stderr)


def columns(descriptor: int = 1) -> int:
    """Return how many cells wide a person sees what is printed there; 0 if nobody looks.

    COLUMNS says it for a pipe, too.
    """
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(descriptor).columns
    except OSError:
        return 0


def rows(descriptor: int = 1) -> int:
    """Return how many lines of what is printed there a person sees at once; 0 if nobody looks."""
    try:
        return os.get_terminal_size(descriptor).lines
    except OSError:
        return 0


def is_styled(descriptor: int = 1) -> bool:
    """Tell whether a person looks at what is printed there, and has not asked for plain text.

    As https://no-color.org has it.
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return os.isatty(descriptor) and not plain
