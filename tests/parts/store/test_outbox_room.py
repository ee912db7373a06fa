# SPDX-License-Identifier: Apache-2.0
"""What is said where this user's own server has no room for a letter, or this process for more."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from mcp_agentbus.bus import embedded, said
from mcp_agentbus.bus.own import disk
from mcp_agentbus.core.files import write_whole
from mcp_agentbus.errors import BadSetup, StoreFull
from mcp_agentbus.store.outbox import own
from mcp_agentbus.store.outbox.outbox import Outbox


@pytest.mark.parametrize(
    ("why", "has_room", "is_full"),
    [
        ("no space left on device", True, True),
        ("", False, True),
        ("", True, False),
        (said.READ_ONLY_HERE, False, False),  # as in a sandbox: it says nothing of room
        (said.READ_ONLY, False, False),
        ("permission denied", False, False),
    ],
)
def test_a_disk_is_said_to_be_full_where_it_is_and_not_where_nothing_may_be_written(
    settings, monkeypatch, why, has_room, is_full
):
    monkeypatch.setattr(disk, "write_error", lambda _: why)
    monkeypatch.setattr(disk, "has_room", lambda _: has_room)
    of_server = StoreFull("The bus server cannot write.", hint="Run `agentbus doctor`.")

    told = own._of_this_machine(of_server, settings)

    assert ("This machine's disk is full" in told.message) is is_full
    assert (told is of_server) is not is_full


@pytest.fixture
def marked(settings):
    """An outbox whose server was started for it, and in which nothing lies."""
    outbox = Outbox(replace(settings, url="tls://a.example.org"))
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    write_whole(outbox._own._mark, own._STARTED)
    outbox._waits = {}
    return outbox


def crowded(*_, **__):
    """Do what takes a descriptor where none is left."""
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    ("module", "name"), [(own, "read_whole"), (embedded, "end"), (Path, "unlink")]
)
async def test_what_the_system_refuses_to_one_that_is_to_rest_is_said_with_what_mends_it(
    marked, monkeypatch, module, name
):
    monkeypatch.setattr(embedded, "end", lambda _: None)
    with monkeypatch.context() as while_crowded:
        while_crowded.setattr(module, name, crowded)
        with pytest.raises(BadSetup, match=r"Too few files may be open here.*ulimit -n"):
            await marked.rest()

    assert await marked.rest()


async def test_what_the_system_refuses_to_one_that_looks_for_room_is_said_as_well(
    settings, monkeypatch
):
    async def full(_):
        raise StoreFull

    async def opened():
        """Have a connection."""

    of_user = own.Own(settings)
    monkeypatch.setattr(of_user, "_open", opened)
    monkeypatch.setattr(disk, "revive", crowded)

    with pytest.raises(BadSetup, match="Too few files may be open here"):
        await of_user.asked(full)


def test_in_a_folder_that_cannot_be_looked_into_something_may_lie(settings, monkeypatch):
    def refuse(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    outbox = Outbox(settings)
    assert not outbox.may_hold
    monkeypatch.setattr(Path, "exists", refuse)
    assert outbox.may_hold
