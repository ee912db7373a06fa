# SPDX-License-Identifier: Apache-2.0
"""`agentbus server init`: what was typed becomes the folder of a shared server, and the next steps.

>>> plan = plan(folder, Given(names=("bus.example.org",)), unit)
>>> plan.carry_out()
>>> print(text(plan, dry_run=False))
token: new
...
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.core.text import size
from mcp_agentbus.errors import BadInput
from mcp_agentbus.shared.reached import listening, names_of_this_machine, server_name
from mcp_agentbus.shared.server_folder import (
    STORE_MAX_BYTES,
    Files,
    Plan,
    planned,
    wanted_before,
)

_THERE: Final = "~/.config/agentbus"


@dataclass(frozen=True)
class Given:
    """What was typed; what was not stays as it was the last time."""

    listen: str | None = None
    names: tuple[str, ...] = ()
    cert: Path | None = None
    key: Path | None = None


def conf_in(folder: Path) -> Path:
    """Return where the server's configuration is in its folder."""
    return Files(folder).conf


def plan(folder: Path, given: Given, unit: str) -> Plan:
    """Return what is to be done; nothing is written.

    Args:
        folder: the server's.
        given: what was typed.
        unit: the text of its systemd unit.

    Raises:
        BadInput: what was typed makes no sense, or the folder holds something else.
        BadSetup: as `planned`.
    """
    if (given.cert is None) != (given.key is None):
        raise BadInput("TLS needs both files.", hint="Give --cert and --key.")
    wanted = wanted_before(folder)
    if given.listen:
        host, port = listening(given.listen)
        wanted = replace(wanted, host=host, port=port)
    if given.names:
        wanted = replace(wanted, names=tuple(dict.fromkeys(map(server_name, given.names))))
    if given.cert:
        wanted = replace(wanted, cert=str(given.cert), key=str(given.key))
    if not wanted.names:
        wanted = replace(wanted, names=names_of_this_machine(wanted.host))
    return planned(folder, wanted, unit)


def text(plan: Plan, *, dry_run: bool) -> str:
    """Say what was done, or would be, and what to do next here and on other machines."""
    lines = [f"{change.said}" for change in plan.changes] or ["nothing has changed"]
    if dry_run:
        return "\n".join(["Would be done:", *lines])
    return "\n".join([f"{plan.files.folder}:", *lines, "", *_here(plan), *_there(plan)])


def data(plan: Plan) -> dict[str, Any]:
    """Return the same for a program."""
    files, wanted = plan.files, plan.wanted
    return {
        "folder": str(files.folder),
        "changes": [change.said for change in plan.changes],
        "url": wanted.url,
        "token_file": str(files.token),
        "ca_file": None if wanted.cert else str(files.ca),
        "config": str(files.conf),
        "unit": str(files.unit),
    }


def _here(plan: Plan) -> list[str]:
    """What to do on this machine."""
    lines, files = [], plan.files
    if room := _room(files.folder):
        lines.append(f"Make room: the bus may take {size(STORE_MAX_BYTES)}, the disk has {room}.")
    if sys.platform != "linux":
        return [*lines, f"Run it here, and keep it running: nats-server -c {_quoted(files.conf)}"]
    user = "" if os.geteuid() == 0 else " --user"
    act = f"enable --now {_quoted(files.unit)}"
    if plan.names & {files.conf.name, files.unit.name}:
        act = f"daemon-reload; systemctl{user} restart {files.unit.name}"
    elif files.cert.name in plan.names:
        act = f"reload {files.unit.name}"
    elif not plan.changes:
        act = f"status {files.unit.name}"
    linger = "; loginctl enable-linger" if user and act.startswith("enable") else ""
    return [*lines, f"Here:  systemctl{user} {act}{linger}"]


def _there(plan: Plan) -> list[str]:
    """What to type on every machine that is to use it, this one included."""
    files, wanted = plan.files, plan.wanted
    needed = [files.token] if wanted.cert else [files.token, files.ca]
    copied = " ".join(f"{wanted.names[0]}:{_quoted(file)}" for file in needed)
    ca = [] if wanted.cert else [f'  ca_file = "{_THERE}/{files.ca.name}"']
    return [
        f"There: mkdir -p {_THERE}; scp -p {copied} {_THERE}/",
        f"and in {_THERE}/config.toml, on this machine with the files' own places:",
        "  [server]",
        f'  url = "{wanted.url}"',
        f'  token_file = "{_THERE}/{files.token.name}"',
        *ca,
        "then: agentbus doctor",
    ]


def _room(folder: Path) -> str:
    """Return how much the disk has left, if that is less than the bus may take."""
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
        return size(free) if free < STORE_MAX_BYTES else ""
    return ""


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
