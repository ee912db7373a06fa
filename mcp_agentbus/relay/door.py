# SPDX-License-Identifier: Apache-2.0
"""The listener's door, from outside: where it is, and whether this user's listener opens it.

    with door.address(path) as short:
        connection.connect(short)

Each command that is typed loads it, so it loads nothing that Python has not loaded by itself. How
one speaks behind it is `local_socket`'s.
"""

# No `annotations` of __future__ either: a file more to be found and read.
import os
import sys

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812  # what `socket.socket` is made of

# What `sun_path` holds on Linux is 108 bytes, on macOS 104, with the zero at its end.
PATH_MAX_BYTES = 103
_LINUX = sys.platform == "linux"


def socket_path(runtime_dir: "str | os.PathLike[str]") -> str:
    """Return where the listener's socket is, whether or not one listens there."""
    return f"{runtime_dir}/listener.sock"


class Address:
    """The address of a socket file, short enough for the kernel, for the length of a block.

    Entering it raises OSError: its folder is not there, or its path is too long for this system.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= PATH_MAX_BYTES or not _LINUX:
            return self._path
        folder, _, name = self._path.rpartition("/")
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{name}"

    def __exit__(self, *_: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)


def peer(connection: "Socket") -> tuple[int, int]:
    """Return the user id and process id at the other end, as the kernel knows them.

    Raises:
        OSError: the connection has ended.
    """
    if _LINUX:
        import _socket  # loaded by whoever has a connection

        # struct ucred: pid, uid, gid
        credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        return _number(credentials[4:8]), _number(credentials[:4])
    # macOS: SOL_LOCAL 0, LOCAL_PEERCRED 1 (struct xucred: version, uid), LOCAL_PEERPID 2.
    return (
        _number(connection.getsockopt(0, 1, 80)[4:8]),
        _number(connection.getsockopt(0, 2, 4)),
    )


def _number(written: bytes) -> int:
    return int.from_bytes(written, sys.byteorder)


def open_(connection: "Socket", runtime_dir: "str | os.PathLike[str]") -> None:
    """Connect a socket to this user's listener, within the socket's own time limit.

    Raises:
        OSError: none listens, or it is somebody else's.
    """
    with Address(socket_path(runtime_dir)) as short:
        try:
            connection.connect(short)
        except BlockingIOError as error:  # so many wait for it that no more are let in
            raise TimeoutError from error
    if peer(connection)[0] != os.getuid():
        raise PermissionError("Somebody else listens on this user's socket.")
