# SPDX-License-Identifier: Apache-2.0
"""Who a session is that its own process serves, by the configuration, and where it is served.

    own = OwnProcess(options)

What reads the configuration is loaded for that alone, and late: see `late`.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from mcp_agentbus.relay import late
from mcp_agentbus.relay.options import NOWHERE, Serving

if TYPE_CHECKING:
    from mcp_agentbus.config.identity import Asked
    from mcp_agentbus.core.ids import Agent


class Before(Protocol):
    """What a listener has told of a session that it has served."""

    agent: str
    host: str
    roles: tuple[str, ...]
    server: dict[str, str]


class OwnProcess:
    """This process serves the session, and has read the configuration for that.

    Where that cannot be read, or does not say who this is, or `options` have a fault, a session
    that holds something goes on as `before`. Any other is nobody's: its host has the tools, which
    answer with the reason until it is mended.
    """

    def __init__(self, options: Serving, before: Before | None = None) -> None:
        self.options = options
        self._before = before
        self.asked, self.me = _read(options, before)
        self.agent, self.host, self.roles = self.me.id, self.me.host, self.me.roles
        #: What the host says goes in at the one end; at the other it is served.
        self.connection, self.served = socket.socketpair()

    def read_again(self) -> None:
        """Read it by the package that is loaded now: what serves knows no class of another."""
        self.asked, self.me = _read(self.options, self._before)


def _read(options: Serving, before: Before | None) -> tuple[Asked, Agent]:
    """Return for whom is asked, and who that is."""
    late.load(*late.IDENTITY)
    # Errors, too: what was just loaded raises those of its own version.
    from mcp_agentbus.config import identity
    from mcp_agentbus.config.settings import load_settings, settings_as_before
    from mcp_agentbus.core.ids import Agent
    from mcp_agentbus.errors import AgentbusError

    try:
        if options.fault:
            raise options.fault
        asked = identity.Asked(load_settings(), options.agent)
        return asked, identity.provisional(asked).me.by_mcp()
    except AgentbusError as error:
        from mcp_agentbus.tools.answers.readers import SHELL

        about = SHELL.error(error)  # as commands say it; hosts keep it in their logs
        with suppress(OSError, AttributeError):  # it is full, or there is none
            sys.stderr.write(f"agentbus: {about['message']}\nHint: {about['hint']}\n")
        if before:
            settings = settings_as_before(os.environ, before.server)
            me = Agent(before.agent, before.host, roles=before.roles)
            return identity.Asked(settings, options.agent), me
        return _nobody(options), Agent("", "mcp")


def _nobody(options: Serving) -> Asked:
    """Return for whom is asked where that makes no sense: the settings are read again then."""
    from pathlib import Path

    from mcp_agentbus.config.identity import Asked
    from mcp_agentbus.config.settings import settings_or_defaults
    from mcp_agentbus.errors import BadSetup

    try:
        return Asked(settings_or_defaults(os.environ), options.agent)
    except BadSetup:  # there is no home, or no working folder
        nowhere = {**os.environ, "AGENTBUS_HOME": NOWHERE}
        return Asked(settings_or_defaults(nowhere), options.agent, Path(NOWHERE))
