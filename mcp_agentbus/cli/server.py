# SPDX-License-Identifier: Apache-2.0
"""What the other commands do: those that keep this machine's server, listener and agents.

`run` takes what `cli.parser` parsed and returns the exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.errors import BadInput, BusUnreachable
from mcp_agentbus.tools import commands
from mcp_agentbus.tools.commands import Call, Place


def run(args: argparse.Namespace) -> int:
    """Run the command that was parsed, in this process.

    Raises:
        AgentbusError: it was refused, or the bus was not there.
    """
    if args.command == "doctor":
        from mcp_agentbus.doctor import run as doctor

        # Its settings can be had where the configuration is broken, which it is to tell.
        look = doctor.run(
            doctor.settings(os.environ),
            lambda text: print(text, flush=True),
            as_json=args.json,
            fix=args.fix,
            dry_run=args.dry_run,
            self_test=args.self_test,
            wake=args.wake,
        )
        return asyncio.run(look)
    settings = load_settings()
    place = Place(lambda text: print(text, flush=True), Path.cwd())
    call = Call(args, settings, place)
    if args.command == "demo":
        from mcp_agentbus.demo import handoff as demo  # imports the MCP SDK

        return asyncio.run(demo.run(Path(args.folder), as_json=args.json, wake=args.wake))
    if keep := _COMMANDS.get(args.command):
        return asyncio.run(keep(call))
    return asyncio.run(commands.start(args, settings, place))


async def _completion(call: Call) -> int:
    from mcp_agentbus.cli import completion as completing

    shell = call.args.shell
    code = completing.script(shell)
    call.print(f"# {completing.SHELLS[shell]}\n{code}", {"shell": shell, "script": code})
    return 0


async def _agent(call: Call) -> int:
    from mcp_agentbus.cli import agent as agent_commands

    return await agent_commands.run(call.args, call.settings)


async def _install(call: Call) -> int:
    from mcp_agentbus.cli import install as install_commands

    return await install_commands.run(call.args, call.settings, call.place.out)


async def _listen(call: Call) -> int:
    from mcp_agentbus.cli import listen

    return await listen.run(call.args, call.settings)


async def _server(call: Call) -> int:
    if call.args.action == "config":
        from mcp_agentbus.bus import server_conf

        args = call.args
        text = server_conf.shared(
            args.listen, args.store, max_gib=args.max_store, cert=args.tls_cert, key=args.tls_key
        )
        call.print(text.rstrip(), {"config": text})
        return 0
    if call.settings.url:
        raise BadInput(
            "The bus is a shared server, which this command does not keep.",
            hint="Unset AGENTBUS_URL (or url in config.toml) to use this user's own server.",
        )
    if call.args.action == "stop":
        stopped = await asyncio.to_thread(embedded.stop, call.settings)
        text = "stopped; its tasks are kept" if stopped else "was not running"
        call.print(text, {"running": False, "stopped": stopped})
        return 0
    from mcp_agentbus.store import streams
    from mcp_agentbus.store.status import standing

    if call.args.action == "status" and not embedded.find(call.settings):
        call.print("not running; the first command that needs it starts it", {"running": False})
        return BusUnreachable.exit_code
    async with call.bus() as bus:
        await streams.ensure_streams(bus)
        state = await standing(bus)
    call.print(state.text, state.data)
    return 0


_COMMANDS: Final[dict[str, Callable[[Call], Coroutine[Any, Any, int]]]] = {
    "agent": _agent,
    "completion": _completion,
    "install": _install,
    "listen": _listen,
    "server": _server,
    "setup": _install,
    "uninstall": _install,
}
