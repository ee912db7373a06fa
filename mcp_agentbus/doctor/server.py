# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` looks at on the server: where it is, what it stores, what time it has.

    >>> await checks(settings)
    [Check(name='server', state='ok', said='nats-server 2.15.1 at nats://127.0.0.1:39327 ...'), ...]

Looking never starts a server, and makes nothing on one.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_agentbus.bus import embedded, said
from mcp_agentbus.bus.address import Address, Rotation, find_servers
from mcp_agentbus.bus.connection import Link, LinkLost, NoResponders
from mcp_agentbus.bus.own import disk as server_disk
from mcp_agentbus.bus.own import limits, strays, torn
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, NotNow, api_answer, server_time
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.config.values import LOOPBACK
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.text import from_json, size
from mcp_agentbus.doctor import strangers
from mcp_agentbus.doctor.check import Check, State
from mcp_agentbus.doctor.shared import account, cluster, health, room
from mcp_agentbus.doctor.shared import durability as synced
from mcp_agentbus.doctor.stored import folder
from mcp_agentbus.errors import AgentbusError, BusUnreachable, GateAway
from mcp_agentbus.installers.steps import Step
from mcp_agentbus.listener.carried import outside
from mcp_agentbus.store import status, streams

_ANSWER_S: Final = 3.0
_GIB: Final = 1 << 30
# Less than one large result: the next send fails.
_FULL_BYTES: Final = 1 << 20
# A stream that is fuller than this is told of before it refuses anything.
_NEARLY_FULL: Final = 0.8
#: Quiet hours, and what is sent while the server is away, go by this machine's clock.
CLOCKS_DIFFER_S: Final = 2.0
_ANEW: Final = "Run `agentbus server stop`, then `agentbus server start`"
_START: Final = "Run `agentbus server start`."
# Also where the server is a shared one, which no command of ours starts.
_MAKE: Final = "Run `agentbus agents`: it makes them."


@dataclass(frozen=True)
class _Asked:
    """What the server said of its streams."""

    #: By name; None where there is no such stream yet.
    infos: Mapping[str, Mapping[str, Any] | None]
    #: How far the server's clock is before ours, in seconds, and how exact that is.
    ahead_s: float | None
    within_s: float


async def checks(settings: Settings) -> list[Check]:
    """See how the server stands, without starting one."""
    try:
        servers = await asyncio.to_thread(find_servers, settings, may_start=False)
        link, server = await Rotation().open(servers)
    except AgentbusError as error:
        return [_unreachable(settings, error), *_without_server(settings)]
    gate = account.certificate(link)
    try:
        gate += await account.checks(settings, link)
        asked = await _ask(link)
        may_ask = settings.url and not settings.account  # of an account's its gate knows
        short = room.short(await _may_have(link), asked.infos) if may_ask else None
    except GateAway as error:
        return [*_shared(settings, server, []), *gate, account.away(error)]
    except (TimeoutError, LinkLost, NoResponders, ApiError) as error:
        if settings.account and len(servers) == 1:
            return [*_shared(settings, server, []), *gate, account.SILENT]
        if isinstance(error, NotNow) or len(servers) > 1:
            away = await _those_away(servers, server)
            return [cluster.without_leader(server.url, len(servers), away)]
        wrong = f"the server at {server.url} answers, but its JetStream does not"
        fix = "Free some disk space, then `agentbus server stop` and `agentbus server start`."
        if settings.url:
            fix = "See that it was started with JetStream: agentbus server config prints how."
        return [Check("server", "wrong", wrong, fix), *_without_server(settings)]
    finally:
        await link.close()
    if settings.url:
        there = _shared(settings, server, await _those_away(servers, server))
        there += [*gate, *cluster.checks(asked.infos), *await health.checks(server.url)]
    else:
        there = await asyncio.to_thread(_own, settings, server.url)
    free = None if settings.url else shutil.disk_usage(settings.data_dir).free
    lacks = any(info is None for info in asked.infos.values())
    mend = await strangers.makes(settings) if lacks else None
    kept = short or store(asked.infos, mend, is_shared=bool(settings.url))
    return [*there, kept, *disk(asked.infos, free), clock(settings, asked)]


def _unreachable(settings: Settings, error: AgentbusError) -> Check:
    """Say why there is no server: it need not run, or something is wrong."""
    if settings.url or not isinstance(error, BusUnreachable):
        return Check("server", "wrong", error.message, error.hint)
    if away := embedded.absence(settings):
        hint = outside.beside(away, settings).hint
        return Check("server", "wrong", away.message, hint)
    anew = Step("start this user's server", partial(_start, settings))
    if astray := strays.told(Files(settings.data_dir)):
        return Check("server", "wrong", astray.message, astray.hint, anew)
    return Check(
        "server",
        "warning",
        "not running; the first command or session that needs it starts it",
        _START,
        anew,
    )


def _without_server(settings: Settings) -> list[Check]:
    if settings.url:
        return []
    with suppress(OSError):
        return disk({}, shutil.disk_usage(settings.data_dir).free)
    return []


def _start(settings: Settings) -> str:
    return f"it runs at {asyncio.run(status.start(settings)).url}"


