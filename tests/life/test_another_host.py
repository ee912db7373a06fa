# SPDX-License-Identifier: Apache-2.0
"""A host that agentbus does not know: what it takes to have it known everywhere, and no more.

To a copy of the package are added one row, one waker, one installer and one form of answer.
"""

import json
import socket
import subprocess
import sys

import package_copy
import pytest

from mcp_agentbus.relay import door

ROW = """
    Host(
        "lantern",
        "Lantern",
        marks=("LANTERN_SESSION",),
        sessions_own=("LANTERN_",),
        session_id="LANTERN_SESSION",
        has_folder=True,
        limited=True,
        waker="lantern",
        installer="lantern",
        has_hooks=True,
    ),
"""
WAKER = '''
"""Lantern, with the notice as its last word."""

from mcp_agentbus.wakes.hosts.process import run

PROGRAMS = ("lantern",)


async def wake(call):
    return await run(["lantern", await call.notice()], stdin=b"", call=call, time_limit_s=60)
'''
INSTALLER = '''
"""Lantern, which reads its servers from a file."""

from mcp_agentbus.installers.steps import Step


def _file(machine):
    return machine.home / ".lantern"


def found(machine):
    return "Lantern 1.0"


def install(machine, *, agent=None):
    return [Step("write ~/.lantern", lambda: str(_file(machine).write_text("serve") or ""))]


def uninstall(machine):
    return [Step("remove ~/.lantern", lambda: _file(machine).unlink() or "")]


def verify(machine):
    return "it lists five tools"
'''
FORM = """
class Lantern:
    marks = ("LANTERN_SESSION",)
    void = ""
    events = ("lit",)

    @staticmethod
    def session(given):
        return given["flame"]

    @staticmethod
    def folder(given, environ):
        return given["shore"]

    @staticmethod
    def again(given):
        return False

    @staticmethod
    def answer(event, text):
        return {"shine": text}


"""
EVERYWHERE = """
import asyncio, json, os, pathlib
from mcp_agentbus.config import identity
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import hosts
from mcp_agentbus.doctor import hosts as looked_at
from mcp_agentbus.relay import local_socket
from mcp_agentbus.wakes.hosts.protocol import WakeOrder
from mcp_agentbus.wakes.hosts.registry import WAKERS

settings = load_settings()
rules = settings.rules["keeper"]

async def notice():
    return "1 task waits."

ended = asyncio.run(WAKERS[rules.host](WakeOrder(rules, notice, os.environ, lambda _: None)))
mark = {"LANTERN_SESSION": "s1"}
print(json.dumps({
    "agent": identity.who(settings, folder=pathlib.Path("/shop")).id,
    "profile": rules.profile,
    "woken": [ended.outcome, ended.output],
    "the listener is told": local_socket.surroundings(mark)["environ"],
    "the listener inherits": [name for name in mark if not hosts.is_of_session(name)],
    "session": hosts.session_of(mark),
    "doctor": looked_at.host(settings, "lantern").said,
}))
"""
_WITHIN_S = 30  # only a hang takes as long


@pytest.fixture
def package(tmp_path):
    """A copy of the package with these four additions."""
    copy = package_copy.copy(tmp_path)
    (copy / "wakes" / "hosts" / "lantern.py").write_text(WAKER)
    (copy / "installers" / "lantern.py").write_text(INSTALLER)
    _insert(copy / "core" / "hosts.py", 'HOSTS: "Final" = (\n', ROW, behind=True)
    script = copy / "plugin" / "hooks" / "agentbus_hook.py"
    _insert(script, "FORMS = {", '"lantern": Lantern, ', behind=True)
    _insert(script, "FORMS = {", FORM, behind=False)
    return copy


@pytest.fixture
def home(tmp_path):
    """A user's home with Lantern on PATH, and an agent that it may be woken for."""
    folder = tmp_path / "home"
    (folder / "shop").mkdir(parents=True, mode=0o700)
    program = folder / "lantern"
    program.write_text("#!/bin/sh\necho lit: $1\n")
    program.chmod(0o700)
    config = folder / "config.toml"
    config.touch(mode=0o600)
    config.write_text(f'[agents.keeper]\nhost = "lantern"\ndir = "{folder / "shop"}"\n')
    return folder


def _insert(file, where, what, *, behind):
    source = file.read_text()
    assert source.count(where) == 1
    file.write_text(source.replace(where, where + what if behind else what + where))


def _environ(home):
    return {
        "HOME": str(home),
        "AGENTBUS_HOME": str(home),
        "PATH": f"{home}:/usr/bin:/bin",
        "LANTERN_SESSION": "s1",
        "COLUMNS": "200",
    }


def test_a_row_and_a_waker_are_enough_to_recognise_set_up_and_wake_it(package, home):
    printed = package_copy.run(package, "-c", EVERYWHERE, **_environ(home))

    assert json.loads(printed) == {
        "agent": "shop-lantern",
        "profile": "answer",
        "woken": ["exited", "lit: 1 task waits.\n"],
        "the listener is told": {"LANTERN_SESSION": "s1"},
        "the listener inherits": [],
        "session": "s1",
        "doctor": "Lantern 1.0: it lists five tools",
    }


def test_an_installer_is_enough_to_connect_it_and_to_take_it_out(package, home):
    def typed(*words):
        return package_copy.run(package, "-m", "mcp_agentbus", *words, **_environ(home))

    assert "lantern connected, and asked: it lists five tools" in typed("install", "lantern")
    assert (home / ".lantern").exists()
    assert "lantern removed" in typed("uninstall", "lantern")
    assert not (home / ".lantern").exists()


@pytest.mark.parametrize("command", ["install", "uninstall", "setup", "agent add"])
def test_help_names_it(package, home, command):
    words = ["-m", "mcp_agentbus", *command.split(), "--help"]

    assert "lantern" in package_copy.run(package, *words, **_environ(home))


def test_a_form_of_answer_is_enough_for_its_hooks(package, home):
    (home / "run").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        with door.Address(str(home / "run" / "listener.sock")) as short:
            listener.bind(short)
        listener.listen()
        listener.settimeout(_WITHIN_S)
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "mcp_agentbus", "hook", "lantern", "lit"],
            env=package_copy.environ(package, **_environ(home)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as hook:
            hook.stdin.write('{"flame": "s1", "shore": "/shop"}')
            hook.stdin.close()
            connection = listener.accept()[0]
            with connection, connection.makefile("rw") as lines:
                asked = json.loads(lines.readline())
                lines.write('{"text":"1 task waits."}\n')
                lines.flush()
            answer = json.loads(hook.stdout.read())

    assert (asked["host"], asked["session"], asked["folder"]) == ("lantern", "s1", "/shop")
    assert asked["environ"]["LANTERN_SESSION"] == "s1"
    assert answer == {"shine": "1 task waits."}
