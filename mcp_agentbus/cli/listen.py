# SPDX-License-Identifier: Apache-2.0
"""`agentbus listen`: run, look at, end or keep this user's listener."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys

from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.errors import BadSetup, NoListener
from mcp_agentbus.listener.daemon import _listen, _only_one, _stop
from mcp_agentbus.relay import local_socket


def run(args: argparse.Namespace) -> int:
    """Do what the arguments of `agentbus listen` say; return the exit code.

    Raises:
        NoListener: there is none to stop or to look at.
        BadSetup: this user's runtime folder or service manager cannot be used, or another
            listener was to be ended or replaced, and is there still.
    """
    return asyncio.run(_run(args, load_settings()))


async def _run(args: argparse.Namespace, settings: Settings) -> int:
    if args.status:
        return _status(args, settings)
    if args.stop:
        await asyncio.to_thread(_stop, settings)
        print(json.dumps({"running": False}) if args.json else "The listener has stopped.")
        return 0
    if args.install or args.uninstall:
        from mcp_agentbus.installers import service

        manager = service.manager()
        lines = (manager.install if args.install else manager.uninstall)(settings)
        print(json.dumps({"done": lines}) if args.json else "\n".join(lines))
        return 0
    if args.replace:
        with contextlib.suppress(NoListener):
            await asyncio.to_thread(_stop, settings)
    with _only_one(settings) as ours:
        if not ours and args.replace:
            raise BadSetup(
                "Another listener has started meanwhile.",
                hint="See `agentbus listen --status`; run this again to replace that one.",
            )
        if not ours:
            print("A listener runs already; see `agentbus listen --status`.", file=sys.stderr)
            return 0
        return await _listen(settings, while_needed=args.while_needed)


def _status(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus.listener import status

    found = local_socket.ask(settings, {"op": "status"})
    found["elsewhere"] = status.elsewhere(settings, found)
    print(json.dumps(found) if args.json else status.text(found))
    return 0
