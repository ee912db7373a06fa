# SPDX-License-Identifier: Apache-2.0
"""What the last server of these files has left there: whether who was not asked starts the next.

    >>> is_due(files, locks.holder(files.lock))
    True

Somebody who has stopped it wants none, and what was started in another network than it ran in would
be out of reach for those who used it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import Final

from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.core import processes
from mcp_agentbus.core.files import read_end
from mcp_agentbus.core.processes import Process

_END_OF_LOG_BYTES: Final = 64 * 1024
# How a server begins, and how one begins to end that was told to, behind its number.
_TURNS: Final = re.compile(
    r"^\[(\d+)\] .* \[INF\] (Starting nats-server|Initiating Shutdown\.)", re.MULTILINE
)


def is_due(files: Files, last: Process | None) -> bool:
    """Tell whether the server is to be started again unasked, if none runs.

    Args:
        files: its own.
        last: who has signed its lock last; None if nobody is known to have.
    """
    return files.are_used and not is_stopped(files, last) and _ran_here(last)


def is_stopped(files: Files, last: Process | None) -> bool:
    """Tell whether somebody has stopped the last one: in our words, or by a kill that is orderly.

    A mark that is older than it does not count: an earlier version starts one and leaves that.
    """
    with suppress(FileNotFoundError):
        marked = files.stopped.stat().st_mtime
        if last is None or last.since <= marked:
            return True
    return _was_told_to_end(files, last)


def _was_told_to_end(files: Files, last: Process | None) -> bool:
    """Tell whether its log ends as that of one which was told to end, and not by this program.

    At its end a machine tells all of them: then it is of an earlier boot, where that is known.
    """
    if files.goes_on.exists():
        return False
    if last is not None and not (" " in last.network and _is_of_this_boot(last)):
        return False
    with suppress(OSError):
        log = read_end(files.log, _END_OF_LOG_BYTES).decode(errors="replace")
        for pid, turn in _TURNS.findall(log)[-1:]:
            # Whoever has signed the lock since could not start the next one.
            return turn.startswith("Initiating") and (last is None or int(pid) == last.pid)
    return False


def _ran_here(last: Process | None) -> bool:
    """Tell whether the last one ran where one that is started here does, or nothing is known of it.

    Each boot numbers its networks anew: after one the machine's name tells.
    """
    if last is None or last.network in {"", processes.network()}:
        return True
    return not _is_of_this_boot(last) and last.host in {"", os.uname().nodename}


def _is_of_this_boot(last: Process) -> bool:
    return last.network.partition(" ")[0] == processes.network().partition(" ")[0]
