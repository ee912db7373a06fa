# SPDX-License-Identifier: Apache-2.0
"""The five tools, the resources and the prompt of one session, as an MCP server.

    server = make_server(session)

It answers before it touches the bus: the bus is opened at the first tool call. Both protocol eras
are the SDK's business (the client's first request decides). Every error of ours becomes an error
result with its hint, which a model can read; protocol errors it would not see.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final, TypeVar

import anyio.lowlevel
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from mcp_agentbus.bus import budget
from mcp_agentbus.core import ids
from mcp_agentbus.core.lines import MAYBE_DONE, NO_TEXT, SAID_BEFORE
from mcp_agentbus.errors import AgentbusError, UnknownTask
from mcp_agentbus.handoff.inbox import WATCH_MAX_S
from mcp_agentbus.handoff.lookup import Life
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster
from mcp_agentbus.tools.answers import layout, render
from mcp_agentbus.tools.answers.readers import MODEL
from mcp_agentbus.tools.catalog import INSTRUCTIONS, TOOLS, Answer, look
from mcp_agentbus.tools.inputs import ReadInbox
from mcp_agentbus.version import __version__

# Only this program's release changes its lists, so a host may keep them for an hour.
_LISTS: Final = CacheHint(ttl_ms=3_600_000)
_ERROR_MAX_CHARS: Final = 9_000  # Claude Code cuts error results at 10,000
# What a peer wrote is only safe in a frame, and a frame only works as text.
_TEXT: Final = "text/plain"
# Tasks that the resource of an inbox shows.
_INBOX_LIMIT: Final = 20

_log = logging.getLogger(__name__)
_Context = ServerRequestContext[Any, Any]
_Asked = TypeVar("_Asked")
_Answered = TypeVar("_Answered")
#: Told of a call before it is carried out; returns what the answer says of the session besides.
Called = Callable[[], Awaitable[Sequence[str]]]


async def says_nothing() -> tuple[str, ...]:
    """Note no call, and have nothing said of the session."""
    return ()


def make_server(
    session: Session, called: Called = says_nothing, watch_max_s: float = WATCH_MAX_S
) -> Server[Any]:
    """Return the MCP server of one session.

    Args:
        session: whose tools they are.
        called: told of each call of a tool before it is carried out; returns what its answer says
            of the session besides.
        watch_max_s: the most that a call of watch_inbox waits, in seconds.
    """
    handlers = _Handlers(session, called, watch_max_s)
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
        on_call_tool=_given_up(handlers.call_tool),
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_resource_templates,
        on_read_resource=_given_up(handlers.read_resource),
        on_list_prompts=handlers.list_prompts,
        on_get_prompt=handlers.get_prompt,
        on_completion=_given_up(handlers.complete),
    )


def _given_up(
    handler: Callable[[_Context, _Asked], Awaitable[_Answered]],
) -> Callable[[_Context, _Asked], Awaitable[_Answered]]:
    """Return a handler that may be given up by its client in the moment in which its bus is late.

    Work in a task of its own that two end at once does so without the mark by which the SDK knows
    that a request was given up, and it would end all of the session.
    """

    async def handled(context: _Context, asked: _Asked) -> _Answered:
        try:
            return await handler(context, asked)
        except asyncio.CancelledError:
            await anyio.lowlevel.checkpoint_if_cancelled()  # raises with that mark
            raise

    return handled


class _Handlers:
    """What the server does for each request, in MCP's words: what it calls is in the catalog.

    The SDK calls the methods, several at a time.
    """

    def __init__(self, session: Session, called: Called, watch_max_s: float) -> None:
        self._session = session
        self._called = called
        self._watch_max_s = watch_max_s
        #: What is to be said of the session's name with the next answer.
        self._remarks: list[str] = []

    async def list_tools(
        self, _: _Context, __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=_tools(self._watch_max_s))

    async def call_tool(
        self, context: _Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            return _error(
                f"There is no tool {params.name[:80]!r}. Hint: The tools are {', '.join(TOOLS)}."
            )

        # What the session's relay says about the request.
        meta: Mapping[str, Any] = context.meta or {}
        arguments = params.arguments or {}
        if meta.get(MAYBE_DONE) and not tool.may_repeat(arguments):
            return _error(
                "The listener ended while this was sent: it is not known whether it was stored. "
                "Hint: look with read_inbox(view='sent') whether it is there; give request_id next "
                "time, then a second call stores nothing twice."
            )

        async def progress(done: float, total: float, message: str) -> None:
            await context.session.report_progress(done, total, message)

        waited_s = _seconds(meta.get(SAID_BEFORE))
        call = self._session.calls.get(context.request_id)
        try:
            with budget.call():
                await self._begin()
                answer = await tool.run(
                    self._session,
                    arguments,
                    progress,
                    call=call,
                    waited_s=waited_s,
                    watch_max_s=self._watch_max_s,
                )
        except AgentbusError as error:
            return _error(MODEL.sentences(error, params.name))
        except Exception:  # noqa: BLE001  # a model must never see a traceback, nor a bare failure
            _log.exception("%s failed", params.name)
            if call:
                call.lost()
            return _error(
                f"{params.name} failed inside agentbus, which is a bug. Whether anything was "
                "stored is not known. Hint: look with read_inbox; the details are in the "
                "server's log on standard error."
            )
        count = max(1, layout.fitting(map(len, self._remarks), layout.REMARKS_MAX_CHARS))
        remarks, self._remarks = self._remarks[:count], self._remarks[count:]
        notes = filter(None, (answer.note, _note(meta.get(NO_TEXT))))
        return _result(answer, " ".join(notes), remarks)

    async def _begin(self) -> None:
        """Tell of a call."""
        self._remarks += map(MODEL.hint, await self._called())

    async def list_resources(
        self, _: _Context, __: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        me = self._session.me.id
        if not me:  # why, the tools say
            return types.ListResourcesResult(resources=[])
        return types.ListResourcesResult(
            resources=[
                types.Resource(
                    uri=f"inbox://{me}",
                    name="inbox",
                    title=f"Inbox of {me}",
                    description="The tasks of this inbox, without claiming any",
                    mime_type=_TEXT,
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
                    mime_type=_TEXT,
                ),
                types.ResourceTemplate(
                    uri_template="task://{task_id}",
                    name="task",
                    title="The life of a task that this agent sent or received",
                    mime_type=_TEXT,
                ),
            ]
        )

    async def read_resource(
        self, _: _Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """Return what read_inbox would show: the same text, as a host may give it to its model."""
        uri = str(params.uri)
        try:
            await self._begin()
            read = await look(self._session, self._meant(uri))
        except AgentbusError as error:
            unknown = isinstance(error, UnknownTask)
            raise MCPError(
                code=types.INVALID_PARAMS if unknown else types.INTERNAL_ERROR,
                message=MODEL.sentences(error, "read_inbox"),
                data={"uri": uri},
            ) from None
        if isinstance(read, Life):
            shown = render.life_text(read)
        else:
            shown = render.inbox_text(read, self._session.me.id)
        content = types.TextResourceContents(uri=uri, text=shown, mime_type=_TEXT)
        return types.ReadResourceResult(contents=[content])

    def _meant(self, uri: str) -> ReadInbox:
        """Return what read_inbox is given for a resource, of which neither claims anything.

        Raises:
            UnknownTask: there is no such resource.
        """
        me = self._session.me.id
        scheme, _, name = uri.partition("://")
        if scheme == "inbox" and name == me:
            return ReadInbox(peek=True, limit=_INBOX_LIMIT)
        if scheme == "task" and ids.is_task_id(name):
            return ReadInbox(task_id=name)
        raise UnknownTask(
            "There is no such resource.", hint=f"Read inbox://{me} or task://TASK_ID."
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
        """Complete an agent's id, of an addressee also a role; by none without the bus."""
        values: list[str] = []
        if params.argument.name in {"to", "agent"} and self._session.me.id:
            with suppress(AgentbusError):
                everybody = await roster.everybody(self._session.bus)
                names = [agent.id for agent in everybody]
                if params.argument.name == "to":
                    roles = {role for agent in everybody for role in agent.roles}
                    names += sorted(map(ids.role_address, roles))
                values = [name for name in names if name.startswith(params.argument.value)]
        return types.CompleteResult(
            completion=types.Completion(
                values=values[:100], total=len(values), has_more=len(values) > 100
            )
        )


