# SPDX-License-Identifier: Apache-2.0
"""`agentbus serve`: the five tools over MCP on standard input and output, for one session.

It answers before it touches the bus: the bus is opened at the first tool call. Both protocol eras
are the SDK's business (the client's first request decides). Every error of ours becomes an error
result with its hint, which a model can read; protocol errors it would not see. It ends on the end
of its input, on SIGINT and SIGTERM, and with its parent.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

import anyio
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from mcp_agentbus import inbox, life, names, render, roster
from mcp_agentbus.errors import AgentbusError, UnknownTask
from mcp_agentbus.joining import Joining, Me
from mcp_agentbus.session import Session
from mcp_agentbus.tools import INSTRUCTIONS, TOOLS, Answer
from mcp_agentbus.version import __version__
from mcp_agentbus.wake import claude_code

# A host kills a server that needs 2 s to end.
_CLOSE_TIMEOUT_S: Final = 1.6
_END_TIMEOUT_S: Final = 1.8
_LOOK_FOR_PARENT_S: Final = 1.0
# Only this program's release changes its lists.
_LISTS: Final = CacheHint(ttl_ms=3_600_000)
_ERROR_MAX_CHARS: Final = 9_000  # Claude Code cuts error results at 10,000
_INBOX_LIMIT: Final = 20

_log = logging.getLogger(__name__)
_Context = ServerRequestContext[Any, Any]


def make_server(session: Session, called: Callable[[], None] = lambda: None) -> Server[Any]:
    """Return the MCP server of one session; `called` is told of each call of a tool."""
    handlers = _Handlers(session, called)
    return Server(
        "agentbus",
        version=__version__,
        title="agentbus",
        description="Durable hand-off between coding agents",
        instructions=INSTRUCTIONS,
        cache_hints={
            "tools/list": _LISTS,
            "prompts/list": _LISTS,
            "resources/list": _LISTS,
            "resources/templates/list": _LISTS,
        },
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_resource_templates,
        on_read_resource=handlers.read_resource,
        on_list_prompts=handlers.list_prompts,
        on_get_prompt=handlers.get_prompt,
        on_completion=handlers.complete,
    )


class _Handlers:
    """What the server does for each request; no decision about a task is taken here."""

    def __init__(self, session: Session, called: Callable[[], None]) -> None:
        self._session = session
        self._called = called

    async def list_tools(
        self, _: _Context, __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=tool.name,
                    title=tool.title,
                    description=tool.description,
                    input_schema=tool.schema,
                    annotations=types.ToolAnnotations(
                        title=tool.title,
                        **{f"{hint}_hint": value for hint, value in tool.hints.items()},
                    ),
                )
                for tool in TOOLS.values()
            ]
        )

    async def call_tool(
        self, context: _Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            return _error(
                f"There is no tool {params.name[:80]!r}. Hint: The tools are {', '.join(TOOLS)}."
            )

        async def progress(done: float, total: float, message: str) -> None:
            await context.session.report_progress(done, total, message)

        self._called()
        try:
            answer = await tool.run(self._session, params.arguments or {}, progress)
        except AgentbusError as error:
            return _error(str(error))
        except Exception:  # noqa: BLE001  # a model must never see a traceback, nor a bare failure
            _log.exception("%s failed", params.name)
            return _error(
                f"{params.name} failed inside agentbus, which is a bug. Whether anything was "
                "stored is not known. Hint: look with read_inbox; the details are in the "
                "server's log on standard error."
            )
        return _result(answer)

    async def list_resources(
        self, _: _Context, __: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        me = self._session.me.id
        return types.ListResourcesResult(
            resources=[
                types.Resource(
                    uri=f"inbox://{me}",
                    name="inbox",
                    title=f"Inbox of {me}",
                    description="Waiting tasks, without claiming them",
                    mime_type="application/json",
                )
            ]
        )

    async def list_resource_templates(
        self, _: _Context, __: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(
            resource_templates=[
                types.ResourceTemplate(
                    uri_template="inbox://{agent}",
                    name="inbox",
                    title="This agent's inbox",
                    mime_type="application/json",
                ),
                types.ResourceTemplate(
                    uri_template="task://{task_id}",
                    name="task",
                    title="The life of a task that this agent sent or received",
                    mime_type="application/json",
                ),
            ]
        )

    async def read_resource(
        self, _: _Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        uri = str(params.uri)
        scheme, _sep, name = uri.partition("://")
        try:
            if scheme == "inbox" and name == self._session.me.id:
                data = render.inbox_data(
                    await inbox.read_inbox(self._session, peek=True, limit=_INBOX_LIMIT),
                    texts=True,
                )
            elif scheme == "task" and names.is_task_id(name):
                data = render.life_data(await life.task_life(self._session, name))
            else:
                raise UnknownTask(
                    "There is no such resource.",
                    hint=f"Read inbox://{self._session.me.id} or task://TASK_ID.",
                )
        except AgentbusError as error:
            unknown = isinstance(error, UnknownTask)
            raise MCPError(
                code=types.INVALID_PARAMS if unknown else types.INTERNAL_ERROR,
                message=str(error),
                data={"uri": uri},
            ) from None
        text = json.dumps(data, ensure_ascii=False)
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=uri, text=text, mime_type="application/json")]
        )

    async def list_prompts(
        self, _: _Context, __: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        return types.ListPromptsResult(
            prompts=[
                types.Prompt(
                    name="handoff",
                    title="Hand work to another agent",
                    description="Write and send a task that another agent can do alone",
                    arguments=[
                        types.PromptArgument(
                            name="to", description="Agent id or role:NAME", required=True
                        ),
                        types.PromptArgument(
                            name="what", description="What is to be done", required=True
                        ),
                    ],
                )
            ]
        )

    async def get_prompt(
        self, _: _Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        given = params.arguments or {}
        if params.name != "handoff" or not {"to", "what"} <= set(given):
            raise MCPError(
                code=types.INVALID_PARAMS,
                message="The one prompt is 'handoff', with the arguments 'to' and 'what'.",
            )
        text = (
            f"Hand this over to the agent {given['to']} with send_task:\n\n{given['what']}\n\n"
            "Write the body so that it can be done without this conversation: the goal, where "
            "the files are, what is known already, what not to touch, and how to tell that it "
            "is done. Then say which task_id it got, and show the result when it comes."
        )
        return types.GetPromptResult(
            description="Hand work to another agent",
            messages=[
                types.PromptMessage(role="user", content=types.TextContent(type="text", text=text))
            ],
        )

    async def complete(
        self, _: _Context, params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        values: list[str] = []
        if params.argument.name in {"to", "agent"}:
            with suppress(AgentbusError):
                everybody = await roster.everybody(self._session.bus)
                values = [one.id for one in everybody if one.id.startswith(params.argument.value)]
        return types.CompleteResult(
            completion=types.Completion(
                values=values[:100], total=len(values), has_more=len(values) > 100
            )
        )


def _result(answer: Answer) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=answer.text)],
        structured_content=answer.data,
        _meta={"agentbus/inbox": answer.ids} if answer.ids else None,
    )


def _error(text: str) -> types.CallToolResult:
    if len(text) > _ERROR_MAX_CHARS:  # the hint stands at the end
        text = f"{text[: _ERROR_MAX_CHARS // 2]} [...] {text[-_ERROR_MAX_CHARS // 2 :]}"
    content = types.TextContent(type="text", text=text)
    return types.CallToolResult(content=[content], is_error=True)


def run(session: Session) -> None:
    """Serve one session on standard input and output until it ends; then end the process.

    The process ends here and not by returning: a thread that waits for standard input cannot be
    stopped, and would keep it.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    code = 1
    try:
        code = anyio.run(_serve, session, backend="asyncio")
    except Exception:  # noqa: BLE001  # logged, and told by the exit code
        _log.exception("agentbus serve failed")
    _exit(code)


