# SPDX-License-Identifier: Apache-2.0
"""`agentbus agent`: which agents of this machine may be woken, and how.

    $ agentbus agent add coder --host claude-code --dir ~/shop
    coder is written to ~/.config/agentbus/config.toml.

It writes what its user typed into config.toml, and has the listener read that. It wakes nobody.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mcp_agentbus.cli.agents import set_up
from mcp_agentbus.cli.agents.moved import moved_text
from mcp_agentbus.cli.output import agreed, show
from mcp_agentbus.config import identity
from mcp_agentbus.config.rules import profile_of
from mcp_agentbus.config.settings import Settings, load_settings, settings_and_fault
from mcp_agentbus.core import hosts, places
from mcp_agentbus.core.feather.printer import say
from mcp_agentbus.core.ids import agent_id, role_address
from mcp_agentbus.errors import AgentbusError, BadInput, BadSetup
from mcp_agentbus.listener import status
from mcp_agentbus.relay import local_socket, starter


def run(args: argparse.Namespace) -> int:
    """Do what was typed after `agentbus agent`; return the exit code.

    Raises:
        AgentbusError: it was refused, or the bus or the listener was not there.
    """
    if args.action == "wakes":  # it is their listener's, which goes on by the settings of before
        return asyncio.run(_wakes(args, *settings_and_fault()))
    return asyncio.run(act(args, load_settings()))


async def act(args: argparse.Namespace, settings: Settings) -> int:
    """Do what was typed with these settings; return the exit code.

    Raises:
        AgentbusError: as `run`.
    """
    match args.action:
        case "add":
            await _add(args, settings)
        case "remove":
            _remove(args, settings)
        case "list":
            _list(args, settings)
        case "wake":
            _wake(args, settings)
        case "wakes":
            return await _wakes(args, settings)
        case "rename":
            await _rename(args, settings)
        case "forget":
            await _forget(args, settings)
        case "allow":
            _allow(args, settings)
    return 0


async def _add(args: argparse.Namespace, settings: Settings) -> None:
    from mcp_agentbus.config.changes import editor  # it needs tomlkit
    from mcp_agentbus.doctor.machine import start_lacks

    keys = _keys(args, settings)
    added = editor.add(settings, args.id, replace=args.replace, **keys)
    written = added.settings
    await _register(args.id, written)
    rules = written.rules[args.id]
    listener, elsewhere = _reload(written)
    data = {
        **set_up.data(rules),
        "accept_from": list(written.agents[args.id].accept_from),
        "config_file": str(settings.config_file),
        "registered": True,
        "listener": listener,
        "elsewhere": elsewhere,
        "gone": list(added.gone),
    }
    gone = f"Taken out, as it means nothing now: {', '.join(added.gone)}.\n" if added.gone else ""
    lines = [set_up.added(rules, written, gone + _next(written, listener, elsewhere))]
    missing, fix = start_lacks(rules, written) if rules.profile != "hold" else ("", "")
    if missing:
        lines.append(f"NOTHING CAN START IT YET: {missing}. {fix}")
    show(args, "\n".join(lines), data)


def _reload(settings: Settings) -> tuple[int | None, str]:
    """Have the listener read the configuration.

    Returns its pid, or None if none does, and how it has other folders or another bus, if it has.
    """
    try:
        listener = local_socket.ask(settings, {"op": "reload"})
    except AgentbusError:
        return None, ""
    elsewhere = status.elsewhere(settings, listener)
    return (None if elsewhere else int(listener["pid"])), elsewhere


def _next(settings: Settings, listener: int | None, elsewhere: str) -> str:
    """Say who looks after an agent that was added, and for how long."""
    if listener:
        until = "from now on."
        if starter.is_started(settings.environ):  # so nothing keeps the one that runs
            keep = "agentbus listen --install (where systemd or launchd runs)"
            until = f"until it ends, as with this machine; to keep one: {keep}"
        return f"The listener that runs (pid {listener}) looks after it {until}"
    if elsewhere:
        return f"THE LISTENER THAT RUNS DOES NOT LOOK AFTER IT: {elsewhere}. {status.ELSEWHERE}"
    return "Next: agentbus listen, or agentbus listen --install to keep it running."


async def _register(agent: str, settings: Settings) -> None:
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.store import roster, streams

    try:
        async with Bus.connect(settings) as bus:
            await streams.ensure_streams(bus)
            await roster.register(bus, settings.agents[agent], None)
    except AgentbusError as error:
        raise error.saying(
            f"{agent} is written to {settings.config_file}, but the bus does not know it yet: "
            f"{error.message}",
            hint=f"Then run the same command with --replace. {error.hint}",
        ) from None


def _keys(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Return the keys of config.toml for what was typed.

    Raises:
        BadInput: the host or the wake profile must be given, or the folder is not there.
    """
    before = settings.rules.get(args.id) if args.replace else None
    host = args.host or (before.host if before else identity.host_of(settings.environ))
    if host not in hosts.WOKEN:
        wrong = f"{args.host!r} is no host that can be woken." if args.host else "Which host?"
        raise BadInput(wrong, hint=f"Give --host with one of {', '.join(hosts.WOKEN)}.")
    kept = before.profile if before and before.host == host else None
    if profile_of(host, args.wake or kept) is None:
        raise BadInput(
            f"With --host {host} the wake profile must be given as work or hold.",
            hint="Its own rules hold in a woken session, and agentbus cannot limit them. "
            "Give --wake work to allow that.",
        )
    folder = Path(
        places.absolute(args.dir or str(before.folder if before else "."), settings.environ)
    )
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder.", hint="Give --dir with the agent's folder.")
    token = args.token_file and places.absolute(args.token_file, settings.environ)
    asks = "gateway_url" in hosts.named(host).keys and not (token and args.gateway_url)
    asks = asks and not (before and before.host == host and before.token_file)
    gateway = _gateway(settings) if asks else {}
    return {
        "host": host,
        "dir": str(folder.resolve()),
        "wake": args.wake,
        "command": args.argv or None,
        "wake_from": args.wake_from,
        "accept_from": args.accept_from,
        "quiet_hours": args.quiet_hours,
        "description": args.description,
        "roles": args.role,
        "permission_mode": args.permission_mode,
        "allow": args.allow,
        "resume": args.resume or None,
        "chat": args.chat,
        "token_file": token or gateway.get("token_file"),
        "gateway_url": args.gateway_url or gateway.get("gateway_url"),
        "time_limit_s": args.time_limit,
    }


