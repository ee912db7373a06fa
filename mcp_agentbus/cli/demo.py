# SPDX-License-Identifier: Apache-2.0
"""`agentbus demo`, as it was typed; what it shows is in the room of its name."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.demo import handoff


def run(args: argparse.Namespace) -> int:
    """Show a task's way; return the exit code.

    Raises:
        BadInput: there is no such folder.
        BadSetup: this user's configuration cannot be read, so that nothing after the demo would
            work.
    """
    load_settings()
    return asyncio.run(handoff.run(Path(args.folder), as_json=args.json, wake=args.wake))
