# SPDX-License-Identifier: Apache-2.0
"""Where the server is, and what opens it: the configured one, or this user's own.

    >>> find_server(load_settings(), may_start=True)
    ('nats://127.0.0.1:39327', 'k5Wm...')

It starts the embedded server if it may; to a shared one it opens no connection.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from mcp_agentbus.bus import embedded, reach
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import files
from mcp_agentbus.errors import BadSetup, BusUnreachable, OutOfReach

_MAY_START: Final[ContextVar[bool]] = ContextVar("may_start", default=True)


def start_no_server() -> None:
    """Have the task that runs, and those it begins, start no server: one that was stopped stays so.

    For work that nobody has asked for; others on the same connection may start it.
    """
    _MAY_START.set(False)


def find_server(settings: Settings, *, may_start: bool) -> tuple[str, str | None]:
    """Return the server's URL and token; it may take seconds where a server must be started.

    Raises:
        BadSetup: the token cannot be read, or the embedded server cannot be run here.
        BusUnreachable: the embedded server does not run, or did not start.
    """
    if not settings.url:
        return _embedded(settings, may_start=may_start and _MAY_START.get())
    if not settings.token_file:
        return settings.url, None
    try:
        files.check_private(settings.token_file)
        return settings.url, settings.token_file.read_text().strip()
    except OSError as error:
        raise BadSetup(
            f"{settings.token_file} cannot be read: {error.strerror}.",
            hint="Correct AGENTBUS_TOKEN_FILE.",
        ) from None


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


def _embedded(settings: Settings, *, may_start: bool) -> tuple[str, str]:
    try:
        server = (embedded.ensure if may_start else embedded.find)(settings)
        if server:
            return server.url, embedded.read_token(settings)
        if away := embedded.absence(settings):
            raise away
    except BusUnreachable as error:
        raise type(error)(f"Nothing was stored. {error.message}", hint=error.hint) from None
    except OSError as error:
        raise files.unusable(error, settings.data_dir) from None
    raise BusUnreachable("The bus server is not running. Nothing was stored.")