def _gateway(settings: Settings) -> dict[str, str]:
    """Return what `agentbus install openclaw` has left for the wakes of its gateway."""
    from mcp_agentbus.installers import openclaw
    from mcp_agentbus.installers.steps import Machine

    gateway: dict[str, str] = openclaw.gateway(Machine(settings))
    return gateway


def _remove(args: argparse.Namespace, settings: Settings) -> None:
    from mcp_agentbus.config.changes import editor  # it needs tomlkit

    editor.remove(settings, args.id)
    _reload(settings)
    removed = (
        f"{args.id} is taken out of {settings.config_file}: nothing starts it any more.\n"
        "What the bus has of it stays there, with the tasks for it."
    )
    show(args, removed, {"id": args.id, "config_file": str(settings.config_file), "removed": True})


def _wake(args: argparse.Namespace, settings: Settings) -> None:
    looked_at = local_socket.ask(settings, {"op": "wake", "agent": args.id})
    show(args, status.woken_text(looked_at), looked_at)


async def _wakes(
    args: argparse.Namespace, settings: Settings, fault: BadSetup | None = None
) -> int:
    from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken

    file = settings.ledger_file
    try:
        rows = Ledger(file).latest(args.id, args.limit) if file.exists() else []
    except LedgerBroken as error:
        raise BadSetup(str(error), hint=error.hint) from None
    if not rows and fault:  # nobody knows whether there is such an agent
        raise fault
    if not rows and args.id not in settings.agents:
        from mcp_agentbus.bus.client import Bus
        from mcp_agentbus.tools.forget import see_known

        async with Bus(settings) as bus:
            if await bus.reconnected(0):  # else nobody knows who is there
                await see_known(bus, args.id)
    show(args, status.wakes_text(args.id, rows), [status.wake_data(row) for row in rows])
    return 0


async def _rename(args: argparse.Namespace, settings: Settings) -> None:
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.tools.rename import rename

    old, new = args.old, agent_id(args.new)
    async with Bus.connect(settings) as bus:
        moved = await rename(bus, old, new)
    _reload(load_settings(settings.environ))
    text = moved_text(old, new, moved, has_account=bool(settings.account))
    show(args, text, {"id": new, "was": old, **asdict(moved)})


async def _forget(args: argparse.Namespace, settings: Settings) -> None:
    from mcp_agentbus.bus.client import Bus
    from mcp_agentbus.tools.forget import forget, roles_left

    async with Bus.connect(settings) as bus:
        left, about = await roles_left(bus, args.id)
    if not agreed(args, f"Forget {args.id}, its name and its rules?{about}"):
        say("Nothing was done.")
        return
    async with Bus.connect(settings) as bus:
        named = await forget(bus, args.id, distrusts=True)
    _reload(load_settings(settings.environ))
    where = f" It is no sender in {settings.config_file} any more." if named else ""
    data = {"id": args.id, "forgotten": True, "roles_left": left}
    show(args, f"{args.id} is forgotten.{where}{about}", data)


def _allow(args: argparse.Namespace, settings: Settings) -> None:
    from mcp_agentbus.human.allow import allow

    folder = Path(places.absolute(args.folder, settings.environ)).resolve()
    file = allow(settings, folder)
    roles = ", ".join(map(role_address, file.roles))
    means = [f"its sessions are {file.agent}"] if file.agent else []
    means += [f"they read {roles}"] if roles else []
    show(
        args,
        f"{folder} is allowed: {' and '.join(means) or 'it asks for nothing'}. Sessions that are "
        "open learn of it when you start them again; what the file says later is asked again.",
        {"folder": str(folder), "agent": file.agent or None, "roles": list(file.roles)},
    )


def _list(args: argparse.Namespace, settings: Settings) -> None:
    rows = [set_up.data(rules) for _, rules in sorted(settings.rules.items())]
    rows += [
        {"id": agent.id, "host": agent.host, "dir": None, "wake": None, "quiet_hours": None}
        for name, agent in sorted(settings.agents.items())
        if name not in settings.rules
    ]
    lines = [set_up.row(row) for row in rows] or [
        f"No agent is set up in {settings.config_file}, so nothing is woken.",
        "Add one: agentbus agent add ID --host claude-code --dir FOLDER",
    ]
    show(args, "\n".join(lines), {"agents": rows, "config_file": str(settings.config_file)})
