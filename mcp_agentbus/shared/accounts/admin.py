# SPDX-License-Identifier: Apache-2.0
"""Who runs a server, on its machine: how its gate and its owner's commands connect to it.

    >>> async with Bus(settings(folder)) as bus:    # may do all on the bus
    >>> async with Bus(system_settings(folder)) as system:    # asks the server of itself

Neither says whose configuration it is: what they keep of their own lies in the server's folder.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.login.login import login_of
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.errors import BadInput
from mcp_agentbus.shared.accounts.bus_conf import Keys
from mcp_agentbus.shared.reached import at
from mcp_agentbus.shared.server_files import Files, Wanted, wanted_before

_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}


def is_server(folder: Path) -> bool:
    """Tell whether a folder is that of a shared server."""
    return Files(folder).wanted.exists()


def wanted_in(folder: Path) -> Wanted:
    """Return how the server is that has this folder.

    Raises:
        BadInput: it is no server's.
        BadSetup: as `wanted_before`.
    """
    if not is_server(folder):
        raise BadInput(
            f"There is no shared server in {folder}.",
            hint="Run this on the server's machine, as its user; --dir FOLDER names another folder "
            "that `agentbus server init --shared` has made.",
        )
    return wanted_before(folder)


def settings(folder: Path) -> Settings:
    """Return the settings of the owner of the server in a folder, on its machine.

    Raises:
        BadInput, BadSetup: as `wanted_in`.
    """
    return _settings(folder, Files(folder).admin)


def system_settings(folder: Path) -> Settings:
    """Return the same of who may have that server read its configuration anew."""
    return _settings(folder, Files(folder).system)


def keys(folder: Path) -> Keys:
    """Return the public keys of a server's own users.

    Raises:
        BadSetup: a file is missing, damaged, or open to others.
    """
    publics = []
    for file in Files(folder).keys:
        key = login_of(_settings(folder, file)).key
        assert key is not None  # noqa: S101  # of a file with a seed it is
        publics.append(key.public)
    return Keys(*publics)


def _settings(folder: Path, key: Path) -> Settings:
    files, wanted = Files(folder), wanted_in(folder)
    return load_settings(
        {
            "AGENTBUS_HOME": str(folder),
            "PATH": os.environ.get("PATH", ""),
            "AGENTBUS_URL": f"tls://{at(_reached_here(wanted), wanted.port)}",
            "AGENTBUS_NKEY_FILE": str(key),
            **({} if wanted.cert else {"AGENTBUS_CA_FILE": str(files.ca)}),
        }
    )


def _reached_here(wanted: Wanted) -> str:
    """Return by what a server is reached on its own machine, and known by its certificate."""
    if wanted.cert:  # somebody else's, who has signed for its names only
        return wanted.names[0]
    loopback = _LOOPBACK[ipaddress.ip_address(wanted.host).version]
    return next(iter(wanted.listens_on), loopback)
