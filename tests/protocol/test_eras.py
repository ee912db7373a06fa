# SPDX-License-Identifier: Apache-2.0
"""Both protocol eras, through real processes and the SDK's own client."""

import asyncio
import json
import re

import pytest
import served
from local_server import server_folder
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PromptReference, ResourceTemplateReference
from served import call, send, text

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import inbox, results
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster

BODY = "Look into the folder.\nThen say how many files it has."


async def read(client, uri):
    [content] = (await client.read_resource(uri)).contents
    assert content.mime_type == "text/plain"
    return content.text


def another_session(world, agent):
    """Return one more session of an agent that also has a process."""
    return Session(world.bus, Agent(agent))


async def test_each_era_is_really_spoken(duo):
    assert duo.planner.protocol_version == duo.era
    assert duo.planner.server_info.name == "agentbus"


async def test_a_host_gets_the_instructions_of_the_server(duo):
    assert "publish_result" in duo.planner.instructions
    assert len(duo.planner.instructions) <= 1_200


async def test_a_task_goes_from_one_agent_to_another_and_its_result_back(duo):
    task_id = await send(duo.planner, duo.coder_id, "Count the files", body=BODY, priority="high")
    received = await call(duo.coder, "watch_inbox", timeout_s=30)
    assert f"Task {task_id} from {duo.planner_id}" in text(received)
    assert "Subject: Count the files" in text(received)
    [ids] = received.meta["agentbus/inbox"]["tasks"]
    assert (ids["task_id"], ids["from"]) == (task_id, duo.planner_id)

    life = await read(duo.coder, f"task://{task_id}")
    assert "    Subject: Count the files\n    \n    Look into the folder.\n" in life

    working = await call(
        duo.coder, "publish_result", task_id=task_id, status="working", progress=10
    )
    assert working.structured_content == {"task_id": task_id, "state": "working"}
    assert ": working" in text(await call(duo.planner, "read_inbox", task_id=task_id))

    done = {"task_id": task_id, "status": "completed", "summary": "12 files", "body": "a\nb"}
    published = await call(duo.coder, "publish_result", **done, artifacts=["/tmp/list"])
    assert published.structured_content == {"task_id": task_id, "state": "completed"}

    answer = text(await call(duo.planner, "watch_inbox", task_id=task_id, timeout_s=30))
    assert f"Result of task {task_id} to {duo.coder_id}: completed" in answer
    for said in ("Summary: 12 files", "Artifact: /tmp/list"):
        assert said in answer


async def test_a_peers_text_is_never_structured_content(duo):
    task_id = await send(duo.planner, duo.coder_id, "SECRET-WORD", body="SECRET-WORD")
    received = await call(duo.coder, "read_inbox")
    await call(duo.coder, "publish_result", task_id=task_id, status="failed", body="SECRET-WORD")
    result = await call(duo.planner, "watch_inbox", task_id=task_id, timeout_s=30)
    for answer in (received, result):
        assert "SECRET-WORD" in text(answer)
        assert answer.structured_content is None
        assert "SECRET-WORD" not in json.dumps(answer.meta)


async def test_the_agents_are_listed_as_text_and_for_programs(duo):
    listed = await call(duo.planner, "list_agents", query=duo.coder_id)
    [coder] = listed.meta["agentbus/agents"]["agents"]
    assert (coder["id"], coder["state"]) == (duo.coder_id, "live session")
    assert listed.structured_content is None
    assert text(listed).startswith(f"{duo.coder_id}: live session")


async def test_running_out_of_time_is_a_normal_empty_answer(duo):
    answer = await call(duo.planner, "watch_inbox", timeout_s=0)
    assert "timed out, nothing new" in text(answer)
    assert answer.meta["agentbus/inbox"]["timed_out"] is True


async def test_a_session_finds_its_own_inbox_among_the_resources(duo):
    listed = await duo.coder.list_resources()
    templates = await duo.coder.list_resource_templates()
    assert [str(one.uri) for one in listed.resources] == [f"inbox://{duo.coder_id}"]
    assert {one.uri_template for one in templates.resource_templates} == {
        "inbox://{agent}",
        "task://{task_id}",
    }


