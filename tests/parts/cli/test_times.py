# SPDX-License-Identifier: Apache-2.0
"""Every time that `--json` prints is written in one way, whichever room it comes from."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from local_server import settings_at
from planners_task import TASK

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.handoff.lookup import Life
from mcp_agentbus.human import outlook
from mcp_agentbus.human.book import Tap, TapBook
from mcp_agentbus.listener import status
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.requests import Requests
from mcp_agentbus.listener.state import State
from mcp_agentbus.store.outbox.outbox import Envelope
from mcp_agentbus.store.task import Moment, Receipt, Record
from mcp_agentbus.tools.answers import documents
from mcp_agentbus.wakes.ledger import Ledger, Row

AT = datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC)
WAY = "2026-11-21T10:00:00.123Z"


def of_life():
    record = Record(
        task_id="t1", owner="planner", inbox="coder", agent="", session="", state="stored",
        updated_at=AT,
    )  # fmt: skip
    woken = Moment(state="waking", at=AT, by="coder")
    return documents.of_life(Life("stored", record, None, None, wakes=(woken,)))


def of_wake():
    return status.wake_data(
        Row(1, "coder", "start", frozenset(), frozenset(), AT, False, None, "", AT, "exited", "",
            0, "", None, False, None, False, False)
    )  # fmt: skip


def of_tap(tmp_path):
    settings = settings_at(tmp_path)
    settings.taps_file.parent.mkdir(parents=True)
    book = TapBook(settings.taps_file)
    book.taps.append(Tap(AT, "a task failed", True, "told"))
    book.save()
    return outlook.data(settings)


async def of_listener(tmp_path):
    settings, said = settings_at(tmp_path), []
    state = State(settings, Bus(settings), Ledger(tmp_path / "ledger"), lambda *_: None)
    state.began = state.away_since = AT
    connection = SimpleNamespace(request={"count": False}, say=said.append)
    await Requests(state, None, SimpleNamespace(commands=0), None, None).status(connection)
    return said


DOCUMENTS = {
    "receipts": lambda: documents.of_receipts(
        [Receipt(task_id="t1", to="coder", last_seen=AT, expires_at=AT, deliver_at=AT)]
    ),
    "a task's life": of_life,
    "an outbox": lambda: status.outbox_data([Envelope(TASK, 1, AT, is_ours=True)], {}),
    "an agent": lambda: status.agent_data(
        Desk("coder", held="backoff", look_again_at=AT), None, 0, away=False
    ),
    "a wake": of_wake,
}


def times(data):
    """Return all that looks like a time in it, at any depth."""
    if isinstance(data, Mapping):
        return [at for each in data.values() for at in times(each)]
    if isinstance(data, list | tuple):
        return [at for each in data for at in times(each)]
    return [data] if re.match(r"\d{4}-\d\d-\d\d", str(data)) else []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_time_is_in_utc_to_the_millisecond(name):
    assert set(times(DOCUMENTS[name]())) == {WAY}


async def test_so_is_one_of_the_listener_and_of_what_a_person_was_told(tmp_path):
    assert set(times(await of_listener(tmp_path))) == {WAY}
    assert times(of_tap(tmp_path)) == [WAY]