async def _ask(link: Link) -> _Asked:
    """Ask about every stream at once.

    Raises:
        TimeoutError, LinkLost, NoResponders: the server does not answer about them.
    """

    async def info(name: str) -> dict[str, Any] | None:
        try:
            return api_answer(
                (await link.request(f"$JS.API.STREAM.INFO.{name}", timeout=_ANSWER_S)).data
            )
        except ApiError as error:
            if error.code == NO_SUCH_STREAM:
                return None
            raise

    answers = await together(*map(info, streams.STREAMS))
    infos = dict(zip(streams.STREAMS, answers, strict=True))
    name = next((name for name, known in infos.items() if known), None)
    if name is None:
        return _Asked(infos, None, 0)
    # Once more, when the connection is warm: what it takes there and back blurs the time.
    began = time.time()
    again = await info(name)
    took = time.time() - began
    theirs = server_time(str((again or {}).get("ts", ""))).timestamp()
    return _Asked(infos, theirs - (began + took / 2), took / 2)


async def _may_have(link: Link) -> dict[str, Any] | None:
    """Return what a login has and may have, in the server's words; None if it does not say so."""
    with suppress(AgentbusError, LinkLost, NoResponders, TimeoutError):
        return api_answer((await link.request("$JS.API.INFO", timeout=_ANSWER_S)).data)
    return None


def _own(settings: Settings, url: str) -> list[Check]:
    """See how this user's own server was started."""
    server = embedded.find(settings)
    about = f"nats-server {_version(url) or '?'} at {url}"
    if server:
        about += f" (pid {server.pid}), on this machine only"
    beside = folder.beside(settings, server)
    return [_writing(settings, about), *beside, durability(settings)]


def _writing(settings: Settings, about: str) -> Check:
    """See that a server which answers stores something, too."""
    why = server_disk.write_error(settings)
    if why in {"", said.READ_ONLY_HERE} and (states := torn.states(Files(settings.data_dir))):
        return _torn(settings, about, [folder.name for folder in states])
    if not why:
        return _cramped(settings, about)
    where = shlex.quote(str(Files(settings.data_dir).store))
    if why == said.READ_ONLY_HERE:
        wrong = f"{about}: this process may not write to its disk ({said.READ_ONLY})"
        fix = f"So it is in a sandbox, or of a disk that has failed. See: df {where}; mount; dmesg"
        return Check("server", "warning", wrong, fix)
    full = said.is_full(why)
    wrong = "its disk was full" if full else f"a write has failed ({why})"
    wrong = f"{about}: {wrong}, and it stores nothing until it is started anew"
    if not server_disk.has_room(settings):
        fix = f"Free some disk space: df -h {where}" if full else f"See: ls -ld {where}; mount"
        if why == said.READ_ONLY:
            fix = f"So is a disk mounted that has failed. See: df {where}; mount; dmesg"
        return Check("server", "wrong", wrong, f"{fix}. The next command starts it anew then.")
    fix = f"{_ANEW}; the next command does it, too."
    if not full:
        fix += " If it fails again, see its limits there (ulimit -f, ulimit -n), and dmesg."
    return Check(
        "server", "wrong", wrong, fix, Step("start the server anew", partial(_revive, settings))
    )


def _cramped(settings: Settings, about: str) -> Check:
    """See that a server may store what its disk has room for."""
    if not server_disk.is_cramped(settings):
        return Check("server", "ok", about)
    given, may = (size(limit(settings) or 0) for limit in (limits.given_limit, limits.store_limit))
    return Check(
        "server",
        "warning",
        f"{about}: it was started while its disk was nearly full, and may store {given} until it "
        f"is started anew; then {may}",
        f"{_ANEW}; the next command that finds no room does it, too.",
        Step("start the server anew", partial(_widen, settings)),
    )


def _torn(settings: Settings, about: str, names: Sequence[str]) -> Check:
    """Tell of consumers whose state is damaged, and what a start anew does about them."""
    wrong = f"{about}: what it kept of {', '.join(names)} is damaged, as a power cut may leave it"
    step = Step(
        "set aside what is damaged, and start the server anew",
        partial(_start_anew, settings),
    )
    fix = "Run `agentbus doctor --fix`: nothing that waits there is handed out before; all is kept."
    return Check("server", "wrong", wrong, fix, step)


def _start_anew(settings: Settings) -> str:
    server_disk.start_anew(settings)
    return f"it is in {Files(settings.data_dir).root / 'damaged'}"


def _revive(settings: Settings) -> str:
    return "" if server_disk.revive(settings) else "somebody else has"


def _widen(settings: Settings) -> str:
    return "" if server_disk.widen(settings) else "somebody else has"


def durability(settings: Settings) -> Check:
    """See that what the server acknowledges is on the disk before."""
    durable = server_disk.is_durable(settings)
    how = status.DURABLE[durable]
    if durable:
        return Check("durability", "ok", how)
    fix = f"{_ANEW}: it writes it anew."
    return Check("durability", "unknown" if durable is None else "wrong", how, fix)