async def test_reading_the_inbox_as_a_resource_claims_nothing(duo):
    task_id = await send(duo.planner, duo.coder_id, "Still free", body=BODY)
    seen = await read(duo.coder, f"inbox://{duo.coder_id}")
    assert f"Task {task_id} from {duo.planner_id} \u00b7 normal \u00b7 stored" in seen
    assert "    Subject: Still free\n    \n    Look into the folder.\n" in seen
    assert "1 task (this look claims none). Waiting: 1 normal." in seen

    await call(duo.planner, "publish_result", task_id=task_id, status="cancelled")
    assert "nothing new" in await read(duo.coder, f"inbox://{duo.coder_id}")


@pytest.mark.parametrize(
    "uri",
    [
        "inbox://{planner}",
        "inbox://",
        "task://no-such-task",
        "task://*",
        "task://{planner}/../x",
        "file:///etc/passwd",
        "nonsense",
    ],
)
async def test_a_resource_of_somebody_else_or_of_nobody_is_refused(duo, uri):
    with pytest.raises(MCPError) as refused:
        await duo.coder.read_resource(uri.format(planner=duo.planner_id))
    assert refused.value.code == INVALID_PARAMS
    assert "Hint: " in refused.value.message


async def test_the_task_of_two_others_is_unknown_as_a_resource(duo, world):
    receiver = await world.session("receiver")
    task_id = await send(duo.planner, receiver.me.id)
    with pytest.raises(MCPError) as refused:
        await duo.coder.read_resource(f"task://{task_id}")
    assert refused.value.code == INVALID_PARAMS


async def test_the_prompt_says_what_to_hand_to_whom(duo):
    [prompt] = (await duo.planner.list_prompts()).prompts
    assert [one.name for one in prompt.arguments] == ["to", "what"]
    got = await duo.planner.get_prompt("handoff", {"to": duo.coder_id, "what": "Fix bug 7"})
    [message] = got.messages
    assert duo.coder_id in message.content.text
    assert "Fix bug 7" in message.content.text


@pytest.mark.parametrize(
    ("name", "arguments"), [("nothing", {}), ("handoff", {"to": "coder"}), ("handoff", None)]
)
async def test_a_prompt_that_does_not_exist_or_lacks_an_argument_is_refused(duo, name, arguments):
    with pytest.raises(MCPError, match="handoff") as refused:
        await duo.planner.get_prompt(name, arguments)
    assert refused.value.code == INVALID_PARAMS


@pytest.mark.parametrize(
    ("ref", "argument"),
    [
        (PromptReference(name="handoff"), "to"),
        (ResourceTemplateReference(uri="inbox://{agent}"), "agent"),
    ],
    ids=["prompt", "template"],
)
async def test_the_name_of_an_agent_is_completed(duo, ref, argument):
    begun = {"name": argument, "value": duo.coder_id[:-1]}
    completed = (await duo.planner.complete(ref, begun)).completion
    assert completed.values == [duo.coder_id]
    assert not completed.has_more


async def test_a_role_is_completed_where_a_task_may_be_for_it(duo, world):
    holder = world.name("holder")
    await roster.register(world.bus, Agent(holder, roles=(holder,)), None)
    typed = f"role:{holder}"[:-1]
    prompt, template = (
        PromptReference(name="handoff"),
        ResourceTemplateReference(uri="inbox://{agent}"),
    )
    to = (await duo.planner.complete(prompt, {"name": "to", "value": typed})).completion
    agent = (await duo.planner.complete(template, {"name": "agent", "value": typed})).completion
    assert (to.values, agent.values) == ([f"role:{holder}"], [])


async def test_what_is_no_name_is_not_completed(duo):
    begun = {"name": "what", "value": duo.coder_id[:3]}
    completed = await duo.planner.complete(PromptReference(name="handoff"), begun)
    assert completed.completion.values == []


