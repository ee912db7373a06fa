# SPDX-License-Identifier: Apache-2.0
"""A listener whose socket, or its folder, is gone: it is found all the same, and heard again."""

import asyncio
import os
import shutil
import signal
import socket

import pytest
import served
from doctors import report
from listeners import configure, known, listening, on_roster, recorder, send, starts

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import places
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.places import Place
from mcp_agentbus.doctor import listener as listener_checks
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket, seat

# `agentbus listen` that looks at its socket so often, in seconds.
_LOOKING = (
    "import sys; from mcp_agentbus.cli import main as cli; from mcp_agentbus.listener import daemon; "
    "daemon._LOOK_AT_DOOR_S = {}; sys.exit(cli.main(['listen', *sys.argv[1:]]))"
)
SOON, NEVER = ["-c", _LOOKING.format(0.05)], ["-c", _LOOKING.format(3600)]


@pytest.fixture
def settings():
    with embedded.ephemeral() as settings:
        yield settings


def typed(settings, *argv):
    return served.typed(settings.data_dir.parent, *argv)


def asked(where):
    return local_socket.ask(where, {"op": "status"})["pid"]


def socket_gone(settings):
    (settings.runtime_dir / "listener.sock").unlink()


def folder_gone(settings):
    shutil.rmtree(settings.runtime_dir)


def lock_gone(settings):
    (settings.runtime_dir / "listener.lock").unlink()


def opened_to_others(settings):
    settings.runtime_dir.chmod(0o755)


def replaced(settings):
    socket_gone(settings)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(local_socket.socket_path(settings))


@pytest.mark.parametrize("lose", [socket_gone, folder_gone, lock_gone, opened_to_others, replaced])
async def test_it_makes_its_socket_anew(settings, lose):
    async with listening(settings, script=SOON) as listener:
        lose(settings)
        await listener.logged("listening")

        assert await asyncio.to_thread(asked, settings) == listener.process.pid
        assert settings.runtime_dir.stat().st_mode & 0o777 == 0o700
    assert not (settings.runtime_dir / "listener.sock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
async def test_while_its_folder_is_another_users_it_says_so_and_goes_on(settings):
    async with listening(settings, script=SOON) as listener:
        os.chown(settings.runtime_dir, 12345, 12345)
        told = await listener.logged("deaf")
        os.chown(settings.runtime_dir, 0, 0)
        await listener.logged("listening")

    assert f"{settings.runtime_dir} is a symlink or belongs to another user" in told["error"]


async def test_after_a_logout_it_is_where_all_look_for_it_then(settings, tmp_path):
    """As they do: without the folder of logins, in the state folder."""
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    (tmp_path / "run").mkdir()
    there = Place(places.runtime_folder(environ), environ)
    async with listening(settings, script=SOON, AGENTBUS_HOME="", **environ) as listener:
        assert await asyncio.to_thread(asked, there) == listener.process.pid
        shutil.rmtree(tmp_path / "run")
        await listener.logged("listening")

        later = Place(places.runtime_folder(environ), environ)
        assert later.runtime_dir == f"{tmp_path}/.local/state/agentbus/run"
        assert await asyncio.to_thread(asked, later) == listener.process.pid


async def test_while_nobody_reaches_it_all_who_ask_say_the_same_and_no_second_one_starts(
    settings, monkeypatch
):
    monkeypatch.setattr(listener_checks, "_SETTLES_WITHIN_S", 0)
    async with listening(settings, script=NEVER) as deaf:
        folder_gone(settings)
        who = f"listener (pid {deaf.process.pid} on host {os.uname().nodename} since "

        code, said = await typed(settings, "listen", "--status")
        second = await typed(settings, "listen")
        _, doctor = await report(settings)

        assert code == 1
        assert who in said
        assert "takes no connection at" in said
        assert (second[0], who in second[1], "runs already" in second[1]) == (0, True, True)
        assert who in doctor["listener"]["said"]
        assert doctor["listener"]["state"] == "wrong"
        assert "agentbus listen --replace" in doctor["listener"]["fix"]
        async with listening(settings, script=["-m", "mcp_agentbus", "listen", "--replace"]) as new:
            assert await deaf.process.wait() == 0
            assert await asyncio.to_thread(asked, settings) == new.process.pid
            folder_gone(settings)
            assert (await typed(settings, "listen", "--stop"))[0] == 0
            assert await new.process.wait() == 0
    assert seat.seated(settings) is None


@pytest.mark.parametrize("lose", [None, socket_gone])
async def test_no_host_is_started_beside_a_session_that_is_young_or_could_not_join(
    settings, tmp_path, lose
):
    configure(settings, tmp_path, coder={"command": recorder(tmp_path)})
    async with (
        Bus.connect(settings) as bus,
        Session(bus, Agent("planner")) as planner,
        listening(settings) as listener,
    ):
        await known(planner, "coder")
        await listener.logged("ready", agent="coder")
        if lose:
            lose(settings)
        with served.Pipes(served.environ(settings.data_dir.parent), agent="coder") as young:
            await asyncio.to_thread(young.greet, served.MODERN)
            await send(planner, "coder")
            await listener.logged("joined", agent="coder")
            await listener.logged("held", agent="coder", reason="deaf_session")

    assert starts(tmp_path) == []


async def test_no_host_is_started_beside_a_session_of_the_listener_before(settings, tmp_path):
    """One that was killed: the session has not joined the next one yet."""
    configure(settings, tmp_path, coder={"command": recorder(tmp_path)})
    environ = served.environ(settings.data_dir.parent)
    argv = served.living("serve", "--agent", "coder", after_s=0.1)
    async with Bus.connect(settings) as bus, Session(bus, Agent("planner")) as planner:
        await known(planner, "coder")
        with served.Pipes(environ, argv) as session:
            async with listening(settings) as listener:
                await asyncio.to_thread(session.greet, served.MODERN)
                await listener.logged("joined", agent="coder")
                await asyncio.to_thread(session.call, "list_agents")
                await on_roster(planner, "coder")
                await listener.end(signal.SIGKILL)
            await send(planner, "coder")
            async with listening(settings) as listener:
                await listener.logged("joined", agent="coder")
                await listener.logged("held", agent="coder", reason="deaf_session")

    assert starts(tmp_path) == []
