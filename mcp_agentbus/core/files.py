# SPDX-License-Identifier: Apache-2.0
"""Files of this user's own: read without waiting, written whole, and seen to be nobody else's.

    >>> write_whole(folder / "token", b"Nq3...")  # 0600, and on the disk
    >>> check_private(folder / "token")           # after somebody's chmod 644
    BadSetup: /home/me/token is open to other users. Hint: Run: chmod 600 /home/me/token

Whoever reads a file that is written here finds all of it, or what was there before. It makes no
folder, and does not write through a link: what is at that place is replaced, or refused. A pipe or
a device at the place of a file is not read: it may never end, or never begin.
"""

from __future__ import annotations

import codecs
import errno
import os
import shlex
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from mcp_agentbus.core.children import threads
from mcp_agentbus.core.children.descriptors import are_gone
from mcp_agentbus.core.places import make_private, own_folders
from mcp_agentbus.errors import BadSetup

#: What this program writes, and what people write for it, is far below.
READ_MAX_BYTES: Final = 1 << 20
#: The same of what hosts keep: a list of everything that was ever done in a folder, for example.
HOSTS_MAX_BYTES: Final = 64 << 20
# What can lie in the place of a file.
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# Without waiting for the other end of a pipe; and a terminal does not become this process's own.
_READING: Final = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY")
)
_ELSEWHERE: Final = "name a folder of yours: export AGENTBUS_HOME=/path"
# How a text is spelled, by the mark at its beginning (the byte order mark of Unicode).
_ENCODINGS: Final = {
    b"": "utf-8",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def read_whole(file: str | os.PathLike[str], at_most: int = READ_MAX_BYTES) -> bytes:
    """Return what is in a file, in one go; a link is followed.

    Args:
        file: which.
        at_most: how many bytes; it is refused if it has more.

    Raises:
        FileNotFoundError: nothing is there.
        OSError: it cannot be read, is no file, is too large, or is a link that leads to nothing;
            `strerror` says which.
    """
    with opened(file) as there:
        content = there.read(at_most + 1)
    if len(content) > at_most:
        raise OSError(errno.EFBIG, f"it is larger than {at_most >> 10:,} KiB", os.fspath(file))
    return content


def read_end(file: str | os.PathLike[str], at_most: int) -> bytes:
    """Return the last bytes of a file, `at_most` of them, as of a log.

    Raises: as `read_whole`, whatever its size.
    """
    with opened(file) as there:
        there.seek(max(0, there.seek(0, os.SEEK_END) - at_most))
        return there.read(at_most)


def what_lies_at(path: str | os.PathLike[str]) -> os.stat_result:
    """Return what is known of a file, where a link leads; it is a file.

    Raises:
        FileNotFoundError: nothing is there.
        OSError: it is no file, is a link that leads to nothing, or cannot be looked at.
    """
    try:
        about = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        if os.path.islink(path):  # noqa: PTH114
            why = "it is a link that leads to nothing"
            raise OSError(errno.ELOOP, why, os.fspath(path)) from None
        raise
    _check_kind(about, path)
    return about


def opened(file: str | os.PathLike[str]) -> BinaryIO:
    """Return a file to read from, for what is too large to be read in one go.

    Raises: as `read_whole`, whatever its size.
    """
    what_lies_at(file)  # to open a device may do something already
    descriptor = os.open(file, _READING)
    try:
        _check_kind(os.fstat(descriptor), file)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_kind(about: os.stat_result, path: str | os.PathLike[str]) -> None:
    if kind := _KINDS.get(stat.S_IFMT(about.st_mode)):
        raise OSError(errno.EINVAL, f"it is {kind} and no file", os.fspath(path))


def write_whole(
    file: Path,
    content: bytes,
    *,
    mode: int = 0o600,
    durable: bool = True,
    owner: tuple[int, int] | None = None,
    last_look: Callable[[], object] | None = None,
) -> None:
    """Put this content into the file, all of it or none of it.

    Args:
        file: where; its folder is there.
        content: what it holds from then on.
        mode: who may read and write it, whatever the umask says.
        durable: return only when a loss of power leaves it as it is, too; a few ms on a disk.
        owner: user and group, where they are not this process's own.
        last_look: called right before the file takes its place; what it raises prevents that.

    Raises:
        OSError: it cannot be written. What was there before is there still, and nothing else.
    """
    # Imported late: it loads three ways to compress, and whoever reads settings has this file.
    import tempfile

    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as temporary:
                about = os.fstat(descriptor)
                if owner and owner != (about.st_uid, about.st_gid):
                    os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode)
                temporary.write(content)
                temporary.flush()
                if durable:
                    os.fsync(descriptor)
            if last_look:
                last_look()
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        if durable:
            sync(file.parent)
    except OSError as error:
        error.filename, error.filename2 = str(file), None  # nobody knows the other name
        raise


