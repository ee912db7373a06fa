# SPDX-License-Identifier: Apache-2.0
"""How an agent without a live session is woken; one file for each host, behind one protocol.

    ended = await WAKERS["command"](WakeOrder(rules, notice, ...))

A host's file has `wake`, a `Waker`, and `PROGRAMS`, the names of the program that it starts, unless
it starts the user's own or none. A waker gets the user's rules and the fixed notice, with a line of
that user's if there is one, and nothing of a task.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.core import programs


@dataclass(frozen=True)
class WakeOrder:
    """One wake."""

    rules: Rules
    #: Tells what the host's model is told, see `notices`: a process is started meanwhile.
    notice: Callable[[], Awaitable[str]]
    #: The environment of what is started.
    environ: Mapping[str, str]
    #: Called with the pid of the process that was started, before it is told anything on its
    #: standard input; what a host takes in its argv it has by then.
    started: Callable[[int], None]
    #: The host's own id of the agent's last conversation; empty if none is known.
    host_session: str = ""
    #: The id of the one task that its session is to be given; empty for any.
    only: str = ""


@dataclass(frozen=True)
class Ended:
    """How a wake ended."""

    outcome: Literal[
        "exited",  # the process ended by itself, with exit code 0
        "failed",  # with another one, or by a signal
        "timed_out",  # it was ended at its time limit, or could not be
        "not_started",  # there is no such program, or it cannot run, or the host is not there
        "asked",  # the host took the notice; what it does with it shows later
        "stopped",  # the listener ended it at its own end
    ]
    #: In this program's words, one line: "exit code 1 after 3 s".
    said: str
    exit_code: int | None = None
    #: The end of what it printed, at most 4 KiB; for its user alone.
    output: str = ""
    #: What it cost in US dollars, if the host says so.
    usd: float | None = None
    #: Since when that is known; None: since it is noted.
    at: datetime | None = None

    @classmethod
    def lives_on(cls, pid: int, output: str = "") -> Self:
        """Return what is told of a process that could not be ended."""
        said = (
            f"its time limit is over, but it could not be ended (is it another user's?): pid {pid}"
        )
        return cls("timed_out", said, output=output)


Waker = Callable[[WakeOrder], Awaitable[Ended]]


def on_path(names: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return where the first of these programs is that the environment's PATH has."""
    path = programs.path(environ)
    return next((found for name in names if (found := shutil.which(name, path=path))), None)