def _version(url: str) -> str:
    """Return what a server says of its version when it is connected to; see NATS's INFO."""
    where = urlsplit(url)
    with suppress(OSError, ValueError, LookupError, TypeError):
        address = (where.hostname or "", where.port or 4222)
        with socket.create_connection(address, _ANSWER_S) as connection:
            hello = connection.makefile("rb").readline(64 * 1024)
        return str(from_json(hello.removeprefix(b"INFO "))["version"])
    return ""


async def _those_away(servers: Sequence[Address], answers: Address) -> list[str]:
    """Return why others cannot be used than the one that answers."""
    others = (_away(each) for each in servers if each is not answers)
    return [why for why in await together(*others) if why]


async def _away(server: Address) -> str:
    """Return why one of several servers cannot be used; empty if it can."""
    try:
        link, _ = await Rotation().open([server])
    except AgentbusError as error:
        return error.cause
    await link.close()
    return ""


def _shared(settings: Settings, server: Address, away: list[str]) -> list[Check]:
    """See how a shared server is reached; `files` looks at the files with secrets.

    Args:
        settings: the user's.
        server: which of them it is that answers.
        away: why others of a cluster cannot be used.
    """
    where = urlsplit(server.url)
    login = f"by {server.login.what}" if server.login.file else "without a login"
    about = f"shared server at {server.url}, {login}"
    if len(settings.urls) > 1:
        about += f", one of {len(settings.urls)}"
    if where.scheme != "tls" and where.hostname not in LOOPBACK:
        about += "; without TLS, as allow_plaintext says of its network"
    check = Check("server", "ok", about)
    if away:
        fix = "Tell whoever runs them; until then the others are used."
        check = Check("server", "warning", f"{about}. {' '.join(away)}", fix)
    elif not server.login.file:
        fix = "Have whoever runs it ask for a login, and name its file: token_file of [server]."
        check = Check("server", "warning", f"{about}: everybody who reaches it is let in", fix)
    return [check, synced.durability(settings)]


def store(
    infos: Mapping[str, Mapping[str, Any] | None],
    mend: Step | None = None,
    *,
    is_shared: bool = False,
) -> Check:
    """See that no stream is missing, which `mend` makes, or about to refuse what is sent."""
    missing = [name for name, info in infos.items() if info is None]
    if missing:
        absent = f"streams that are not there yet: {', '.join(missing)}; the first call makes them"
        absent += f", {room.needed(infos)}" if is_shared else ""
        return Check("store", "warning", absent, _MAKE, mend)
    full = []
    for name, info in infos.items():
        stored, limit = _room(info)
        if 0 < limit * _NEARLY_FULL <= stored:
            full.append(f"{name} has {size(stored)} of {size(limit)}")
    if full:
        return Check(
            "store",
            "warning",
            f"nearly full: {', '.join(full)}",
            "Read or cancel tasks that wait (agentbus agents shows whose), or give the server "
            "more disk.",
        )
    stored, limit = map(sum, zip(*map(_room, infos.values()), strict=True))
    return Check("store", "ok", f"{size(stored)} of {size(limit)} in {len(infos)} streams")


def disk(infos: Mapping[str, Mapping[str, Any] | None], free: int | None) -> list[Check]:
    """See that the disk has room for what the streams may take; none if it is not this machine's.

    A full disk leaves the streams unwritable until the server is started anew.
    """
    if free is None:
        return []
    rooms = [
        _room(info) for info in infos.values() if info and info["config"].get("storage") != "memory"
    ]
    wanted = sum(max(0, limit - stored) for stored, limit in rooms)
    if free >= max(_GIB, wanted):
        return [Check("disk", "ok", f"{size(free)} free")]
    why = f", and the streams may still take {size(wanted)}" if wanted > free else ""
    fix = "Free some disk space: a full disk stops the server until it is started anew."
    state: State = "warning" if free >= _FULL_BYTES else "wrong"
    return [Check("disk", state, f"{size(free)} free{why}", fix)]


def _room(info: Mapping[str, Any] | None) -> tuple[int, int]:
    """Return what a stream holds and may hold, in bytes."""
    return (int(info["state"]["bytes"]), int(info["config"]["max_bytes"])) if info else (0, 0)


def clock(settings: Settings, asked: _Asked) -> Check:
    """See that this machine and the server agree on the time."""
    if asked.ahead_s is None:
        if settings.url is None:
            return Check("clock", "ok", "the server's is this machine's")
        why = "not compared: the server has no streams yet, which would tell its time"
        return Check("clock", "warning", why, _MAKE)
    if abs(asked.ahead_s) <= CLOCKS_DIFFER_S + asked.within_s:
        return Check("clock", "ok", f"the server's differs by {abs(asked.ahead_s):.1f} s")
    way = "ahead of" if asked.ahead_s > 0 else "behind"
    here = datetime.now().astimezone()
    return Check(
        "clock",
        "warning",
        f"the server's is {abs(asked.ahead_s):.0f} s {way} this machine's ({here:%H:%M:%S})",
        "Set the one that is wrong (timedatectl set-ntp true): quiet hours, and what is sent while "
        "the server is away, go by this machine's.",
    )
