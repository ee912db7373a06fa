# SPDX-License-Identifier: Apache-2.0
"""Where the server is, and what opens it: the configured one, or this user's own.

    >>> find_server(load_settings(), may_start=True)
    Address(url='nats://127.0.0.1:39327', token='k5Wm...', trust=None)

It starts the embedded server if it may; to a shared one it opens no connection.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from typing import Final, NamedTuple

from mcp_agentbus.bus import embedded, reach
from mcp_agentbus.bus.trust import Trust, trusted
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core import files
from mcp_agentbus.errors import BadSetup, BusUnreachable, OutOfReach

_MAY_START: Final[ContextVar[bool]] = ContextVar("may_start", default=True)


class Address(NamedTuple):
    """Where a server is, what opens it, and by what it is known."""

    url: str
    token: str | None
    #: For a server that speaks TLS.
    trust: Trust | None = None


def start_no_server() -> None:
    """Have the task that runs, and those it begins, start no server: one that was stopped stays so.

    For work that nobody has asked for; others on the same connection may start it.
    """
    _MAY_START.set(False)


def find_server(settings: Settings, *, may_start: bool) -> Address:
    """Return where the server is; it may take seconds where a server must be started.

    Raises:
        BadSetup: a file of [server] cannot be used, or the embedded server cannot be run here.
        BusUnreachable: the embedded server does not run, or did not start.
    """
    if not settings.url:
        return _embedded(settings, may_start=may_start and _MAY_START.get())
    return Address(settings.url, _token(settings), trusted(_as_mended(settings)))


def _token(settings: Settings) -> str | None:
    if not settings.token_file:
        return None
    try:
        files.check_private(settings.token_file)
        return files.read_whole(settings.token_file).decode(errors="replace").strip()
    except OSError as error:
        raise BadSetup(
            f"{settings.token_file} cannot be read: {error.strerror}.",
            hint="Correct AGENTBUS_TOKEN_FILE.",
        ) from None


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
            return Address(server.url, embedded.read_token(settings))
        if away := embedded.absence(settings):
            raise away
    except BusUnreachable as error:
        raise type(error)(f"Nothing was stored. {error.message}", hint=error.hint) from None
    except OSError as error:
        raise files.unusable(error, settings.data_dir) from None
    raise BusUnreachable("The bus server is not running. Nothing was stored.")
