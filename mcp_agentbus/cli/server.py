# SPDX-License-Identifier: Apache-2.0
"""`agentbus server`: this user's nats-server, one for several, and what either of them holds.

    $ agentbus server stop
    stopped; its tasks are kept

A shared server it neither starts nor stops; whoever runs that keeps it. One of this user's own that
runs beside it is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.own import strays
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.cli.output import show
from mcp_agentbus.config.settings import Settings, load_settings, settings_and_fault
from mcp_agentbus.errors import BadInput, BusUnreachable

#: Who does what is not done here: a module of `cli.servers`, and its function there.
ELSEWHERE: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("folder", "init"),
    "backup": ("backups", "backup"),
    "restore": ("backups", "restore"),
    "gate": ("gate", "gate"),
    "invite": ("accounts", "invite"),
    "accounts": ("accounts", "accounts"),
    "rotate": ("accounts", "rotate"),
    "remove": ("accounts", "remove"),
}


def run(args: argparse.Namespace) -> int:
    """Do what was typed after `agentbus server`; return the exit code.

    Raises:
        AgentbusError: it was refused, or the server cannot be started or reached.
    """
    if args.action == "config":
        return _config(args)
    if args.action == "stop":
        return _stop(args)
    settings = load_settings()
    if room := ELSEWHERE.get(args.action):
        module, function = room
        code: int = getattr(import_module(f"mcp_agentbus.cli.servers.{module}"), function)(args)
        return code
    if settings.url:
        return _beside_shared(args, settings)
    if args.action == "status" and not embedded.find(settings):
        if away := embedded.absence(settings) or strays.told(Files(settings.data_dir)):
            raise away
        show(args, "not running; the first command that needs it starts it", {"running": False})
        return BusUnreachable.exit_code
    return _standing(args, settings)


def _stop(args: argparse.Namespace) -> int:
    """Stop this user's own server, also where config.toml cannot be read; return the exit code."""
    settings, fault = settings_and_fault()
    if settings.url:
        return _beside_shared(args, settings)
    stopped = embedded.stop(settings)
    line = "stopped; its tasks are kept" if stopped else "was not running"
    if fault:
        line += (
            f"\nWhether the bus is a shared server, which this does not stop, is not known: {fault}"
        )
    show(args, line, {"running": False, "stopped": stopped})
    return 0


def _beside_shared(args: argparse.Namespace, settings: Settings) -> int:
    """Stop this user's own server, where another counts here; return the exit code.

    Raises:
        BadInput: that is not what was typed, or none runs.
        BadSetup, BusUnreachable: as `embedded.stop`.
    """
    own = replace(settings, url=None, account=None)
    if args.action == "stop" and embedded.stop(own):
        line = "stopped your own server, beside the shared one; what it holds is kept"
        show(args, line, {"running": False, "stopped": True})
        return 0
    back = "unset AGENTBUS_URL (or url in config.toml)"
    back = "agentbus leave" if settings.account else back
    runs = " Yours runs beside it: agentbus server stop" if embedded.find(own) else ""
    raise BadInput(
        "The bus is a shared server, which this command does not keep.",
        hint=f"`agentbus doctor` says how it stands. To use your own server: {back}.{runs}",
    )


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


def _streams(args: argparse.Namespace) -> int:
    """Print what is made on a server whose users may make nothing; as JSON either way."""
    from mcp_agentbus.store.upkeep.by_owner import by_owner

    agents = [agent for some in args.agents for agent in some.split(",") if agent]
    made = by_owner(agents, replicas=args.replicas)
    show(args, json.dumps(made, indent=2), made, verbatim=True)
    return 0


def _standing(args: argparse.Namespace, settings: Settings) -> int:
    """Print how the server stands; connecting starts it, if it does not run."""
    # Before the event loop begins: loading them takes longer than one should be kept from its work.
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.store import status, streams

    async def standing() -> status.ServerState:
        async with Bus(settings) as bus:
            await streams.ensure_streams(bus)
            return await status.standing(bus)

    stands = asyncio.run(standing())
    show(args, stands.text, stands.data)
    return 0