@cache
def _tools(watch_max_s: float) -> list[types.Tool]:
    """Return the tools in MCP's words; making their schemas takes most of a listing's time."""
    return [
        types.Tool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=tool.schema_within(watch_max_s),
            annotations=types.ToolAnnotations(
                title=tool.title,
                **{f"{hint}_hint": value for hint, value in tool.hints.items()},
            ),
        )
        for tool in TOOLS.values()
    ]


def _seconds(given: object) -> float:
    return given if isinstance(given, int | float) else 0.0


def _note(no_text: object) -> str:
    """Return what to say of a call in which so many characters were no text; empty if none."""
    if not isinstance(no_text, int):
        return ""
    was = "1 character of this call was" if no_text == 1 else f"{no_text} characters were"
    return f"{was} no text (half a surrogate pair, or no UTF-8): U+FFFD stands there now."


def _result(answer: Answer, note: str, remarks: Sequence[str]) -> types.CallToolResult:
    """Return an answer, and besides what its user should know of who the session is."""
    text, data = answer.text, answer.data
    if note:  # hosts show a model the data alone, where there is any
        text, data = f"{text}\nNote: {note}", data and {**data, "note": note}
    if remarks and data:
        data = {**data, "remarks": list(remarks)}
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=part) for part in (text, *remarks)],
        structured_content=data,
        _meta=answer.ids,
    )


def _error(text: str) -> types.CallToolResult:
    """Return an error that a model reads; one of the protocol it would not see."""
    if len(text) > _ERROR_MAX_CHARS:  # the hint stands at the end
        text = f"{text[: _ERROR_MAX_CHARS // 2]} [...] {text[-_ERROR_MAX_CHARS // 2 :]}"
    content = types.TextContent(type="text", text=text)
    return types.CallToolResult(content=[content], is_error=True)
