# SPDX-License-Identifier: Apache-2.0
"""The real Claude Code whose model has lost what it read, or has others read for it."""

import asyncio
import json

import pytest
from claude_user import TOOLS, allow, at_model, terminal
from listeners import listening
from local_server import server_folder
from standin import ANSWERING, LATEST, Standin

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster

pytestmark = pytest.mark.node

WITHIN_S = 150  # only a hang takes as long

EVERY = tuple(sorted(name.rpartition("__")[2] for name in TOOLS))
ERRAND = "The errand of a subagent: read the inbox, and end what is there."
READING = ANSWERING[:1]
TOO_MANY_TOKENS = 990_000  # for its window: its host compacts before the next request
FEW_TOKENS = 10
COMPACTED = "This session is being continued"
ANSWER = {"task_id": LATEST, "status": "completed", "summary": "done"}


async def test_a_session_that_was_compacted_by_itself_and_by_its_user_ends_its_task_once(
    user_with_bus, tmp_path
):
    machine, _ = user_with_bus
    folder = tmp_path / "shop"
    folder.mkdir()
    allow(machine, EVERY)
    with server_folder(tmp_path / "bus"), Filled(READING) as model:
        async with (
            listening(machine.settings) as listener,
            Bus.connect(machine.settings) as bus,
            Session(bus, Agent("planner")) as planner,
        ):
            environ = dict(at_model(machine, model).environ)
            argv = [machine.program("claude"), "--permission-mode", "manual"]
            with terminal(argv, folder, environ) as screen:
                for _ in range(2):  # its server and its monitor
                    await listener.logged("joined", agent="shop-claude")
                await roster.register(bus, Agent("shop-claude"), None)
                [sent] = await send_task(planner, "shop-claude", "Count", "the tests")
                screen.type("go\r")
                await asyncio.to_thread(screen.shows, "DONE")
                read = model.shown[-1]
                screen.type("go on\r")
                line = await asyncio.to_thread(read_again, model)
                screen.type("/compact\r")
                await asyncio.to_thread(screen.shows, "Compacted")
                model.plan = [*READING, ("read_inbox", {"task_id": LATEST}), *ANSWERING[1:]]
                screen.type("go on\r")
                result = await watch_inbox(planner, timeout_s=WITHIN_S)
                life = await task_life(planner, sent.task_id)
            await listener.end()

    [later] = [each for each in results(model.shown[-1]) if "still held" in each]
    for again in (line, later):
        assert f"the whole: read_inbox(task_id='{sent.task_id}')" in again
        assert "the tests" not in again
    assert "the tests" in results(read)[0]
    assert [end.summary for end in result.results] == ["done"]
    assert [step.state for step in life.history] == ["stored", "claimed", "completed"]


class Filled(Standin):
    """A model whose context is full once it has read, and after that no more."""

    _filled = False

    def answer(self, request):
        """Return as `Standin.answer`."""
        fills = bool(results(request)) and not self._filled
        self._filled = self._filled or fills
        self.tokens = TOO_MANY_TOKENS if fills else FEW_TOKENS
        return super().answer(request)


def read_again(model):
    """Wait until a model that has lost its context has read its inbox; return what that answered."""
    while True:
        request = model.turn()
        answers = results(request)
        if answers and COMPACTED in json.dumps(request["messages"]):
            return answers[0]


async def test_two_subagents_at_once_do_a_task_each_and_none_twice(user_with_bus, tmp_path):
    machine, _ = user_with_bus
    folder = tmp_path / "shop"
    folder.mkdir()
    allow(machine, EVERY)
    with server_folder(tmp_path / "bus"), Delegating() as model:
        async with (
            listening(machine.settings) as listener,
            Bus.connect(machine.settings) as bus,
            Session(bus, Agent("planner")) as planner,
        ):
            await planner.called()
            await roster.register(bus, Agent("shop-claude"), None)
            sent = [
                (await send_task(planner, "shop-claude", name, "b"))[0] for name in ("one", "two")
            ]
            environ = dict(at_model(machine, model).environ)
            argv = [machine.program("claude"), "--permission-mode", "manual"]
            with terminal(argv, folder, environ) as screen:
                for _ in range(2):  # its server and its monitor
                    await listener.logged("joined", agent="shop-claude")
                screen.type("go\r")
                for receipt in sent:
                    await watch_inbox(planner, task_id=receipt.task_id, timeout_s=WITHIN_S)
                lives = [await task_life(planner, receipt.task_id) for receipt in sent]
            await listener.end()

    errands = [each for each in model.shown if ERRAND in json.dumps(each["messages"][0])]
    assert len([each for each in errands if not results(each)]) == 2
    for life in lives:
        assert [step.state for step in life.history] == ["stored", "claimed", "completed"]
        assert {step.by for step in life.history[1:]} == {"shop-claude"}


class Delegating(Standin):
    """A model that has two subagents read the inbox at the same time, and end what each was given."""

    def answer(self, request):
        """Return as `Standin.answer`: two calls at once of who is no subagent, and then no more."""
        tools = {tool.get("name") for tool in request.get("tools") or ()}
        delegates = next(iter(tools & {"Agent", "Task"}), None)
        if not tools or ERRAND in json.dumps(request["messages"][0]):
            self.plan = [("read_inbox", {"limit": 1}), ("publish_result", ANSWER)]
        elif delegates and not results(request):
            given = {"prompt": ERRAND, "description": "errand", "subagent_type": "general-purpose"}
            return [
                {"type": "tool_use", "id": f"toolu_main_{n}", "name": delegates, "input": given}
                for n in range(2)
            ], "tool_use"
        else:
            return [{"type": "text", "text": "DONE"}], "end_turn"
        return super().answer(request)


def results(request):
    """Return what the tools answered, in the request that a model was shown."""
    return [
        json.dumps(block["content"])
        for message in request["messages"]
        for block in message["content"]
        if isinstance(block, dict) and block["type"] == "tool_result"
    ]
