# SPDX-License-Identifier: Apache-2.0
"""Which task of the archive alone is meant by an id, or its beginning."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from exact_server import ExactServer, reader

from mcp_agentbus.archive import lives
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.history import Current
from mcp_agentbus.archive.lives import task_life
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BadInput, UnknownTask

ID, OTHER = f"9d0c2f{'1' * 26}", f"9d0c2f{'2' * 26}"


def sent(task_id, owner="planner"):
    values = {"subject": "Count", "created_at": now()}
    return Change(owner, "coder", task_id, now(), 1, "sent_seq", values)


def copy(task_id, owner):
    """What the archive has of a result that its sender had sent to this agent as well."""
    values = {"subject": "Copy", "asked_by": "planner", "state": "completed"}
    return Change(owner, "coder", task_id, now(), 2, "record_seq", values)


@pytest.fixture
def known(monkeypatch, tmp_path):
    """Have an archive know these tasks, of which the bus knows none any more."""
    with Archive(None, Keeps()) as archive:

        @asynccontextmanager
        async def up_to_date(*_):
            yield Current(archive, Extent())

        async def as_written(_, written):
            return written

        async def unknown(*_):
            raise UnknownTask

        async def as_shown(_, life):
            return life

        monkeypatch.setattr(lives, "up_to_date", up_to_date)
        monkeypatch.setattr(lives, "users", lambda *_: frozenset())
        monkeypatch.setattr(lives.task_ids, "whole_id", as_written)
        monkeypatch.setattr(lives.lookup, "task_life", unknown)
        monkeypatch.setattr(lives.lookup, "as_shown", as_shown)
        session = reader(ExactServer(state_dir=tmp_path), Agent("planner"))

        async def look(written, *changes, others=()):
            archive.note(changes, Reached("agentbus.*.*.*.*", 1, 2), of="made")
            return await task_life(session, written, others)

        yield look


async def test_of_two_that_begin_so_it_is_said_which_they_are(known):
    """It was said that the agent had neither sent nor received such a task."""
    with pytest.raises(BadInput, match=f"The ids of 2 tasks begin with 9d0c2f: {ID}, {OTHER}"):
        await known("9d0c2f", sent(ID), sent(OTHER))

    assert (await known(ID)).record.task_id == ID
    assert (await known(OTHER[:7])).record.task_id == OTHER


@pytest.mark.parametrize("written", [ID, ID[:6]])
@pytest.mark.parametrize("others", [["*"], ["tester", "coder"], ["tester"]])
async def test_one_whose_result_another_agent_of_its_user_got_too_is_told_as_it_was_sent(
    known, written, others
):
    life = await known(written, copy(ID, "tester"), sent(ID), others=others)

    assert (life.record.owner, life.record.subject) == ("planner", "Count")


async def test_a_copy_is_told_of_where_there_is_nothing_else(known):
    life = await known(ID, replace(copy(ID, "planner"), values={"asked_by": "tester"}))

    assert life.record.owner == "planner"


@pytest.mark.parametrize("written", ["f" * 32, "f" * 6, ID[:5]])
async def test_one_that_is_not_there_is_unknown(known, written):
    with pytest.raises(UnknownTask):
        await known(written, sent(ID))
