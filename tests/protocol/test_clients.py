# SPDX-License-Identifier: Apache-2.0
"""Client libraries of other projects: a task goes over and back through each, by its ordinary way.

Each runs in an environment of its own and starts what a host would start; its driver in clients/
calls the tools as the library's users do. CrewAI runs only where AGENTBUS_TEST_CLIENTS is `all`.
"""

import json
import os
import re
import subprocess
import uuid
from pathlib import Path

import node_tools
import pytest
import python_tools
import served

# A relayed server starts in a tenth of the time, and what clients may do differently is the same.
pytestmark = pytest.mark.parametrize("way", ["relayed"], indirect=True)

DRIVERS = Path(__file__).parent / "clients"
_LANGCHAIN = "langchain-mcp-adapters==0.3.2"
_OPENAI = "openai-agents==0.24.0"
# What each environment has, the driver, and in which ways the library is used, all by one driver.
PYTHON = {
    "mcp-1": ("mcp==1.30.0", "mcp_1", [{}]),
    "mcp-2": ("mcp==2.3.0", "mcp_2", [{}]),
    "fastmcp": ("fastmcp==4.2.3", "fastmcp_client", [{}]),
    "openai-agents": (_OPENAI, "openai_agents", [{"strict": False}, {"strict": True}]),
    "langchain": (_LANGCHAIN, "langchain_adapters", [{"session": False}, {"session": True}]),
}
if os.environ.get("AGENTBUS_TEST_CLIENTS") == "all":
    # 900 MB, and as much of a processor as all the others.
    PYTHON["crewai"] = ("crewai-tools[mcp]==1.15.30", "crewai_adapter", [{}])
# Where the modules of the client and of its transport are.
TYPESCRIPT = {
    "typescript-1": "@modelcontextprotocol/sdk/dist/esm/client",
    "typescript-2": "@modelcontextprotocol/client/dist",
}
NODE = [pytest.param(name, marks=pytest.mark.node) for name in (*TYPESCRIPT, "mcporter")]


def driver(name):
    """Return the argv of a client's driver, what it is told besides, and the ways of the library.

    Its environment is installed.
    """
    if name in PYTHON:
        package, script, ways = PYTHON[name]
        return [python_tools.installed(package), DRIVERS / f"{script}.py"], {}, ways
    npm = node_tools.installed(node_tools.MCP_CLIENTS)
    if name == "mcporter":
        program = [str(npm.node), str(npm.modules / "mcporter/dist/cli.js")]
        return [served.AGENTBUS[0], DRIVERS / "mcporter.py"], {"program": program}, [{}]
    modules = str(npm.modules / TYPESCRIPT[name])
    return [npm.node, DRIVERS / "typescript.mjs"], {"modules": modules}, [{}]


class Library:
    """A driver at work: two agents' servers behind one library, for each way of using it."""

    def __init__(self, process, pairs):
        self._process = process
        self.pairs = pairs

    def call(self, agent, tool, *, refused=False, **arguments):
        """Have an agent call a tool; return what a model reads."""
        asked = json.dumps({"agent": agent, "tool": tool, "arguments": arguments})
        self._process.stdin.write(asked + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the driver ended"
        answer = json.loads(line)
        # Some hand a model the text of a refusal without a word that it is one.
        assert answer["refused"] in (refused, None), answer["text"]
        return answer["text"]


@pytest.fixture(params=[*PYTHON, *NODE])
def library(request, home, way, tmp_path):
    argv, told, ways = driver(request.param)
    pairs = [[f"{agent}-{uuid.uuid4().hex[:8]}" for agent in ("planner", "coder")] for _ in ways]
    told |= {
        "servers": {agent: served.command(agent) for pair in pairs for agent in pair},
        "ways": {agent: how for pair, how in zip(pairs, ways, strict=True) for agent in pair},
        "environ": served.environ(home.data_dir.parent),
    }
    with (
        (tmp_path / "log").open("w+") as log,
        subprocess.Popen(
            [*argv, json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=tmp_path,
            # None of them may ask a server of its makers for anything.
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OTEL_SDK_DISABLED": "true"},
            text=True,
        ) as process,
    ):
        try:
            yield Library(process, pairs)
            process.stdin.close()
            assert process.wait(served.ANSWER_WITHIN_S) == 0
        finally:
            process.kill()
            log.seek(0)
            print(log.read()[-3_000:])


def test_a_task_goes_over_and_back(library):
    for planner, coder in library.pairs:
        over_and_back(library, planner, coder)


def over_and_back(library, planner, coder):
    assert coder in library.call(coder, "list_agents", query=coder)
    sent = library.call(
        planner,
        "send_task",
        to=coder,
        subject="Count the files",
        body="All of them.",
        priority="high",
    )
    assert "stored" in sent
    task_id = re.search(r"[0-9a-f]{32}", sent)[0]

    watched = library.call(coder, "watch_inbox", timeout_s=4)
    for part in (f"Task {task_id} from {planner}", "high", "All of them."):
        assert part in watched
    # Still held, or claimed once more by another server.
    assert task_id in library.call(coder, "read_inbox")

    done = {"status": "completed", "summary": "12", "artifacts": ["src/a.py"]}
    assert "completed" in library.call(coder, "publish_result", task_id=task_id, **done)
    seen = library.call(planner, "watch_inbox", timeout_s=4)
    for part in (f"Result of task {task_id}", "completed", "Summary: 12", "src/a.py"):
        assert part in seen

    refused = library.call(coder, "publish_result", refused=True, task_id="0" * 32, status="failed")
    assert "Hint: Copy the task_id" in refused