def led_to(paths: Iterable[str], within_s: float) -> Mapping[str, str]:
    """Return where the links of some paths lead; what is told later is there later.

    Each is asked by itself: one whose file system has gone away may never tell.
    """
    real: dict[str, str] = {}

    def look(path: str) -> None:
        real[path] = os.path.realpath(path)

    give_up = time.monotonic() + within_s
    looks = []
    with suppress(OSError):  # no more threads are to be had
        for path in paths:
            looks.append(threads.begin(look, path, name="agentbus-look"))  # noqa: PERF401
    for each in looks:
        each.join(max(0.0, give_up - time.monotonic()))
    return real


def sync(folder: Path) -> None:
    """Have the folder's list of names on the disk, without which a new file may be lost."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_open(about: os.stat_result) -> bool:
    """Tell whether others than its owner may change a file, or put something into a folder."""
    # A group of the user's own has the user's number, and gives nobody else a right.
    others = 0o002 if about.st_gid == about.st_uid else 0o022
    return os.name == "posix" and bool(about.st_mode & others)


def check_own(path: Path) -> None:
    """See that nobody but this user can change what `path` says, which holds no secret.

    A link is followed: people keep their files in one place and link them into others.

    Raises:
        BadSetup: others may write it, or it is somebody else's.
        OSError: as `what_lies_at`.
    """
    about = what_lies_at(path)
    if os.name == "posix" and about.st_uid != os.getuid():
        raise not_mine(path)
    if is_open(about):
        raise BadSetup(
            f"{path} can be changed by other users.", hint=f"Run: chmod 600 {shell_word(path)}"
        )


def decoded(content: bytes) -> tuple[str, bytes]:
    """Return the text of a file that people edit, and the mark at its beginning, for `encoded`.

    It is UTF-8, or UTF-16 with its mark, which editors write on Windows; the text has no mark.

    Raises:
        UnicodeDecodeError: it is neither.
    """
    mark = next((mark for mark in _ENCODINGS if mark and content.startswith(mark)), b"")
    return content[len(mark) :].decode(_ENCODINGS[mark]), mark


def encoded(text: str, mark: bytes, path: Path) -> bytes:
    """Return a text as the file has it that begins with a mark: the inverse of `decoded`.

    Raises:
        BadSetup: something in it is no text, as a path that is not UTF-8.
    """
    try:
        return mark + text.encode(_ENCODINGS[mark])
    except UnicodeEncodeError:
        raise BadSetup(
            f"A path or text that {path} must hold is not UTF-8. It was left as it is.",
            hint="Rename that folder or file, or name another.",
        ) from None


def check_private(path: Path) -> None:
    """See that `path`, which holds a secret, belongs to this user alone.

    Raises:
        BadSetup: others may read or write it, it is a symlink, or it is somebody else's.
        OSError: there is no such file, it is none, or it cannot be looked at.
    """
    about = path.lstat()
    if stat.S_ISLNK(about.st_mode):
        raise BadSetup(f"{path} is a symlink.", hint="Put the file itself there, with mode 0600.")
    _check_kind(about, path)
    if os.name == "posix" and about.st_uid != os.getuid():
        raise not_mine(path)
    if os.name == "posix" and about.st_mode & 0o077:
        raise BadSetup(f"{path} is open to other users.", hint=f"Run: chmod 600 {shell_word(path)}")


def make_private_file(path: Path) -> None:
    """See that the file exists, and that nobody else may read or write it, or list its folder.

    Raises:
        BadSetup: as `check_private`.
        OSError: it cannot be created.
    """
    make_private(path.parent)
    path.parent.chmod(0o700)
    # One that is there is not opened: a process that closes any descriptor of a file loses all its
    # locks on it, SQLite's too, and others take the file for one that nobody uses. See
    # https://www.sqlite.org/howtocorrupt.html, section 2.2.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        sync(path.parent)  # its name, too, must outlive a power cut
    check_private(path)


def own_folder(folder: Path) -> None:
    """Make a folder, 0700, if there is none, and those above it, see `make_private`.

    Raises:
        BadSetup: it is another user's: what root left there would be in that one's way.
        OSError: it cannot be made.
    """
    make_private(folder)
    if folder.stat().st_uid != os.getuid():
        raise not_mine(folder)


def forget_older(folder: Path, pattern: str, age_s: float, come: float) -> None:
    """Remove the files of a folder, of names like this, that nobody has written for so long.

    Args:
        folder: where they are.
        pattern: of their names.
        age_s: how long, in seconds, before `come`, or by this machine's clock if that says less.
        come: a time that has come by another's clock: one that is ahead removes nothing more.
    """
    oldest = min(time.time(), come) - age_s
    for file in folder.glob(pattern):
        with suppress(OSError):
            if file.stat().st_mtime < oldest:
                file.unlink()


def not_mine(path: str | os.PathLike[str]) -> BadSetup:
    """Return the error about a file or folder that is somebody else's."""
    whole = " -R" if os.path.isdir(path) else ""  # noqa: PTH112
    hint = f"Run: sudo chown{whole} $USER {shell_word(path)}"
    if os.getuid() == 0:
        hint = "Run this as the user whose folder it is: without sudo, or with `sudo -H`."
    return BadSetup(f"{path} belongs to another user.", hint=hint)


