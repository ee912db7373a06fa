# SPDX-License-Identifier: Apache-2.0
"""A listener whose clock is set anew, once, at a step of its own naming.

$ AGENTBUS_HOME=/tmp/bus python jumping_listener.py noted +3600
"""

import sys
from datetime import datetime, timedelta, tzinfo

from mcp_agentbus.cli import main as cli
from mcp_agentbus.core import text
from mcp_agentbus.listener import daemon, loop, runner, state
from mcp_agentbus.listener.woken import abandoned
from mcp_agentbus.wakes import ledger

_USERS = (ledger, loop, daemon, runner, abandoned, state, text)


def set_clock(by):
    """Have all of a listener see another time; `datetime` itself cannot be changed."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + by

    for user in _USERS:
        user.datetime = Clock


def main(step, seconds):
    log = daemon._log
    steps = [step]

    def log_and_jump(event, agent, more):
        log(event, agent, more)
        if event in steps:
            steps.clear()
            set_clock(timedelta(seconds=int(seconds)))
            log("jumped", agent, {})

    daemon._log = log_and_jump
    return cli.main(["listen"])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
