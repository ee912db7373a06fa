# SPDX-License-Identifier: Apache-2.0
"""Runs programs in a network of their own, and tells to whom they would have sent anything.

    >>> ran = enclosed.run(["curl", "http://example.org"], env=environ)
    >>> ran.packets, ran.left
    (2, ['192.0.2.53 asked for example.org'])

The network has its own loopback and one way out, which leads to nobody; names are asked of
192.0.2.53. No local service can look a name up instead, as /run is empty. Needs Linux, `unshare`
and `ip`: without them a person's tests are skipped; with CI set they fail.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMES = "192.0.2.53"
_WITHIN_S = 300  # only a hang takes as long
_OUTGOING = 4  # PACKET_OUTGOING of Linux
_NOT_ENCLOSED = 99


@dataclass(frozen=True)
class Ran:
    """How a program ended, and what left its network meanwhile."""

    code: int
    said: str
    #: How many packets left, as the kernel counts them; None if it ran in this machine's network.
    packets: int | None
    #: To whom they were sent, without repetition.
    left: list[str]


def run(argv: Sequence[str | Path], *, env: Mapping[str, str], anyway: bool = False) -> Ran:
    """Run a program to its end in a network of its own, or, if it can have none, `anyway`."""
    try:
        return _enclosed(argv, env)
    except pytest.skip.Exception:
        if not anyway:
            raise
    ended = _ended(argv, env=env, timeout=_WITHIN_S)
    return Ran(ended.returncode, ended.stdout, None, [])


def _ended(argv: Sequence[str | Path], **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        **how,
    )


def _enclosed(argv: Sequence[str | Path], env: Mapping[str, str]) -> Ran:
    if sys.platform != "linux":
        pytest.skip("networks of one's own are Linux's")
    programs = [shutil.which(name, path=f"{os.defpath}:/usr/sbin:/sbin") for name in _PROGRAMS]
    if None in programs:
        pytest.skip(f"not all of {', '.join(_PROGRAMS)} are installed")
    ended = subprocess.run(
        [programs[0], "--map-root-user", "--net", "--mount", sys.executable, __file__, *argv],
        env={**env, "ENCLOSED_PROGRAMS": json.dumps(programs)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_WITHIN_S,
        check=False,
    )
    if not ended.stdout.startswith("{"):
        pytest.skip(f"no network of one's own: {ended.stderr[-300:]}")
    return Ran(**json.loads(ended.stdout))


_PROGRAMS = ("unshare", "ip", "mount")


def _inside(argv: Sequence[str]) -> Ran:
    """Make the network, run the program in it."""
    _, ip, mount = json.loads(os.environ.pop("ENCLOSED_PROGRAMS"))
    _close(mount)
    for switch in Path("/proc/sys/net/ipv6/conf").glob("*/disable_ipv6"):
        switch.write_text("1")  # it asks for neighbours and routers by itself
    _run(ip, "link", "set", "lo", "up")
    with contextlib.suppress(subprocess.CalledProcessError):
        _run(ip, "link", "add", "out", "type", "dummy")
    if not Path("/sys/class/net/out").exists() and "out" not in _sent():
        _run(ip, "link", "add", "out", "type", "veth", "peer", "name", "nobody")
        _run(ip, "link", "set", "nobody", "up")
    _run(ip, "address", "add", "198.51.100.2/24", "dev", "out")
    _run(ip, "link", "set", "out", "arp", "off", "up")
    _run(ip, "route", "add", "default", "via", "198.51.100.1", "dev", "out")
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as watching:
        watching.bind(("out", 3))  # ETH_P_ALL
        before = _sent()["out"]
        ended = _ended(argv)
        packets = _sent()["out"] - before
        return Ran(ended.returncode, ended.stdout, packets, sorted(set(_seen(watching))))


def _close(mount: str) -> None:
    """Take away every local service that asks for names; name one that is nowhere."""
    file = Path("/etc/resolv.conf").resolve()
    _run(mount, "-t", "tmpfs", "none", "/run")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    ours = Path("/run/names")
    ours.write_text(f"nameserver {NAMES}\n")
    _run(mount, "--bind", str(ours), str(file))


def _run(*argv: str) -> None:
    subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def _sent() -> dict[str, int]:
    """Return how many packets each interface has sent."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    return {name.strip(): int(row.split()[9]) for name, row in (one.split(":") for one in lines)}


def _seen(watching: socket.socket) -> list[str]:
    watching.setblocking(False)
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            packet, (_, _, kind, *_) = watching.recvfrom(2048)
            if kind == _OUTGOING:
                found.append(_told(packet))
    return found


def _told(packet: bytes) -> str:
    """Return where an IPv4 packet goes, and the name that it asks for."""
    to = socket.inet_ntoa(packet[16:20])
    if to != NAMES:
        return to
    labels, rest = [], packet[(packet[0] & 15) * 4 + 20 :]  # after the headers of UDP and DNS
    while rest and (size := rest[0]):
        labels.append(rest[1 : size + 1].decode(errors="replace"))
        rest = rest[size + 1 :]
    return f"{to} asked for {'.'.join(labels)}"


if __name__ == "__main__":
    try:
        _ran = _inside(sys.argv[1:])
    except (OSError, subprocess.CalledProcessError) as _error:
        sys.exit(f"{_error} {getattr(_error, 'stderr', b'')!r}")
    print(json.dumps(_ran.__dict__))
