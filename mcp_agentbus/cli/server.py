# SPDX-License-Identifier: Apache-2.0
"""`agentbus server`: this user's nats-server, one for several, and what either of them holds.

    $ agentbus server stop
    stopped; its tasks are kept

A shared server it neither starts nor stops; whoever runs that keeps it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.cli.output import agreed, say, show, tell
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core import places
from mcp_agentbus.errors import BadInput, BusUnreachable

if TYPE_CHECKING:
    from mcp_agentbus.shared.backup import Progress

# Of what takes longer a line is printed every so many seconds.
_SAY_EVERY_S: Final = 2.0


def run(args: argparse.Namespace) -> int:
    """Do what was typed after `agentbus server`; return the exit code.

    Raises:
        AgentbusError: it was refused, or the server cannot be started or reached.
    """
    settings = load_settings()
    if args.action == "config":
        return _config(args)
    if args.action == "init":
        return _init(args, settings)
    if args.action in {"backup", "restore"}:
        return asyncio.run((_backup if args.action == "backup" else _restore)(args, settings))
    if settings.url:
        raise BadInput(
            "The bus is a shared server, which this command does not keep.",
            hint="Unset AGENTBUS_URL (or url in config.toml) to use this user's own server.",
        )
    if args.action == "stop":
        stopped = embedded.stop(settings)
        line = "stopped; its tasks are kept" if stopped else "was not running"
        show(args, line, {"running": False, "stopped": stopped})
        return 0
    if args.action == "status" and not embedded.find(settings):
        if away := embedded.absence(settings):
            raise away
        show(args, "not running; the first command that needs it starts it", {"running": False})
        return BusUnreachable.exit_code
    return _standing(args, settings)


def _config(args: argparse.Namespace) -> int:
    if args.streams:
        return _streams(args)
    if args.agents or args.replicas != 1:
        raise BadInput("--for and --replicas say what --streams prints.", hint="Add --streams.")
    from mcp_agentbus.bus import server_conf

    conf = server_conf.shared(
        args.listen,
        args.store,
        max_gib=args.max_store,
        cert=args.tls_cert,
        key=args.tls_key,
        allow_plaintext=args.allow_plaintext,
    )
    show(args, conf.rstrip(), {"config": conf}, verbatim=True)
    return 0


def _init(args: argparse.Namespace, settings: Settings) -> int:
    """Make the folder of a shared server, or bring it up to date."""
    from mcp_agentbus.installers import server as service
    from mcp_agentbus.shared import cluster, init

    folder = _folder(args.dir, settings) if args.dir else settings.data_dir / "shared"
    given = init.Given(
        listen=args.listen,
        names=tuple(args.name or ()),
        cert=_folder(args.cert, settings) if args.cert else None,
        key=_folder(args.key, settings) if args.key else None,
    )
    program, by_root = embedded.binary(settings), os.name == "posix" and os.geteuid() == 0
    if three := cluster.servers(folder, args.cluster):
        if given != init.Given():
            what = "--cluster says where three servers listen, and by what they are reached."
            hint = "Leave the others out; each may be given them later, by --dir FOLDER of its own."
            raise BadInput(what, hint=hint)
        confs = [init.conf_in(cluster.folder_of(folder, each)) for each in three]
        units = [service.unit(program, conf, by_root=by_root) for conf in confs]
        of_three = cluster.planned(folder, three, units)
        said, data = init.cluster_text(of_three, dry_run=args.dry_run), init.cluster_data(of_three)
        carry_out = of_three.carry_out
    else:
        unit = service.unit(program, init.conf_in(folder), by_root=by_root)
        plan = init.plan(folder, given, unit)
        said, data = init.text(plan, dry_run=args.dry_run), init.data(plan)
        carry_out = plan.carry_out
    if not args.dry_run:
        carry_out()
    show(args, said, data, verbatim=not args.json)
    return 0


def _folder(typed: str, settings: Settings) -> Path:
    return Path(places.absolute(typed, settings.environ))


def _streams(args: argparse.Namespace) -> int:
    """Print what is made on a server whose users may make nothing; as JSON either way."""
    from mcp_agentbus.store.upkeep.by_owner import by_owner

    agents = [agent for agent in (args.agents or "").split(",") if agent]
    made = by_owner(agents, replicas=args.replicas)
    show(args, json.dumps(made, indent=2), made, verbatim=True)
    return 0


def _standing(args: argparse.Namespace, settings: Settings) -> int:
    """Print how the server stands; connecting starts it, if it does not run."""
    # Before the event loop begins: loading them takes longer than one should be kept from its work.
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.store import status, streams

    async def standing() -> status.Standing:
        async with Bus(settings) as bus:
            await streams.ensure_streams(bus)
            return await status.standing(bus)

    stands = asyncio.run(standing())
    show(args, stands.text, stands.data)
    return 0


async def _backup(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.shared import backup

    folder = _folder(args.folder, settings)
    teller = _Teller(args)
    async with Bus(settings) as bus, aclosing(backup.back_up(bus, folder)) as steps:
        async for step in steps:
            teller.tell(step)
    done = f"The backup is in {folder}. It holds no token and no key; whoever has it can read all."
    show(args, done, {"folder": str(folder), "streams": teller.streams})
    return 0


async def _restore(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.shared import backup, restore

    kept = backup.find(_folder(args.folder, settings))
    async with Bus(settings) as bus:
        there = await restore.holds(bus)
    if there and args.replace:
        if not (args.yes or args.json):
            tell(
                f"The bus holds {restore.told(there)}. All of it goes, and a backup of it is taken "
                f"before. What was sent or answered since {kept.taken_at:%Y-%m-%d %H:%M} UTC is "
                "not in the one that is restored."
            )
        if not agreed(args, "Go on?"):
            say("Nothing was done.")
            return 0
    teller, replaced = _Teller(args), list[restore.Replaced]()
    async with aclosing(restore.restore(settings, kept, replace=args.replace)) as steps:
        async for step in steps:
            if isinstance(step, restore.Replaced):
                replaced.append(step)
            else:
                teller.tell(step)
    done = f"The bus holds what it did at {kept.taken_at:%Y-%m-%d %H:%M:%S} UTC."
    for each in replaced:
        if each.told:
            done += f" Sent since then, and ended here: {each.told:,}; their senders are told."
        where = shlex.quote(str(each.backup))
        done += f" What was there before: agentbus server restore --replace {where}"
    data = {
        "restored": str(kept.folder),
        "streams": teller.streams,
        "before": [{"backup": str(each.backup), "told": each.told} for each in replaced],
    }
    show(args, done, data)
    return 0


class _Teller:
    """Prints how far a backup has come, each stream once it is complete, and keeps what it was."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._is_silent = args.json
        self._said_at = time.monotonic()
        self.streams: dict[str, dict[str, int]] = {}

    def tell(self, step: Progress) -> None:
        """Take one step."""
        if step.is_complete:
            self.streams[step.stream] = {"messages": step.messages, "bytes": step.bytes}
        is_due = step.is_complete or time.monotonic() - self._said_at > _SAY_EVERY_S
        if is_due and not self._is_silent:
            self._said_at = time.monotonic()
            say(str(step))
