# SPDX-License-Identifier: Apache-2.0
"""What doctor found: of one thing that it looked at, or of one stage of a task's way.

    >>> Check("server", "ok", "nats-server 2.15.1 at nats://127.0.0.1:39327")
    >>> await stages.take("send", sent(), "The server did not take the task.")

Every text in them is this program's, or was printed by a host; none is a task's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.installers.steps import Step

#: Each stage takes milliseconds; a listener that has just started may need a second.
STAGE_S: Final = 10.0

State = Literal[
    "ok",
    "warning",  # it works, but less well than it could, or not yet
    "wrong",
    "unknown",  # it could not be found out, which is no sign that it works
]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    #: What was found, one line, in this program's words.
    said: str
    #: What to do about it; empty if there is nothing to do.
    fix: str = ""
    #: What does that, where it is safe to do unasked.
    mend: Step | None = field(default=None, repr=False, compare=False)
    #: Of a host: whether it is here.
    here: bool | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Stage:
    """One step of the task's way."""

    name: str
    state: Literal["ok", "skipped", "failed"]
    #: How long it took, in milliseconds.
    ms: float
    said: str
    #: What that means, and what to do.
    fix: str = ""


class Stopped(Exception):
    """A stage failed, so what comes after it cannot be tested."""


@dataclass
class Stages:
    """The stages so far."""

    #: Told of each as it ends.
    tell: Callable[[Stage], None]
    done: list[Stage] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        """The names of those that failed."""
        return [stage.name for stage in self.done if stage.state == "failed"]

    def add(self, stage: Stage) -> None:
        """Note a stage and tell of it."""
        self.done.append(stage)
        self.tell(stage)

    async def take(
        self,
        name: str,
        work: Awaitable[str],
        means: str,
        *,
        within_s: float | None = None,
        then: str = "Run `agentbus doctor`.",
    ) -> None:
        """Take one stage, for `STAGE_S` at most unless `within_s` says otherwise.

        Args:
            name: of the stage.
            work: does it, and returns what it showed.
            means: what it means if it fails.
            within_s: how many seconds it may take.
            then: what to do if it takes longer.

        Raises:
            Stopped: it failed.
        """
        began = time.perf_counter()
        within_s = within_s or STAGE_S
        try:
            async with asyncio.timeout(within_s):
                shown = await work
        except TimeoutError:
            why, fix = f"nothing came within {within_s:.0f} s", then
        except AgentbusError as error:
            why, fix = error.message, error.hint
        except Exception as error:  # noqa: BLE001  # the test goes on to its cleanup, and says so
            why, fix = f"it failed with {type(error).__name__}", "Please report it."
        else:
            self.add(Stage(name, "ok", since(began), shown))
            return
        self.add(Stage(name, "failed", since(began), why, f"{means} {fix}"))
        raise Stopped


def since(began: float) -> float:
    """Return the milliseconds since that moment of `time.perf_counter`."""
    return round((time.perf_counter() - began) * 1000, 1)
