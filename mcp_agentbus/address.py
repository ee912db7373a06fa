# SPDX-License-Identifier: Apache-2.0
"""Where the server is, and what opens it: the configured one, or this user's own.

    >>> find_server(config.load(), may_start=True)
    ('nats://127.0.0.1:39327', 'k5Wm...')

It starts the embedded server if it may; to a shared one it opens no connection.
"""

from __future__ import annotations

from mcp_agentbus import config, embedded
from mcp_agentbus.config import Settings
from mcp_agentbus.errors import BadSetup, BusUnreachable


def find_server(settings: Settings, *, may_start: bool) -> tuple[str, str | None]:
    """Return the server's URL and token; it may take seconds where a server must be started.

    Raises:
        BadSetup: the token cannot be read, or the embedded server cannot be run here.
        BusUnreachable: the embedded server does not run, or did not start.
    """
    if not settings.url:
        return _embedded(settings, may_start=may_start)
    if not settings.token_file:
        return settings.url, None
    try:
        config.check_private(settings.token_file)
        return settings.url, settings.token_file.read_text().strip()
    except OSError as error:
        raise BadSetup(
            f"{settings.token_file} cannot be read: {error.strerror}.",
            hint="Correct AGENTBUS_TOKEN_FILE.",
        ) from None


def _embedded(settings: Settings, *, may_start: bool) -> tuple[str, str]:
    try:
        server = (embedded.ensure if may_start else embedded.find)(settings)
    except BusUnreachable as error:
        raise BusUnreachable(f"Nothing was stored. {error.message}", hint=error.hint) from None
    if not server:
        raise BusUnreachable("The bus server is not running. Nothing was stored.")
    return server.url, embedded.read_token(settings)
