# SPDX-License-Identifier: Apache-2.0
"""What each command does: call the same functions as the five tools, and print.

`run` takes what `cli.parser` parsed and returns the exit code. Everything printed for a person is
the text that a model would read; `--json` prints the data, with texts as they were written.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from mcp_agentbus import config, embedded
from mcp_agentbus.config import Settings
from mcp_agentbus.errors import TIMED_OUT, BadInput, BusUnreachable

Command = Callable[[argparse.Namespace, Settings], Coroutine[Any, Any, int]]


def run(args: argparse.Namespace) -> int:
    """Run the command that was parsed.

    Raises:
        AgentbusError: it was refused, or the bus was not there.
    """
    settings = config.load()
    if args.command == "watch" and args.notices:
        return _notices(args, settings)
    if args.command == "demo":
        from mcp_agentbus import demo  # imports the MCP SDK

        return asyncio.run(demo.run(Path(args.folder), as_json=args.json, wake=args.wake))
    return asyncio.run(_COMMANDS[args.command](args, settings))


@asynccontextmanager
async def _session(args: argparse.Namespace, settings: Settings) -> AsyncGenerator[Any, None]:
    from mcp_agentbus.bus import Bus
    from mcp_agentbus.shell import shell_session

    async with (
        Bus.connect(settings) as bus,
        shell_session(bus, config.who(settings, args.agent), settings.state_dir) as session,
    ):
        yield session


def _print(args: argparse.Namespace, text: str, data: object) -> None:
    print(json.dumps(data, ensure_ascii=False) if args.json else text, flush=True)


async def _send(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus import render, send

    body = _body(args.body, args.body_file)
    to = [one.strip() for one in args.to.split(",")]
    async with _session(args, settings) as session:
        receipts = await send.send_task(
            session,
            to,
            args.subject,
            body,
            priority=args.priority,
            task_type=args.task_type,
            thread_id=args.thread,
            in_reply_to=args.in_reply_to,
            expires_in_s=args.expires_in,
            deliver_in_s=args.deliver_in,
            notify=args.notify,
            request_id=args.request_id,
        )
        _print(args, render.receipts_text(receipts), render.receipts_data(receipts))
        code = int(any(receipt.state == "refused" for receipt in receipts))
        if args.wait is None or code:
            return code
        codes = [await _wait(args, session, one.task_id, args.wait) for one in receipts]
        return max(codes)


async def _wait(
    args: argparse.Namespace, session: Any, task_id: str | None, timeout_s: float
) -> int:
    """Wait for the inbox, print what came, and note that it was seen."""
    from mcp_agentbus import inbox, news, render

    found = await inbox.watch_inbox(
        session, timeout_s=timeout_s, task_id=task_id, priority=getattr(args, "priority_", None)
    )
    text = render.inbox_text(found, session.me.id, full=True)
    _print(args, text, render.inbox_data(found, texts=True))
    await news.confirm(session, session.shown)
    return TIMED_OUT if found.timed_out else 0


async def _watch(args: argparse.Namespace, settings: Settings) -> int:
    if args.follow:
        return await _follow(args, settings)
    args.priority_ = args.priority
    async with _session(args, settings) as session:
        return await _wait(args, session, args.task, args.timeout)


def _notices(args: argparse.Namespace, settings: Settings) -> int:
    """Be the way by which the listener's notices reach a host that reads our lines."""
    from mcp_agentbus import names
    from mcp_agentbus.joining import Joining, Me

    def nudge(text: str, _: tuple[str, ...]) -> str:
        _print(args, text, {"event": "notice", "text": text})
        return ""

    agent = config.who(settings, args.agent)
    me = Me(agent.id, agent.host, names.new_session_id(), can_nudge=True)
    Joining(settings, me, nudge).run()
    return 0


