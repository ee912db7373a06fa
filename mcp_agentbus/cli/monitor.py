# SPDX-License-Identifier: Apache-2.0
"""`agentbus watch --notices`: the listener's notices, a line each, for hosts that read such lines.

    $ agentbus watch --notices --agent coder
    1 task waits in your agentbus inbox, it is high priority. Call read_inbox.

A host keeps this running beside each session, so it imports no more than it must.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
from contextlib import suppress

from mcp_agentbus.config import identity
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import hosts, ids
from mcp_agentbus.core.children import threads
from mcp_agentbus.relay import local_socket
from mcp_agentbus.relay.member import Me, Membership


def run(args: argparse.Namespace) -> int:
    """Print notices until the process is ended, or nobody reads them any more.

    Raises:
        BadSetup: the configuration cannot be read, or does not say who this is.
        BrokenPipeError: nobody reads them any more.
    """

    def nudge(notice: str) -> str:
        line = {"event": "notice", "text": notice}
        print(json.dumps(line) if args.json else notice, flush=True)
        return ""

    settings = load_settings()
    agent = identity.provisional(Asked(settings, args.agent)).me
    # A monitor of Claude Code belongs to a session, and is told to which.
    of = hosts.session_of(os.environ)
    me = Me(
        agent.id,
        agent.host,
        ids.new_session_id(),
        can_nudge=True,
        host_session=of,
        is_monitor=True,
    )
    asks = {"given": args.agent, **local_socket.surroundings(os.environ)}
    membership = Membership(settings, me, nudge, asks=asks)
    if sys.stdout and hasattr(select, "poll"):  # not on Windows
        with suppress(OSError):  # no thread is to be had: the host ends it then
            threads.begin(_leave_unread, membership, name="agentbus-unread")
    membership.run()
    raise BrokenPipeError


def _leave_unread(membership: Membership) -> None:
    """Have the listener count on no session whose host has gone without ending this process."""
    reader = select.poll()
    reader.register(sys.stdout, 0)  # that it has gone is told unasked
    # What macOS says of a terminal is that it cannot tell.
    if any(said & (select.POLLERR | select.POLLHUP) for _, said in reader.poll()):
        membership.leave()
