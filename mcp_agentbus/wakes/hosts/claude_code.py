# SPDX-License-Identifier: Apache-2.0
"""Claude Code without a live session: a run of its own; `claude_session` is about live ones.

    $ echo '1 task waits in your agentbus inbox. ...' | claude -p --permission-mode dontAsk ...

A run has the bus as its only MCP server. With the profile `answer` it may also read the files of
the agent's folder, and nothing else: it has no settings but those of `claude_settings`, so neither
hooks nor plugins nor instructions, the folder's or the user's. With `work` it may do what its
user's own rules allow. Nobody is there to be asked, so everything else is denied (`dontAsk`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from mcp_agentbus.core import hosts, programs
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.core.processes import born
from mcp_agentbus.core.text import from_json
from mcp_agentbus.wakes.hosts import claude_session, claude_settings
from mcp_agentbus.wakes.hosts.process import KEEP_BYTES, folder_lacks, run
from mcp_agentbus.wakes.hosts.protocol import Ended, WakeOrder, on_path

#: What it is started by.
PROGRAMS: Final = ("claude",)
_SERVER: Final = "agentbus"
# Its JSON is one line with the whole answer and each denied call; its cost may be anywhere in it.
_JSON_MAX_BYTES: Final = 1 << 20
# What its JSON calls the limits.
_LIMITS: Final = {
    "error_max_turns": "it reached its limit of turns",
    "error_max_budget_usd": "it reached its limit of US dollars",
}


def argv(call: WakeOrder, settings: Path | None = None) -> list[str]:
    """Return what is started; empty if Claude Code is not installed.

    `settings` is the file of a run that only reads and answers.
    """
    rules = call.rules
    program = on_path(PROGRAMS, call.environ)
    if not program:
        return []
    works = rules.profile == "work"
    mode = rules.permission_mode if works else ""
    started = [program, "-p", "--permission-mode", mode or hosts.named(rules.host).mode]
    started += ["--strict-mcp-config", "--mcp-config", _mcp_config(call)]
    started += ["--max-turns", str(rules.limits.max_turns)]
    started += ["--max-budget-usd", str(rules.limits.max_usd), "--output-format", "json"]
    if not works:
        started += ["--tools", "Read,Glob,Grep"]
        started += ["--setting-sources", "", "--settings", str(settings)]
    if _may_resume(call):
        started += ["--resume", call.host_session]
    return [*started, "--allowedTools", f"mcp__{_SERVER}", *(rules.allow if works else ())]


async def wake(call: WakeOrder) -> Ended:
    """Start a run and wait for its end."""
    works = call.rules.profile == "work"
    # Before all of it is looked through; and where nobody tells of it, nothing is outside of it.
    if not works and (lacks := await folder_lacks(call.rules)):
        return Ended("not_started", lacks)
    if not on_path(PROGRAMS, call.environ):
        outside = "" if works else " outside of its folder"
        return Ended("not_started", f"claude is not installed{outside}")
    if works:
        return await _run(call, argv(call))
    try:
        settings = await in_thread(claude_settings.write, call)
    except OSError as error:
        return Ended("not_started", f"its settings cannot be written: {error.strerror}")
    left = False
    try:
        return await _run(call, argv(call, settings))
    except asyncio.CancelledError:
        left = call.rules.on_stop == "leave"
        raise
    finally:
        if not left:
            settings.unlink(missing_ok=True)


async def _run(call: WakeOrder, started: list[str]) -> Ended:
    ended = await run(
        started,
        stdin=call.notice,
        call=call,
        time_limit_s=call.rules.limits.time_limit_s,
        keep_bytes=_JSON_MAX_BYTES,
    )
    result = _result(ended.output)
    limit = _LIMITS.get(str(result.get("subtype")))
    return replace(
        ended,
        said=f"{ended.said}: {limit}" if limit else ended.said,
        output=ended.output.encode()[-KEEP_BYTES:].decode(errors="ignore"),
        usd=_usd(result),
    )


def clean_up(agent: str, environ: Mapping[str, str]) -> None:
    """Remove what a run of an agent has left that its listener did not see end.

    Raises:
        OSError: it cannot be removed.
        BadSetup: there is no home.
    """
    claude_settings.remove(agent, environ)


def _mcp_config(call: WakeOrder) -> str:
    env = {"AGENTBUS_HOST": call.rules.host}
    if home := call.environ.get("AGENTBUS_HOME"):
        env["AGENTBUS_HOME"] = home
    alone = ("--only", call.only) if call.only else ()
    command, *args = programs.ourselves("serve", "--agent", call.rules.agent, *alone)
    server = {
        "command": command,
        "args": args,
        "env": env,
        # Else its model sees no more than the tools' names.
        "alwaysLoad": True,
    }
    return json.dumps({"mcpServers": {_SERVER: server}})


def _may_resume(call: WakeOrder) -> bool:
    if not call.rules.resume or not _is_uuid(call.host_session):
        return False
    # A conversation brings the tools along with which it was begun, whatever this one is given:
    # seen with Claude Code 2.1.329, where `--tools Read,Glob,Grep` left Bash and Write in it.
    if call.rules.profile == "answer":
        return False
    # A second process in a conversation would continue a copy that the first one never sees.
    return not any(
        session.get("sessionId") == call.host_session and _lives(session)
        for session in claude_session.sessions(call.environ)
    )


def _is_uuid(host_session: str) -> bool:
    try:
        return str(UUID(host_session)) == host_session
    except ValueError:
        return False


def _lives(session: Mapping[str, Any]) -> bool:
    pid = session.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    start = born(pid)
    # One that does not say when it was started is believed.
    return bool(start) and str(session.get("procStart") or start).strip() == start


def _result(output: str) -> dict[str, Any]:
    """Return the JSON with which a run ends; nothing if there is none."""
    for line in reversed(output.splitlines()):
        with contextlib.suppress(ValueError):
            result = from_json(line)
            if isinstance(result, dict) and result.get("type", "result") == "result":
                return result
    return {}


def _usd(result: Mapping[str, Any]) -> float | None:
    cost = result.get("total_cost_usd")
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < float("inf"):
        return None
    return float(cost)
