# SPDX-License-Identifier: Apache-2.0
"""The folder of a shared server, as typed: made by `agentbus server init`, and found by the others.

$ agentbus server init --shared --name bus.example.org
admin.nk: new
...
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.bus.own.program import binary
from mcp_agentbus.cli.output import show
from mcp_agentbus.config.sections.server import IN_ENVIRON
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core import places
from mcp_agentbus.errors import BadInput
from mcp_agentbus.shared.typed import usual


def typed(path: str, settings: Settings) -> Path:
    """Return the folder or file that was typed."""
    return Path(places.absolute(path, settings.environ))


def of_owner(args: argparse.Namespace, settings: Settings) -> Path:
    """Return the folder of the server whose owner this is."""
    return typed(args.dir, settings) if args.dir else usual(settings)


def environ_of_owner(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which the owner of the server in a folder uses it, on its machine.

    Raises:
        BadInput, BadSetup: there is no server, or its folder is damaged.
    """
    from mcp_agentbus.shared.accounts import admin

    own = admin.settings(Path(places.absolute(path, environ))).environ
    others = {name: value for name, value in environ.items() if name not in IN_ENVIRON.values()}
    return {**others, **own}


def whole_bus(args: argparse.Namespace, settings: Settings) -> Settings:
    """Return the settings of who may read and replace all that a bus holds.

    It is the bus that this user uses, or the one in `--dir`; of a shared one that has accounts it
    is its owner who may, on its machine.

    Raises:
        BadInput: there is no such server here, or it is not clear which is meant.
        BadSetup: the server's folder is damaged.
    """
    from mcp_agentbus.shared.accounts import admin

    has_shared = admin.is_server(usual(settings))
    if args.dir:
        folder = typed(args.dir, settings)
        is_own = folder == settings.data_dir and not settings.url
        return settings if is_own else admin.settings(folder)
    if settings.account and not has_shared:
        raise BadInput(
            f"This user is the account {settings.account} of the bus, which may not read all of "
            "it. Nothing was done.",
            hint=f"Run `agentbus server {args.action}` on the server's machine, as the user who "
            "runs it.",
        )
    if has_shared and not settings.url and Files(settings.data_dir).store.exists():
        own, shared = (shlex.quote(str(each)) for each in (settings.data_dir, usual(settings)))
        raise BadInput(
            "There are two buses here: this user's own, and a shared one. Nothing was done.",
            hint=f"Say which: --dir {own} is this user's own, --dir {shared} the shared one.",
        )
    if has_shared and (settings.account or not settings.url):
        return admin.settings(usual(settings))
    return settings


def init(args: argparse.Namespace) -> int:
    """Make the folder of a shared server, or bring it up to date; return the exit code.

    Raises:
        BadInput: what was typed makes no sense, or the folder holds something else.
        BadSetup: a file cannot be used.
    """
    from mcp_agentbus.installers import server as service
    from mcp_agentbus.installers.steps import Machine
    from mcp_agentbus.shared import cluster
    from mcp_agentbus.shared import init as made
    from mcp_agentbus.shared.server_folder import Units

    settings = load_settings()
    folder = of_owner(args, settings)
    given = made.Given(
        listen=args.listen,
        names=tuple(args.name or ()),
        cert=typed(args.cert, settings) if args.cert else None,
        key=typed(args.key, settings) if args.key else None,
    )
    program, by_root = binary(settings), os.name == "posix" and os.geteuid() == 0

    def units(folder: Path) -> Units:
        return Units(*service.units(program, made.conf_in(folder), by_root=by_root))

    if three := cluster.servers(folder, args.cluster):
        if given != made.Given():
            what = "--cluster says where three servers listen, and by what they are reached."
            hint = "Leave the others out; each may be given them later, by --dir FOLDER of its own."
            raise BadInput(what, hint=hint)
        folders = [cluster.folder_of(folder, each) for each in three]
        of_three = cluster.planned(folder, three, list(map(units, folders)))
        said, data = made.cluster_text(of_three, dry_run=args.dry_run), made.cluster_data(of_three)
        carry_out = of_three.carry_out
    else:
        plan = made.plan(folder, given, units(folder))
        by_hand = None if service.is_kept(settings.environ, by_root=by_root) else program
        said = made.text(plan, dry_run=args.dry_run, by_hand=by_hand)
        data, carry_out = made.data(plan), plan.carry_out
    if not args.dry_run:
        carry_out()
    if warnings := Machine(settings).warnings:
        said, data = "\n".join([*warnings, said]), data | {"warnings": warnings}
    show(args, said, data, verbatim=not args.json)
    return 0
