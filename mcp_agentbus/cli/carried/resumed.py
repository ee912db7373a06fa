# SPDX-License-Identifier: Apache-2.0
"""A command that the listener has not carried out to its end, as its own process goes on with it.

    resumed.check(args, begun)    # unless it is better left
    resumed.take(args, begun)     # `args` are those with which to go on

What was printed is not printed again, what was sent is sent by the same id, and no wait is longer
for it than was typed.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Final

from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import AgentbusError, Unconfirmed, UnknownTask

if TYPE_CHECKING:
    from mcp_agentbus.relay.carried.command import Begun

# What tells how things stand, as its last word: it can do so without the listener, and says that
# one hangs.
_ONLY_TELL: Final = frozenset({"status", "why", "policy"})


def check(args: argparse.Namespace, begun: Begun) -> None:
    """See that a command can go on.

    Raises:
        Unconfirmed: the listener hangs, with the command in its hands.
        Exception: whatever went wrong in this process.
    """
    if begun.failed:
        args.last = begun.last
        raise begun.failed
    if not begun.hangs or args.command in _ONLY_TELL:
        return
    again = "look what was done before you repeat it"
    if hasattr(args, "request_id"):
        request_id = args.request_id or begun.request_id
        again = f"the same with --request-id {request_id}: it is stored once"
    raise Unconfirmed(
        "The listener hangs: it is not known whether this was done.",
        hint=f"Run `agentbus listen --replace`, then {again}.",
    )


def explained(error: UnknownTask, args: argparse.Namespace, begun: Begun) -> AgentbusError:
    """Return an error of a command that goes on as it is to be told.

    What a listener has offered again is parked no more, also where it ended before it said so.
    """
    if args.command != "replay" or not begun.was_taken:
        return error
    return Unconfirmed(
        "The listener ended with it: it is not known whether the task was offered again.",
        hint="Run `agentbus parked`: what is not listed there was, or never was parked.",
    )


def take(args: argparse.Namespace, begun: Begun) -> None:
    """Have a command go on from there."""
    for name, value in begun.changed.items():
        setattr(args, name, from_json(value))
    for limit in ("timeout", "wait"):
        if (given_s := getattr(args, limit, None)) is not None:
            setattr(args, limit, max(0.0, given_s - (time.monotonic() - begun.at)))
