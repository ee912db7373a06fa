# SPDX-License-Identifier: Apache-2.0
"""The text of a task, an answer or a result, as it was typed: from a file, or as it is piped in.

    >>> read(None, "task.md", optional=False)
    'All of them, please.'

Only the process of a command has what is piped in, and files by the names that it was given. What
it loads beside Python's own it loads late, as most commands do.
"""

# No `annotations` of __future__ either: a file more to be found and read.
import os
import sys

# Bytes, or characters of a file; no body may have as many, and a device has no end.
_READ_MAX = 1 << 20
# In seconds; after that whoever has not meant to pipe anything is told what is waited for.
_PATIENCE_S = 5.0
# Behind it stands the file.
_OPTIONAL, _REQUIRED = "optional", "required"


def asking(file: str | None, *, optional: bool) -> str:
    """Return how a listener asks for such a text; see `words`."""
    which = _OPTIONAL if optional else _REQUIRED
    return which if file is None else f"{which} {file}"


def asked_for(said: str) -> str:
    """Return the text that is asked for.

    Raises:
        BadInput: as `read`.
    """
    which, named, file = said.partition(" ")
    return read(None, file if named else None, optional=which == _OPTIONAL)


def read(given: str | None, file: str | None, *, optional: bool) -> str:
    """Return what is to be sent: the argument, the text of a file, or what is piped in.

    A file named `-` is standard input. Without any it is empty where it is `optional`: then what
    is piped in may be a loop's, or a program's own, and stays there unless it was asked for.

    Raises:
        BadInput: there is none, there are two, it is not UTF-8, or is far too large.
    """
    if given is not None and file is not None:
        raise _bad_input("The body is given twice.", hint="Give it as an argument or in a file.")
    if given is not None:
        return given
    try:
        if file not in {None, "-"}:
            # A pipe is waited for: `--body-file <(git diff)`.
            with open(str(file), encoding="utf-8", newline="") as opened:  # noqa: PTH123  # no pathlib here
                body = opened.read(_READ_MAX)
            _see_its_end(len(body))
            return body
        if file == "-" or not (optional or sys.stdin is None or sys.stdin.isatty()):
            return _piped(is_asked_for=file == "-")
    except OSError as error:
        if file not in {None, "-"}:
            raise _bad_input(f"{file} cannot be read: {error.strerror}.") from None
        raise _bad_input(
            f"Standard input cannot be read: {error.strerror}.",
            hint="Give the body as an argument or with --body-file.",
        ) from None
    except UnicodeDecodeError:
        raise _bad_input(
            "The body is not UTF-8 text.", hint="Send a file's path instead."
        ) from None
    if optional:
        if _is_piped_in():
            left = "agentbus: what is piped in was left there. To send it, add `--body-file -`."
            print(left, file=sys.stderr)
        return ""
    raise _bad_input(
        "There is no body.", hint="Give it as an argument, with --body-file or on stdin."
    )


def _bad_input(message: str, *, hint: str = "") -> Exception:
    from mcp_agentbus.errors import BadInput  # few meet it

    return BadInput(message, hint=hint)


def _is_piped_in() -> bool:
    """Tell whether a text lies on standard input at this moment."""
    import fcntl
    import termios

    if sys.stdin is None or sys.stdin.isatty():
        return False
    try:
        return any(fcntl.ioctl(sys.stdin, termios.FIONREAD, bytes(4)))
    except (OSError, ValueError):  # nothing that can hold one, such as /dev/null
        return False


def _piped(*, is_asked_for: bool) -> str:
    """Return the text on standard input; where none comes, say that it is waited for.

    Raises:
        BadInput: it is closed; or it is a socket on which nothing comes. A shell's pipe is none,
            but some hosts give one to all that they start, and never end it.
    """
    import select
    import stat

    if sys.stdin is None:
        raise _bad_input("Standard input is closed.", hint="Give the body as an argument.")
    if not (sys.stdin.isatty() or select.select([sys.stdin], [], [], _PATIENCE_S)[0]):
        if stat.S_ISSOCK(os.fstat(sys.stdin.fileno()).st_mode) and not is_asked_for:
            raise _bad_input(
                "Standard input is open, and no text came from there. Nothing was sent.",
                hint="Add `< /dev/null` if none is to come, or `--body-file -` to wait for it.",
            )
        print(
            "agentbus: waiting for the text on standard input, which is open. If none is to come, "
            "press Ctrl-C and add `< /dev/null`.",
            file=sys.stderr,
        )
    body = _rest_of(sys.stdin.fileno())
    _see_its_end(len(body))
    return body.decode("utf-8")


def _rest_of(descriptor: int) -> bytes:
    """Return all that comes, however slowly: who shares a pipe may have it wait for nobody."""
    import select

    come = bytearray()
    while len(come) < _READ_MAX:
        try:
            piece = os.read(descriptor, _READ_MAX - len(come))
        except BlockingIOError:
            select.select([descriptor], [], [])
            continue
        if not piece:
            break
        come += piece
    return bytes(come)


def _see_its_end(length: int) -> None:
    if length == _READ_MAX:
        raise _bad_input(
            f"The body is larger than {_READ_MAX >> 10:,} KiB.",
            hint="Put it into a file, and send the file's path.",
        )
