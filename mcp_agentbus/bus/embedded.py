# SPDX-License-Identifier: Apache-2.0
"""The life of this user's own nats-server: found, started once, stopped.

    >>> ensure(config.load())
    Server(url='nats://127.0.0.1:39327', pid=4711, how='started')

Whichever process needs the server first starts it. The starter holds a lock file and the server
inherits the open lock, so the lock lives exactly as long as the server does, whoever dies first:
two servers on the same files, which nats-server itself does not prevent, cannot happen. Who removes
the lock does not change that: the server has its store locked, too, and is a stray, see `strays`,
that is ended before the next one starts. It listens on loopback only, behind a token that no
command line ever shows.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

from mcp_agentbus.bus import reach
from mcp_agentbus.bus.own import last_run, limits, strays, torn
from mcp_agentbus.bus.own.conf import own_conf
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.bus.own.program import binary, other_binary
from mcp_agentbus.config.sections.server import IN_ENVIRON
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core import files as own_files
from mcp_agentbus.core import locks, places, processes
from mcp_agentbus.core.children import threads
from mcp_agentbus.core.files import (
    check_private,
    not_mine,
    own_folder,
    read_whole,
    unusable,
    write_whole,
)
from mcp_agentbus.core.processes import Process
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup, BusUnreachable

START_TIMEOUT_S: Final = 15.0  # a store with a million records took 6 s to come up
STOP_TIMEOUT_S: Final = 20.0  # the same store took over 10 s to go down
_PROBE_TIMEOUT_S: Final = 1.0
_STARTS_WITHIN_S: Final = 2.0  # from a starter's lock to its server
_SEEN_FOR_S: Final = 0.1  # whoever signed a lock is seen there for as long, or may have died before
_LOOK_AGAIN_S: Final = 0.005  # the server's ports file appears 11 to 32 ms after its start
# A pipe at the log's place has nobody at its end, and must not be waited for.
_APPENDING: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK
# What `_start` writes. An empty token would leave the server open to all.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Server:
    """A running embedded server."""

    url: str
    pid: int
    how: Literal["found", "started"] = "found"


def find(settings: Settings) -> Server | None:
    """Return the running server, or None. It answered, and our token opens it."""
    files = Files(settings.data_dir)
    try:
        token = read_token(settings)
    except FileNotFoundError:
        return None
    # The port of a dead server, or of one in another network, may be a stranger's: no token for it.
    if not locks.is_held(files.lock) or is_cut_off(settings):
        return None
    if strays.is_bereft(files):  # what it takes would be lost
        return None
    for path in files.ports.glob("*.ports"):
        with suppress(OSError, ValueError, LookupError, TypeError):  # gone, or half written
            url = str(from_json(read_whole(path))["nats"][0])
            # The next server may be on the same port, but this file goes before it starts.
            if _answers(url, token) and path.exists():
                return Server(url, int(path.stem.rsplit("_", 1)[1]))
    return None


def ensure(settings: Settings) -> Server:
    """Return the running server, starting it first where there is none.

    Raises:
        BadSetup: no nats-server program is to be found, or the data folder is unusable.
        BusUnreachable: it did not start; the message holds the end of its log. Or it runs where
            nothing here reaches it, or hangs.
    """
    files = Files(settings.data_dir)
    with suppress(OSError):  # whoever needs it wants it again
        files.stopped.unlink()
    try:
        if server := find(settings):
            return server
        if locks.is_held(files.lock) and strays.is_bereft(files):
            _end(files, signal.SIGTERM)
        _prepare(settings)
        if not reach.loopback_works():
            raise absence(settings) or reach.no_loopback()
        give_up, watch = time.monotonic() + START_TIMEOUT_S, locks.LockWatch(files.lock)
        while time.monotonic() < give_up:
            with locks.held(files.lock, wait=False) as lock:
                if lock is not None:
                    return _start(settings, files, lock)
            # Somebody else starts it at this moment, or it runs and is about to answer.
            if server := find(settings):
                return server
            if _is_in_vain(settings, *watch.look()):
                break
            time.sleep(_LOOK_AGAIN_S)
    except OSError as error:
        raise unusable(error, settings.data_dir) from None
    raise absence(settings) or BusUnreachable(f"It ended at once. {reach.end_of_log(files.log)}")


def again(settings: Settings) -> Server | None:
    """Start the server that has ended by itself, as at a crash or a reboot; None if none is due.

    For whoever is there and was not asked: one that was never used, or that somebody has stopped,
    stays so, as one that ran in another network; one that leads nowhere is of use to nobody.

    Raises: as `ensure`.
    """
    files = Files(settings.data_dir)
    try:
        last = locks.holder(files.lock)
        if locks.is_held(files.lock) or not last_run.is_due(files, last) or reach.is_isolated():
            return None
        _prepare(settings)
        with locks.held(files.lock, wait=False) as lock:
            # It may have been stopped at this moment, and whoever does that looks for the lock.
            if lock is None or last_run.is_stopped(files, last):
                return None
            return _start(settings, files, lock)
    except OSError as error:
        raise unusable(error, settings.data_dir) from None


def absence(settings: Settings) -> BusUnreachable | None:
    """Return why a server that runs does not answer here, and what mends it; None if none runs."""
    files = Files(settings.data_dir)
    if not locks.is_held(files.lock):
        return None
    server = holder(files)
    if server and (away := reach.cut_off(server, files.lock)):
        return away
    if strays.is_bereft(files):
        return strays.bereft(files)
    who = server.where if server else "of which nothing is known"
    return BusUnreachable(
        f"The bus server ({who}) holds {files.lock} but does not answer. "
        f"{reach.end_of_log(files.log)}",
        hint=f"{reach.ending(server or Process(0), files.lock)}, then try again.",
    )


def is_cut_off(settings: Settings) -> bool:
    """Tell whether there is a server, in a network that is not this one."""
    server = locks.holder(lock := Files(settings.data_dir).lock)
    elsewhere = server is not None and server.network not in {"", processes.network()}
    return elsewhere and locks.is_held(lock)


def stop(settings: Settings, how: signal.Signals = signal.SIGTERM) -> bool:
    """Stop the server and wait until it is gone. Return whether one was running.

    It stays so until somebody needs it: who was not asked starts it `again` in no case.

    Raises:
        BadSetup: it runs elsewhere, or what holds its lock is no server of ours; it is left alone.
        BusUnreachable: it did not end in time.
    """
    files = Files(settings.data_dir)
    with suppress(OSError):  # without a folder, or room in it, it is stopped all the same
        files.stopped.touch(mode=0o600)
        files.goes_on.unlink(missing_ok=True)
    return _end(files, how)


def end(settings: Settings, how: signal.Signals = signal.SIGTERM) -> bool:
    """Stop the server, as `stop`, where nobody has asked for that: it is started `again`.

    Raises: as `stop`.
    """
    files = Files(settings.data_dir)
    with suppress(OSError):
        files.goes_on.touch(mode=0o600)
    return _end(files, how)


def _end(files: Files, how: signal.Signals) -> bool:
    told: Process | None = None
    begun = time.monotonic()
    while locks.is_held(files.lock):
        server = holder(files)
        if told and server and (server.pid, server.born) != (told.pid, told.born):
            return True  # somebody needed one again at once
        if not told and server and _signal(files, server, how):
            told = server
        waited = time.monotonic() - begun
        if not told and ((server and not server.is_here) or waited > _STARTS_WITHIN_S):
            raise reach.not_ours(server, files.lock)
        if waited > STOP_TIMEOUT_S:
            who = told or Process(0)
            raise BusUnreachable(
                f"The bus server ({who.where}) did not end within {STOP_TIMEOUT_S:.0f} s.",
                hint=f"It may be writing; if it hangs: kill -9 {who.pid}",
            )
        time.sleep(_LOOK_AGAIN_S)
    if not files.lock.exists():
        return strays.end(files, how) or told is not None
    with locks.held(files.lock, wait=False) as lock:  # else somebody starts one: that is no stray
        return (lock is not None and strays.end(files, how)) or told is not None


@contextmanager
def ephemeral() -> Generator[Settings]:
    """Start a private server in a temporary folder; stop it and remove the folder at the end."""
    with tempfile.TemporaryDirectory(prefix="agentbus-") as home:
        # What says which server is this user's, and by what it is opened, is not about this one.
        environ = {
            name: value for name, value in os.environ.items() if name not in IN_ENVIRON.values()
        }
        settings = load_settings({**environ, "AGENTBUS_HOME": home})
        try:
            ensure(settings)
            yield settings
        finally:
            # Nothing of it is kept, and an orderly end may take seconds of writing.
            stop(settings, signal.SIGKILL)


def read_token(settings: Settings) -> str:
    """Return the secret of the embedded server.

    Raises:
        FileNotFoundError: there has never been a server.
        BadSetup: the file is open to other users, or does not hold what was written.
    """
    path = Files(settings.data_dir).token
    check_private(path)
    token = read_whole(path).decode(errors="replace")
    if not _TOKEN.fullmatch(token):
        raise own_files.damaged(path, "then `agentbus server stop` and start.")
    return token


def holder(files: Files) -> Process | None:
    """Return the server that holds the lock, as it was noted, or as an earlier version's is seen.

    While one starts, it may be its starter, or who was there before.
    """
    if server := locks.holder(files.lock):
        return server
    for pid in processes.holding(str(files.lock)):
        seen = processes.known(pid, since=0)
        if processes.is_still(seen, naming=strays.conf_of(seen, files)):
            return seen
    return None


def _signal(files: Files, server: Process, number: signal.Signals) -> bool:
    """Send a signal to a server of ours; return whether it is that, and lives."""
    named = strays.conf_of(server, files)
    sent = partial(processes.signal, server, holding=str(files.lock), naming=named)
    if not sent(number):
        return False
    sent(signal.SIGCONT)  # one that was halted ends only when it goes on
    return True


def _is_in_vain(settings: Settings, server: Process | None, seen_s: float) -> bool:
    """Tell whether a holder of the lock, of an earlier version none, is not to answer here."""
    if server is None:
        return seen_s > _STARTS_WITHIN_S
    has_run_long = time.time() - server.since > START_TIMEOUT_S
    return seen_s > _SEEN_FOR_S and (has_run_long or is_cut_off(settings))


def _prepare(settings: Settings) -> None:
    if sys.platform == "win32":
        raise BadSetup(
            "The embedded server needs Linux or macOS.",
            hint="Run a nats-server with JetStream and name it in AGENTBUS_URL.",
        )
    files = Files(settings.data_dir)
    places.make_private(files.root)
    if files.root.is_symlink():
        raise BadSetup(f"{files.root} is a symlink.", hint="Put the folder itself there.")
    if files.root.stat().st_uid != os.getuid():
        raise not_mine(files.root)
    files.root.chmod(0o700)
    for folder in (files.ports, files.store):
        own_folder(folder)
        folder.chmod(0o700)  # what cannot be listed there would be taken for a server's fault


def _start(settings: Settings, files: Files, lock: int) -> Server:
    """Start the server under our lock and wait until it answers or ends."""
    locks.sign(lock, processes.known(os.getpid()))
    program = binary(settings)
    with suppress(OSError):  # of a restore that was killed, unless it has put a new one there
        Path(f"{files.store}.before").rename(files.store)
    strays.end(files)
    # Who has just ended lets go of the one after the other.
    with locks.folder_held(files.store, within_s=_STARTS_WITHIN_S) as store:
        if store is None:
            raise strays.unseen(files)
        torn.set_aside(files)
        for stale in files.ports.glob("*.ports"):
            stale.unlink(missing_ok=True)
        try:
            read_token(settings)
        except FileNotFoundError:
            _write_private(files.token, secrets.token_urlsafe(32))
        port, limit = reach.free_port(files.port), limits.store_limit(settings)
        _write_private(files.conf, own_conf(files, port, read_token(settings), limit))
        files.note_use()
        process = _spawn(settings, program, *({lock, store} - {-1}))
    locks.sign(lock, processes.known(process.pid))
    give_up, full = time.monotonic() + START_TIMEOUT_S, None
    while time.monotonic() < give_up and process.poll() is None:
        if server := find(settings):
            with suppress(OSError):  # on a full disk it gets another port the next time
                files.goes_on.unlink(missing_ok=True)
                _write_private(files.port, server.url.rpartition(":")[2])
            return replace(server, how="started")
        if full := reach.untold(files.ports, files.log):
            break
        time.sleep(_LOOK_AGAIN_S)
    with suppress(ProcessLookupError):  # nobody reaches it, and it would keep the lock
        os.killpg(process.pid, signal.SIGKILL)
    end = reach.end_of_log(files.log)
    raise full or BusUnreachable(f"{program} did not start. {end}", hint=reach.mends(end, settings))


def _spawn(settings: Settings, program: Path, *locked: int) -> subprocess.Popen[bytes]:
    files = Files(settings.data_dir)
    # The server's own log begins after it has read its configuration.
    errors = os.open(files.log, _APPENDING, 0o600)
    try:
        process = subprocess.Popen(
            [program, "-c", files.conf],  # no argument holds a secret
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd="/",
            umask=0o077,  # for the file that names its port, and for logs that it begins anew
            start_new_session=True,  # so that it outlives the terminal
            pass_fds=locked,
        )
    except OSError as error:
        why = f"{program} cannot be run: {error.strerror}."
        raise BadSetup(why, hint=other_binary(settings)) from None
    finally:
        os.close(errors)
    # Should it end before this process does, it must not stay behind as a zombie. Where no thread
    # is to be had, the next program that is started here sees to it.
    with suppress(OSError):
        threads.begin(process.wait, name="agentbus-reaper")
    return process


def _answers(url: str, token: str) -> bool:
    """Tell whether a NATS server is there and our token opens it."""
    host, port = url.removeprefix("nats://").rsplit(":", 1)
    about = {"auth_token": token, "verbose": False, "pedantic": False, "lang": "py", "version": "0"}
    try:
        with socket.create_connection((host, int(port)), _PROBE_TIMEOUT_S) as connection:
            lines = connection.makefile("rb")
            if not lines.readline().startswith(b"INFO "):
                return False
            connection.sendall(f"CONNECT {json.dumps(about)}\r\nPING\r\n".encode())
            return lines.readline().startswith(b"PONG")
    except OSError:
        return False


def _write_private(path: Path, text: str) -> None:
    """Write the whole file or nothing, since a starter may be killed at any moment."""
    write_whole(path, text.encode(errors="surrogateescape"), durable=False)
