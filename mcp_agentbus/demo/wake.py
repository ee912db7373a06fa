# SPDX-License-Identifier: Apache-2.0
"""`agentbus demo --wake`: planner sends an urgent task to a coder that has no session.

    $ agentbus demo --wake

A real listener in a private home starts a real process in the coder's folder: this module, which
reads the inbox as any shell agent would, does the work and publishes the result.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import identity, inherited
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core import programs
from mcp_agentbus.core.aio import part
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import from_json
from mcp_agentbus.demo.survey import NAME_MAX, shown, survey
from mcp_agentbus.errors import AgentbusError, BadInput
from mcp_agentbus.handoff import lookup
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.tools.answers import render

_WITHIN_S: Final = 60
Tell = Callable[[str, str], None]


async def woken(folder: Path, tell: Tell) -> str:
    """Show an urgent task waking its agent; return the task's life as planner reads it.

    `tell` takes who does something, and what, as it happens.

    Raises:
        BadInput: an agent cannot have that folder.
        AgentbusError: no result came.
    """
    if inherited.UNPRINTABLE.search(str(folder)):
        raise BadInput(
            f"{shown(folder)} cannot be the folder of an agent: a letter of it is no text.",
            hint="Name another one, or leave out --wake.",
        )
    with embedded.ephemeral() as settings:
        argv = programs.ourselves(module="mcp_agentbus.demo.wake")
        # TOML has no pairs of surrogates, which JSON would make of an emoji.
        named = json.dumps(str(folder), ensure_ascii=False)
        settings.config_file.write_text(
            f'[agents.coder]\nhost = "command"\nwake = "work"\ndir = {named}\n'
            f"command = {json.dumps(argv, ensure_ascii=False)}\n",
            encoding="utf-8",
        )
        settings.config_file.chmod(0o600)
        async with (
            Bus(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            _listener(settings, tell),
        ):
            name = shown(folder.name, NAME_MAX)
            tell("planner", f"send_task: survey {name}, to coder, high priority")
            [receipt] = await send_task(
                planner, "coder", f"Survey {name}", "Of your folder.", priority="high"
            )
            tell("planner", f"receipt: stored; coder is {receipt.recipient}, wake {receipt.wake}")
            answer = await watch_inbox(planner, timeout_s=_WITHIN_S, task_id=receipt.task_id)
            if answer.timed_out:
                raise AgentbusError("No result came.", hint="See `agentbus doctor`.")
            tell("planner", "watch_inbox: the result is here")
            return render.life_text(await lookup.task_life(planner, receipt.task_id))


@asynccontextmanager
async def _listener(settings: Settings, tell: Tell) -> AsyncGenerator[None, None]:
    """Run `agentbus listen` beside us, and tell what its log says."""
    process = await asyncio.create_subprocess_exec(
        *programs.ourselves("listen"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**_not_ours(os.environ), "AGENTBUS_HOME": str(settings.data_dir.parent)},
    )  # fmt: skip
    log = process.stderr
    if log is None:
        raise AgentbusError("The listener has no log.")
    ready = asyncio.Event()

    async def follow() -> None:
        while line := await log.readline():
            step = from_json(line)
            event = step["event"]
            if event == "ready":
                ready.set()
            elif event in {"listening", "started", "ended", "read"}:
                more = f" (pid {step['pid']})" if "pid" in step else ""
                tell("listener", f"{event}{more}")

    following = part(follow())
    try:
        async with asyncio.timeout(_WITHIN_S):
            await ready.wait()
        yield
    finally:
        process.terminate()
        await process.wait()
        await following


def _not_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what says who and where this user is on the bus."""
    return {name: value for name, value in environ.items() if not name.startswith("AGENTBUS_")}


async def _work() -> None:
    """Do what coder, once woken, would do: claim what waits, do it, publish what was counted."""
    settings = load_settings()
    async with (
        Bus(settings) as bus,
        shell_session(bus, identity.who(settings), settings.state_dir) as session,
    ):
        for item in (await read_inbox(session)).tasks:
            counts = await asyncio.to_thread(survey, Path.cwd())
            await publish_result(
                session, item.task.id, "completed", summary=counts.summary, body=counts.report
            )


if __name__ == "__main__":
    asyncio.run(_work())
