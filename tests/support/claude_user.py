# SPDX-License-Identifier: Apache-2.0
"""A user of the real Claude Code in tests: connects it, and opens a session in a terminal.

with Standin() as model, terminal(["claude"], folder, environ):
model.turn()
"""

import contextlib
import json
import os
import pty
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import node_tools
from mcp_agentbus.installers import claude_code
from mcp_agentbus.installers.steps import Machine

ROOT = Path(__file__).parents[2]
PARTS = (".claude-plugin", ".mcp.json", "README.md", "bin", "hooks", "monitors", "skills")
KEY = "dummy-dummy-dummy-dummy-dummy"
TOOLS = {f"mcp__plugin_agentbus_agentbus__{name}" for name in (
    "send_task", "read_inbox", "watch_inbox", "list_agents", "publish_result")}  # fmt: skip


def plugin(folder, version=None):
    """Make a plugin's folder, as a wheel carries it."""
    folder.mkdir()
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    if version:
        file = folder / ".claude-plugin" / "plugin.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "version": version}))
    return folder


def install(machine, tree=None, **options):
    """Take the steps; return what they said besides."""
    steps = claude_code.install(machine, plugin_folder=lambda: tree, **options)
    return [step.do() for step in steps]


def at_model(machine, model):
    """Return the same user, whose Claude Code asks a stand-in."""
    variables = {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": KEY}
    return Machine(replace(machine.settings, environ={**machine.environ, **variables}))


@contextlib.contextmanager
def terminal(argv, folder, environ):
    """Run an interactive session in a folder that its user trusts, in a terminal of its own."""
    file = Path(environ["HOME"]) / ".claude.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    trusted = {
        "hasCompletedOnboarding": True,
        "lastOnboardingVersion": node_tools.CLAUDE_CODE_VERSION,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
        "projects": {str(folder): {"hasTrustDialogAccepted": True}},
    }
    file.write_text(json.dumps({**known, **trusted}))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        argv,
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environ,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    drained = threading.Thread(target=_drain, args=[ours])
    drained.start()
    try:
        yield
    finally:
        process.terminate()  # it ends its monitor and its server
        process.wait()
        drained.join()
        os.close(ours)


def _drain(descriptor):
    with contextlib.suppress(OSError):  # the other end has closed
        while os.read(descriptor, 65536):
            pass
