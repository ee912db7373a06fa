# SPDX-License-Identifier: Apache-2.0
"""Hosts in tests as far as mail is told there: hooks as they start them, sessions with a socket.

>>> await Host(house, "coder")("SessionStart")
'1 task waits in your agentbus inbox. Call read_inbox.'
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import forking
import served

SCRIPT = Path(__file__).parents[2] / "hooks" / "agentbus_hook.py"
HIGH = "1 task waits in your agentbus inbox, it is high priority. Call read_inbox."
NORMAL = "1 task waits in your agentbus inbox. Call read_inbox."
RESULT = "1 result of a task that you sent with agentbus can be read. Call read_inbox."
ANSWER = "1 answer to a question about a task that you hold can be read. Call read_inbox."
NEW = "New since the last notice: "
_WITHIN_S = 30  # only a hang takes as long


def script():
    """Return the hook's script as a module, which stands in no package."""
    spec = importlib.util.spec_from_file_location("agentbus_hook", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def claude(home, agent):
    """Return the environment of a hook of Claude Code on the bus of that folder."""
    return {"PATH": os.environ["PATH"], "AGENTBUS_HOME": str(home), "AGENTBUS_AGENT": agent}


def interactive(session, path):
    """Return what Claude Code tells a server in an interactive session with its socket there."""
    return {
        "CLAUDE_CODE_MESSAGING_SOCKET": str(path),
        "CLAUDE_CODE_MESSAGING_TOKEN": "t",
        "CLAUDE_CODE_SESSION_ID": session,
        "CLAUDE_CODE_ENTRYPOINT": "cli",
        "CLAUDECODE": "1",
        "AI_AGENT": "claude-code_2-1-329_harness",
    }


def cursor(home, agent):
    """Return the environment of a hook of Cursor on the bus of that folder."""
    return {**claude(home, agent), "CURSOR_VERSION": "3.1.0"}


def ran(environ, *argv, stdin=b"", script=SCRIPT, **options):
    """Run a hook; return what it printed, after seeing that it ended well and silently."""
    options = {"input": stdin, "stdout": subprocess.PIPE, **options}
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), *argv],
        env=environ, stderr=subprocess.PIPE, timeout=_WITHIN_S, check=False, **options,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def run(environ, host, event, **given):
    """Run a hook with what its host says; return what the model is told, or nothing."""
    out = ran(environ, host, event, stdin=json.dumps(given).encode())
    if not out:
        return ""
    said = json.loads(out)
    if host == "cursor":
        [(key, text)] = said.items()
        assert key == ("followup_message" if event == "stop" else "additional_context")
        return text
    assert said["hookSpecificOutput"].pop("hookEventName") == event
    return said["hookSpecificOutput"]["additionalContext"]


class Host:
    """One session of a host that calls hooks."""

    def __init__(self, house, agent, *, session="", name="claude-code"):
        self.environ = (cursor if name == "cursor" else claude)(house.data_dir.parent, agent)
        self.name, self.session = name, session or f"s-{agent}"

    async def __call__(self, event, **told):
        key = "conversation_id" if self.name == "cursor" else "session_id"
        told = {key: self.session, **told}
        return await asyncio.to_thread(run, self.environ, self.name, event, **told)


@contextlib.asynccontextmanager
async def session(house, agent, folder, *, cwd=None, **more):
    """Open a session of Claude Code that can be told; yield its server and the notices it takes.

    With `cwd`, a folder whose file says who it is, and with more variables.
    """
    notices = asyncio.Queue()

    async def take(reader, writer):
        lines = [json.loads(await reader.readline()) for _ in range(2)]
        notices.put_nowait(lines[-1]["message"]["content"])
        writer.close()

    path = folder / f"{agent}.sock"
    claude = served.environ(house.data_dir.parent) | interactive(f"s-{agent}", path) | more
    async with await asyncio.start_unix_server(take, path):
        named = () if cwd else ("--agent", agent)
        with served.Pipes(claude, served.living("serve", *named, after_s=0), cwd=cwd) as pipes:
            await asyncio.to_thread(pipes.greet, served.MODERN)
            yield pipes, notices


async def notice(notices):
    """Wait for the next notice."""
    async with asyncio.timeout(_WITHIN_S):
        return await notices.get()


@contextlib.asynccontextmanager
async def monitor(listener, environ, agent):
    """Run a session's monitor; yield its lines once it has joined."""
    process = await forking.Awaited.started(
        served.living("watch", "--notices", "--agent", agent, after_s=0),
        env=environ, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        await listener.logged("joined", agent=agent)
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def line(lines):
    """Wait for a monitor's next line."""
    async with asyncio.timeout(_WITHIN_S):
        return (await lines.readline()).decode()