async def _serve(session: Session) -> int:
    """Return the exit code at the end of the input; end the process when told to end before."""
    code, at_end_of_input = 0, False
    async with stdio_server() as (reading, writing):
        try:
            async with anyio.create_task_group() as group:
                _end_when_told(group.cancel_scope.cancel)
                joining = _joining(session)
                group.start_soon(joining.run)
                server = make_server(session, joining.called)
                await server.run(reading, writing, server.create_initialization_options())
                at_end_of_input = True
                # What still waits for the bus must not keep the process.
                group.cancel_scope.cancel()
        except Exception:  # noqa: BLE001  # logged, and told by the exit code
            _log.exception("agentbus serve failed")
            code = 1
        _exit_at_the_latest(code)
        with anyio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
            await session.close()
            await session.bus.close()
        if not at_end_of_input:
            # Leaving `stdio_server` would wait for the thread that reads, and so for more input.
            _exit(code)
    return code


def _joining(session: Session) -> Joining:
    """Return what tells this user's listener of the session, and takes its notices."""
    environ = session.bus.settings.environ

    async def nudge(text: str, results: tuple[str, ...]) -> str:
        if results and set(results) <= set(session.shown):
            return "the session has been shown it"
        await claude_code.nudge(environ, text)
        return ""

    me = Me(
        agent=session.me.id,
        host=session.me.host,
        session=session.id,
        can_nudge=claude_code.can_nudge(environ),
        host_session=environ.get("CLAUDE_CODE_SESSION_ID", ""),
    )
    return Joining(session.bus.settings, me, nudge)


def _end_when_told(end: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    _watch_parent(loop, end)


def _exit_at_the_latest(code: int) -> None:
    """End the process soon, whatever hangs: a host that no longer reads blocks whoever writes."""
    last = threading.Timer(_END_TIMEOUT_S, os._exit, (code,))
    last.daemon = True
    last.start()


def _exit(code: int) -> NoReturn:
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)


def _watch_parent(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    """Call `end` when the parent process ends, even if somebody else keeps our input open."""
    parent = os.getppid()
    try:
        if sys.platform == "linux":
            loop.add_reader(os.pidfd_open(parent), end)
        else:
            queue = select.kqueue()
            event = select.kevent(
                parent, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT
            )
            queue.control([event], 0)
            loop.add_reader(queue.fileno(), end)
            _kept.append(queue)
    except (OSError, AttributeError):
        _look_for_parent(loop, parent, end)


# A kqueue is closed when nobody refers to it.
_kept: Final[list[Any]] = []


def _look_for_parent(loop: asyncio.AbstractEventLoop, parent: int, end: Callable[[], None]) -> None:
    """As `_watch_parent`, where the system cannot tell: an orphan gets another parent."""
    if os.getppid() != parent:
        end()
    else:
        loop.call_later(_LOOK_FOR_PARENT_S, _look_for_parent, loop, parent, end)
