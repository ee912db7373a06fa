# SPDX-License-Identifier: Apache-2.0
"""What a look at the overview costs: it grows with what is open, and not with what ever was."""

import time

import pytest
from situations import NOW, before, entry, past

from mcp_agentbus.archive import board
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.history import Current
from mcp_agentbus.config.settings import Keeps, load_settings
from mcp_agentbus.overview.known import Known
from mcp_agentbus.overview.listener import Listener
from mcp_agentbus.overview.on_bus import OnBus

ALL = "agentbus.*.*.*.*"
FEW, MANY = 300, 6_000


def noted(number, state):
    """What a record says of a task that came to this state; the lower its number, the later."""
    at = before(minutes=number)
    values = {"subject": "Count", "state": state, "created_at": at, "updated_at": at}
    values |= {"priority": "normal", "session": "5e55", "agent": "coder"}
    return Change("planner", "coder", f"{number:032x}", at, 1, "record_seq", values)


@pytest.fixture(scope="module")
def archives():
    """Two archives in which as much is open; in one of them far more has ended."""
    with Archive(None, Keeps()) as small, Archive(None, Keeps()) as large:
        for archive, ended in ((small, FEW), (large, MANY)):
            states = ["stored", "claimed"] * 20 + ["completed"] * ended
            changes = [noted(number, state) for number, state in enumerate(states)]
            archive.note(changes, Reached(ALL, 1, 2), of="made")
        yield small, large


def seconds(work, *given):
    """Return how long it takes at least."""
    took = []
    for _ in range(20):
        began = time.perf_counter()
        work(*given)
        took.append(time.perf_counter() - began)
    return min(took)


@pytest.mark.parametrize(
    "look",
    [
        lambda archive: board.resting(archive, NOW),
        lambda archive: board.held(archive, NOW),
        lambda archive: board.ended(archive, 10),
        board.parked,
        lambda archive: board.named(archive, f"{7:032x}"),
    ],
    ids=["resting", "held", "ended", "parked", "named"],
)
def test_what_has_ended_costs_a_look_nothing(archives, look):
    small, large = archives

    assert seconds(look, large) < 4 * seconds(look, small)


def test_whether_a_tasks_holder_lives_does_not_depend_on_how_many_agents_there_are():
    def here(agents):
        entries = {f"agent-{n}": entry() for n in range(agents)}
        current = Current(Archive(None, Keeps()), Extent())
        settings = load_settings({"AGENTBUS_HOME": "/nowhere"})
        return Known(settings, NOW, current, Listener(), OnBus(entries))

    def all_live(known):
        return [known.holder_lives(each) for each in tasks]

    tasks = [past(state="claimed", session="5e55")] * 200

    assert all_live(here(10)) == [False] * 200
    assert seconds(all_live, here(1_000)) < 4 * seconds(all_live, here(10))
