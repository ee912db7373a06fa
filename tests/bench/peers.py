# SPDX-License-Identifier: Apache-2.0
"""The programs we compare with, each installed once into a cache outside of this tree.

    >>> peer("swarmbus-py[mcp]==0.2.0", "swarmbus")
    PosixPath('/home/me/.cache/agentbus-tests/swarmbus-py_mcp_==0.2.0/bin/swarmbus')

The cache is AGENTBUS_TEST_CACHE, else in the user's cache folder. swarmbus needs mosquitto: the one
on PATH, else Debian's packages, unpacked into the cache and not installed. What cannot be had
raises `Missing`, and its row says so.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

SWARMBUS = ("swarmbus-py[mcp]==0.2.0", "swarmbus")
AGENTBUS = ("agentbus==0.1.12", "agentbus")
HCOM = ("hcom==0.7.31", "hcom")
_INSTALL_S = 300
_START_S = 5.0


class Missing(Exception):
    """A peer is not to be had here."""


def cache() -> Path:
    """Return the folder where peers are kept."""
    given = os.environ.get("AGENTBUS_TEST_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("agentbus-tests"))


def peer(requirement: str, program: str) -> Path:
    """Return the peer's program, installed into a venv of its own at the first time.

    Raises:
        Missing: it cannot be installed.
    """
    folder = cache() / re.sub(r"[^\w.=-]", "_", requirement)
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run(requirement, sys.executable, "-m", "venv", str(folder))
        _run(requirement, str(folder / "bin" / "pip"), "install", "--quiet", requirement)
        done.touch()
    return folder / "bin" / program


def _run(what: str, *command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_S, cwd=cwd, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{what} is not to be had: {error}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Missing(f"{what} is not to be had: {last[:160]}")
    return done.stdout


@contextmanager
def mosquitto() -> Iterator[int]:
    """Run a broker on loopback with files of its own; give its port.

    Raises:
        Missing: there is none, or it does not start.
    """
    program, environ = _mosquitto()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="agentbus-mosquitto-") as folder:
        conf = Path(folder, "mosquitto.conf")
        conf.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {folder}/\nlog_dest file {folder}/log\n"
            # Run by root it would become a user who may not write here.
            f"user {'root' if os.getuid() == 0 else 'nobody'}\n"
        )
        process = subprocess.Popen([program, "-c", conf], env=environ, stderr=subprocess.DEVNULL)
        try:
            _await_port(process, port)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Missing("mosquitto does not start")


def _mosquitto() -> tuple[str, dict[str, str]]:
    """Return the program and the environment that it needs."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
    if installed := shutil.which("mosquitto", path=path):
        return installed, dict(os.environ)
    folder = cache() / "mosquitto"
    if not (folder / "complete").exists():
        _unpack(folder)
    libraries = ":".join({str(one.parent) for one in folder.rglob("*.so*")})
    return str(folder / "usr/sbin/mosquitto"), {**os.environ, "LD_LIBRARY_PATH": libraries}


def _unpack(folder: Path) -> None:
    """Unpack Debian's mosquitto and the libraries that are not installed."""
    if not shutil.which("apt-get"):
        raise Missing("there is no mosquitto, nor apt-get to fetch it")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wanted = ("apt-get", "install", "--simulate", "--no-install-recommends", "mosquitto")
    packages = re.findall(r"^Inst (\S+)", _run("mosquitto", *wanted), re.MULTILINE)
    _run("mosquitto", "apt-get", "download", *packages, cwd=folder)
    for package in folder.glob("*.deb"):
        _run("mosquitto", "dpkg", "--extract", str(package), str(folder))
    (folder / "complete").touch()
