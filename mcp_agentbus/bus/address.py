# SPDX-License-Identifier: Apache-2.0
"""Where the server is, and what opens it: the configured one, or this user's own.

    >>> find_servers(load_settings(), may_start=True)
    [Address(url='nats://127.0.0.1:39327', login=Login(what='the token of the embedded server' ...

It starts the embedded server if it may. Of a cluster there are several: `Rotation` opens the first
that answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Final, NamedTuple

from mcp_agentbus.bus import embedded, reach
from mcp_agentbus.bus.connection import CONNECT_TIMEOUT_S, Link
from mcp_agentbus.bus.login.account import Account, Way
from mcp_agentbus.bus.login.login import Login, login_of
from mcp_agentbus.bus.login.trust import Trust, trusted
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core import files
from mcp_agentbus.errors import (
    AgentbusError,
    BadSetup,
    BusUnreachable,
    CutOff,
    NotAllowed,
    OutOfReach,
    Untrusted,
)

_MAY_START: Final[ContextVar[bool]] = ContextVar("may_start", default=True)


# Of several servers each is tried for so long, in seconds: two that are away leave a call the time
# for the third.
_OF_SEVERAL_S: Final = 1.0
# As a server reads its configuration anew, which it does for each that joins, and twice, it refuses
# who has connected and not logged in yet. After that time, in seconds, it lets them in.
_READS_ANEW_S: Final = 0.3


class Address(NamedTuple):
    """Where a server is, what opens it, and by what it is known."""

    url: str
    login: Login
    #: For a server that speaks TLS.
    trust: Trust | None = None
    #: How the bus is spoken with there.
    way: Way = Way()


class Rotation:
    """Which of several servers is next: after each that was tried the one that follows it."""

    def __init__(self) -> None:
        self._next = 0
        #: Whether some did not answer when all were last tried: those may let in who was refused.
        self.some_away = False

    async def open(self, servers: Sequence[Address]) -> tuple[Link, Address]:
        """Connect to the first that answers and lets us in; return which it is, too.

        Raises:
            BusUnreachable: none answers, or ends it as it begins, at a second try either;
                `Untrusted` if none is what it should be.
            NotAllowed: those that answer do not take the login, at a second try either.
        """
        try:
            return await self._open(servers)
        except (NotAllowed, CutOff):
            await asyncio.sleep(_READS_ANEW_S)
            return await self._open(servers)

    async def _open(self, servers: Sequence[Address]) -> tuple[Link, Address]:
        refused: list[BusUnreachable | NotAllowed] = []
        limit_s = CONNECT_TIMEOUT_S if len(servers) == 1 else _OF_SEVERAL_S
        for _ in servers:
            server = servers[self._next % len(servers)]
            self._next += 1  # before it is tried: a call may have no time for the others
            try:
                return await Link.open(*server, within_s=limit_s), server
            except (BusUnreachable, NotAllowed) as error:
                refused.append(error)
        self.some_away = not all(isinstance(each, NotAllowed) for each in refused)
        raise _of_all(refused)


def _of_all(refused: Sequence[BusUnreachable | NotAllowed]) -> AgentbusError:
    """Return what is said where no server of several can be used: each in its own words."""
    first = next((each for each in refused if isinstance(each, NotAllowed)), refused[0])
    if len(refused) == 1:
        return first
    each_of = dict.fromkeys(each.cause for each in refused)
    kind = type(first)
    if kind is Untrusted and not all(isinstance(each, Untrusted) for each in refused):
        kind = BusUnreachable
    return kind(f"{' '.join(each_of)} Nothing was stored.", hint=first.hint)


def start_no_server() -> None:
    """Have the task that runs, and those it begins, start no server: one that was stopped stays so.

    For work that nobody has asked for; others on the same connection may start it. What has ended
    by itself `own.revival` starts again.
    """
    _MAY_START.set(False)


@contextmanager
def starting_no_server() -> Generator[None]:
    """Do the same for what is done within, where the task that runs is somebody else's."""
    before = _MAY_START.set(False)
    try:
        yield
    finally:
        _MAY_START.reset(before)


def find_servers(settings: Settings, *, may_start: bool) -> list[Address]:
    """Return where the servers are; it may take seconds where one must be started.

    Raises:
        BadSetup: a file of [server] cannot be used, or the embedded server cannot be run here.
        BusUnreachable: the embedded server does not run, or did not start.
    """
    if not settings.urls:
        return [_embedded(settings, may_start=may_start and _MAY_START.get())]
    now = _as_mended(settings)
    login, way = login_of(now), Account(now.account) if now.account else Way()
    return [Address(url, login, trusted(now, url), way) for url in settings.urls]


def _as_mended(settings: Settings) -> Settings:
    """Return the settings as config.toml has them now: who was not trusted may be by now."""
    with suppress(BadSetup):
        now = load_settings(settings.environ)
        return now if now.url == settings.url else settings
    return settings


def stranded(settings: Settings) -> OutOfReach | None:
    """Return why a listener here would be of use to nobody outside: it is in a sandbox.

    None where this network leads somewhere, and where the server is in it, too.
    """
    if settings.url or not reach.is_isolated():
        return None
    away = embedded.absence(settings)
    if isinstance(away, OutOfReach):
        return away
    return None if reach.loopback_works() else reach.no_loopback()


def _embedded(settings: Settings, *, may_start: bool) -> Address:
    try:
        server = (embedded.ensure if may_start else embedded.find)(settings)
        if server:
            what = "the token of the embedded server"
            return Address(server.url, Login(what, token=embedded.read_token(settings)))
        if away := embedded.absence(settings):
            raise away
    except BusUnreachable as error:
        raise error.saying(f"Nothing was stored. {error.message}") from None
    except OSError as error:
        raise files.unusable(error, settings.data_dir) from None
    raise BusUnreachable("The bus server is not running. Nothing was stored.")
