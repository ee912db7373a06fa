# SPDX-License-Identifier: Apache-2.0
"""What tests share: a real server, sessions of agents that no other test knows."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
import threading
import uuid
from contextlib import AsyncExitStack, nullcontext, suppress
from datetime import timedelta
from pathlib import Path

import forking
import guard
import pytest
import pytest_asyncio
import seeds
import served
import surroundings

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import now
from mcp_agentbus.handoff.session import Session

surroundings.settle(os.environ)

pytest_plugins = ["hanging", "left_out"]

_FOLDER = pytest.StashKey[guard.RunFolder]()
_FAILED = pytest.StashKey[bool]()
# Two cores are busy with as many: most of them wait.
_WORKERS = 4
# Real hosts, the chaos run and the bench fill a core each, and have time limits.
_FILLING = {"hosts", "soak", "bench"}
# What ends processes, servers and networks waits for it.
_WAITING = {"faults", "hostile", "life"}
# The real hosts one after the other, and a link that is away for minutes.
_LONGEST = {"test_new_user", "test_two_machines"}
# In these folders tests are about what processes do, and not about how hosts and users start them;
# among the hosts that holds for the listener that a test starts beside one.
_FORKED = {"faults", "hosts", "hostile", "life", "protocol"}


def pytest_xdist_auto_num_workers(config):
    """Run what is one file or less in one process, where it is quickest and can be looked into."""
    asked = [Path(one.partition("::")[0]) for one in config.args]
    return 0 if all(one.suffix == ".py" for one in asked) and len(asked) == 1 else _WORKERS


def pytest_collection_modifyitems(items):
    """Spread the files that fill a core among those that wait; begin with the longest of both."""
    files = sorted(
        dict.fromkeys(item.path for item in items), key=lambda path: path.stem not in _LONGEST
    )
    kinds = _FILLING, _WAITING
    together = [[path for path in files if path.parent.name in kind] for kind in kinds]
    turns = {path: at / len(kind) for kind in together for at, path in enumerate(kind)}
    items.sort(key=lambda item: turns.get(item.path, 1))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Look for no garbage in what stays to the end: that is a tenth of what tests themselves take.

    Nor while it comes: it is looked through again and again, for a fifth of what collecting takes.
    """
    gc.disable()
    try:
        _import_share(session.config)
        yield
        gc.collect()
        gc.freeze()
    finally:
        gc.enable()


def _import_share(config):
    """Have each worker of a run begin with other files, and find what the others have written.

    Files whose asserts pytest has not rewritten yet, as in a fresh clone, take each of the workers
    half of its collecting.
    """
    if not (worker := getattr(config, "workerinput", None)):
        return
    places = [config.rootpath / one.partition("::")[0] for one in config.args]
    files = sorted(file for place in places for file in place.rglob("test_*.py"))
    for file in files[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        if sys.path[0] != str(file.parent):  # as pytest does
            sys.path.insert(0, str(file.parent))
        with suppress(Exception, pytest.skip.Exception):  # it is said as that file is collected
            importlib.import_module(file.stem)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if hasattr(config, "workerinput"):
        return  # its run has made the folder
    config.stash[_FOLDER] = folder = guard.RunFolder()
    if config.option.basetemp is None:
        config.option.basetemp = str(folder.path / "t")


def pytest_unconfigure(config):
    if folder := config.stash.get(_FOLDER, None):
        folder.end(keep=config.stash.get(_FAILED, False))


def pytest_sessionfinish(session, exitstatus):
    session.config.stash[_FAILED] = exitstatus == pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """Say how much of what came before is shown, where that was looked at."""
    passed = terminalreporter.stats.get("passed", ())
    if any("test_seeds" in report.nodeid for report in passed):
        terminalreporter.write_line(f"what came before: {seeds.counted()}")


class World:
    """One bus with any number of agents on it."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._suffix = uuid.uuid4().hex[:8]
        self._stack = AsyncExitStack()

    def name(self, agent: str) -> str:
        """Return an agent id that no other test uses."""
        return f"{agent}-{self._suffix}"

    async def session(self, agent: str, *, known: bool = True, **fields: object) -> Session:
        """Open a session; `known` registers its agent, as its first call would."""
        me = Agent(self.name(agent), **fields)
        session = await self._stack.enter_async_context(Session(self.bus, me))
        if known:
            await session.called()
            await session.can_read()
        return session

    async def another_bus(self) -> Bus:
        """Open one more connection to the same server, as another process would have."""
        return await self._stack.enter_async_context(Bus.connect(self.bus.settings))

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
def elapse(monkeypatch):
    """Let the clocks that the package reads go on by some seconds, this machine's and the server's."""
    ahead = [0.0]

    def later():
        return now() + timedelta(seconds=ahead[0])

    async def there(_):
        return later()

    monkeypatch.setattr("mcp_agentbus.core.text.now", later)
    monkeypatch.setattr("mcp_agentbus.store.queries.clock._now", there)
    monkeypatch.setattr("mcp_agentbus.store.queries.clock.note", lambda *_: None)
    return lambda seconds: ahead.__setitem__(0, ahead[0] + seconds)


@pytest.fixture
def set_clock(monkeypatch):
    """Set this machine's clock ahead by some seconds, or back; the server's stays."""

    def by(seconds):
        monkeypatch.setattr(
            "mcp_agentbus.core.text.now", lambda: now() + timedelta(seconds=seconds)
        )

    return by


@pytest.fixture(scope="module", autouse=True)
def forks(request):
    """Have processes be forked where the tests are about what they do, see `forking`."""
    marked = request.node.get_closest_marker("started")
    with forking.on(request.path.parent.name in _FORKED and not marked):
        yield


@pytest.fixture(autouse=True)
def started_if_marked(request, forks):
    """Have the processes of a test that is marked be started."""
    with forking.on(False) if request.node.get_closest_marker("started") else nullcontext():
        yield


@pytest.fixture(scope="session")
def home():
    """The settings of a private server that all tests share."""
    with embedded.ephemeral() as settings:
        yield settings


@pytest.fixture(scope="module")
def house():
    """A server that one file's listeners have for themselves."""
    with embedded.ephemeral() as settings:
        yield settings


@pytest.fixture(scope="module", params=["alone", "relayed"])
def way(request, home):
    """Whether sessions and commands do their work themselves, or a listener does it for them.

    The listener is the file's own: it would serve the sessions of another file on that server, too.
    """
    if request.param == "alone":
        yield "alone"
        return
    listener = forking.start(
        [sys.executable, "-m", "mcp_agentbus", "listen"],
        env=served.environ(home.data_dir.parent),
        stderr=subprocess.PIPE,
    )
    assert b"listening" in listener.stderr.readline()
    drained = threading.Thread(target=listener.stderr.read)
    drained.start()
    yield "relayed"
    listener.terminate()
    drained.join()
    assert listener.wait(20) == 0
    listener.stderr.close()


@pytest_asyncio.fixture
async def world(home):
    """A bus on the shared server."""
    async with Bus.connect(home) as bus:
        world = World(bus)
        yield world
        await world.close()


@pytest_asyncio.fixture
async def own_world():
    """A bus on a server of its own, for tests that kill or fill it."""
    with embedded.ephemeral() as settings:
        async with Bus.connect(settings) as bus:
            world = World(bus)
            yield world
            await world.close()
