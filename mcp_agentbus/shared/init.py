# SPDX-License-Identifier: Apache-2.0
"""`agentbus server init`: what was typed becomes the folder of a shared server, and the next steps.

>>> plan = plan(folder, Given(names=("bus.example.org",)), units)
>>> plan.carry_out()
>>> print(text(plan, dry_run=False))
admin.nk: new
...
"""

from __future__ import annotations

import os
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.core import places
from mcp_agentbus.core.text import size
from mcp_agentbus.errors import BadInput
from mcp_agentbus.shared import cluster
from mcp_agentbus.shared.reached import at, listening, names_of_this_machine, server_name
from mcp_agentbus.shared.server_files import Files, Wanted, wanted_before
from mcp_agentbus.shared.server_folder import STORE_MAX_BYTES, FolderPlan, Units, planned
from mcp_agentbus.shared.typed import typed

# The folder of one of three servers, on its machine: at its user's home.
_TAKEN_TO: Final = "agentbus-server"


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


def plan(folder: Path, given: Given, units: Units) -> FolderPlan:
    """Return what is to be done; nothing is written.

    Args:
        folder: the server's.
        given: what was typed.
        units: of systemd, for it and its gate.

    Raises:
        BadInput: what was typed makes no sense, or the folder holds something else.
        BadSetup: as `planned`.
    """
    if (given.cert is None) != (given.key is None):
        raise BadInput("TLS needs both files.", hint="Give --cert and --key.")
    wanted = before = wanted_before(folder)
    if given.listen:
        host, port = listening(given.listen)
        wanted = replace(wanted, host=host, port=port)
    if given.names:
        wanted = replace(wanted, names=tuple(dict.fromkeys(map(server_name, given.names))))
    if given.cert:
        wanted = replace(wanted, cert=str(given.cert), key=str(given.key))
    if not wanted.names:
        wanted = replace(wanted, names=names_of_this_machine(wanted.host))
    if wanted.cluster and wanted.reached not in wanted.cluster:
        raise BadInput(
            f"This is one of {', '.join(wanted.cluster)}, and {wanted.reached} is none of them.",
            hint="Give its port with --listen, and what it is called there first with --name.",
        )
    is_gone = not _reached(before) <= _reached(wanted)
    return replace(planned(folder, wanted, units), is_gone=is_gone)


def _reached(wanted: Wanted) -> set[str]:
    """Return where other machines may reach a server, each as `HOST:PORT`."""
    return {at(name, wanted.port) for name in wanted.names}


def text(plan: FolderPlan, *, dry_run: bool, by_hand: Path | None = None) -> str:
    """Say what was done, or would be, and what to do next here, and for each who is to use it.

    Where no systemd keeps the server it is run `by_hand`, by this program.
    """
    lines = [f"{change.said}" for change in plan.changes] or ["nothing has changed"]
    if dry_run:
        return "\n".join(["Would be done:", *lines])
    return "\n".join(
        [
            f"{plan.files.folder}:",
            *lines,
            "",
            *_here(plan, by_hand),
            *_moved(plan),
            *_then(plan.files.folder),
        ]
    )


def data(plan: FolderPlan) -> dict[str, Any]:
    """Return the same for a program."""
    files, wanted = plan.files, plan.wanted
    return {
        "folder": str(files.folder),
        "changes": [change.said for change in plan.changes],
        "urls": wanted.urls,
        "ca_file": None if wanted.cert else str(files.ca),
        "config": str(files.conf),
        "units": [str(files.unit), str(files.gate_unit)],
    }


def cluster_text(plan: cluster.ClusterPlan, *, dry_run: bool) -> str:
    """Say the same of three servers, each of which is started on its own machine."""
    lines = [change.said for change in plan.changes]
    for server in plan.servers:
        where = f"{server.files.folder.name}/"
        said = [f"{where}{change.said.removeprefix(where)}" for change in server.changes]
        lines += [f"{where}: new"] if server.is_new else said
    lines = lines or ["nothing has changed"]
    if dry_run:
        return "\n".join(["Would be done:", *lines])
    return "\n".join([f"{plan.folder}:", *lines, "", *_to_the_machines(plan)])


def cluster_data(plan: cluster.ClusterPlan) -> dict[str, Any]:
    """Return the same for a program."""
    changes = [*plan.changes, *[change for each in plan.servers for change in each.changes]]
    return {
        "folder": str(plan.folder),
        "changes": [change.said for change in changes],
        "servers": [data(server) for server in plan.servers],
    }


