# SPDX-License-Identifier: Apache-2.0
r"""The nats-server of a shared bus as a systemd service, of one user or of the system.

    >>> unit(Path("/opt/agentbus/bin/nats-server"), folder / "nats.conf", by_root=False)
    '[Unit]\nDescription=agentbus: ...'

No secret: the unit names the program and its configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mcp_agentbus.installers import systemd
from mcp_agentbus.installers._parts.service import check_plain

from mcp_agentbus.errors import BadSetup

_UNIT_TEXT: Final = """\
[Unit]
Description=agentbus: the server of a bus that several machines share
# Without an end: a network that is not there yet comes.
StartLimitIntervalSec=0

[Service]
ExecStart={command}
# Reads its configuration and certificates anew; connections stay.
ExecReload=kill -HUP $MAINPID
Restart=always
RestartSec=2
# A store with a million records took over 10 s to go down.
TimeoutStopSec=60
UMask=0077
LimitNOFILE=65536
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
{more}
[Install]
WantedBy=default.target
"""
# What a user's systemd cannot do. The files are root's own, and the port needs no right.
_OF_THE_SYSTEM: Final = """\
CapabilityBoundingSet=
ProtectSystem=strict
ReadWritePaths={folder}
PrivateDevices=yes
"""


def unit(program: Path, conf: Path, *, by_root: bool) -> str:
    """Return the text of the unit.

    Args:
        program: nats-server.
        conf: its configuration, in the folder in which it writes everything.
        by_root: whether the system keeps it, and not its user's systemd.

    Raises:
        BadSetup: a path has a control character in it.
    """
    try:
        for path in (program, conf):
            check_plain(str(path))
    except BadSetup as error:
        raise BadSetup(error.message, hint="Name another folder: --dir FOLDER.") from None
    # A $ would begin a variable there, but in the program's own place.
    where = systemd.quoted(str(conf)).replace("$", "$$")
    command = f"{systemd.quoted(str(program))} -c {where}"
    more = _OF_THE_SYSTEM.format(folder=systemd.quoted(str(conf.parent))) if by_root else ""
    return _UNIT_TEXT.format(command=command, more=more)
