# SPDX-License-Identifier: Apache-2.0
"""Sessions whose package is upgraded below them: its code is another, not its version alone."""

import asyncio
import shutil
import sys

import hooking
import package_copy
import pytest
import served
from listeners import listening
from served import LEGACY, Pipes

from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task

pytestmark = pytest.mark.started
_SERVE = served.changed("relay.late._MISSING_MAX_S = 0.0")


def upgrade(package):
    """Have what a session loads late need what it has loaded before in another form."""
    (package / "version.py").write_text('__version__ = "9.9.9"\n')
    for module, line in (
        ("errors", "class Frozen(AgentbusError): ...\n"),
        ("handoff/send", "from mcp_agentbus.errors import Frozen\n"),
        ("config/settings", "from mcp_agentbus.errors import Frozen\n"),
    ):
        with (package / f"{module}.py").open("a") as file:
            file.write(line)


def take_away(package):
    """Remove it, and leave it a package: Python would find the one of these tests otherwise."""
    for file in package.rglob("*.py"):
        file.write_text("") if file.name == "__init__.py" else file.unlink()


def spoil(package):
    (package / "tools/standalone.py").write_text("import something_that_nobody_has\n")


@pytest.fixture
async def relayed(planner, tmp_path):
    """Have a session hold a task; return what replaces its package below it as it waits."""
    package = package_copy.copy(tmp_path / "site")
    # With what Python has compiled: two processes would do that again.
    unfinished = shutil.ignore_patterns("*.pyc.*")
    compiled = package_copy.ROOT / "mcp_agentbus"
    shutil.copytree(compiled, package, ignore=unfinished, dirs_exist_ok=True)
    home = planner.bus.settings.data_dir.parent
    environ = served.environ(home) | {"PYTHONPATH": str(package.parent)}
    script = ["-P", "-m", "mcp_agentbus", "listen"]

    async def asked(replace, *, goes_on):
        async with listening(planner.bus.settings, script=script, **environ) as listener:
            argv = [sys.executable, *_SERVE, "serve", "--agent", "coder"]
            with Pipes(environ, argv, cwd=tmp_path) as server:
                await asyncio.to_thread(server.greet, LEGACY)
                joined = asyncio.create_task(listener.logged("joined", agent="coder"))
                await asyncio.to_thread(server.call, "list_agents", era=LEGACY)
                [receipt] = await send_task(planner, "coder", "Count", "the tests")
                await asyncio.to_thread(server.call, "read_inbox", era=LEGACY)
                await joined
                replace(package)
                if goes_on:
                    await listener.end()
                    done = {"task_id": receipt.task_id, "status": "completed", "summary": "3"}
                    answer = await asyncio.to_thread(
                        server.call, "publish_result", era=LEGACY, **done
                    )
                else:
                    waits = {"name": "watch_inbox", "arguments": {}}
                    await asyncio.to_thread(server.request, "tools/call", waits, era=LEGACY)
                    await listener.end()
                    answer = await asyncio.to_thread(server.message)
                server.log.seek(0)
                return answer, await task_life(planner, receipt.task_id), server.log.read()

    return asked


async def test_a_session_goes_on_with_what_it_holds_by_the_code_that_is_there_then(relayed):
    _, life, log = await relayed(upgrade, goes_on=True)

    assert [step.state for step in life.history] == ["stored", "claimed", "completed"]
    assert log == ""


# `agentbus serve`, upgraded between who the session is and what serves it: as it makes its socket.
_UPGRADED_WITHIN = """
import os, pathlib, socket, sys
from mcp_agentbus import __main__ as agentbus
from mcp_agentbus.relay.alone import own_process

class Sockets:
    def socketpair():
        package = pathlib.Path(own_process.__file__).parents[2]
        (package / "version.py").write_text('__version__ = "9.9.9"\\n')
        with (package / "tools/standalone.py").open("a") as standalone:
            standalone.write(os.environ["APPENDED"])
        return socket.socketpair()

own_process.socket = Sockets
sys.exit(agentbus.main())
"""
# What a version that asks for the class of what it is given has at the end of its `standalone`.
_STRICT = """
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.ids import Agent

class Standalone(Standalone):
    def __init__(self, asked, me, *more, **named):
        if (type(asked.settings), type(me)) != (Settings, Agent):
            raise TypeError("these are of the version before")
        super().__init__(asked, me, *more, **named)
"""


async def test_an_upgrade_between_who_a_session_is_and_what_serves_it_gives_that_nothing_older(
    planner, tmp_path
):
    package = package_copy.copy(tmp_path / "site")
    own = {"PYTHONPATH": str(package.parent), "APPENDED": _STRICT}
    environ = served.environ(planner.bus.settings.data_dir.parent) | own
    argv = [sys.executable, "-P", "-c", _UPGRADED_WITHIN, "serve", "--agent", "coder"]
    with Pipes(environ, argv, cwd=tmp_path) as server:
        await asyncio.to_thread(server.greet, LEGACY)
        answer = await asyncio.to_thread(server.call, "list_agents", era=LEGACY)
        server.log.seek(0)

        assert "coder" in str(answer)
        assert server.log.read() == ""


async def test_where_it_cannot_go_on_what_is_asked_is_answered_with_the_reason(relayed):
    answer, _, log = await relayed(spoil, goes_on=False)

    assert "replaced or are damaged (ModuleNotFoundError: " in answer["error"]["message"]
    assert "Start the session anew" in answer["error"]["message"]
    assert "Traceback" not in log


async def test_a_live_session_is_told_of_a_task_though_its_package_is_gone(planner, tmp_path):
    house, package = planner.bus.settings, package_copy.copy(tmp_path / "site")
    environ = {"PYTHONPATH": str(package.parent), "PYTHONSAFEPATH": "1"}
    async with (
        listening(house) as listener,
        hooking.session(house, "coder", tmp_path, **environ) as (_, notices),
    ):
        joined = await listener.logged("joined", agent="coder")
        take_away(package)
        await send_task(planner, "coder", "Count", "the tests", priority="high")
        ended = await listener.logged("ended", agent="coder")

        assert (joined["can_nudge"], ended["outcome"]) == (True, "asked")
        assert await hooking.notice(notices) == hooking.HIGH