def _to_the_machines(plan: cluster.ClusterPlan) -> list[str]:
    """What to do so that each server is where it belongs."""
    lines = ["Take each folder to its machine, where agentbus is installed, too:"]
    changed = [server for server in plan.servers if server.changes] or plan.servers
    into = f"mkdir -p -m 700 {_TAKEN_TO}; tar -C {_TAKEN_TO} -xp"
    for server in changed:
        host, folder = server.wanted.names[0], _quoted(server.files.folder)
        lines.append(f"  tar -C {folder} -c . | ssh {host} '{into}'")
    return [
        *lines,
        "and there, on one after the other, do as its last lines say:",
        f"  agentbus server init --shared --dir {_TAKEN_TO}",
    ]


def _here(plan: FolderPlan, by_hand: Path | None) -> list[str]:
    """What to do on this machine."""
    lines, files = [], plan.files
    if room := _room(files.folder):
        lines.append(f"Make room: the bus may take {size(STORE_MAX_BYTES)}, the disk has {room}.")
    if by_hand:
        return [*lines, *_by_hand(plan, by_hand)]
    systemctl = _systemctl()
    units = f"{_quoted(files.unit)} {_quoted(files.gate_unit)}"
    act = f"enable --now {units}"
    if plan.names & {files.conf.name, files.unit.name, files.gate_unit.name}:
        # They may be new here, and have come from elsewhere. The gate goes and comes along.
        again = f"{systemctl} daemon-reload; {systemctl} restart {files.unit.name}"
        act = f"enable {units}; {again}"
    elif files.cert.name in plan.names:
        act = f"reload {files.unit.name}"
    elif not plan.changes:
        act = f"status {files.unit.name} {files.gate_unit.name}"
    linger = "; loginctl enable-linger" if os.geteuid() and act.startswith("enable") else ""
    return [*lines, f"Here: {systemctl} {act}{linger}"]


def _systemctl() -> str:
    """Return what is typed for the systemd that keeps the server, also by cron or `su`."""
    if os.geteuid() == 0:
        return "systemctl"
    lacking = places.lacking_login(os.environ)
    return " ".join(filter(None, [shlex.quote(lacking) if lacking else "", "systemctl --user"]))


def _by_hand(plan: FolderPlan, program: Path) -> list[str]:
    """What to do where no systemd answers: a server that runs already is not to be run twice."""
    files, names = plan.files, plan.names
    server = f"{_quoted(program)} -c {_quoted(files.conf)}"
    both = [f"  {server}", f"  agentbus server gate --dir {_quoted(files.folder)}"]
    none = "No systemd answers here."
    if plan.is_new:
        units = f"{_quoted(files.unit)} {_quoted(files.gate_unit)}"
        linger = "; loginctl enable-linger" if os.geteuid() else ""
        kept = f"Or, where one does: {_systemctl()} enable --now {units}{linger}"
        return [f"{none} Run both, and keep them running:", *both, kept]
    if files.conf.name in names:
        return [
            f"{none} End both where they run, then run them anew, and keep them running:",
            *both,
        ]
    if files.cert.name in names:
        anew = "Have the running server read its certificate, by kill -HUP PID, or start it anew:"
        return [f"{none} {anew}", *both[:1]]
    return [f"{none} See that both run:", *both]


def _moved(plan: FolderPlan) -> list[str]:
    """What those do who have joined by what leads here no more."""
    if not plan.is_gone:
        return []
    return [
        "Who has joined by a name or port that is gone names as url, in [server] of config.toml,",
        f"{plan.wanted.urls[0]}, and runs agentbus listen --replace; or joins anew by the line of",
        f"  {typed('rotate NAME', plan.files.folder)}",
    ]


def _then(folder: Path) -> list[str]:
    """What to type for each user of each machine that is to use it."""
    invite = typed("invite NAME", folder)
    return [
        "Then, for each user of each machine, which NAME is to name:",
        f"  {invite}",
        "prints one line, a secret, which that user gives there to: agentbus join",
        f"On this machine, too: {invite} | agentbus join",
    ]


def _room(folder: Path) -> str:
    """Return how much the disk has left, if that is less than the bus may take."""
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
        return size(free) if free < STORE_MAX_BYTES else ""
    return ""


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
