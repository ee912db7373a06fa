# SPDX-License-Identifier: Apache-2.0
"""A server that has ended by itself is started again unasked; one that was stopped is not."""

import json
import os
import shutil
import signal
import sys
from types import SimpleNamespace

import pytest
from local_server import kill_servers, server_pids, settings_at, until

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.own import disk, revival
from mcp_agentbus.bus.own.revival import PAUSES_S, Revival
from mcp_agentbus.core import locks, processes, text
from mcp_agentbus.shared import second_server

HERE = processes.known(os.getpid())
BOOT = HERE.network.partition(" ")[0]


@pytest.fixture(autouse=True)
def connected(monkeypatch):
    """A network that leads somewhere, wherever the tests run."""
    monkeypatch.setattr(embedded.reach, "is_isolated", lambda: False)


def crash(settings):
    """Kill the server, and wait until the system has let go of its lock, too."""
    kill_servers(settings)
    lock = embedded.Files(settings.data_dir).lock
    until(lambda: not locks.is_held(lock), "nobody has its lock")


@pytest.fixture
def crashed(settings):
    """Settings of a user whose server was killed."""
    embedded.ensure(settings)
    crash(settings)
    return settings


@pytest.fixture
def clock(monkeypatch):
    """The time by which it pauses."""
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(revival, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def test_a_server_that_was_killed_is_started_again_once(crashed):
    server = embedded.again(crashed)

    assert server_pids(crashed) == [server.pid]
    assert embedded.again(crashed) is None


def test_one_that_was_stopped_is_not_started_until_somebody_needs_it(settings):
    embedded.ensure(settings)
    embedded.stop(settings)

    assert embedded.again(settings) is None
    embedded.ensure(settings)
    crash(settings)
    assert embedded.again(settings)


def test_one_that_was_stopped_after_its_crash_stays_so(crashed):
    assert embedded.stop(crashed) is False

    assert embedded.again(crashed) is None


def test_one_that_is_stopped_as_it_is_to_be_started_is_not(crashed, monkeypatch):
    monkeypatch.setattr(embedded, "_prepare", embedded.stop)

    assert embedded.again(crashed) is None
    assert server_pids(crashed) == []


def test_where_none_was_ever_used_none_is_started_and_no_folder_made(settings):
    assert embedded.again(settings) is None
    assert not settings.data_dir.parent.exists()


def copied(settings, path):
    """Have an older copy come to the place of a path, whose mark of a stop goes with it."""
    copy = settings.data_dir.with_name("copy")
    shutil.copytree(path, copy)
    path.rename(settings.data_dir.with_name("before"))
    shutil.copytree(copy, path)


@pytest.mark.parametrize("name", ["root", "store"])
def test_on_a_copy_that_is_put_to_its_place_none_is_started_before_it_is_needed(crashed, name):
    """It may be half there yet."""
    copied(crashed, getattr(embedded.Files(crashed.data_dir), name))

    assert embedded.again(crashed) is None
    embedded.ensure(crashed)
    crash(crashed)
    assert embedded.again(crashed)


def tell_to_end(settings):
    """Have the server end in good order, as by a kill that somebody types."""
    for pid in server_pids(settings):
        os.kill(pid, signal.SIGTERM)
    lock = embedded.Files(settings.data_dir).lock
    until(lambda: not locks.is_held(lock), "nobody has its lock")


def signed(settings, last):
    """Have somebody have signed its lock last, or nobody."""
    lock = embedded.Files(settings.data_dir).lock
    lock.write_text(json.dumps(last._asdict()) if last else "")


def test_one_that_was_told_to_end_stays_so_until_the_next_boot_or_a_need(settings):
    """By hand, or as an earlier version stops it; at its end a machine does the same."""
    embedded.ensure(settings)
    tell_to_end(settings)
    last = locks.holder(embedded.Files(settings.data_dir).lock)
    for each in (last, None) if sys.platform == "linux" else (None,):
        signed(settings, each)
        assert embedded.again(settings) is None

    signed(settings, last._replace(network="before net:[7]"))
    assert embedded.again(settings)


def test_one_that_could_not_be_started_after_a_boot_is_tried_again(settings):
    """Who has signed its lock is of this boot then, and the log ends as at that of the machine."""
    embedded.ensure(settings)
    tell_to_end(settings)
    signed(settings, HERE)

    assert embedded.again(settings)


def test_one_that_an_earlier_version_has_started_since_it_was_stopped_is_started_again(crashed):
    """That one leaves the mark."""
    stopped = embedded.Files(crashed.data_dir).stopped
    stopped.touch()
    assert embedded.again(crashed) is None

    os.utime(stopped, (1, 1))
    assert embedded.again(crashed)


@pytest.mark.parametrize("at", ["ensure", "_end"])
def test_one_that_was_to_be_started_anew_and_was_not_is_started_again(settings, monkeypatch, at):
    embedded.ensure(settings)
    with monkeypatch.context() as killed:
        killed.setattr(embedded, at, lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            disk.start_anew(settings)
    tell_to_end(settings)

    assert server_pids(settings) == []
    assert embedded.again(settings)


def test_one_whose_restore_was_broken_off_goes_on_with_what_was_restored(crashed):
    with second_server.server(crashed) as other:
        embedded.ensure(other.settings)
        assert other.take_its_place(crashed, text.now(), lambda: True)

    assert embedded.again(crashed)


def test_in_a_network_that_leads_nowhere_none_is_started(crashed, monkeypatch):
    monkeypatch.setattr(embedded.reach, "is_isolated", lambda: True)

    assert embedded.again(crashed) is None


@pytest.mark.skipif(sys.platform != "linux", reason="there are no networks beside each other")
@pytest.mark.parametrize(
    ("last", "starts"),
    [
        (HERE._replace(network=f"{BOOT} net:[7]"), False),
        (HERE._replace(network=f"{BOOT} net:[7]", host="other"), False),
        (HERE._replace(network="before net:[7]"), True),
        (HERE._replace(network="before net:[7]", host="other"), False),
        (HERE._replace(network=""), True),
        (None, True),
    ],
    ids=["other network", "container", "before a boot", "other machine", "untold", "unsigned"],
)
def test_one_is_started_only_where_the_last_one_ran(crashed, last, starts):
    """A container that shares the home has a network of its own, where nobody outside reaches it."""
    signed(crashed, last)

    assert bool(embedded.again(crashed)) is starts


async def test_what_does_not_start_is_tried_less_and_less_often_and_says_why(
    crashed, tmp_path, clock
):
    broken = settings_at(tmp_path / "home", AGENTBUS_NATS_SERVER=str(tmp_path / "none"))
    revived = Revival(broken)
    for pause_s in [*PAUSES_S, PAUSES_S[-1]]:
        assert not await revived.look()
        assert "in vain, and is tried next at" in revived.says
        assert f"{tmp_path / 'none'} cannot be run" in revived.says
        revived.says, clock.s = "not tried", clock.s + pause_s - 1
        await revived.look()
        assert revived.says == "not tried"
        clock.s += 1


async def test_one_that_was_stopped_after_a_try_in_vain_is_said_to_be_tried_no_more(
    crashed, tmp_path, clock
):
    broken = settings_at(tmp_path / "home", AGENTBUS_NATS_SERVER=str(tmp_path / "none"))
    revived = Revival(broken)
    await revived.look()
    assert revived.says

    embedded.stop(crashed)

    await revived.look()
    assert revived.says == ""


async def test_what_ends_soon_after_it_was_started_again_is_not_started_at_once(settings, clock):
    embedded.ensure(settings)
    revived, ran = Revival(settings), []
    for waited_s in (0, 1, PAUSES_S[0], PAUSES_S[0], 2 * PAUSES_S[-1] + 1, PAUSES_S[0]):
        crash(settings)
        clock.s += waited_s
        ran.append(await revived.look())

    assert ran == [True, False, True, False, True, True]
    assert revived.says == ""
