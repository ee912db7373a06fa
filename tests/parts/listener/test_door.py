# SPDX-License-Identifier: Apache-2.0
"""The door of a listener: found where all look for it, made anew where it is gone, closed behind."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
import pytest_asyncio
from local_server import settings_at

from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import locks, places
from mcp_agentbus.listener.endpoint import Door, Endpoint, listening_socket
from mcp_agentbus.relay import door as doors
from mcp_agentbus.relay import local_socket, seat


async def echo(connection):
    connection.say({"heard": connection.request["word"]})


async def lets_in(path):
    """Tell whether somebody answers there."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.write(local_socket.line({"op": "echo", "word": "hello"}))
    answer = await reader.read()
    writer.close()
    return answer == local_socket.line({"heard": "hello"})


@pytest.fixture
def here(tmp_path):
    return settings_at(tmp_path / "bus")


@pytest.fixture
def folder(here):
    """The folder of the socket."""
    return here.runtime_dir


@pytest_asyncio.fixture
async def endpoint():
    endpoint = Endpoint({"echo": echo})
    yield endpoint
    endpoint.close()
    await endpoint.ended()


@pytest_asyncio.fixture
async def door(here, endpoint):
    """A door that is open."""
    door = Door(here, endpoint)
    await door.open()
    yield door
    door.close()


def descriptors():
    return len(list(Path("/dev/fd").iterdir()))


async def test_an_open_door_lets_in_and_says_whose_it_is(here, door):
    lock = Path(seat.door_lock(here))

    assert (door.is_open, door.is_closed) == (True, False)
    assert await lets_in(door.path)
    assert (locks.is_held(lock), locks.holder(lock).pid) == (True, os.getpid())
    assert stat.S_IMODE(door.path.parent.stat().st_mode) == 0o700


async def test_a_closed_door_lets_nobody_in_and_leaves_its_place_to_the_next(here, endpoint, door):
    door.close()

    assert (door.is_open, door.is_closed) == (False, True)
    assert not door.path.exists()
    assert not locks.is_held(seat.door_lock(here))
    door.close()  # once more is nothing

    following = Door(here, endpoint)
    await following.open()
    assert (following.is_open, await lets_in(following.path)) == (True, True)
    following.close()


async def test_whoever_has_reached_it_before_is_let_in_no_more(door):
    """As the socket is closed, and not only its file gone."""
    door.path.with_name("other").hardlink_to(door.path)
    door.close()

    assert not await lets_in(door.path.with_name("other"))


async def test_a_door_that_was_never_opened_closes_nobody_elses(here, folder, endpoint):
    door = Door(here, endpoint)
    folder.mkdir(parents=True)
    door.path.touch()
    is_open = door.is_open
    door.close()

    assert not is_open
    assert door.path.exists()


def removed(folder):
    for each in (folder / "listener.sock", folder / "listener.lock"):
        each.unlink()
    folder.rmdir()


def another_socket(folder):
    (folder / "listener.sock").unlink()
    with socket.socket(socket.AF_UNIX) as other, doors.Address(f"{folder}/listener.sock") as short:
        other.bind(short)


def lock_anew(folder):
    (folder / "listener.lock").rename(folder / "kept")  # else its number would be given once more
    (folder / "listener.lock").touch()


@pytest.mark.parametrize(
    "gone",
    [
        removed, another_socket, lock_anew,
        lambda folder: (folder / "listener.sock").unlink(),
        lambda folder: (folder / "listener.lock").unlink(),
        lambda folder: folder.chmod(0o750),
        lambda folder: folder.chmod(0o701),
    ],
)  # fmt: skip
async def test_a_door_that_is_gone_is_not_open_and_is_opened_anew(here, folder, door, gone):
    """Nothing of what it had is kept."""
    before = descriptors()
    gone(folder)
    was_open = door.is_open
    await door.open()
    after = descriptors()

    assert (was_open, door.is_open, await lets_in(door.path)) == (False, True, True)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert locks.holder(seat.door_lock(here)).pid == os.getpid()
    assert after == before


async def test_in_a_folder_that_is_somebody_elses_it_is_not_open(folder, door, monkeypatch):
    """Who may write there may put another socket in its place."""
    lstat = Path.lstat

    def elsewhere(path):
        told = list(lstat(path))
        return os.stat_result([*told[:4], told[4] + (path == folder), *told[5:]])

    monkeypatch.setattr(Path, "lstat", elsewhere)

    assert not door.is_open


async def test_another_listeners_socket_is_left_as_it_is(folder, door):
    another_socket(folder)
    door.close()

    assert (folder / "listener.sock").is_socket()


async def test_where_another_listener_has_the_door_it_is_refused_at_once(here, endpoint):
    with locks.held(seat.door_lock(here), wait=False):
        door = Door(here, endpoint)
        with pytest.raises(BlockingIOError, match="another listener"):
            await door.open()

        assert not door.is_open
        assert not door.path.exists()


async def test_it_is_opened_where_all_look_for_it_at_this_moment(tmp_path, endpoint, monkeypatch):
    """The folder of a login is gone with that, and comes with the next."""
    monkeypatch.setattr(places, "_USERS", str(tmp_path / "users"))
    login = tmp_path / "login"
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(login), "PATH": os.environ["PATH"]}
    door = Door(load_settings(environ), endpoint)
    await door.open()
    first = door.path
    login.mkdir(mode=0o700)
    was_open = door.is_open
    await door.open()

    assert (was_open, door.is_open, await lets_in(door.path)) == (False, True, True)
    assert (first.parent, door.path.parent) == (
        tmp_path / ".local/state/agentbus/run", login / "agentbus",
    )  # fmt: skip
    assert not await lets_in(first)
    door.close()


async def test_without_standard_input_its_lock_which_has_that_number_is_a_lock_as_any(
    here, folder, endpoint
):
    door, lock = Door(here, endpoint), Path(seat.door_lock(here))
    kept = os.dup(0)
    os.close(0)
    try:
        await door.open()
        number, was_open = door._lock, door.is_open
        door.path.unlink()
        await door.open()
        again = locks.is_held(lock), door.is_open
        door.close()
        closed = locks.is_held(lock)
        await door.open()
        lock_anew(folder)
        await door.open()
        anew = locks.is_held(folder / "kept"), locks.is_held(lock), door.is_open
        door.close()
    finally:
        os.dup2(kept, 0)
        os.close(kept)

    assert (number, was_open, again, closed) == (0, True, (True, True), False)
    assert anew == (False, True, True)


async def test_nothing_is_put_where_a_link_leads(here, folder, tmp_path, endpoint):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.parent.mkdir(exist_ok=True)
    folder.symlink_to(elsewhere)

    with pytest.raises(PermissionError, match="is a symlink"):
        await Door(here, endpoint).open()
    with pytest.raises(PermissionError, match="is a symlink"):
        listening_socket(here)
    assert list(elsewhere.iterdir()) == []


def test_a_socket_that_cannot_be_made_is_closed(here, monkeypatch):
    def fails(_):
        raise OSError("no room")

    monkeypatch.setattr(doors, "Address", fails)
    before = descriptors()

    with pytest.raises(OSError, match="no room") as told:
        listening_socket(here)
    assert descriptors() == before
    assert told.value


def test_whoever_comes_before_anybody_is_let_in_waits_and_nobody_waits_for_them(here):
    with listening_socket(here) as listening, socket.socket(socket.AF_UNIX) as early:
        with doors.Address(local_socket.socket_path(here)) as short:
            early.connect(short)
        assert not listening.getblocking()
        listening.accept()[0].close()
