# SPDX-License-Identifier: Apache-2.0
"""`agentbus doctor`, as it was typed; what it looks at is in the room of its name."""

from __future__ import annotations

import argparse
import asyncio
import os

from mcp_agentbus.cli.output import say
from mcp_agentbus.config.settings import settings_or_defaults
from mcp_agentbus.doctor import run as doctor


def run(args: argparse.Namespace) -> int:
    """Look, mend or test; return 0 if nothing is wrong or unknown, else 1.

    Raises:
        BadInput: the options do not go together.
        BadSetup: config.toml cannot be read, so a self-test would test another bus.
    """
    # Its settings can be had where the configuration is broken, which it is to tell.
    settings = settings_or_defaults(os.environ)
    look = doctor.run(
        settings,
        say,
        as_json=args.json,
        fix=args.fix,
        dry_run=args.dry_run,
        self_test=args.self_test,
        wake=args.wake,
    )
    return asyncio.run(look)
