# SPDX-License-Identifier: Apache-2.0
r"""A user of the real Claude Code in tests: connects it, and opens a session in a terminal.

with Standin() as model, terminal(["claude"], folder, environ) as screen:
    screen.type("hello\r")
    model.turn()
    screen.shows("DONE")
"""

import contextlib
import json
import os
import pty
import shutil
import subprocess
import termios
import threading
from dataclasses import replace
from pathlib import Path

import node_tools
import pyte
from local_server import settings_at
from mcp_agentbus.installers import claude_code
from mcp_agentbus.installers.steps import Machine

ROOT = Path(__file__).parents[2]
PARTS = (".claude-plugin", ".mcp.json", "README.md", "bin", "hooks", "monitors", "skills")
_COLUMNS, _LINES = 120, 50
_WITHIN_S = 150  # only a hang takes as long
_TAKES_KEYS_S = 0.5  # a question that came up takes keys after about as long
# Nothing on its screen moves by itself: that would take more of a processor than all else it does.
_STILL = json.dumps({"prefersReducedMotion": True, "spinnerTipsEnabled": False})
QUESTION = "Do you want to proceed?"
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


def user(programs, place):
    """Return the machine of a user, in a place of theirs, who has never started Claude Code.

    Args:
        programs: a folder with `claude`.
        place: where their home and their bus are to be.
    """
    home = place / "home"
    home.mkdir()
    settings = settings_at(place / "bus")
    environ = {
        "AGENTBUS_HOME": str(place / "bus"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "HOME": str(home),
        "PATH": f"{programs}:/usr/bin:/bin",
        "TERM": "xterm",
    }
    return Machine(replace(settings, environ=environ))


def install(machine, tree=None, **options):
    """Take the steps; return what they said besides."""
    steps = claude_code.install(machine, plugin_folder=lambda: tree, **options)
    return [step.do() for step in steps]


def allow(machine, tools):
    """Take the one step of an install that has the plugin let these tools run unasked."""
    steps = claude_code.install(machine, plugin_folder=Path, allow_tools=tools)
    steps[-1].do()


def at_model(machine, model, **more):
    """Return the same user, whose Claude Code asks a stand-in; with more variables."""
    variables = {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": KEY, **more}
    return Machine(replace(machine.settings, environ={**machine.environ, **variables}))


@contextlib.contextmanager
def terminal(argv, folder, environ, columns=_COLUMNS, *, beside=()):
    """Run an interactive session in a folder that its user trusts, in a terminal of its own.

    `beside`: folders of later sessions. A session keeps the list, and writes it back.
    """
    file = Path(environ["HOME"]) / ".claude.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    trusted = {
        "hasCompletedOnboarding": True,
        "lastOnboardingVersion": node_tools.CLAUDE_CODE_VERSION,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
        "projects": {
            **known.get("projects", {}),
            **{str(each): {"hasTrustDialogAccepted": True} for each in (folder, *beside)},
        },
    }
    file.write_text(json.dumps({**known, **trusted}))
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (_LINES, columns))
    screen = Screen(ours, columns)
    process = subprocess.Popen(
        [*argv, "--settings", _STILL],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environ,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    drained = threading.Thread(target=screen.drain)
    drained.start()
    try:
        yield screen
    finally:
        process.terminate()  # it ends its monitor and its server
        process.wait()
        drained.join()
        os.close(ours)


def begun(screen, model):
    """Have the model begin its plan: a host may ask it before it has the tools of all servers."""
    tools = set()
    while not any(name.endswith("__send_task") for name in tools):
        screen.type("go\r")
        tools = {tool["name"] for tool in model.turn()["tools"]}


class Screen:
    """What a terminal shows, and its keyboard."""

    def __init__(self, descriptor, columns):
        self._descriptor = descriptor
        self._shown = pyte.Screen(columns, _LINES)
        self._stream = pyte.ByteStream(self._shown)
        self._changed = threading.Condition()
        self.asked = 0  # how often the question came up

    def drain(self):
        """Draw what the program writes, to its end."""
        asks = False
        with contextlib.suppress(OSError):  # the other end has closed
            while written := os.read(self._descriptor, 65536):
                with self._changed:
                    self._stream.feed(written)
                    asked, asks = asks, QUESTION in self._text()
                    self.asked += asks and not asked
                    self._changed.notify_all()

    def type(self, keys):
        r"""Press these keys; `\r` is Enter."""
        os.write(self._descriptor, keys.encode())

    def shows(self, *words):
        """Wait until all of these are on the screen; return its lines."""
        self._wait(lambda text: all(word in text for word in words), f"not all of {words}")
        return [line.rstrip() for line in self._shown.display]

    def shows_one_of(self, *words):
        """Wait until one of these is on the screen; return the first that is."""
        text = self._wait(lambda text: any(word in text for word in words), f"none of {words}")
        return next(word for word in words if word in text)

    def answer(self, question, keys):
        """Press these keys until the question has left the screen: it takes none at once."""
        with self._changed:
            for _ in range(int(_WITHIN_S / _TAKES_KEYS_S)):
                self.type(keys)
                if self._changed.wait_for(lambda: question not in self._text(), _TAKES_KEYS_S):
                    return
        self._wait(lambda text: question not in text, f"still {question!r}")

    def _wait(self, shows, otherwise):
        with self._changed:
            came = self._changed.wait_for(lambda: shows(self._text()), _WITHIN_S)
            text = self._text()
        assert came, f"{otherwise} is on the screen:\n{text}"
        return text

    def _text(self):
        return "\n".join(filter(None, map(str.rstrip, self._shown.display)))
