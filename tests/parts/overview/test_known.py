# SPDX-License-Identifier: Apache-2.0
"""What is known of a task, by what was read of the archive so far."""

from dataclasses import replace

import pytest
from local_server import settings_at
from planners_task import TASK
from situations import ID, NOW, before

from mcp_agentbus.archive import board
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.history import Current
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.errors import BusUnreachable, UnknownTask
from mcp_agentbus.overview import known
from mcp_agentbus.overview.case import Outgoing
from mcp_agentbus.overview.known import Known
from mcp_agentbus.overview.listener import Listener
from mcp_agentbus.overview.on_bus import OnBus
from mcp_agentbus.store.outbox.outbox import ANOTHER_BUS, Envelope
from mcp_agentbus.store.task import Moment


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_task_that_was_not_read_yet_is_not_told_as_one_that_there_is_not(is_whole):
    with Archive(None, Keeps()) as archive:
        current = Current(archive, Extent(is_whole))
        here = Known(settings_at("/nowhere"), NOW, current, Listener(), OnBus())
        with pytest.raises(UnknownTask) as caught:
            here.task("9d0c2f")

    assert ("among what was read so far" in caught.value.message) is not is_whole
    assert caught.value.hint.startswith("The same again looks further back.") is not is_whole


def test_where_the_bus_was_not_reached_nobody_is_told_that_there_is_no_such_task():
    with Archive(None, Keeps()) as archive:
        current = Current(archive, Extent())
        here = Known(settings_at("/nowhere"), NOW, current, Listener(), away_says="Start it.")
        with pytest.raises(UnknownTask, match="the bus was not reached") as caught:
            here.task("9d0c2f")

    assert caught.value.hint == "Start it."


@pytest.mark.parametrize("bus", [None, OnBus()])
def test_where_the_archive_cannot_be_read_that_is_said_of_a_task_that_is_not_found(bus):
    broken = "The archive a.sqlite3 cannot be used."
    with Archive(None, Keeps()) as archive:
        current = Current(archive, Extent(), (broken,), is_unread=True)
        here = Known(settings_at("/nowhere"), NOW, current, Listener(), bus)
        with pytest.raises(UnknownTask) as caught:
            here.task("9d0c2f")

    assert broken in caught.value.message


def test_a_damaged_archive_is_told_from_one_that_has_nothing(tmp_path):
    settings = settings_at(tmp_path)
    settings.archive_file.parent.mkdir(parents=True)
    settings.archive_file.write_bytes(b"no database" * 99)
    settings.archive_file.chmod(0o600)

    with known._as_it_is(settings) as current:
        assert current.is_unread
    settings.archive_file.unlink()
    with known._as_it_is(settings) as current:
        assert not current.is_unread


@pytest.mark.parametrize("is_at_bus", [False, True])
@pytest.mark.parametrize("is_ours", [False, True])
def test_a_task_of_the_outbox_is_told_as_one_of_the_bus_that_has_it(is_at_bus, is_ours):
    waits = Envelope(TASK.model_copy(update={"id": ID}), 1, NOW, is_ours)
    told = Change("planner", "coder", ID, NOW, 1, "sent_seq", {})
    with Archive(None, Keeps()) as archive:
        archive.note([told] * is_at_bus, Reached("agentbus.*.*.*.*", 1, 2), of="made")
        bare = Known(settings_at("/nowhere"), NOW, Current(archive, Extent()), Listener())
        here = replace(bare, outgoing=Outgoing((waits,), "No server answers."))
        task = here.task(ID)
        case = here.case(task)

    assert task.is_outgoing is not is_at_bus
    assert case.is_for_another is (not is_at_bus and not is_ours)
    assert (case.outgoing_says == ANOTHER_BUS) is case.is_for_another
    assert here.outgoing.all_says == ("No server answers.", *[ANOTHER_BUS] * (not is_ours))


@pytest.mark.parametrize(
    ("steps", "minutes"),
    [
        (["coder waking"], 9),
        (["coder waking", "coder woken"], 8),
        (["coder waking", "coder wake-failed"], None),
        (["coder waking", "coder wake-failed", "coder wake-held"], None),
        (["coder waking", "coder woken", "coder wake-held"], None),
        (["coder wake-held", "coder waking", "coder woken"], 7),
        # Of a role that two hold, what is held for one says nothing of the other.
        (["coder waking", "coder woken", "tester wake-held"], 8),
        (["coder waking", "tester waking", "tester wake-failed"], 9),
    ],
)
def test_nobody_is_told_as_woken_whose_wake_failed_or_is_held_since(steps, minutes):
    moments = (each.split() for each in steps)
    moments = tuple(
        Moment(state=state, at=before(minutes=9 - n), by=who)
        for n, (who, state) in enumerate(moments)
    )
    told = Change("planner", "role-review", ID, before(minutes=9), 1, "sent_seq", {}, moments)
    with Archive(None, Keeps()) as archive:
        archive.note([told], Reached("agentbus.*.*.*.*", 1, 2), of="made")
        here = Known(settings_at("/nowhere"), NOW, Current(archive, Extent()), Listener())
        woken_at = here.case(board.named(archive, ID)).woken_at

    assert woken_at == (before(minutes=minutes) if minutes else None)


@pytest.mark.parametrize("answer", [{}, {"op": "status"}])
async def test_a_read_that_failed_is_not_told_as_something_that_was_not_stored(
    answer, tmp_path, monkeypatch
):
    class Silent:
        """A bus that is reached, and whose server then hangs."""

        away_says = ""

        async def reconnected(self, _):
            return True

    async def hangs(*_, **asked):
        may_start.append(asked.get("may_start"))
        raise BusUnreachable("It does not answer. Nothing was stored.", hint="Wait.")

    may_start = []
    where = {"AGENTBUS_URL": "nats://127.0.0.1:1"} if answer else {}
    settings = settings_at(tmp_path, HOME=str(tmp_path), **where)
    monkeypatch.setattr(known, "read_outbox", hangs)
    monkeypatch.setattr(known.streams, "ensure_streams", hangs)
    monkeypatch.setattr(known, "ask_listener", lambda _: Listener(answer=answer))
    async with known.known(settings, Silent()) as here:
        says = here.away_says, here.outgoing.all_says

    cannot = "What this machine has in its outbox cannot be read:"
    assert says == ("It does not answer. Wait.", (f"{cannot} It does not answer. Wait.",))
    # Of the outbox that is a server which a listener looks after.
    assert may_start == [None, bool(answer)]
