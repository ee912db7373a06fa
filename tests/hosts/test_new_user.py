# SPDX-License-Identifier: Apache-2.0
"""A new user's way, as README shows it: from the wheel to a task that both real hosts have done."""

import json
import os
import re
import shlex
import shutil
import subprocess

import node_tools
import pytest
import python_tools
from claude_user import KEY, ROOT
from openclaw_user import free_port, on_path, onboarding, running
from standin import LATEST, NOTICE, Standin

pytestmark = pytest.mark.node

WITHIN_S = 300  # all of it; each command has less
DONE = "The task came through, and its result came back."
SELF_TESTS_WORDS = "This task tests the bus."
ANSWERING = [
    ("read_inbox", {}),
    ("publish_result", {"task_id": LATEST, "status": "completed", "summary": "ok"}),
]


def commands(name):
    """Return the lines of a block of commands in README."""
    block = re.search(
        rf"<!-- command: {name} -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )[1]
    return [line for line in block.splitlines() if line]


@pytest.fixture
def user(tmp_path):
    """A machine with Python, the two hosts, and a model; OpenClaw's gateway runs already."""
    with Standin(ANSWERING) as model:
        user = User(tmp_path, model)
        port = free_port()
        user.type(shlex.join(["openclaw", *onboarding(port, model)]))
        try:
            with running(user.environ, port):
                yield user
        finally:
            user.type("agentbus listen --stop; agentbus server stop", code=None)


class User:
    """Types commands in a home that nobody has used."""

    def __init__(self, folder, model):
        self.model = model
        self.home, programs = folder / "home", folder / "bin"
        (self.home / "shop").mkdir(parents=True)
        programs.mkdir()
        (programs / "claude").symlink_to(node_tools.claude_code())
        (programs / "uv").symlink_to(python_tools.uv())
        self.environ = {
            "HOME": str(self.home),
            "PATH": f"{self.home / '.local' / 'bin'}:{on_path(programs)}",
            "TERM": "xterm",
            "NO_COLOR": "1",
            "ANTHROPIC_BASE_URL": model.url,
            "ANTHROPIC_API_KEY": KEY,
            **python_tools.settings(),
        }

    def type(self, command, *, code=0, **environ):
        """Type a command; return what it printed."""
        ran = self._run(command, **environ)
        if code not in {None, ran.returncode}:
            woken = self._run("agentbus agent wakes shop-claude; agentbus agent wakes openclaw")
            pytest.fail(f"{command}: exit code {ran.returncode}\n{ran.stdout}\n{woken.stdout}")
        return ran.stdout

    def _run(self, command, **environ):
        return subprocess.run(
            ["/bin/sh", "-c", command],
            env={**self.environ, **environ}, cwd=self.home, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=WITHIN_S,
        )  # fmt: skip


def test_the_commands_of_the_readme_lead_from_the_wheel_to_a_task_that_each_host_has_done(
    user, tmp_path
):
    built = [python_tools.uv(), "build", "--quiet", "--wheel", "--out-dir", tmp_path]
    source = tmp_path / "source"
    others = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=others)  # a build writes into it
    subprocess.run(built, cwd=source, env={**os.environ, **python_tools.settings()}, check=True)
    [wheel] = tmp_path.glob("mcp_agentbus-*.whl")

    said, shown = {}, {}
    for line in (*commands("connect"), *commands("try")):
        command = line.partition("#")[0].rstrip()
        said[command] = user.type(
            line.replace("uv tool install mcp-agentbus", f"uv tool install -q {wheel}")
        )
        shown[command] = [json.dumps(request["messages"]) for request in user.model.shown]
        user.model.shown.clear()

    asked = said["agentbus setup --yes"]
    assert "claude-code connected, and asked" in asked
    assert "openclaw connected, and asked" in asked
    for agent in ("shop-claude", "openclaw"):
        command = f"agentbus doctor --self-test --wake {agent}"
        assert said[command].endswith(f"{DONE}\n")
        told, read, *_ = shown[command]
        assert NOTICE in told
        assert SELF_TESTS_WORDS not in told
        assert SELF_TESTS_WORDS in read
