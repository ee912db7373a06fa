# SPDX-License-Identifier: Apache-2.0
"""What an installer runs: the server that an entry names, asked for its tools; hosts' commands."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import pytest
from local_server import script, settings_at
from mcp_agentbus.installers import any_host
from mcp_agentbus.installers._parts import probe
from mcp_agentbus.installers.steps import RUN_TIMEOUT_S, Machine

from mcp_agentbus.errors import BadSetup
from mcp_agentbus.tools.catalog import TOOLS

pytestmark = pytest.mark.started
HANGS = [sys.executable, "-c", "import signal; signal.pause()"]
ONE_TOOL = """
import json
for number in 1, 2:
    input()
    if number == 2:
        input()
    answer = {"id": number, "result": {"tools": [{"name": "send_task"}]}}
    print(json.dumps(answer), flush=True)
"""


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.exit(1)", "does not answer as an MCP server"),
        ("print('hello')", "does not answer as an MCP server"),
        ("input(); print('[]')", "does not answer as an MCP server"),
        (
            ONE_TOOL,
            "lacks the tools list_agents, publish_result, read_inbox, watch_inbox",
        ),
    ],
)
def test_a_server_that_is_not_as_it_must_be_is_told(program, why):
    with pytest.raises(BadSetup, match=why):
        probe.check([sys.executable, "-c", program], {})


def test_a_server_that_hangs_or_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "WITHIN_S", 0.2)
    with pytest.raises(BadSetup, match="does not answer"):
        probe.check(HANGS, {})
    with pytest.raises(BadSetup, match="cannot run: No such file"):
        probe.check([str(tmp_path / "none")], {})


def test_a_server_that_is_asked_for_its_tools_starts_no_listener(tmp_path):
    note = tmp_path / "note"
    program = "import os, sys; open(sys.argv[1], 'w').write(os.environ['AGENTBUS_LISTENER'])"

    with pytest.raises(BadSetup):
        probe.check([sys.executable, "-c", program, str(note)], {"AGENTBUS_LISTENER": ""})

    assert note.read_text() == "off"


def test_a_server_may_take_no_longer_than_its_caller_has():
    with pytest.raises(BadSetup, match="does not answer"):
        probe.check(HANGS, {}, 0.2)


def test_a_command_is_ended_when_the_time_of_all_is_over(tmp_path):
    settings = settings_at(tmp_path, PATH=str(tmp_path))
    hangs = script(tmp_path / "host", "exec /bin/sleep 600")
    soon = Machine(settings, ends_at=time.monotonic() + 0.2)

    with pytest.raises(BadSetup, match=r"`host get` did not end in 0\.\d s"):
        soon.run([str(hangs), "get"])
    assert soon.left_s == 0
    assert Machine(settings).left_s == RUN_TIMEOUT_S
    assert Machine(settings).ends_at == math.inf


def test_the_tools_that_are_looked_for_are_those_that_there_are():
    assert list(probe.TOOLS) == list(TOOLS)


def test_the_printed_entry_starts_the_server(tmp_path):
    machine = Machine(settings_at(tmp_path / "my bus", HOME=str(tmp_path)))
    printed = json.loads(any_host.printed(machine))["mcpServers"]["agentbus"]

    argv = [printed["command"], *printed["args"]]

    assert Path(argv[0]).is_absolute()
    assert set(probe.tools(argv, printed["env"])) == set(TOOLS)
