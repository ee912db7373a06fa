# SPDX-License-Identifier: Apache-2.0
"""The MCP inspector's command line as a host: a client of the older era that nobody here wrote."""

import asyncio
import json

import node_tools
import pytest
import served

from mcp_agentbus.tools.catalog import TOOLS

# A relayed server starts in a tenth of the time, and what a host may do differently is the same.
pytestmark = [pytest.mark.node, pytest.mark.parametrize("way", ["relayed"], indirect=True)]

SCRIPT = "@modelcontextprotocol/inspector/clients/launcher/build/index.js"


@pytest.fixture(scope="session")
def inspector():
    return node_tools.installed(node_tools.INSPECTOR)


@pytest.fixture
def inspect(inspector, home, way, tmp_path):
    """Ask a server of its own, as the inspector starts it, one thing; return what it printed."""
    variables = {
        "AGENTBUS_HOME": str(home.data_dir.parent),
        "AGENTBUS_LISTENER": "off",
        "PYTHONPATH": served.PACKAGE,
    }
    given = [part for key, value in variables.items() for part in ("-e", f"{key}={value}")]

    async def run(agent, method, *args, ok=True):
        argv = ["--cli", *given, *served.command(agent), "--method", method, *args]
        # It keeps a catalog in the user's home.
        done = await asyncio.to_thread(inspector.run, SCRIPT, *argv, HOME=str(tmp_path))
        assert (done.returncode == 0) is ok, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    return run


async def test_the_inspector_lists_the_tools_and_finds_no_schema_that_some_host_could_not_use(
    inspect,
):
    # --strict makes its exit code say so, which `inspect` looks at.
    listed = await inspect("nobody", "tools/list", "--strict")
    assert [tool["name"] for tool in listed["tools"]] == list(TOOLS)


async def test_a_task_goes_from_one_inspector_to_another(inspect, world):
    worker = (await world.session("worker")).me.id
    planner = world.name("planner")
    given = [f"to={worker}", "subject=Count the files", "body=All of them.", "priority=high"]
    sent = await inspect(planner, "tools/call", "--tool-name", "send_task", "--tool-arg", *given)
    [receipt] = sent["structuredContent"]["receipts"]
    assert receipt["state"] == "stored"
    task_id = receipt["task_id"]

    asked = ["--tool-name", "read_inbox", "--tool-arg", "limit=5"]
    read = await inspect(worker, "tools/call", *asked)
    for said in (f"Task {task_id} from {planner}", "high", "All of them."):
        assert said in read["content"][0]["text"]
    assert "structuredContent" not in read

    # That session has ended, so the task is free again.
    resource = await inspect(worker, "resources/read", "--uri", f"inbox://{worker}")
    assert (
        f"Task {task_id} from {planner} \u00b7 high \u00b7 stored"
        in resource["contents"][0]["text"]
    )

    life = await inspect(planner, "resources/read", "--uri", f"task://{task_id}")
    assert life["contents"][0]["text"].startswith(f"Task {task_id}: stored")


async def test_a_refusal_reaches_the_inspector_as_a_result(inspect):
    asked = ["--tool-name", "read_inbox", "--tool-arg", "limit=51"]
    refused = await inspect("nobody", "tools/call", *asked, ok=False)
    assert refused["isError"] is True
    assert "Hint: " in refused["content"][0]["text"]


async def test_the_inspector_lists_what_else_there_is(inspect):
    resources, templates, prompts = await asyncio.gather(
        *(
            inspect("nobody", method)
            for method in ("resources/list", "resources/templates/list", "prompts/list")
        )
    )
    assert [one["uri"] for one in resources["resources"]] == ["inbox://nobody"]
    assert len(templates["resourceTemplates"]) == 2
    assert [one["name"] for one in prompts["prompts"]] == ["handoff"]


async def test_the_inspector_gets_the_prompt(inspect):
    given = ["--prompt-name", "handoff", "--prompt-args", "to=coder", "what=Fix it"]
    got = await inspect("nobody", "prompts/get", *given)
    said = got["messages"][0]["content"]["text"]
    assert "coder" in said
    assert "Fix it" in said
