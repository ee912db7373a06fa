# SPDX-License-Identifier: Apache-2.0
"""What the last server of these files has left there: whether who was not asked starts the next.

    >>> is_due(files, locks.holder(files.lock))
    True

Somebody who has stopped it wants none, and what was started in another network than it ran in would
be out of reach for those who used it.
"""

from __future__ import annotations

import os

from mcp_agentbus.bus import reach
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.core import processes
from mcp_agentbus.core.processes import Process


def is_due(files: Files, last: Process | None) -> bool:
    """Tell whether the server is to be started again unasked, if none runs.

    Args:
        files: its own.
        last: who has signed its lock last; None if nobody is known to have.
    """
    if not files.are_used or files.stopped.exists():
        return False
    return _ran_here(last) and not reach.is_isolated()


def _ran_here(last: Process | None) -> bool:
    """Tell whether the last one ran where one that is started here does, or nothing is known of it.

    Each boot numbers its networks anew: after one the machine's name tells.
    """
    if last is None or last.network in {"", processes.network()}:
        return True
    return not _is_of_this_boot(last) and last.host in {"", os.uname().nodename}


def _is_of_this_boot(last: Process) -> bool:
    return last.network.partition(" ")[0] == processes.network().partition(" ")[0]
