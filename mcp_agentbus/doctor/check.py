# SPDX-License-Identifier: Apache-2.0
"""The stages of a self-test: each with its time, what it showed, and what to do if it failed.

stages = Stages(print)
await stages.stage("send", sent(), "The server did not take the task.")
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


@dataclass(frozen=True)
class Stage:
    """One step of the task's way."""

    name: str
    state: Literal["ok", "skipped", "failed"]
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

    def add(self, stage: Stage) -> None:
        """Note a stage and tell of it."""
        self.done.append(stage)
        self.tell(stage)

    async def stage(
        self,
        name: str,
        work: Awaitable[str],
        means: str,
        *,
        within_s: float | None = None,
        then: str = "Run `agentbus doctor`.",
    ) -> None:
        """Take one step; `means` says what it means if it fails, `then` what to do if it hangs.

        Raises:
            Stopped: it failed.
        """
        began = time.perf_counter()
        within_s = within_s or STAGE_S
        try:
            async with asyncio.timeout(within_s):
                said = await work
        except TimeoutError:
            said, fix = f"nothing came within {within_s:.0f} s", then
        except AgentbusError as error:
            said, fix = error.message, error.hint
        except Exception as error:  # noqa: BLE001  # the test goes on to its cleanup, and says so
            said, fix = f"it failed with {type(error).__name__}", "Please report it."
        else:
            self.add(Stage(name, "ok", since(began), said))
            return
        self.add(Stage(name, "failed", since(began), said, f"{means} {fix}"))
        raise Stopped


def since(began: float) -> float:
    """Return the milliseconds since that moment."""
    return round((time.perf_counter() - began) * 1000, 1)


def last_line(stages: list[Stage], failed: list[str]) -> str:
    """Return what sums up."""
    if failed:
        return f"Failed: {', '.join(failed)}."
    skipped = [one.name for one in stages if one.state == "skipped"]
    more = f" Not tested: {', '.join(skipped)}." if skipped else ""
    return f"The task came through, and its result came back.{more}"


#: `warning`: it works, but less well than it could, or not yet. `unknown`: it could not be found
#: out, which is no sign that it works.
State = Literal["ok", "warning", "wrong", "unknown"]


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
