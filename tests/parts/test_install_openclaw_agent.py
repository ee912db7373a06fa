# SPDX-License-Identifier: Apache-2.0
"""Who OpenClaw becomes by its installer: the steps only, none of which is taken but one."""

import json
import platform
import shlex
from pathlib import Path

import pytest
from local_server import configured, script, settings_at
from mcp_agentbus.installers import openclaw
from mcp_agentbus.installers.steps import Machine

SET_UP = '[agents.{}]\nhost = "openclaw"\nwake = "hold"\ndir = "/"\n'


@pytest.fixture
def environ(tmp_path, monkeypatch):
    """A user with a folder `shop` here, and a program that only says its version of OpenClaw."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / ".agentbus.toml").write_text('agent = "from-the-shop"\n')
    script(tmp_path / "openclaw", 'echo "OpenClaw 2026.9.6 (eb377ac)"')
    (tmp_path / "home" / ".openclaw").mkdir(parents=True)
    return {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path)}


def told_entry(steps):
    """Return the entry that the first step says it sets."""
    return json.loads(shlex.split(steps[0].what.partition("`")[2].rstrip("`"))[-1])


@pytest.mark.parametrize(
    ("before", "given", "agent"),
    [
        ({}, None, "openclaw"),
        ({}, "claw", "claw"),
        ({"args": ["serve", "--agent", "claw"]}, None, "claw"),
        ({"args": ["serve", "--agent=claw"]}, None, "claw"),
        ({"args": ["serve", "--agent=claw"]}, "paw", "paw"),
        ({"args": ["serve"], "env": {"AGENTBUS_AGENT": "claw"}}, None, "claw"),
        ({"args": ["serve"], "cwd": "shop"}, None, "from-the-shop"),
    ],
)
def test_it_is_said_who_openclaw_becomes(tmp_path, environ, before, given, agent):
    document = {"mcp": {"servers": {"agentbus": before}}}
    (Path(environ["HOME"]) / ".openclaw" / "openclaw.json").write_text(json.dumps(document))
    machine = Machine(settings_at(tmp_path / "bus", **environ))

    server, _, hooks = steps = openclaw.install(machine, agent=given)

    assert server.what.startswith(f"make OpenClaw the agent {agent}: ")
    assert f"agentbus agent add {agent} --host openclaw" in hooks.do()
    if "env" not in before:  # what a user has put there is not shown
        words = ["serve", "--agent", agent] if given or not before else before["args"]
        assert told_entry(steps)["args"] == [*machine.agentbus[1:], *words]


@pytest.mark.parametrize(
    ("more", "agent"),
    [
        ({"OPENCLAW_PROFILE": "dev"}, "dev-openclaw"),
        ({"OPENCLAW_PROFILE": "default"}, "openclaw"),
        ({"AGENTBUS_URL": "tls://bus.example.org:4222"}, "mac-mini-openclaw"),
    ],
)
def test_one_openclaw_of_several_says_which(tmp_path, environ, monkeypatch, more, agent):
    monkeypatch.setattr(platform, "node", lambda: "Mac mini.local")
    machine = Machine(settings_at(tmp_path / "bus", **environ, **more))

    assert told_entry(openclaw.install(machine))["args"][-2:] == ["--agent", agent]


@pytest.mark.parametrize(
    ("set_up", "agent"), [(["claw"], "claw"), (["claw", "paw"], "openclaw"), ([], "openclaw")]
)
def test_the_agent_that_was_set_up_for_openclaw_is_the_one(tmp_path, environ, set_up, agent):
    text = "".join(SET_UP.format(name) for name in set_up)
    machine = Machine(configured(tmp_path / "bus", text, **environ))

    assert told_entry(openclaw.install(machine))["args"][-2:] == ["--agent", agent]