class Watch:
    """A waiting watch_inbox call of a client."""

    def __init__(self, client):
        self.waits = asyncio.Event()
        self.reports = []
        self.call = asyncio.create_task(
            client.call_tool("watch_inbox", {"timeout_s": 600}, progress_callback=self._progress)
        )

    async def _progress(self, done, total, message):
        self.reports.append((done, total, message))
        self.waits.set()


async def test_a_waiting_call_reports_progress_and_ends_as_soon_as_a_task_is_there(duo):
    async with asyncio.timeout(served.ANSWER_WITHIN_S):
        watch = Watch(duo.coder)
        await watch.waits.wait()
        task_id = await send(duo.planner, duo.coder_id)
        received = await watch.call
    assert f"Task {task_id}" in text(received)
    done, total, message = watch.reports[0]
    assert (total, message) == (600, "waiting for the inbox")
    assert 0 <= done < 600
    await call(duo.coder, "publish_result", task_id=task_id, status="completed")


@pytest.mark.promise(11)
async def test_after_a_cancelled_watch_another_session_gets_the_task_at_once(duo, world):
    async with asyncio.timeout(served.ANSWER_WITHIN_S):
        watch = Watch(duo.coder)
        await watch.waits.wait()
        watch.call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watch.call
        # The server reads in order: once it answers this, it has read the cancellation.
        await call(duo.coder, "list_agents", query=duo.coder_id)
        task_id = await send(duo.planner, duo.coder_id)
        async with another_session(world, duo.coder_id) as other:
            read = await inbox.read_inbox(other)
            assert [item.task.id for item in read.tasks] == [task_id]
            mine = await call(duo.coder, "read_inbox")
            await results.publish_result(other, task_id, "completed")
    assert mine.meta["agentbus/inbox"]["held"] == 0


async def test_a_repeated_request_id_is_told_as_a_duplicate(duo, world):
    receiver = await world.session("receiver")
    asked = {"to": receiver.me.id, "subject": "s", "body": "b", "request_id": "req-1"}
    first = (await call(duo.planner, "send_task", **asked)).structured_content["receipts"]
    second = (await call(duo.planner, "send_task", **asked)).structured_content["receipts"]
    assert [one["duplicate"] for one in first + second] == [False, True]
    assert first[0]["task_id"] == second[0]["task_id"]


async def test_arguments_that_are_null_count_as_left_out(duo, world):
    receiver = await world.session("receiver")
    nulls = dict.fromkeys(("thread_id", "in_reply_to", "expires_in_s", "request_id"))
    task_id = await send(duo.planner, receiver.me.id, **nulls)
    withdrawn = await call(
        duo.planner, "publish_result", task_id=task_id, status="cancelled", progress=None
    )

    assert withdrawn.structured_content == {"task_id": task_id, "state": "cancelled"}


async def test_the_largest_body_reaches_its_reader_whole(duo):
    body = "é\n" * (64 * 1024 // 3)
    task_id = await send(duo.planner, duo.coder_id, body=body)
    shown = text(await call(duo.coder, "read_inbox", detail="full"))
    pages = [shown, await read(duo.coder, f"task://{task_id}")]
    while rest := re.search(r"the rest: read_inbox\(task_id='\w+', cursor='(\d+)'\)", pages[-1]):
        pages.append(text(await call(duo.coder, "read_inbox", task_id=task_id, cursor=rest[1])))
    assert max(map(len, pages)) <= 28_000
    assert sum(page.count("\u00e9") for page in pages[1:]) == body.count("\u00e9")
    await call(duo.coder, "publish_result", task_id=task_id, status="completed")


async def test_a_name_is_completed_on_a_bus_that_was_never_used(era, tmp_path):
    with server_folder(tmp_path / "home"):
        async with served.client(tmp_path / "home", "early", era) as early:
            begun = {"name": "to", "value": ""}
            completed = await early.complete(PromptReference(name="handoff"), begun)
            assert completed.completion.values == []
            await call(early, "list_agents")
