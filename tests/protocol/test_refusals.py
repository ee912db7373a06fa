# SPDX-License-Identifier: Apache-2.0
"""Every refusal reaches the model as an error result with its hint, in both protocol eras."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import anyio
import errors_all
import pytest
import pytest_asyncio
import served
from mcp import Client
from served import call, send, text

from mcp_agentbus import errors
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import NotGranted
from mcp_agentbus.bus.replies import ApiError
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import inbox, results
from mcp_agentbus.handoff.call import Calls
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.tools import mcp_server
from mcp_agentbus.tools.answers.readers import MODEL

UNKNOWN = "0" * 32
A_TASK = {"to": "{other}", "subject": "s", "body": "b"}
A_RESULT = {"task_id": UNKNOWN, "status": "completed"}

# What is called, with which arguments, and what the model must read.
BAD_ARGUMENTS = [
    ("send_task", {}, "to: Field required"),
    ("send_task", A_TASK | {"urgent": True}, "urgent: Extra inputs are not permitted"),
    ("read_inbox", {"max": 3}, "max: Extra inputs"),
    ("watch_inbox", {"seconds": 3}, "seconds: Extra inputs"),
    ("list_agents", {"online": True}, "online: Extra inputs"),
    ("publish_result", A_RESULT | {"result": "x"}, "result: Extra inputs"),
    ("read_inbox", {f"unknown{n}": 0 for n in range(500)}, "and 492 more"),
    ("read_inbox", {"x" * 50_000: 0}, "Extra inputs"),
    ("send_task", A_TASK | {"to": {"id": 7}}, "to: Input should be a valid string"),
    ("send_task", A_TASK | {"to": ["{other}", [7]]}, "to.1: Input should be a valid string"),
    ("send_task", A_TASK | {"to": None}, "to: Field required"),
    ("send_task", A_TASK | {"subject": None}, "subject: Field required"),
    ("send_task", A_TASK | {"subject": ["s"]}, "subject: Input should be a valid string"),
    ("send_task", A_TASK | {"priority": "urgent"}, "priority: Input should be 'high'"),
    ("send_task", A_TASK | {"notify": "email"}, "notify: Input should be 'live'"),
    ("send_task", A_TASK | {"expires_in_s": "soon"}, "expires_in_s: Input should be a valid int"),
    ("read_inbox", {"limit": -1}, "limit: Input should be greater than or equal to 1"),
    ("read_inbox", {"limit": 51}, "limit: Input should be less than or equal to 50"),
    ("read_inbox", {"detail": "all"}, "detail: Input should be 'concise'"),
    ("read_inbox", {"peek": "perhaps"}, "peek: Input should be a valid boolean"),
    ("watch_inbox", {"timeout_s": -1}, "timeout_s: Input should be greater"),
    ("watch_inbox", {"timeout_s": 3601}, "timeout_s: Input should be less"),
    ("watch_inbox", {"priority": "urgent"}, "priority: Input should be"),
    ("list_agents", {"limit": 101}, "limit: Input should be less"),
    ("publish_result", {"status": "completed"}, "task_id: Field required"),
    ("publish_result", A_RESULT | {"status": "done"}, "status: Input should be 'working'"),
    ("publish_result", A_RESULT | {"progress": 101}, "progress: Input should be less"),
    ("publish_result", A_RESULT | {"artifacts": {"x": 1}}, "artifacts: Input should be a valid"),
]
BAD_VALUES = [
    ("send_task", A_TASK | {"to": "Not An Agent"}, "is not an agent id"),
    ("send_task", A_TASK | {"to": "x" * 100_000}, "is not an agent id"),
    ("send_task", A_TASK | {"to": "a.>"}, "is not an agent id"),
    ("send_task", A_TASK | {"to": "system"}, "reserved"),
    ("send_task", A_TASK | {"to": "role-x"}, "reserved"),
    ("send_task", A_TASK | {"to": "role:*"}, "is not a role name"),
    ("send_task", A_TASK | {"to": []}, "There are 0 addressees"),
    ("send_task", A_TASK | {"to": [f"a{n}" for n in range(51)]}, "There are 51 addressees"),
    ("send_task", A_TASK | {"to": ["all", "{other}"]}, "'all' stands among other addressees"),
    ("send_task", A_TASK | {"subject": ""}, "subject"),
    ("send_task", A_TASK | {"subject": "two\nlines"}, "subject"),
    ("send_task", A_TASK | {"subject": "x" * 201}, "The subject has 201 characters"),
    ("send_task", A_TASK | {"body": "é" * 40_000}, "80,000 bytes"),
    ("send_task", A_TASK | {"expires_in_s": -1}, "expires_in_s is -1"),
    ("send_task", A_TASK | {"expires_in_s": 8 * 86_400}, "expires_in_s is 691200"),
    ("send_task", A_TASK | {"deliver_in_s": -1}, "deliver_in_s is -1"),
    ("send_task", A_TASK | {"thread_id": "a b"}, "is not a thread id"),
    ("send_task", A_TASK | {"request_id": "x" * 129}, "is not a request id"),
    ("send_task", A_TASK | {"task_type": "a b"}, "is not a task type"),
    ("send_task", A_TASK | {"in_reply_to": "*"}, "is not a task id"),
    ("read_inbox", {"cursor": "yesterday"}, "The cursor is not one of this inbox"),
    ("read_inbox", {"cursor": "peek-1-130"}, "give peek=true"),
    ("read_inbox", {"cursor": "past-1-abc"}, "give view"),
    ("read_inbox", {"cursor": "yesterday", "peek": True}, "cursor"),
    ("read_inbox", {"cursor": "-1", "task_id": UNKNOWN}, "The cursor is not one of this task"),
    ("read_inbox", {"cursor": "٣", "task_id": UNKNOWN}, "The cursor is not one of this task"),
    ("list_agents", {"cursor": "Yesterday"}, "The cursor is not one of this list"),
    ("read_inbox", {"thread_id": "a b"}, "is not a thread id"),
    ("read_inbox", {"task_id": "../x"}, "is not a task id"),
    ("watch_inbox", {"task_id": "?"}, "is not a task id"),
    ("publish_result", A_RESULT | {"task_id": ""}, "is not a task id"),
    ("publish_result", A_RESULT | {"task_id": "a.b"}, "is not a task id"),
    ("publish_result", A_RESULT | {"summary": "x" * 2_001}, "The summary has 2,001 characters"),
    ("publish_result", A_RESULT | {"body": "x" * 262_145}, "262,145 bytes"),
    ("publish_result", A_RESULT | {"artifacts": ["x"] * 51}, "too many artifacts"),
    ("publish_result", A_RESULT | {"artifacts": ["x" * 1_025]}, "one is too long"),
]
# `{...}` stands for an agent or a task of the fixture `tasks`.
REFUSED = [
    ("send_tasks", {}, "There is no tool 'send_tasks'"),
    ("x" * 50_000, {}, "There is no tool"),
    ("send_task", A_TASK | {"to": "nobody-of-this-name"}, "No agent 'nobody-of-this-name'"),
    ("send_task", A_TASK | {"to": "{near}"}, "Nearest: {other}"),
    ("send_task", A_TASK | {"to": ["{other}", "nobody-of-this-name"]}, "Nothing was sent"),
    ("send_task", A_TASK | {"to": "role:nobody"}, "No registered agent holds 'role:nobody'"),
    ("send_task", A_TASK | {"request_id": "{used}"}, "This request_id was used for another task"),
    ("read_inbox", {"task_id": UNKNOWN}, "neither sent nor received a task " + UNKNOWN),
    ("watch_inbox", {"task_id": UNKNOWN}, UNKNOWN),
    ("watch_inbox", {"task_id": "{waiting}"}, "{waiting}"),
    ("publish_result", A_RESULT, f"No task {UNKNOWN} is known"),
    ("publish_result", A_RESULT | {"status": "cancelled"}, f"sent no task {UNKNOWN}"),
    ("publish_result", A_RESULT | {"task_id": "{held}"}, "is held by session"),
    ("publish_result", A_RESULT | {"task_id": "{ended}"}, "is over: failed"),
    ("publish_result", A_RESULT | {"task_id": "{sent}"}, "only {other} can answer it"),
    ("publish_result", {"task_id": "{held}", "status": "cancelled"}, "by another agent"),
    ("publish_result", {"task_id": "{waiting}", "status": "cancelled"}, "by another agent"),
    ("publish_result", {"task_id": "{answered}", "status": "cancelled"}, "is over: completed"),
]


@pytest_asyncio.fixture(scope="module")
async def tasks(duo, home):
    """Tasks between planner and an agent named other, in every state that a refusal needs."""
    other_id = duo.planner_id.replace("planner", "other")
    async with (
        Bus.connect(home) as bus,
        Session(bus, Agent(other_id)) as other,
        Session(bus, Agent(duo.planner_id)) as mine,
    ):
        await inbox.read_inbox(other)  # makes it known
        ids = {"other": other_id, "near": other_id[:-1] + "7", "used": "used-once"}
        for name in ("ended", "held"):
            ids[name] = await _received(other, mine)
        await results.publish_result(mine, ids["ended"], "failed")
        ids["waiting"] = await _sent_to(duo.planner_id, other)
        ids["answered"] = await send(duo.planner, other_id)
        await inbox.read_inbox(other)
        await results.publish_result(other, ids["answered"], "completed")
        ids["sent"] = await send(duo.planner, other_id, "another", request_id=ids["used"])
        yield ids


async def _sent_to(agent, sender):
    [receipt] = await send_task(sender, agent, "s", "b")
    return receipt.task_id


async def _received(sender, receiver):
    task_id = await _sent_to(receiver.me.id, sender)
    read = await inbox.watch_inbox(receiver, timeout_s=30)
    assert task_id in [item.task.id for item in read.tasks]
    return task_id


def filled(value, ids):
    """Return the value with the ids of the fixture in it."""
    if isinstance(value, dict):
        return {key: filled(one, ids) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, ids) for one in value]
    if isinstance(value, str) and value.startswith("{"):
        return value.format(**ids)
    return value


def check_refusal(result, expected):
    assert result.is_error
    said = text(result)
    assert expected in said
    assert " Hint: " in said
    assert len(said.rpartition(" Hint: ")[2]) > 10
    assert len(said) <= 10_000
    assert "Traceback" not in said
    assert result.structured_content is None
    assert result.meta is None or not any("agentbus" in key for key in result.meta)


def _named(cases):
    return [pytest.param(*case, id=f"{case[0][:12]}-{case[2][:30]}") for case in cases]


# What is refused is decided behind the era and the way; test_eras.py has them all crossed.
@pytest.mark.parametrize(*served.PAIRED, indirect=True)
@pytest.mark.parametrize(
    ("tool", "arguments", "expected"), _named(BAD_ARGUMENTS + BAD_VALUES + REFUSED)
)
async def test_a_refusal_says_what_is_wrong_and_what_to_do(duo, tasks, tool, arguments, expected):
    result = await duo.planner.call_tool(tool, filled(arguments, tasks))
    check_refusal(result, expected.format(**tasks))


@pytest.mark.parametrize(*served.PAIRED, indirect=True)
async def test_a_refused_task_was_not_stored(duo, tasks):
    before = await call(duo.planner, "list_agents", query=tasks["other"])
    for tool, arguments, _ in BAD_ARGUMENTS + BAD_VALUES:
        if tool == "send_task":
            await duo.planner.call_tool(tool, filled(arguments, tasks))
    after = await call(duo.planner, "list_agents", query=tasks["other"])
    [was], [now] = (each.meta["agentbus/agents"]["agents"] for each in (before, after))
    assert was.get("waiting") == now.get("waiting")


async def test_without_a_server_the_model_reads_that_nothing_was_stored(era, tmp_path):
    # Nothing listens on the first port.
    away = {"AGENTBUS_URL": "nats://127.0.0.1:1"}
    async with served.client(tmp_path, "coder", era, **away) as client:
        result = await client.call_tool("send_task", {"to": "x", "subject": "s", "body": "b"})
    check_refusal(result, "Nothing was stored")


class _Raises:
    """A tool that fails in a way of our choosing."""

    def __init__(self, error):
        self._error = error

    async def run(self, *_, **__):
        raise self._error


@pytest.fixture
def failing(monkeypatch):
    """Connect to a server in this process, one of whose tools raises the error given."""

    def connect(error, era, way=_Raises):
        mcp_server._tools(inbox.WATCH_MAX_S)  # its tools are listed as ever
        monkeypatch.setitem(mcp_server.TOOLS, "publish_result", way(error))
        session = SimpleNamespace(me=Agent("coder"), calls=Calls())
        return Client(mcp_server.make_server(session), mode=served.MODE[era])

    return connect


@pytest.mark.parametrize("error", [errors.AgentbusError, *errors_all.ALL])
async def test_every_kind_of_error_reaches_the_model_with_its_hint(failing, era, error):
    given = {ApiError: (1, "no"), NotGranted: ("review",)}
    raised = error(*next((given[kind] for kind in error.__mro__ if kind in given), ()))
    async with failing(raised, era) as client:
        result = await client.call_tool("publish_result", {})
    check_refusal(result, raised.message)
    assert text(result).endswith(f"Hint: {MODEL.hint(raised.hint)}")


async def test_a_bug_is_told_without_what_it_was_about(failing, era, caplog):
    async with failing(RuntimeError("SECRET-WORD"), era) as client:
        result = await client.call_tool("publish_result", {})
    check_refusal(result, "which is a bug")
    assert "SECRET-WORD" not in text(result)
    assert "SECRET-WORD" in caplog.text


async def test_a_call_that_is_given_up_in_the_moment_it_is_late_ends_no_session(failing, era):
    class Late(_Raises):
        async def run(self, *_, **__):
            await asyncio.create_task(self._ended_by_two())

        async def _ended_by_two(self):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            raise asyncio.CancelledError  # as asyncio has it of two: by whom does not stand in it

    async with failing(None, era, Late) as client:
        with anyio.move_on_after(0.2):
            await client.call_tool("publish_result", {})
        listed = await client.list_tools()

    assert len(listed.tools) == 5


async def test_an_endless_error_keeps_its_hint_within_what_hosts_show(failing, era):
    async with failing(errors.BadInput("x" * 30_000, hint="Say less, please."), era) as client:
        result = await client.call_tool("publish_result", {})
    check_refusal(result, "xxx")
    assert text(result).endswith("Say less, please.")