async def _follow(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus.bus import Bus
    from mcp_agentbus.following import follow

    agent = config.who(settings, args.agent)
    async with Bus.connect(settings) as bus:
        async for event in follow(bus, agent):
            _print(args, event.text, event.data)
    return 0


async def _inbox(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus import inbox, news, render

    async with _session(args, settings) as session:
        found = await inbox.read_inbox(
            session, limit=args.limit, peek=args.peek, thread_id=args.thread, cursor=args.cursor
        )
        text = render.inbox_text(found, session.me.id, full=args.full)
        _print(args, text, render.inbox_data(found, texts=True))
        await news.confirm(session, session.shown)
    return 0


async def _result(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus import render, results

    body = _body(None, args.body_file, optional=True)
    async with _session(args, settings) as session:
        published = await results.publish_result(
            session,
            args.task_id,
            args.status,
            summary=args.summary,
            body=body,
            artifacts=args.artifact,
            progress=args.progress,
        )
    _print(args, render.published_text(published), render.published_data(published))
    return 0


async def _task(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus import life, render

    async with _session(args, settings) as session:
        found = await life.task_life(session, args.task_id)
    _print(args, render.life_text(found), render.life_data(found))
    return 0


async def _agents(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus import render, roster, topology
    from mcp_agentbus.bus import Bus

    async with Bus.connect(settings) as bus:
        await topology.ensure_streams(bus)
        page = await roster.page(
            bus,
            query=args.query,
            include_offline=not args.online,
            limit=args.limit,
            cursor=args.cursor,
        )
    _print(args, render.roster_text(page), render.roster_data(page))
    return 0


async def _parked(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus import parking, render

    async with _session(args, settings) as session:
        await session.called()
        found = [
            one for inbox in session.inboxes for one in await parking.parked(session.bus, inbox)
        ]
    _print(args, render.parked_text(found), render.parked_data(found))
    return 0


async def _replay(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus import parking, render

    async with _session(args, settings) as session:
        await session.called()
        one = await parking.replay(session.bus, session.inboxes, args.which)
    _print(args, f"Offered again: {render.parked_text([one])}", render.parked_data([one]))
    return 0


async def _agent(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus import agent_commands

    return await agent_commands.run(args, settings)


async def _listen(args: argparse.Namespace, settings: Settings) -> int:
    from mcp_agentbus import listening

    return await listening.run(args, settings)


async def _server(args: argparse.Namespace, settings: Settings) -> int:
    if settings.url:
        raise BadInput(
            "The bus is a shared server, which this command does not keep.",
            hint="Unset AGENTBUS_URL (or url in config.toml) to use this user's own server.",
        )
    if args.action == "stop":
        stopped = await asyncio.to_thread(embedded.stop, settings)
        text = "stopped; its tasks are kept" if stopped else "was not running"
        _print(args, text, {"running": False, "stopped": stopped})
        return 0
    from mcp_agentbus import topology
    from mcp_agentbus.bus import Bus
    from mcp_agentbus.standing import standing

    if args.action == "status" and not embedded.find(settings):
        _print(args, "not running; the first command that needs it starts it", {"running": False})
        return BusUnreachable.exit_code
    async with Bus.connect(settings) as bus:
        await topology.ensure_streams(bus)
        state = await standing(bus)
    _print(args, state.text, state.data)
    return 0


def _body(given: str | None, file: str | None, *, optional: bool = False) -> str:
    """Return the text from the argument, a file or standard input.

    Raises:
        BadInput: there is none, there are two, or it is not UTF-8.
    """
    if given is not None and file is not None:
        raise BadInput("The body is given twice.", hint="Give it as an argument or in a file.")
    if given is not None:
        return given
    try:
        if file not in {None, "-"}:
            return Path(str(file)).read_text(encoding="utf-8")
        if file == "-" or (not optional and not sys.stdin.isatty()):
            return sys.stdin.buffer.read().decode("utf-8")
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BadInput("The body is not UTF-8 text.", hint="Send a file's path instead.") from None
    if optional:
        return ""
    raise BadInput(
        "There is no body.", hint="Give it as an argument, with --body-file or on stdin."
    )


_COMMANDS: Final[dict[str, Command]] = {
    "agent": _agent,
    "agents": _agents,
    "inbox": _inbox,
    "listen": _listen,
    "parked": _parked,
    "replay": _replay,
    "result": _result,
    "send": _send,
    "server": _server,
    "task": _task,
    "watch": _watch,
}