def damaged(path: str | os.PathLike[str], then: str) -> BadSetup:
    """Return the error about a file that is not as it was written, and what is done without it."""
    return BadSetup(f"{path} is damaged.", hint=f"Run: rm {shell_word(path)}; {then}")


def shell_word(path: str | os.PathLike[str]) -> str:
    """Return a path as it is typed in a shell: in macOS' own folders there is a space."""
    return shlex.quote(os.fspath(path))


def unusable(error: OSError, path: str | os.PathLike[str] = "", *, done: str = "used") -> BadSetup:
    """Return the error about a file or folder that the system refuses, with what mends it.

    Args:
        error: how it was refused; where it names a file, that is the one.
        path: what was to be used, if it does not.
        done: what cannot be done with it.
    """
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(path)
    why = error.strerror or type(error).__name__
    if are_gone(error):
        again = "Have more (ulimit -n 1024), then run this again."
        return BadSetup(f"Too few files may be open here: {why}.", hint=again)
    if not path:
        if _working_folder_is_gone():
            return BadSetup("The working folder is gone.", hint="Run: cd ~")
        return BadSetup(f"The system does not allow it: {why}.", hint="Run `agentbus doctor`.")
    return BadSetup(f"{path} cannot be {done}: {why}.", hint=_mends(error, path))


def _mends(error: OSError, path: str) -> str:
    there = path
    while not os.path.lexists(there) and os.path.dirname(there) != there:  # noqa: PTH120
        there = os.path.dirname(there)  # noqa: PTH120
    shown = shell_word(there)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"Free some disk space, then run this again; see: df -h {shown}; df -i {shown}"
    if error.errno == errno.EROFS:
        why = "It is mounted read-only, as by a sandbox, or for a disk that has failed"
        return f"{why}: see df {shown}, then mount; or {_ELSEWHERE}"
    if error.errno in {errno.EINVAL, errno.ELOOP, errno.EFBIG}:  # as `read_whole` says
        return f"Put the file itself there, or move what is there away; see: ls -ld {shown}"
    ours = _own_folder_around(there)
    if error.errno in {errno.EACCES, errno.EPERM} and ours and os.getuid():
        is_mine = os.lstat(there).st_uid == os.getuid()
        change = "chmod -R u+rwX" if is_mine else "sudo chown -R $USER"
        return f"Run: {change} {shell_word(ours)}"
    return f"See: ls -ld {shown}; or {_ELSEWHERE}"


def _own_folder_around(path: str) -> str:
    """Return the folder in which a path lies that is to be given to this user as a whole, or "".

    Only what is this program's own, and is called so: AGENTBUS_HOME may name any folder.
    """
    try:
        folders = own_folders(os.environ)
    except BadSetup:
        return ""
    around = (folder for folder in folders if f"{path}/".startswith(f"{folder}/"))
    return next((folder for folder in around if os.path.basename(folder) == "agentbus"), "")  # noqa: PTH119


def _working_folder_is_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return True
    return False
