# SPDX-License-Identifier: Apache-2.0
r"""A shared bus as two systemd services: its nats-server, and the gate that is kept beside it.

    >>> units(Path("/opt/agentbus/bin/nats-server"), folder / "nats.conf", by_root=False)
    ('[Unit]\nDescription=agentbus: ...', '[Unit]\nDescription=agentbus: ...')

Of one user, or of the system. No secret: they name programs and the server's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mcp_agentbus.installers import systemd
from mcp_agentbus.installers._parts.service import Run, check_plain, checked, run_program

from mcp_agentbus.core import places, programs
from mcp_agentbus.errors import BadSetup

_UNIT_TEXT: Final = """\
[Unit]
Description=agentbus: {what}
{order}
# Without an end: a network that is not there yet comes.
StartLimitIntervalSec=0

[Service]
ExecStart={command}
{more}Restart=always
RestartSec=2
UMask=0077
LimitNOFILE=65536
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
{by_root}
[Install]
WantedBy=default.target
"""
_SERVER: Final = "agentbus-server.service"
_GATE: Final = "agentbus-gate.service"
_OF_SERVER: Final = """\
# Reads its configuration and certificates anew; connections stay.
ExecReload=kill -HUP $MAINPID
# A store with a million records took over 10 s to go down.
TimeoutStopSec=60
# It clears its memory more often from there on; what is beyond takes nothing else of the machine.
Environment=GOMEMLIMIT=1GiB
MemoryMax=75%
"""
# Not BindsTo: that ends a gate whose server is started anew by itself, and nobody starts the gate.
_WITH_SERVER: Final = f"""\
# It goes and comes with the server where somebody stops or starts that, and outlives its crash.
PartOf={_SERVER}
After={_SERVER}"""
# What a user's systemd cannot do. The files are root's own, and the port needs no right.
_OF_THE_SYSTEM: Final = """\
CapabilityBoundingSet=
ProtectSystem=strict
ReadWritePaths={folder}
PrivateDevices=yes
"""


def is_kept(environ: Mapping[str, str], run: Run = run_program, *, by_root: bool) -> bool:
    """Tell whether a systemd answers that would keep them: this user's, or the system's.

    This user's answers also where `environ` is that of cron, which does not say how to reach it.
    """
    lacking = "" if by_root else places.lacking_login(environ)
    given, user = ("env", lacking) if lacking else (), () if by_root else ("--user",)
    try:
        checked(run, *given, "systemctl", *user, "show-environment", hint="")
    except BadSetup:
        return False
    return True


def units(program: Path, conf: Path, *, by_root: bool) -> tuple[str, str]:
    """Return the texts of the units of the server, and of its gate.

    Args:
        program: nats-server.
        conf: its configuration, in the folder in which both write everything.
        by_root: whether the system keeps them, and not their user's systemd.

    Raises:
        BadSetup: a path has a control character in it.
    """
    gate = programs.ourselves("server", "gate", "--dir", str(conf.parent))
    try:
        for path in (str(program), str(conf), gate[0]):
            check_plain(path)
    except BadSetup as error:
        raise BadSetup(error.message, hint="Name another folder: --dir FOLDER.") from None
    folder = systemd.quoted(str(conf.parent))
    limits = _OF_THE_SYSTEM.format(folder=folder) if by_root else ""
    server = _UNIT_TEXT.format(
        what="the server of a bus that several machines share",
        order=f"Wants={_GATE}",
        command=systemd.command(str(program), "-c", str(conf)),
        more=_OF_SERVER,
        by_root=limits,
    )
    beside = _UNIT_TEXT.format(
        what="the gate of the server beside it, by which accounts use its bus",
        order=_WITH_SERVER,
        command=systemd.command(*gate),
        more="",
        by_root=limits,
    )
    return server, beside
